// Headers lie on the wire as the RFCs draw them.
#include <gtest/gtest.h>

#include <cstring>

#include "wire/ethernet.hpp"
#include "wire/ipv4.hpp"
#include "wire/tcp.hpp"

namespace shunt::wire {
namespace {

TEST(BigEndian, stands_in_memory_with_its_highest_byte_first) {
    const Big16 small = 0x0102;
    const Big32 large = 0x01020304;
    EXPECT_EQ(std::memcmp(&small, "\x01\x02", 2), 0);
    EXPECT_EQ(std::memcmp(&large, "\x01\x02\x03\x04", 4), 0);
    EXPECT_EQ(small, 0x0102);
    EXPECT_EQ(large, 0x01020304U);
}

TEST(BigEndian, loads_and_stores_at_odd_addresses) {
    unsigned char bytes[8]{};
    store_big32(bytes + 1, 0xdeadbeef);
    store_big16(bytes + 5, 0x1234);
    EXPECT_EQ(std::memcmp(bytes, "\x00\xde\xad\xbe\xef\x12\x34\x00", 8), 0);
    EXPECT_EQ(load_big32(bytes + 1), 0xdeadbeefU);
    EXPECT_EQ(load_big16(bytes + 5), 0x1234);
}

// A SYN from 10.0.0.1:51000 to 10.0.0.2:80, as tcpdump would show it.
constexpr unsigned char syn[] = {
    0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00,                                         // Ethernet
    0x45, 0x10, 0x00, 0x28, 0x12, 0x34, 0x40, 0x00, 0x40, 0x06, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,   // IPv4
    0xc7, 0x38, 0x00, 0x50, 0x00, 0x00, 0x00, 0x07, 0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0,
};

TEST(Headers, read_what_a_frame_says) {
    const auto& ethernet = *reinterpret_cast<const EthernetHeader*>(syn);
    const auto& ip = *reinterpret_cast<const Ipv4Header*>(syn + 14);
    const auto& tcp = *reinterpret_cast<const TcpHeader*>(syn + 34);
    EXPECT_EQ(ethernet.type, ethertype_ipv4);
    EXPECT_EQ(ip.version(), 4U);
    EXPECT_EQ(ip.header_bytes(), 20U);
    EXPECT_EQ(ip.total_length, 40);
    EXPECT_EQ(ip.source, 0x0a000001U);
    EXPECT_FALSE(ip.is_fragment()) << "DF alone is no fragment";
    EXPECT_EQ(tcp.source_port, 51000);
    EXPECT_EQ(tcp.destination_port, 80);
    EXPECT_EQ(tcp.header_bytes(), 20U);
    EXPECT_EQ(tcp.flags, tcp_flag::syn);
    EXPECT_EQ(tcp.window, 64240);
}

TEST(Ipv4Header, fills_in_a_checksum_that_it_finds_good) {
    Ipv4Header header{};
    header.version_ihl = 0x45;
    header.total_length = 40;
    header.source = 0x0a000001;
    header.destination = 0x0a000002;
    header.fill_checksum();
    EXPECT_TRUE(header.has_good_checksum());
    header.ttl = 1;
    EXPECT_FALSE(header.has_good_checksum());
}

TEST(Ipv4Header, is_a_fragment_by_offset_or_by_more_to_come) {
    Ipv4Header header{};
    header.fragment = Ipv4Header::more_fragments;
    EXPECT_TRUE(header.is_fragment());
    header.fragment = 185;
    EXPECT_TRUE(header.is_fragment());
    header.fragment = Ipv4Header::dont_fragment;
    EXPECT_FALSE(header.is_fragment());
}

TEST(Addresses, belong_to_groups_by_their_first_bits) {
    EXPECT_TRUE(is_multicast(0xe0000001));
    EXPECT_FALSE(is_multicast(0xf0000001));
    EXPECT_TRUE(is_loopback(0x7f123456));
    EXPECT_TRUE(is_group(broadcast_mac));
    EXPECT_FALSE(is_group(Mac{2, 0, 0, 0, 0, 1}));
}

TEST(ArpPacket, is_well_formed_only_with_ethernets_and_ipv4s_lengths) {
    ArpPacket arp{};
    arp.hardware_type = 1;
    arp.protocol_type = ethertype_ipv4;
    arp.hardware_length = 6;
    arp.protocol_length = 4;
    arp.operation = ArpPacket::request;
    EXPECT_TRUE(arp.is_well_formed());
    arp.operation = 3;
    EXPECT_FALSE(arp.is_well_formed());
    arp.operation = ArpPacket::reply;
    arp.hardware_length = 8;
    EXPECT_FALSE(arp.is_well_formed());
    arp.hardware_length = 6;
    arp.sender_mac = broadcast_mac;
    EXPECT_FALSE(arp.is_well_formed());
}

}  // namespace
}  // namespace shunt::wire
