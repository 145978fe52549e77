// UDP: ports, datagrams, fragments, broadcasts, full buffers.
#include <gtest/gtest.h>

#include "stack/support/card.hpp"
#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

constexpr std::uint32_t remote = ip(10, 0, 0, 2);

class UdpTest : public ::testing::Test {
protected:
    explicit UdpTest(const HostSetup& setup = {}) : host(setup) { host.stations.emplace(remote, wire::Mac{2, 0, 0, 0, 0, 9}); }
    UdpEndpoint* open(std::uint32_t address = 0, std::uint16_t port = 0) {
        UdpEndpoint* endpoint = *host.udp().open();
        endpoint->owner = this;
        if (port != 0) {
            EXPECT_TRUE(host.udp().bind(*endpoint, address, port));
        }
        return endpoint;
    }
    void receive(const Bytes& payload, std::uint16_t port = 9, std::uint32_t to = ip(10, 0, 0, 1), std::uint16_t from_port = 1000) {
        IpFields f;
        f.source = remote;
        f.destination = to;
        host.give_ip(ipv4(f, udp(remote, from_port, to, port, payload)));
    }
    Result<std::uint32_t> send(UdpEndpoint& endpoint, const Bytes& payload, UdpDestination to = {remote, 9}) {
        const std::span<const std::byte> piece = as_bytes(payload);
        auto result = host.udp().send(endpoint, std::span(&piece, 1), &to, host.now);
        host.flush();
        return result;
    }
    std::optional<Bytes> take(UdpEndpoint& endpoint) {
        Packet* packet = host.udp().take(endpoint);
        if (packet == nullptr) {
            return std::nullopt;
        }
        Bytes bytes(packet->size(), '\0');
        packet->copy_out(0, bytes.data(), packet->size());
        packet->free();
        return bytes;
    }
    // A datagram of `payload`, in pieces of `size` bytes.
    std::vector<Bytes> fragments(const Bytes& payload, std::size_t size) {
        const Bytes whole = udp(remote, 1000, host.address(), 9, payload);
        std::vector<Bytes> pieces;
        for (std::size_t at = 0; at < whole.size(); at += size) {
            IpFields f;
            f.source = remote;
            f.destination = host.address();
            f.identification = 77;
            f.fragment = static_cast<std::uint16_t>(at / 8 | (at + size < whole.size() ? wire::Ipv4Header::more_fragments : 0));
            pieces.push_back(ipv4(f, whole.substr(at, size)));
        }
        return pieces;
    }
    Host host;
};

class UdpOnACard : public UdpTest {
protected:
    static HostSetup with_card() {
        HostSetup setup;
        setup.offloads = card_offloads();
        return setup;
    }
    UdpOnACard() : UdpTest(with_card()) {}
};

TEST_F(UdpTest, a_datagram_reaches_the_socket_on_its_port_with_its_senders_address) {
    UdpEndpoint* endpoint = open(0, 9);
    receive("hello");
    EXPECT_EQ(host.stack().changed().pop(), endpoint);
    EXPECT_NE(endpoint->news & ready::input, 0);
    Packet* packet = host.udp().take(*endpoint);
    ASSERT_NE(packet, nullptr);
    EXPECT_EQ(packet->meta().address, remote);
    EXPECT_EQ(packet->meta().port, 1000);
    EXPECT_EQ(packet->meta().local_address, host.address());
    EXPECT_EQ(packet->size(), 5U);
    packet->free();
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, of_sockets_that_share_a_port_each_gets_its_part_of_the_flows_and_all_of_a_flow) {
    constexpr int sockets = 4, flows = 4000;
    std::array<UdpEndpoint*, sockets> shared{};
    for (UdpEndpoint*& each : shared) {
        each = open();
        each->reuse_port = true;
        ASSERT_TRUE(host.udp().bind(*each, 0, 9));
    }
    std::array<int, sockets> got{};
    for (int flow = 0; flow < flows; ++flow) {
        receive("once", 9, ip(10, 0, 0, 1), static_cast<std::uint16_t>(1000 + flow));
        receive("again", 9, ip(10, 0, 0, 1), static_cast<std::uint16_t>(1000 + flow));
        for (int i = 0; i < sockets; ++i) {
            if (take(*shared[static_cast<std::size_t>(i)])) {
                ++got[static_cast<std::size_t>(i)];
                EXPECT_EQ(take(*shared[static_cast<std::size_t>(i)]), "again");
            }
        }
    }
    for (const int each : got) {
        EXPECT_NEAR(each, flows / sockets, flows / 20);
    }
}

TEST_F(UdpTest, a_datagram_is_sent_with_good_checksums) {
    UdpEndpoint* endpoint = open(0, 5000);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{64}, std::size_t{1472}}) {
        ASSERT_EQ(send(*endpoint, pattern(size)), size);
        const auto frame = host.next();
        ASSERT_TRUE(frame && frame->is_udp());
        EXPECT_TRUE(frame->has_good_checksums);
        EXPECT_EQ(frame->source_port, 5000);
        EXPECT_EQ(frame->destination_port, 9);
        EXPECT_EQ(frame->payload, pattern(size));
    }
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_large_datagram_goes_out_in_fragments_that_make_it_up) {
    UdpEndpoint* endpoint = open();
    ASSERT_EQ(send(*endpoint, pattern(5000)), 5000U);
    Bytes whole;
    std::uint16_t identification = 0;
    while (auto frame = host.next()) {
        EXPECT_EQ((frame->fragment & wire::Ipv4Header::offset_mask) * 8U, whole.size());
        EXPECT_EQ((frame->fragment & wire::Ipv4Header::more_fragments) != 0, !host.sent.empty());
        EXPECT_TRUE(whole.empty() || frame->identification == identification);
        identification = frame->identification;
        whole += frame->payload;
    }
    EXPECT_EQ(whole, udp(host.address(), endpoint->local_port, remote, 9, pattern(5000)));
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, the_largest_datagram_goes_out_and_one_byte_more_is_EMSGSIZE) {
    UdpEndpoint* endpoint = open();
    EXPECT_EQ(send(*endpoint, pattern(Udp::payload_max)), Udp::payload_max);
    EXPECT_EQ(code_of(send(*endpoint, pattern(Udp::payload_max + 1)).error()), EMSGSIZE);
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, fragments_in_any_order_become_one_datagram) {
    UdpEndpoint* endpoint = open(0, 9);
    auto pieces = fragments(pattern(4000), 1480);
    std::swap(pieces[0], pieces[2]);
    for (const Bytes& piece : pieces) {
        EXPECT_FALSE(take(*endpoint));
        host.give_ip(piece);
    }
    EXPECT_EQ(take(*endpoint), pattern(4000));
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, fragments_that_overlap_or_miss_a_part_are_ip_fragment_failed) {
    UdpEndpoint* endpoint = open(0, 9);
    const auto pieces = fragments(pattern(4000), 1480);
    host.give_ip(pieces[0]);
    host.give_ip(pieces[1]);
    host.advance(31s);
    host.give_ip(pieces[2]);  // too late: the others are gone
    host.advance(31s);
    EXPECT_FALSE(take(*endpoint));
    EXPECT_EQ(host.drops(DropReason::ip_fragment_failed), 3U);
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_header_of_impossible_lengths_is_udp_malformed) {
    UdpEndpoint* endpoint = open(0, 9);
    IpFields f;
    f.source = remote;
    f.destination = host.address();
    host.give_ip(ipv4(f, "abc"));
    Bytes longer = udp(remote, 1, host.address(), 9, "x");
    longer[5] = 100;
    host.give_ip(ipv4(f, longer));
    EXPECT_EQ(host.drops(DropReason::udp_malformed), 2U);
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_wrong_checksum_is_udp_bad_checksum_and_none_is_good) {
    UdpEndpoint* endpoint = open(0, 9);
    IpFields f;
    f.source = remote;
    f.destination = host.address();
    Bytes datagram = udp(remote, 1, host.address(), 9, "xy");
    datagram[8] = 'z';
    host.give_ip(ipv4(f, datagram));
    EXPECT_EQ(host.drops(DropReason::udp_bad_checksum), 1U);
    datagram[6] = datagram[7] = 0;
    host.give_ip(ipv4(f, datagram));
    EXPECT_EQ(take(*endpoint), "zy");
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_full_buffer_drops_what_comes_as_udp_queue_full) {
    UdpEndpoint* endpoint = open(0, 9);
    endpoint->rcvbuf = 8192;
    for (int i = 0; i < 20; ++i) {
        receive(std::to_string(i));
    }
    EXPECT_GT(host.drops(DropReason::udp_queue_full), 0U);
    EXPECT_EQ(host.drops(DropReason::udp_queue_full), endpoint->drops);
    EXPECT_EQ(take(*endpoint), "0") << "the oldest stay";
    receive("room again");
    unsigned left = 0;
    Bytes last;
    for (auto bytes = take(*endpoint); bytes; bytes = take(*endpoint)) {
        last = *bytes;
        ++left;
    }
    EXPECT_EQ(last, "room again");
    EXPECT_EQ(endpoint->rcv_queued, 0U);
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_broadcast_needs_permission_to_be_sent_and_none_to_be_received) {
    UdpEndpoint* endpoint = open(0, 9);
    EXPECT_EQ(code_of(send(*endpoint, "x", {ip(10, 0, 0, 255), 9}).error()), EACCES);
    endpoint->broadcast = true;
    EXPECT_TRUE(send(*endpoint, "x", {ip(10, 0, 0, 255), 9}));
    EXPECT_EQ(take(*endpoint), "x");
    receive("all", 9, ip(10, 0, 0, 255));
    EXPECT_EQ(take(*endpoint), "all");
    host.sent.clear();
    receive("nobody there", 10, ip(10, 0, 0, 255));
    EXPECT_EQ(host.drops(DropReason::udp_no_socket), 1U);
    EXPECT_FALSE(host.next()) << "a broadcast is never answered by an error";
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_broadcast_is_heard_by_its_sender_too) {
    UdpEndpoint* endpoint = open(0, 9);
    endpoint->broadcast = true;
    const Bytes large(3000, 'x');  // in fragments
    for (const std::uint32_t all : {ip(10, 0, 0, 255), wire::limited_broadcast}) {
        for (const Bytes& text : {Bytes("all"), large}) {
            ASSERT_TRUE(send(*endpoint, text, {all, 9}));
            EXPECT_TRUE(host.next()) << "on the wire";
            EXPECT_EQ(take(*endpoint), text);
            EXPECT_EQ(take(*endpoint), std::nullopt);
            host.sent.clear();
        }
    }
    ASSERT_TRUE(send(*endpoint, "one", {remote, 9}));
    EXPECT_EQ(take(*endpoint), std::nullopt);
    host.udp().close(*endpoint);
}

TEST_F(UdpOnACard, a_broadcast_is_heard_by_its_sender_before_the_card_has_filled_in_its_checksums) {
    UdpEndpoint* endpoint = open(0, 9);
    endpoint->broadcast = true;
    ASSERT_TRUE(send(*endpoint, "all", {ip(10, 0, 0, 255), 9}));
    EXPECT_EQ(take(*endpoint), "all");
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_socket_bound_to_a_broadcast_address_hears_nothing_else_and_sends_from_ours) {
    constexpr std::uint32_t all = ip(10, 0, 0, 255);
    UdpEndpoint* endpoint = open(all, 9);
    receive("to one");
    EXPECT_EQ(take(*endpoint), std::nullopt);
    receive("to all", 9, all);
    EXPECT_EQ(take(*endpoint), "to all");
    host.sent.clear();
    ASSERT_TRUE(send(*endpoint, "answer"));
    const auto answer = host.next();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->source, host.address());
    ASSERT_TRUE(host.udp().connect(*endpoint, {remote, 1000}));
    EXPECT_EQ(endpoint->local_address, all);
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_connected_socket_hears_its_peer_only) {
    UdpEndpoint* wildcard = open(0, 0);
    wildcard->reuse_address = true;
    ASSERT_TRUE(host.udp().bind(*wildcard, 0, 9));
    UdpEndpoint* connected = open(0, 0);
    connected->reuse_address = true;
    ASSERT_TRUE(host.udp().bind(*connected, 0, 9));
    ASSERT_TRUE(host.udp().connect(*connected, {remote, 1000}));
    receive("mine");
    receive("another's", 9, host.address(), 1001);
    EXPECT_EQ(take(*connected), "mine");
    EXPECT_EQ(take(*wildcard), "another's");
    host.udp().close(*connected);
    host.udp().close(*wildcard);
}

TEST_F(UdpTest, a_port_is_bound_once_unless_it_is_shared) {
    UdpEndpoint* first = open(0, 9);
    UdpEndpoint* second = open();
    EXPECT_EQ(code_of(host.udp().bind(*second, 0, 9).error()), EADDRINUSE);
    EXPECT_EQ(code_of(host.udp().bind(*second, ip(1, 2, 3, 4), 10).error()), EADDRNOTAVAIL);
    EXPECT_TRUE(host.udp().bind(*second, 0, 0));
    EXPECT_GE(second->local_port, 32768);
    EXPECT_EQ(code_of(host.udp().bind(*second, 0, 11).error()), EINVAL);
    host.udp().close(*first);
    host.udp().close(*second);
    EXPECT_EQ(host.udp().endpoints_used(), 0U);
}

TEST_F(UdpTest, says_why_it_cannot_send) {
    UdpEndpoint* endpoint = open();
    EXPECT_EQ(code_of(send(*endpoint, "x", {ip(192, 0, 2, 1), 9}).error()), ENETUNREACH);
    EXPECT_EQ(code_of(send(*endpoint, "x", {remote, 0}).error()), EINVAL);
    EXPECT_EQ(code_of(host.udp().send(*endpoint, {}, nullptr, host.now).error()), EDESTADDRREQ);
    endpoint->is_shut_for_send = true;
    EXPECT_EQ(code_of(send(*endpoint, "x").error()), EPIPE);
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, without_packets_a_send_fails_with_ENOBUFS_and_counts_packet_pool_empty) {
    UdpEndpoint* endpoint = open(0, 9);
    ASSERT_TRUE(send(*endpoint, "the neighbour is known"));
    std::vector<Packet*> all;
    for (Packet* packet = host.allocate(); packet != nullptr; packet = host.allocate()) {
        all.push_back(packet);
    }
    EXPECT_EQ(code_of(send(*endpoint, "x").error()), ENOBUFS);
    EXPECT_EQ(code_of(send(*endpoint, pattern(3000)).error()), ENOBUFS);
    EXPECT_EQ(host.drops(DropReason::packet_pool_empty), 2U);
    for (Packet* packet : all) {
        packet->free();
    }
    EXPECT_TRUE(send(*endpoint, "x"));
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_datagram_to_ourselves_arrives) {
    UdpEndpoint* endpoint = open(0, 9);
    ASSERT_TRUE(send(*endpoint, "me", {host.address(), 9}));
    EXPECT_EQ(take(*endpoint), "me");
    EXPECT_FALSE(host.next());
    host.udp().close(*endpoint);
}

TEST_F(UdpTest, a_ping_from_beyond_our_routes_is_dropped_as_no_route) {
    IpFields f;
    f.source = ip(192, 0, 2, 7);
    f.destination = host.address();
    f.protocol = wire::protocol_icmp;
    host.give_ip(ipv4(f, icmp(8, 0, 1, "far")));
    EXPECT_EQ(host.drops(DropReason::no_route), 1U);
}

}  // namespace
}  // namespace shunt::test
