// Reassembly: in order and out of order, duplicated, overlapping, late, too long; and nothing leaks.
#include "pmd/fragments.hpp"

#include <gtest/gtest.h>
#include <rte_ip.h>

#include <numeric>

#include "pmd/with_eal.hpp"

namespace shunt::pmd {
namespace {

using namespace std::chrono_literals;

class Reassembly : public WithPool {
protected:
    void SetUp() override {
        WithPool::SetUp();
        fragments_ = create_fragments(64);
        ASSERT_NE(fragments_, nullptr);
    }
    void TearDown() override {
        destroy_fragments(fragments_);
        WithPool::TearDown();
    }

    // Bytes [from, to) of a datagram whose payload counts up; `more`: not the last piece.
    Packet* piece(std::uint32_t from, std::uint32_t to, bool more, std::uint16_t id = 1) {
        Packet* packet = port_.allocate();
        auto* header = reinterpret_cast<rte_ipv4_hdr*>(packet->append(sizeof(rte_ipv4_hdr)));
        *header = {};
        header->version_ihl = 0x45;
        header->total_length = rte_cpu_to_be_16(static_cast<std::uint16_t>(sizeof *header + to - from));
        header->packet_id = rte_cpu_to_be_16(id);
        header->fragment_offset = rte_cpu_to_be_16(static_cast<std::uint16_t>(from / 8 | (more ? RTE_IPV4_HDR_MF_FLAG : 0U)));
        header->next_proto_id = IPPROTO_UDP;
        header->src_addr = RTE_BE32(0x0a000001);
        header->dst_addr = RTE_BE32(0x0a000002);
        header->hdr_checksum = rte_ipv4_cksum(header);
        auto* payload = reinterpret_cast<std::uint8_t*>(packet->append(to - from));
        std::iota(payload, payload + (to - from), static_cast<std::uint8_t>(from));
        packet->mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_BAD;
        return packet;
    }
    Packet* take(Packet* packet, Time now = start) { return reassemble(*fragments_, packet, now); }

    static void expect_whole(Packet* packet, std::uint32_t payload_bytes) {
        ASSERT_NE(packet, nullptr);
        ASSERT_EQ(packet->size(), sizeof(rte_ipv4_hdr) + payload_bytes);
        const auto* header = reinterpret_cast<const rte_ipv4_hdr*>(packet->data());
        EXPECT_EQ(rte_be_to_cpu_16(header->total_length), packet->size());
        EXPECT_EQ(header->fragment_offset, 0);
        EXPECT_EQ(rte_raw_cksum(header, sizeof *header), 0xffff);
        EXPECT_EQ(packet->mbuf()->ol_flags & (RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_TX_OFFLOAD_MASK), 0U);
        const auto bytes = bytes_of(*packet);
        for (std::uint32_t i = 0; i < payload_bytes; ++i) {
            ASSERT_EQ(bytes[sizeof(rte_ipv4_hdr) + i], static_cast<std::uint8_t>(i)) << "at " << i;
        }
        packet->free();
    }

    Fragments* fragments_ = nullptr;
};

TEST_F(Reassembly, PiecesInOrderMakeADatagram) {
    EXPECT_EQ(take(piece(0, 1480, true)), nullptr);
    EXPECT_EQ(take(piece(1480, 2960, true)), nullptr);
    expect_whole(take(piece(2960, 3001, false)), 3001);
    EXPECT_EQ(fragments_failed(*fragments_), 0U);
}

TEST_F(Reassembly, PiecesInAnyOrderMakeADatagram) {
    EXPECT_EQ(take(piece(2960, 3001, false)), nullptr);
    EXPECT_EQ(take(piece(1480, 2960, true)), nullptr);
    expect_whole(take(piece(0, 1480, true)), 3001);
    EXPECT_EQ(take(piece(1480, 1600, false)), nullptr);
    expect_whole(take(piece(0, 1480, true)), 1600);
}

TEST_F(Reassembly, DatagramsBetweenEachOtherAreKeptApart) {
    EXPECT_EQ(take(piece(0, 800, true, 1)), nullptr);
    EXPECT_EQ(take(piece(0, 800, true, 2)), nullptr);
    expect_whole(take(piece(800, 900, false, 2)), 900);
    expect_whole(take(piece(800, 901, false, 1)), 901);
}

TEST_F(Reassembly, EightPiecesAreTheMost) {
    for (std::uint32_t i = 0; i < fragments_per_datagram_max - 1; ++i) {
        EXPECT_EQ(take(piece(i * 1480, (i + 1) * 1480, true)), nullptr);
    }
    expect_whole(take(piece(7 * 1480, 8 * 1480, false)), 8 * 1480);
    for (std::uint32_t i = 0; i < 9; ++i) {
        EXPECT_EQ(take(piece(i * 1480, (i + 1) * 1480, i != 8)), nullptr);
    }
    EXPECT_GT(fragments_failed(*fragments_), 0U);
}

// What comes out of overlapping pieces is nothing (RFC 5722 says so for IPv6), never a datagram of mixed bytes.
TEST_F(Reassembly, OverlappingPiecesNeverMakeADatagram) {
    EXPECT_EQ(take(piece(0, 800, true)), nullptr);
    EXPECT_EQ(take(piece(400, 1200, true)), nullptr);
    EXPECT_EQ(take(piece(1200, 1600, false)), nullptr);
}

TEST_F(Reassembly, APieceThatCameTwiceNeverMakesAWrongDatagram) {
    EXPECT_EQ(take(piece(0, 800, true)), nullptr);
    Packet* whole = take(piece(0, 800, true));
    EXPECT_EQ(whole, nullptr);
    whole = take(piece(800, 900, false));
    if (whole != nullptr) {
        expect_whole(whole, 900);
    }
}

TEST_F(Reassembly, APieceWaitsForHalfAMinute) {
    EXPECT_EQ(take(piece(0, 800, true)), nullptr);
    expect_whole(take(piece(800, 900, false), start + reassembly_timeout), 900);
    EXPECT_EQ(take(piece(0, 800, true, 2), start), nullptr);
    EXPECT_EQ(take(piece(800, 900, false, 2), start + reassembly_timeout + 1ns), nullptr);
    EXPECT_EQ(fragments_failed(*fragments_), 1U);
}

TEST_F(Reassembly, APieceFreesWhatIsOverdue) {
    for (std::uint16_t id = 0; id < 10; ++id) {
        EXPECT_EQ(take(piece(0, 800, true, id)), nullptr);
    }
    EXPECT_EQ(take(piece(0, 800, true, 10), start + reassembly_timeout + 1ns), nullptr);
    EXPECT_EQ(free_packets(), pool_packets - 1);
    EXPECT_EQ(fragments_failed(*fragments_), 10U);
}

TEST_F(Reassembly, WhatIsOverdueIsFreedWhenAskedFor) {
    const std::uint32_t before = free_packets();
    for (std::uint16_t id = 0; id < 10; ++id) {
        EXPECT_EQ(take(piece(0, 800, true, id)), nullptr);
    }
    EXPECT_EQ(free_packets(), before - 10);
    expire(*fragments_, start + reassembly_timeout);
    EXPECT_EQ(free_packets(), before - 10);
    expire(*fragments_, start + reassembly_timeout + 1ns);
    EXPECT_EQ(free_packets(), before);
    EXPECT_EQ(fragments_failed(*fragments_), 10U);
}

TEST_F(Reassembly, MemoryIsBounded) {
    const std::uint32_t before = free_packets();
    for (std::uint32_t id = 0; id < 10000; ++id) {
        EXPECT_EQ(take(piece(0, 64, true, static_cast<std::uint16_t>(id))), nullptr);
    }
    EXPECT_GE(free_packets(), before - 64);
}

TEST_F(Reassembly, APieceThatCannotBeIsThrownAway) {
    EXPECT_EQ(take(piece(0, 801, true)), nullptr);             // not a multiple of 8, and not the last
    EXPECT_EQ(take(piece(65512, 65512 + 100, false)), nullptr);  // ends beyond 65,535
    EXPECT_EQ(take(piece(800, 800, false)), nullptr);          // empty
    EXPECT_EQ(fragments_failed(*fragments_), 3U);
    EXPECT_EQ(free_packets(), pool_packets);
}

}  // namespace
}  // namespace shunt::pmd
