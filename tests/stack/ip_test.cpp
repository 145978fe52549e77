// IPv4 on its way in: what is not good is dropped under its name.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

class IpTest : public ::testing::Test {
protected:
    IpFields fields() const {
        IpFields f;
        f.source = ip(10, 0, 0, 2);
        f.destination = ip(10, 0, 0, 1);
        return f;
    }
    Bytes datagram(const IpFields& f) { return udp(f.source, 1000, f.destination, 9, "data"); }
    void expect_drop(DropReason reason, const Bytes& packet) {
        const std::uint64_t before = host.drops(reason);
        host.give_ip(packet);
        EXPECT_EQ(host.drops(reason), before + 1) << name_of(reason);
    }
    Host host;
};

TEST_F(IpTest, a_header_of_impossible_lengths_is_ip_malformed) {
    IpFields f = fields();
    expect_drop(DropReason::ip_malformed, "tiny");
    f.version_ihl = 0x65;
    expect_drop(DropReason::ip_malformed, ipv4(f, datagram(f)));
    f.version_ihl = 0x44;
    expect_drop(DropReason::ip_malformed, ipv4(f, datagram(f)));
    f = fields();
    Bytes cut = ipv4(f, Bytes(100, 'x'));
    cut.resize(60);
    expect_drop(DropReason::ip_malformed, cut);
}

TEST_F(IpTest, a_wrong_header_checksum_is_ip_bad_checksum) {
    IpFields f = fields();
    f.bad_checksum = true;
    expect_drop(DropReason::ip_bad_checksum, ipv4(f, datagram(f)));
}

TEST_F(IpTest, another_hosts_packet_is_ip_not_for_us) {
    IpFields f = fields();
    f.destination = ip(10, 0, 0, 3);
    expect_drop(DropReason::ip_not_for_us, ipv4(f, datagram(f)));
}

TEST_F(IpTest, a_source_that_cannot_be_is_ip_bad_source) {
    for (const std::uint32_t source : {std::uint32_t{0}, wire::limited_broadcast, ip(10, 0, 0, 255), ip(224, 0, 0, 1), ip(10, 0, 0, 1), ip(127, 0, 0, 1)}) {
        IpFields f = fields();
        f.source = source;
        expect_drop(DropReason::ip_bad_source, ipv4(f, datagram(f)));
    }
}

TEST_F(IpTest, an_unknown_protocol_is_answered_and_dropped_as_ip_unknown_protocol) {
    host.stations.emplace(ip(10, 0, 0, 2), wire::Mac{2, 0, 0, 0, 0, 9});
    IpFields f = fields();
    f.protocol = 132;
    expect_drop(DropReason::ip_unknown_protocol, ipv4(f, "sctp?"));
    const auto answer = host.next();
    ASSERT_TRUE(answer && answer->is_icmp());
    EXPECT_EQ(answer->icmp_type, 3);
    EXPECT_EQ(answer->icmp_code, 2);
}

TEST_F(IpTest, padding_behind_a_short_packet_is_cut_off) {
    UdpEndpoint* endpoint = *host.udp().open();
    ASSERT_TRUE(host.udp().bind(*endpoint, 0, 9));
    const IpFields f = fields();
    host.give_ip(ipv4(f, datagram(f)) + Bytes(14, 'p'));
    Packet* packet = host.udp().take(*endpoint);
    ASSERT_NE(packet, nullptr);
    EXPECT_EQ(packet->size(), 4U);
    packet->free();
    host.udp().close(*endpoint);
}

TEST_F(IpTest, options_in_the_header_are_stepped_over) {
    UdpEndpoint* endpoint = *host.udp().open();
    ASSERT_TRUE(host.udp().bind(*endpoint, 0, 9));
    const IpFields f = fields();
    Bytes packet = ipv4(f, Bytes("\x01\x01\x01\x01", 4) + datagram(f));
    auto& header = *reinterpret_cast<wire::Ipv4Header*>(packet.data());
    header.version_ihl = 0x46;
    header.checksum = 0;
    wire::Checksum sum;
    sum.add(packet.data(), 24);
    header.checksum = sum.field();
    host.give_ip(packet);
    Packet* received = host.udp().take(*endpoint);
    ASSERT_NE(received, nullptr);
    EXPECT_EQ(received->size(), 4U);
    received->free();
    host.udp().close(*endpoint);
}

TEST_F(IpTest, routes_as_its_addresses_say) {
    EXPECT_TRUE(host.stack().ipv4().reaches(ip(10, 0, 0, 99)));
    EXPECT_FALSE(host.stack().ipv4().reaches(ip(10, 0, 1, 1)));
    EXPECT_EQ(code_of(host.stack().ipv4().route(ip(10, 0, 1, 1), 0).error()), ENETUNREACH);
    EXPECT_EQ(code_of(host.stack().ipv4().route(ip(10, 0, 0, 2), ip(1, 2, 3, 4)).error()), EADDRNOTAVAIL);
    EXPECT_TRUE(host.stack().ipv4().route(ip(10, 0, 0, 1), 0)->is_local());
    EXPECT_EQ(code_of(host.stack().ipv4().add_address({ip(10, 0, 0, 1), 24, 0}).error()), EEXIST);
}

}  // namespace
}  // namespace shunt::test
