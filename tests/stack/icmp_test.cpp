// ICMP: pings, and errors in both directions.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

class IcmpTest : public ::testing::Test {
protected:
    IcmpTest() { host.stations.emplace(remote, wire::Mac{2, 0, 0, 0, 0, 9}); }
    void give(const Bytes& message, std::uint32_t to = ip(10, 0, 0, 1)) {
        IpFields f;
        f.source = remote;
        f.destination = to;
        f.protocol = wire::protocol_icmp;
        host.give_ip(ipv4(f, message));
    }
    static constexpr std::uint32_t remote = ip(10, 0, 0, 2);
    Host host;
};

TEST_F(IcmpTest, a_ping_comes_back_with_its_data) {
    give(icmp(8, 0, 0x12340001, pattern(1000)));
    const auto reply = host.next();
    ASSERT_TRUE(reply && reply->is_icmp());
    EXPECT_TRUE(reply->has_good_checksums);
    EXPECT_EQ(reply->icmp_type, 0);
    EXPECT_EQ(reply->payload, Bytes("\x12\x34\x00\x01", 4) + pattern(1000));
    EXPECT_EQ(host.events(Event::icmp_echo_replies), 1U);
}

TEST_F(IcmpTest, a_ping_to_everybody_is_icmp_ignored) {
    give(icmp(8, 0, 1, "x"), ip(10, 0, 0, 255));
    EXPECT_FALSE(host.next());
    EXPECT_EQ(host.drops(DropReason::icmp_ignored), 1U);
}

TEST_F(IcmpTest, messages_that_ask_nothing_of_us_are_icmp_ignored) {
    give(icmp(0, 0, 1, "reply"));
    give(icmp(5, 1, 0, Bytes(28, 'r')));
    EXPECT_EQ(host.drops(DropReason::icmp_ignored), 2U);
}

TEST_F(IcmpTest, a_broken_message_is_icmp_malformed) {
    Bytes broken = icmp(8, 0, 1, "abcd");
    broken[9] = static_cast<char>(broken[9] ^ 1);
    give(broken);
    give("\x08");
    give(icmp(3, 3, 0, "too short a quote"));
    EXPECT_EQ(host.drops(DropReason::icmp_malformed), 3U);
}

TEST_F(IcmpTest, a_datagram_to_a_closed_port_is_told_so_with_a_quote) {
    IpFields f;
    f.source = remote;
    f.destination = host.address();
    const Bytes packet = ipv4(f, udp(f.source, 1000, f.destination, 9, "anyone?"));
    host.give_ip(packet);
    const auto answer = host.next();
    ASSERT_TRUE(answer && answer->is_icmp());
    EXPECT_TRUE(answer->has_good_checksums);
    EXPECT_EQ(answer->icmp_type, 3);
    EXPECT_EQ(answer->icmp_code, 3);
    EXPECT_EQ(answer->payload.substr(4), packet);
    EXPECT_EQ(host.drops(DropReason::udp_no_socket), 1U);
}

TEST_F(IcmpTest, errors_are_sent_six_in_a_burst_and_then_six_a_second) {
    IpFields f;
    f.source = remote;
    f.destination = host.address();
    for (int i = 0; i < 20; ++i) {
        host.give_ip(ipv4(f, udp(f.source, 1000, f.destination, 9, "x")));
    }
    EXPECT_EQ(host.events(Event::icmp_errors_sent), 6U);
    host.advance(1s);
    for (int i = 0; i < 20; ++i) {
        host.give_ip(ipv4(f, udp(f.source, 1000, f.destination, 9, "x")));
    }
    EXPECT_NEAR(static_cast<double>(host.events(Event::icmp_errors_sent)), 12, 1);
}

TEST_F(IcmpTest, a_port_unreachable_reaches_the_connected_socket) {
    UdpEndpoint* endpoint = *host.udp().open();
    endpoint->owner = this;
    ASSERT_TRUE(host.udp().connect(*endpoint, {remote, 9}));
    IpFields quoted;
    quoted.source = host.address();
    quoted.destination = remote;
    give(icmp(3, 3, 0, ipv4(quoted, udp(host.address(), endpoint->local_port, remote, 9, "x"))));
    EXPECT_EQ(endpoint->error, ECONNREFUSED);
    EXPECT_EQ(host.events(Event::icmp_errors_received), 1U);
    host.udp().close(*endpoint);
}

TEST_F(IcmpTest, an_error_about_a_packet_that_is_not_ours_is_icmp_malformed) {
    IpFields quoted;
    quoted.source = ip(10, 0, 0, 66);
    quoted.destination = remote;
    give(icmp(3, 3, 0, ipv4(quoted, udp(quoted.source, 1, remote, 9, "x"))));
    EXPECT_EQ(host.drops(DropReason::icmp_malformed), 1U);
}

}  // namespace
}  // namespace shunt::test
