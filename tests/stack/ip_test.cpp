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
    // With options between header and payload; their size is a multiple of 4.
    static Bytes with_options(const IpFields& f, const Bytes& options, const Bytes& payload) {
        Bytes packet = ipv4(f, options + payload);
        auto& header = *reinterpret_cast<wire::Ipv4Header*>(packet.data());
        header.version_ihl = static_cast<std::uint8_t>(0x45 + options.size() / 4);
        header.checksum = 0;
        wire::Checksum sum;
        sum.add(packet.data(), header.header_bytes());
        header.checksum = sum.field();
        return packet;
    }
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
    const Bytes record_route("\x07\x07\x04\0\0\0\0\0", 8), timestamp("\x44\x04\x05\0", 4), nops("\x01\x01\x01\x01", 4), broken("\x22\0\x83\x03", 4);
    for (const Bytes& options : {nops, record_route, timestamp + nops, broken}) {
        host.give_ip(with_options(f, options, datagram(f)));
        Packet* received = host.udp().take(*endpoint);
        ASSERT_NE(received, nullptr);
        EXPECT_EQ(received->size(), 4U);
        received->free();
    }
    host.udp().close(*endpoint);
}

TEST_F(IpTest, a_packet_on_its_last_hop_is_taken) {
    for (const std::uint8_t ttl : {std::uint8_t{1}, std::uint8_t{0}}) {
        IpFields f = fields();
        f.ttl = ttl;
        expect_drop(DropReason::udp_no_socket, ipv4(f, datagram(f)));
    }
}

TEST_F(IpTest, a_route_that_the_sender_chose_is_ip_source_route) {
    const IpFields f = fields();
    const Bytes loose("\x01\x83\x07\x08\x0a\0\0\x01", 8), strict("\x89\x07\x08\x0a\0\0\x01\0", 8);
    expect_drop(DropReason::ip_source_route, with_options(f, loose, datagram(f)));
    expect_drop(DropReason::ip_source_route, with_options(f, strict, datagram(f)));
    EXPECT_FALSE(host.next());
}

TEST_F(IpTest, an_error_quotes_the_header_with_its_options) {
    host.stations.emplace(ip(10, 0, 0, 2), wire::Mac{2, 0, 0, 0, 0, 9});
    const IpFields f = fields();
    const Bytes packet = with_options(f, Bytes("\x01\x01\x01\x01", 4), datagram(f));
    host.give_ip(packet);
    const auto answer = host.next();
    ASSERT_TRUE(answer && answer->is_icmp());
    EXPECT_EQ(answer->payload.substr(4), packet);
}

TEST_F(IpTest, what_came_to_everybody_is_answered_by_no_error) {
    const IpFields f = fields();
    host.give(ethernet({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {2, 0, 0, 0, 0, 9}, wire::ethertype_ipv4, ipv4(f, datagram(f))));
    EXPECT_EQ(host.drops(DropReason::udp_no_socket), 1U);
    EXPECT_FALSE(host.next());
}

TEST_F(IpTest, routes_as_its_addresses_say) {
    EXPECT_TRUE(host.stack().ipv4().reaches(ip(10, 0, 0, 99)));
    EXPECT_FALSE(host.stack().ipv4().reaches(ip(10, 0, 1, 1)));
    EXPECT_EQ(code_of(host.stack().ipv4().route(ip(10, 0, 1, 1), 0).error()), ENETUNREACH);
    EXPECT_EQ(code_of(host.stack().ipv4().route(ip(10, 0, 0, 2), ip(1, 2, 3, 4)).error()), EADDRNOTAVAIL);
    EXPECT_TRUE(host.stack().ipv4().route(ip(10, 0, 0, 1), 0)->is_local());
    EXPECT_EQ(code_of(host.stack().ipv4().add_address({ip(10, 0, 0, 1), 24, 0}).error()), EEXIST);
}

TEST_F(IpTest, what_goes_to_a_further_address_of_ours_comes_from_the_first_of_its_network) {
    Ipv4& ipv4 = host.stack().ipv4();
    ASSERT_TRUE(ipv4.add_address({ip(10, 0, 0, 7), 24, 0}));
    ASSERT_TRUE(ipv4.add_address({ip(10, 0, 9, 1), 24, 0}));
    ASSERT_TRUE(ipv4.add_address({ip(10, 0, 0, 8), 16, 0}));
    ASSERT_TRUE(ipv4.add_address({ip(10, 0, 0, 9), 24, Ipv4Address::no_link}));
    EXPECT_EQ(ipv4.route(ip(10, 0, 0, 1), 0)->source, ip(10, 0, 0, 1));
    EXPECT_EQ(ipv4.route(ip(10, 0, 0, 7), 0)->source, ip(10, 0, 0, 1));
    EXPECT_EQ(ipv4.route(ip(10, 0, 0, 7), ip(10, 0, 0, 7))->source, ip(10, 0, 0, 7)) << "who is bound chooses";
    EXPECT_EQ(ipv4.route(ip(10, 0, 9, 1), 0)->source, ip(10, 0, 9, 1)) << "another network";
    EXPECT_EQ(ipv4.route(ip(10, 0, 0, 8), 0)->source, ip(10, 0, 0, 8)) << "of another size";
    EXPECT_EQ(ipv4.route(ip(10, 0, 0, 9), 0)->source, ip(10, 0, 0, 9)) << "on another link";
}

TEST_F(IpTest, an_address_belongs_to_a_link_or_to_this_host) {
    Ipv4& ipv4 = host.stack().ipv4();
    ASSERT_TRUE(ipv4.add_address({ip(10, 1, 0, 1), 24, Ipv4Address::no_link}));
    for (const std::uint32_t of_link : {ip(10, 0, 0, 1), ip(10, 0, 0, 255), wire::limited_broadcast}) {
        EXPECT_EQ(ipv4.link_of(of_link), 0);
    }
    EXPECT_EQ(ipv4.link_of(ip(10, 1, 0, 1)), Ipv4Address::no_link);
    EXPECT_EQ(ipv4.link_of(wire::loopback), Ipv4Address::no_link);
}

}  // namespace
}  // namespace shunt::test
