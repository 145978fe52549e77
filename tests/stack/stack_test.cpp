// The stack as a whole: loop-back, many connections, and what is left when it goes.
#include <gtest/gtest.h>

#include "stack/support/host.hpp"
#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

TEST(Stack, connects_to_itself_over_its_own_address) {
    Host host;
    tcp::Listener* listener = *host.tcp().listen(0, 80, 4, {}, false);
    tcp::Connection* client = *host.tcp().connect(0, 0, host.address(), 80, {}, host.now);
    client->owner = &host;
    for (int i = 0; i < 5; ++i) {
        host.step();
    }
    tcp::Connection* server = host.tcp().accept(*listener);
    ASSERT_NE(server, nullptr);
    server->owner = &host;
    Bytes received;
    std::size_t written = 0;
    const Bytes data = pattern(200'000);
    for (int i = 0; i < 2000 && received.size() < data.size(); ++i) {
        written += host.tcp().send(*client, as_bytes(data).subspan(written), false, host.now);
        host.advance(1ms);
        Bytes piece(65536, '\0');
        piece.resize(host.tcp().receive(*server, reinterpret_cast<std::byte*>(piece.data()), 65536, false, 0, host.now));
        received += piece;
        ASSERT_TRUE(client->is_valid() && server->is_valid());
    }
    EXPECT_TRUE(received == data);
    EXPECT_TRUE(host.sent.empty()) << "nothing of it goes to the wire";
    host.tcp().release(*client, false, host.now);
    host.advance(1ms);
    host.tcp().release(*server, false, host.now);
    host.advance(61s);
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

HostSetup loop() {
    HostSetup setup;
    setup.owns_loopback = true;
    setup.has_port = false;
    return setup;
}

TEST(Stack, owns_the_loopback_network_when_it_is_told_so) {
    Host host(loop());
    UdpEndpoint* endpoint = *host.udp().open();
    ASSERT_TRUE(host.udp().bind(*endpoint, 0, 9));
    const Bytes text = "hello";
    const std::span<const std::byte> piece = as_bytes(text);
    const UdpDestination to{ip(127, 0, 0, 1), 9};
    ASSERT_TRUE(host.udp().send(*endpoint, std::span(&piece, 1), &to, host.now));
    host.flush();
    Packet* packet = host.udp().take(*endpoint);
    ASSERT_NE(packet, nullptr);
    packet->free();
    host.udp().close(*endpoint);
}

TEST(Stack, chooses_the_source_of_what_stays_here_as_linux_does) {
    Host host(loop());
    Ipv4& ipv4 = host.stack().ipv4();
    EXPECT_EQ(ipv4.route(ip(127, 0, 0, 5), 0)->source, ip(127, 0, 0, 1));
    EXPECT_EQ(ipv4.route(ip(127, 0, 0, 5), ip(127, 1, 2, 3))->source, ip(127, 1, 2, 3));
    EXPECT_EQ(ipv4.route(ip(127, 255, 255, 255), 0)->source, ip(127, 0, 0, 1));
    EXPECT_EQ(ipv4.route(host.address(), 0)->source, host.address());
    EXPECT_EQ(ipv4.route(ip(127, 0, 0, 1), host.address())->source, host.address());
    EXPECT_EQ(code_of(ipv4.route(ip(10, 0, 0, 2), 0).error()), ENETUNREACH) << "there is no port that leads there";
    EXPECT_EQ(code_of(ipv4.route(wire::limited_broadcast, 0).error()), ENETUNREACH);
}

TEST(Stack, a_broadcast_on_the_loopback_network_reaches_who_has_the_port) {
    Host host(loop());
    UdpEndpoint* receiver = *host.udp().open();
    ASSERT_TRUE(host.udp().bind(*receiver, 0, 9));
    UdpEndpoint* sender = *host.udp().open();
    const Bytes text = "to all";
    const std::span<const std::byte> piece = as_bytes(text);
    const UdpDestination to{ip(127, 255, 255, 255), 9};
    EXPECT_EQ(code_of(host.udp().send(*sender, std::span(&piece, 1), &to, host.now).error()), EACCES);
    sender->broadcast = true;
    ASSERT_TRUE(host.udp().send(*sender, std::span(&piece, 1), &to, host.now));
    host.flush();
    Packet* packet = host.udp().take(*receiver);
    ASSERT_NE(packet, nullptr);
    packet->free();
    EXPECT_FALSE(host.tcp().connect(0, 0, to.address, 9, {}, host.now));
    host.udp().close(*receiver);
    host.udp().close(*sender);
}

TEST(Stack, comes_back_at_once_for_what_a_bounded_round_left) {
    Host host(loop());
    UdpEndpoint* endpoint = *host.udp().open();
    endpoint->rcvbuf = 1 << 24;
    ASSERT_TRUE(host.udp().bind(*endpoint, 0, 9));
    const std::span<const std::byte> nothing;
    const UdpDestination to{ip(127, 0, 0, 1), 9};
    constexpr int count = 600;
    for (int i = 0; i < count; ++i) {
        ASSERT_TRUE(host.udp().send(*endpoint, std::span(&nothing, 1), &to, host.now));
    }
    host.step();
    EXPECT_LE(host.stack().next_deadline(), host.now) << "nobody may sleep now";
    host.advance(1ms);
    int received = 0;
    for (; Packet* packet = host.udp().take(*endpoint); ++received) {
        packet->free();
    }
    EXPECT_EQ(received, count);
    host.udp().close(*endpoint);
}

TEST(Stack, the_largest_datagram_passes_to_ourselves) {
    Host host(loop());
    UdpEndpoint* endpoint = *host.udp().open();
    ASSERT_TRUE(host.udp().bind(*endpoint, 0, 9));
    const Bytes data = pattern(65'507);
    const std::span<const std::byte> piece = as_bytes(data);
    const UdpDestination to{ip(127, 0, 0, 1), 9};
    ASSERT_TRUE(host.udp().send(*endpoint, std::span(&piece, 1), &to, host.now));
    host.flush();
    Packet* packet = host.udp().take(*endpoint);
    ASSERT_NE(packet, nullptr);
    Bytes received(packet->size(), '\0');
    packet->copy_out(0, received.data(), packet->size());
    packet->free();
    EXPECT_TRUE(received == data);
    host.udp().close(*endpoint);
}

TEST(Stack, what_a_wire_says_to_a_loopback_address_is_dropped) {
    HostSetup setup;
    setup.owns_loopback = true;
    Host host(setup);
    UdpEndpoint* endpoint = *host.udp().open();
    ASSERT_TRUE(host.udp().bind(*endpoint, 0, 9));
    IpFields f;
    f.source = ip(10, 0, 0, 2);
    f.destination = ip(127, 0, 0, 1);
    host.give_ip(ipv4(f, udp(f.source, 1, f.destination, 9, "from outside")));
    EXPECT_EQ(host.udp().take(*endpoint), nullptr);
    EXPECT_EQ(host.drops(DropReason::ip_bad_source), 1U);
    host.udp().close(*endpoint);
}

// ~Host compares the packet pool.
TEST(Stack, gives_back_every_packet_when_it_is_destroyed_at_work) {
    Host host;
    Peer peer(host);
    tcp::Listener* listener = *host.tcp().listen(0, 80, 4, {}, false);
    tcp::Connection* c = peer.connect_to(*listener);
    host.tcp().send(*c, as_bytes(pattern(30'000)), false, host.now);
    peer.send(flag::ack | flag::psh, "unread");
    peer.send_at(peer.snd_nxt + 100, flag::ack, "out of order");
    UdpEndpoint* endpoint = *host.udp().open();
    const Bytes text = "to a silent neighbour";
    const std::span<const std::byte> piece = as_bytes(text);
    const UdpDestination silent{ip(10, 0, 0, 77), 9};
    ASSERT_TRUE(host.udp().send(*endpoint, std::span(&piece, 1), &silent, host.now));
    ASSERT_TRUE(host.udp().bind(**host.udp().open(), 0, 9));
    IpFields f;
    f.source = peer.address;
    f.destination = host.address();
    host.give_ip(ipv4(f, udp(peer.address, 1, host.address(), 9, "unread")));
    f.fragment = wire::Ipv4Header::more_fragments;
    host.give_ip(ipv4(f, udp(peer.address, 1, host.address(), 9, Bytes(64, 'f'))));
}

TEST(Stack, drops_a_syn_as_tcp_no_memory_when_every_connection_is_taken) {
    HostSetup setup;
    setup.connections_max = 4;
    Host host(setup);
    tcp::Listener* listener = *host.tcp().listen(0, 80, 16, {}, false);
    for (std::uint16_t i = 0; i < 4; ++i) {
        Peer(host, static_cast<std::uint16_t>(5000 + i)).connect_to(*listener);
    }
    Peer fifth(host, 6000);
    fifth.send(flag::syn);
    EXPECT_TRUE(fifth.is_silent());
    EXPECT_EQ(host.drops(DropReason::tcp_no_memory), 1U);
}

}  // namespace
}  // namespace shunt::test
