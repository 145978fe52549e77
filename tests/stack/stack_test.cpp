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

TEST(Stack, owns_the_loopback_network_when_it_is_told_so) {
    HostSetup setup;
    setup.owns_loopback = true;
    Host host(setup);
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
