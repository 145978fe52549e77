// Ethernet and ARP: who is where, who is asked, what waits for the answer.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

constexpr wire::Mac stranger{2, 0, 0, 0, 0, 9};
constexpr std::uint32_t neighbour = ip(10, 0, 0, 2);

class LinkTest : public ::testing::Test {
protected:
    void SetUp() override {
        endpoint = *host.udp().open();
        endpoint->owner = this;
    }
    void TearDown() override { host.udp().close(*endpoint); }
    Result<std::uint32_t> send(std::uint32_t to, const Bytes& payload = "x") {
        const std::span<const std::byte> piece = as_bytes(payload);
        const UdpDestination destination{to, 9};
        auto result = host.udp().send(*endpoint, std::span(&piece, 1), &destination, host.now);
        host.flush();
        return result;
    }
    void answer(const wire::Mac& mac = stranger) {
        host.give(ethernet(host.mac(), mac, wire::ethertype_arp, arp(wire::ArpPacket::reply, mac, neighbour, host.mac(), host.address())));
    }
    Frame next() {
        const auto frame = host.next();
        EXPECT_TRUE(frame);
        return frame ? *frame : Frame{};
    }

    Host host;
    UdpEndpoint* endpoint = nullptr;
};

TEST_F(LinkTest, a_packet_waits_until_its_neighbour_has_answered) {
    send(neighbour, "hello");
    const Frame request = next();
    EXPECT_TRUE(request.is_arp());
    EXPECT_EQ(request.to, wire::broadcast_mac);
    EXPECT_EQ(request.source, host.address());
    EXPECT_EQ(request.destination, neighbour);
    EXPECT_FALSE(host.next());
    answer();
    const Frame datagram = next();
    EXPECT_EQ(datagram.to, stranger);
    EXPECT_EQ(datagram.payload, "hello");
    send(neighbour, "again");
    EXPECT_EQ(next().payload, "again");
}

TEST_F(LinkTest, packets_wait_in_order_and_are_asked_for_once) {
    for (int i = 0; i < 10; ++i) {
        send(neighbour, std::to_string(i));
    }
    next();
    EXPECT_FALSE(host.next());
    answer();
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(next().payload, std::to_string(i));
    }
}

TEST_F(LinkTest, of_too_many_waiting_packets_the_oldest_go) {
    for (unsigned i = 0; i < Link::pending_max + 5; ++i) {
        send(neighbour, std::to_string(i));
    }
    EXPECT_EQ(host.drops(DropReason::neighbour_queue_full), 5U);
    host.sent.clear();
    answer();
    EXPECT_EQ(next().payload, "5");
}

TEST_F(LinkTest, a_silent_neighbour_is_asked_three_times_a_second_apart_and_then_unreachable) {
    host.udp().connect(*endpoint, {neighbour, 9});
    const Time start = host.now;
    send(neighbour);
    host.advance(5s);
    std::vector<std::int64_t> asked_ms;
    while (auto frame = host.next()) {
        EXPECT_TRUE(frame->is_arp());
        asked_ms.push_back((count_ms(frame->at - start) + 10) / 1000);
    }
    EXPECT_EQ(asked_ms, (std::vector<std::int64_t>{0, 1, 2}));
    EXPECT_EQ(host.drops(DropReason::neighbour_failed), 1U);
    send(neighbour);
    EXPECT_TRUE(next().is_arp()) << "the next packet asks again";
}

TEST_F(LinkTest, a_connect_to_a_silent_neighbour_fails_with_EHOSTUNREACH) {
    tcp::Connection* c = *host.tcp().connect(0, 0, neighbour, 80, {}, host.now);
    c->owner = this;
    host.flush();
    host.advance(4s);
    EXPECT_EQ(c->state, tcp::State::closed);
    EXPECT_EQ(c->error, EHOSTUNREACH);
    EXPECT_GE(host.drops(DropReason::neighbour_failed), 1U);  // the SYN and its repetitions
    host.tcp().release(*c, false, host.now);
}

TEST_F(LinkTest, a_known_neighbour_is_used_on_while_it_is_asked_again) {
    send(neighbour);
    next();
    answer();
    next();
    host.advance(31s);
    EXPECT_FALSE(host.next()) << "nothing is asked while nothing is sent";
    send(neighbour, "late");
    const Frame probe = next();
    EXPECT_TRUE(probe.is_arp());
    EXPECT_EQ(probe.to, stranger) << "to the station itself";
    EXPECT_EQ(next().payload, "late");
}

TEST_F(LinkTest, a_neighbour_that_moved_is_found_under_its_new_address) {
    send(neighbour);
    answer();
    host.sent.clear();
    host.advance(31s);
    send(neighbour);
    host.advance(4s);  // three questions to the old address, then one to everybody
    host.sent.clear();
    const wire::Mac elsewhere{2, 0, 0, 0, 0, 7};
    answer(elsewhere);
    host.sent.clear();
    send(neighbour, "there");
    EXPECT_EQ(next().to, elsewhere);
}

TEST_F(LinkTest, a_request_for_our_address_is_answered_and_teaches_us_the_sender) {
    host.give(ethernet(wire::broadcast_mac, stranger, wire::ethertype_arp, arp(wire::ArpPacket::request, stranger, neighbour, {}, host.address())));
    const Frame reply = next();
    EXPECT_EQ(reply.arp_operation, wire::ArpPacket::reply);
    EXPECT_EQ(reply.to, stranger);
    EXPECT_EQ(reply.source, host.address());
    EXPECT_EQ(reply.destination, neighbour);
    send(neighbour, "known");
    EXPECT_EQ(next().payload, "known");
}

TEST_F(LinkTest, a_request_for_somebody_else_is_not_answered_and_teaches_nothing) {
    host.give(ethernet(wire::broadcast_mac, stranger, wire::ethertype_arp, arp(wire::ArpPacket::request, stranger, neighbour, {}, ip(10, 0, 0, 77))));
    EXPECT_FALSE(host.next());
    send(neighbour);
    EXPECT_TRUE(next().is_arp());
}

TEST_F(LinkTest, nonsense_is_dropped_as_arp_malformed) {
    Bytes packet = arp(wire::ArpPacket::request, stranger, neighbour, {}, host.address());
    packet[4] = 8;
    host.give(ethernet(host.mac(), stranger, wire::ethertype_arp, packet));
    host.give(ethernet(host.mac(), stranger, wire::ethertype_arp, "short"));
    EXPECT_EQ(host.drops(DropReason::arp_malformed), 2U);
}

TEST_F(LinkTest, somebody_who_claims_our_address_is_counted_as_a_conflict) {
    host.give(ethernet(wire::broadcast_mac, stranger, wire::ethertype_arp, arp(wire::ArpPacket::request, stranger, host.address(), {}, neighbour)));
    EXPECT_EQ(host.link().conflicts, 1U);
    EXPECT_FALSE(host.next());
}

TEST_F(LinkTest, frames_that_are_none_of_ours_are_dropped_with_a_reason) {
    host.give("short");
    EXPECT_EQ(host.drops(DropReason::ethernet_short), 1U);
    host.give(ethernet({2, 0, 0, 0, 0, 0x55}, stranger, wire::ethertype_ipv4, Bytes(46, '\0')));
    EXPECT_EQ(host.drops(DropReason::ethernet_not_for_us), 1U);
    host.give(ethernet(host.mac(), stranger, 0x88cc, Bytes(46, '\0')));
    EXPECT_EQ(host.drops(DropReason::ethernet_unknown_type), 1U);
}

TEST_F(LinkTest, a_broadcast_needs_no_question) {
    endpoint->broadcast = true;
    send(ip(10, 0, 0, 255), "all");
    const Frame frame = next();
    EXPECT_EQ(frame.to, wire::broadcast_mac);
    EXPECT_EQ(frame.payload, "all");
    send(wire::limited_broadcast, "here");
    EXPECT_EQ(next().to, wire::broadcast_mac);
}

TEST(Gateway, is_asked_for_when_the_destination_is_elsewhere) {
    HostSetup setup;
    setup.gateway = ip(10, 0, 0, 254);
    Host host(setup);
    UdpEndpoint* endpoint = *host.udp().open();
    const Bytes text = "far";
    const std::span<const std::byte> piece = as_bytes(text);
    const UdpDestination far{ip(192, 0, 2, 1), 9};
    ASSERT_TRUE(host.udp().send(*endpoint, std::span(&piece, 1), &far, host.now));
    host.flush();
    EXPECT_EQ(host.next()->destination, setup.gateway);
    host.give(ethernet(host.mac(), stranger, wire::ethertype_arp, arp(wire::ArpPacket::reply, stranger, setup.gateway, host.mac(), host.address())));
    const auto frame = host.next();
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->to, stranger);
    EXPECT_EQ(frame->destination, far.address);
    host.udp().close(*endpoint);
}

}  // namespace
}  // namespace shunt::test
