// Reassembly: in order and out of order, duplicated, overlapping, late, too many, as large as there are; and nothing leaks.
#include "pmd/fragments.hpp"

#include <gtest/gtest.h>
#include <rte_ip.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

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
    Packet* piece(std::uint32_t from, std::uint32_t to, bool more, std::uint16_t id = 1, std::uint8_t protocol = IPPROTO_UDP) {
        Packet* packet = port_.allocate();
        auto* header = reinterpret_cast<rte_ipv4_hdr*>(packet->append(sizeof(rte_ipv4_hdr)));
        *header = {};
        header->version_ihl = 0x45;
        header->total_length = rte_cpu_to_be_16(static_cast<std::uint16_t>(sizeof *header + to - from));
        header->packet_id = rte_cpu_to_be_16(id);
        header->fragment_offset = rte_cpu_to_be_16(static_cast<std::uint16_t>(from / 8 | (more ? RTE_IPV4_HDR_MF_FLAG : 0U)));
        header->next_proto_id = protocol;
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

TEST_F(Reassembly, ProtocolsAreKeptApart) {
    EXPECT_EQ(take(piece(0, 800, true, 1, IPPROTO_UDP)), nullptr);
    EXPECT_EQ(take(piece(800, 900, false, 1, IPPROTO_ICMP)), nullptr);
    expect_whole(take(piece(800, 900, false, 1, IPPROTO_UDP)), 900);
}

// The largest UDP datagram at an MTU of 1500: 45 pieces.
TEST_F(Reassembly, TheLargestDatagramIsMadeWholeInWhateverOrderItComes) {
    constexpr std::uint32_t bytes = 65507 + 8, step = 1480, count = (bytes + step - 1) / step;
    static_assert(count == 45);
    std::array<std::uint32_t, count> order{};
    std::iota(order.begin(), order.end(), 0U);
    std::mt19937 random(7);
    for (int round = 0; round < 20; ++round) {
        Packet* whole = nullptr;
        for (const std::uint32_t i : order) {
            EXPECT_EQ(whole, nullptr);
            whole = take(piece(i * step, std::min((i + 1) * step, bytes), i + 1 != count));
        }
        expect_whole(whole, bytes);
        if (round == 0) {
            std::ranges::reverse(order);
        } else {
            std::ranges::shuffle(order, random);
        }
    }
    EXPECT_EQ(fragments_failed(*fragments_), 0U);
}

TEST_F(Reassembly, ManySmallPiecesAreMadeWholeUpToABound) {
    for (std::uint32_t i = 0; i < fragments_per_datagram_max - 1; ++i) {
        EXPECT_EQ(take(piece(i * 8, (i + 1) * 8, true)), nullptr);
    }
    constexpr std::uint32_t most = fragments_per_datagram_max * 8;
    expect_whole(take(piece(most - 8, most, false)), most);
    for (std::uint32_t i = 0; i <= fragments_per_datagram_max; ++i) {
        EXPECT_EQ(take(piece(i * 8, (i + 1) * 8, true, 2)), nullptr);
    }
    EXPECT_EQ(fragments_failed(*fragments_), fragments_per_datagram_max + 1);
    EXPECT_EQ(free_packets(), pool_packets);
}

TEST_F(Reassembly, AGapKeepsADatagramWaiting) {
    EXPECT_EQ(take(piece(0, 800, true)), nullptr);
    EXPECT_EQ(take(piece(1600, 2400, false)), nullptr);
    EXPECT_EQ(take(piece(808, 1600, true)), nullptr);   // eight bytes are still missing
    expect_whole(take(piece(800, 808, true)), 2400);
}

// What comes out of overlapping pieces is nothing (RFC 5722 says so for IPv6), never a datagram of mixed bytes.
TEST_F(Reassembly, PiecesThatOverlapMakeNoDatagram) {
    EXPECT_EQ(take(piece(0, 800, true)), nullptr);
    EXPECT_EQ(take(piece(400, 1200, true)), nullptr);
    EXPECT_EQ(fragments_failed(*fragments_), 2U);
    EXPECT_EQ(take(piece(1200, 1600, false)), nullptr);
    EXPECT_EQ(free_packets(), pool_packets - 1) << "only what came after waits";
}

TEST_F(Reassembly, APieceAroundAnotherMakesNoDatagram) {
    EXPECT_EQ(take(piece(400, 800, true)), nullptr);
    EXPECT_EQ(take(piece(0, 1200, true)), nullptr);
    EXPECT_EQ(fragments_failed(*fragments_), 2U);
    EXPECT_EQ(free_packets(), pool_packets);
}

TEST_F(Reassembly, APieceThatCameTwiceIsThrownAwayAndTheDatagramIsMadeWhole) {
    EXPECT_EQ(take(piece(0, 800, true)), nullptr);
    EXPECT_EQ(take(piece(0, 800, true)), nullptr);
    EXPECT_EQ(take(piece(800, 1600, true)), nullptr);
    EXPECT_EQ(take(piece(400, 1200, true)), nullptr);   // cut otherwise the second time, all of it there
    EXPECT_EQ(fragments_failed(*fragments_), 2U);
    EXPECT_EQ(take(piece(2000, 2100, false)), nullptr);
    EXPECT_EQ(take(piece(2000, 2100, false)), nullptr);
    EXPECT_EQ(fragments_failed(*fragments_), 3U);
    expect_whole(take(piece(1600, 2000, true)), 2100);
}

TEST_F(Reassembly, TwoEndsMakeNoDatagram) {
    EXPECT_EQ(take(piece(800, 900, false)), nullptr);
    EXPECT_EQ(take(piece(904, 1000, false)), nullptr);
    EXPECT_EQ(fragments_failed(*fragments_), 2U);
    EXPECT_EQ(take(piece(800, 900, false, 2)), nullptr);
    EXPECT_EQ(take(piece(904, 1000, true, 2)), nullptr);   // beyond the end
    EXPECT_EQ(fragments_failed(*fragments_), 4U);
    EXPECT_EQ(take(piece(1600, 2400, true, 3)), nullptr);
    EXPECT_EQ(take(piece(800, 900, false, 3)), nullptr);   // an end before what is there
    EXPECT_EQ(fragments_failed(*fragments_), 6U);
    EXPECT_EQ(free_packets(), pool_packets);
}

TEST_F(Reassembly, AHeaderWithOptionsIsTheFirstPieces) {
    Packet* first = piece(0, 800, true);
    std::byte* bytes = first->prepend(4);   // a word of options: no-operation and end
    std::memmove(bytes, bytes + 4, sizeof(rte_ipv4_hdr));
    auto* header = reinterpret_cast<rte_ipv4_hdr*>(bytes);
    std::memcpy(header + 1, "\1\1\1\0", 4);
    header->version_ihl = 0x46;
    header->total_length = rte_cpu_to_be_16(824);
    EXPECT_EQ(take(piece(800, 900, false)), nullptr);
    Packet* whole = take(first);
    ASSERT_NE(whole, nullptr);
    EXPECT_EQ(whole->size(), 924U);
    header = reinterpret_cast<rte_ipv4_hdr*>(whole->data());
    EXPECT_EQ(rte_be_to_cpu_16(header->total_length), 924);
    EXPECT_EQ(rte_raw_cksum(header, 24), 0xffff);
    EXPECT_EQ(bytes_of(*whole)[24], 0);
    EXPECT_EQ(bytes_of(*whole)[923], static_cast<std::uint8_t>(899));
    whole->free();
}

TEST_F(Reassembly, AHeaderThatLeavesNoRoomForTheLastPieceMakesNoDatagram) {
    for (std::uint32_t at = 0; at < 65504; at += 1480) {
        Packet* packet = piece(at, std::min(at + 1480, 65504U), true);
        if (at == 0) {
            auto* header = reinterpret_cast<rte_ipv4_hdr*>(packet->data());
            header->version_ihl = 0x4f;   // what were payload bytes are 40 bytes of options
            packet->append(40);
            header->total_length = rte_cpu_to_be_16(static_cast<std::uint16_t>(packet->size()));
        }
        EXPECT_EQ(take(packet), nullptr);
    }
    EXPECT_EQ(take(piece(65504, 65512, false)), nullptr);
    EXPECT_EQ(fragments_failed(*fragments_), 46U);
    EXPECT_EQ(free_packets(), pool_packets);
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

TEST_F(Reassembly, AFullTableGivesUpTheOldestDatagram) {
    for (std::uint16_t id = 1; id <= 65; ++id) {
        EXPECT_EQ(take(piece(0, 64, true, id)), nullptr);
    }
    EXPECT_EQ(free_packets(), pool_packets - 64);
    EXPECT_EQ(fragments_failed(*fragments_), 1U);
    expect_whole(take(piece(64, 100, false, 2)), 100);
    EXPECT_EQ(take(piece(64, 100, false, 1)), nullptr) << "the oldest is gone";
}

TEST_F(Reassembly, TenThousandDatagramsThatNeverGetWholeKeepNoMoreThanTheirBound) {
    for (std::uint32_t id = 0; id < 10000; ++id) {
        EXPECT_EQ(take(piece(0, 64, true, static_cast<std::uint16_t>(id))), nullptr);
    }
    EXPECT_EQ(free_packets(), pool_packets - 64);
    EXPECT_EQ(fragments_failed(*fragments_), 10000U - 64);
    expect_whole(take(piece(64, 100, false, 9999)), 100);
}

// Others need packets too: pieces that wait hold no more than an eighth of the pool.
TEST_F(Reassembly, PiecesThatWaitLeaveMostOfThePool) {
    for (std::uint16_t id = 1; id <= 60; ++id) {
        for (std::uint32_t i = 0; i < 100; ++i) {
            EXPECT_EQ(take(piece(i * 8, (i + 1) * 8, true, id)), nullptr);
        }
    }
    EXPECT_GE(free_packets(), pool_packets - pool_packets / 8);
    EXPECT_LE(free_packets(), pool_packets - pool_packets / 8 + 100);
    expect_whole(take(piece(800, 900, false, 60)), 900);
}

// Random cuts, orders, repetitions: whatever is made whole is right, and nothing is lost.
TEST_F(Reassembly, WhateverComesOutOfRandomPiecesIsRight) {
    std::mt19937 random(11);
    std::uint32_t whole_count = 0;
    for (std::uint16_t id = 1; id <= 500; ++id) {
        const auto bytes = static_cast<std::uint32_t>(100 + random() % 8000);
        std::vector<std::pair<std::uint32_t, std::uint32_t>> cuts;
        for (std::uint32_t at = 0; at < bytes;) {
            const std::uint32_t to = std::min(bytes, at + 8 * (1 + static_cast<std::uint32_t>(random() % 180)));
            cuts.emplace_back(at, to);
            at = to;
        }
        for (std::size_t i = random() % 3; i > 0; --i) {
            cuts.push_back(cuts[random() % cuts.size()]);
        }
        std::ranges::shuffle(cuts, random);
        for (const auto& [from, to] : cuts) {
            if (Packet* whole = take(piece(from, to, to != bytes, id)); whole != nullptr) {
                expect_whole(whole, bytes);
                ++whole_count;
            }
        }
    }
    EXPECT_GE(whole_count, 500U) << "a repetition after the last piece begins a new datagram, but none is spoilt";
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
