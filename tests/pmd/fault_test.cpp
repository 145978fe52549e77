// The fault injector: every fault comes at its rate, the same for the same seed, and no packet is lost to the pool.
#include "pmd/fault.hpp"

#include <gtest/gtest.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "pmd/with_eal.hpp"

namespace shunt::pmd {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t headers_bytes = sizeof(rte_ether_hdr) + sizeof(rte_ipv4_hdr) + sizeof(rte_tcp_hdr);
constexpr std::uint32_t payload_bytes = 200;
constexpr std::uint32_t burst_frames = 32;

class Fault : public WithPool {
protected:
    void TearDown() override {
        if (faults_ != nullptr) {
            discard_held(*faults_);
        }
        WithPool::TearDown();
    }

    void use(const FaultOptions& options) { faults_ = std::make_unique<FaultInjector>(options); }

    // An Ethernet frame with IPv4 and TCP, good checksums, and `number` in its payload.
    Packet* frame(std::uint32_t number) {
        Packet* packet = port_.allocate();
        std::memset(packet->append(headers_bytes + payload_bytes), 0, headers_bytes + payload_bytes);
        auto* ether = reinterpret_cast<rte_ether_hdr*>(packet->data());
        ether->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
        auto* ip = reinterpret_cast<rte_ipv4_hdr*>(ether + 1);
        ip->version_ihl = 0x45;
        ip->total_length = rte_cpu_to_be_16(headers_bytes - sizeof(rte_ether_hdr) + payload_bytes);
        ip->next_proto_id = IPPROTO_TCP;
        ip->hdr_checksum = rte_ipv4_cksum(ip);
        std::memcpy(packet->data() + headers_bytes, &number, sizeof number);
        auto* tcp = reinterpret_cast<rte_tcp_hdr*>(ip + 1);
        tcp->cksum = rte_ipv4_udptcp_cksum(ip, tcp);
        return packet;
    }
    static std::uint32_t number_of(const Packet& packet) {
        std::uint32_t number = 0;
        packet.copy_out(headers_bytes, &number, sizeof number);
        return number;
    }
    // The sum over pseudo-header and segment: all ones when the checksum in it is right.
    static std::uint16_t tcp_sum(const rte_ipv4_hdr* ip) {
        constexpr std::uint32_t bytes = sizeof(rte_tcp_hdr) + payload_bytes;
        return __rte_raw_cksum_reduce(std::uint32_t{rte_raw_cksum(ip + 1, bytes)} + rte_ipv4_phdr_cksum(ip, 0));
    }
    static bool is_intact(const Packet& packet) {
        const auto* ether = reinterpret_cast<const rte_ether_hdr*>(packet.data());
        const auto* ip = reinterpret_cast<const rte_ipv4_hdr*>(ether + 1);
        return ether->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4) && ip->version_ihl == 0x45 && rte_raw_cksum(ip, sizeof *ip) == 0xffff &&
               tcp_sum(ip) == 0xffff;
    }

    std::vector<Packet*> send(std::vector<Packet*> in, Time now = start) {
        std::vector<Packet*> out(2 * in.size() + burst_frames);
        out.resize(filter_tx(*faults_, port_, now, in, out));
        return out;
    }
    // Sends `count` frames in bursts, a microsecond apart, and then lets everything held come out. The numbers in the order of their way out.
    std::vector<std::uint32_t> send_numbered(std::uint32_t count) {
        std::vector<std::uint32_t> numbers;
        Time now = start;
        const auto note = [&](const std::vector<Packet*>& out) {
            for (Packet* packet : out) {
                numbers.push_back(number_of(*packet));
                packet->free();
            }
        };
        for (std::uint32_t next = 0; next < count; now += 1us) {
            std::vector<Packet*> in;
            while (in.size() < burst_frames && next < count) {
                in.push_back(frame(next++));
            }
            note(send(in, now));
        }
        while (next_deadline(*faults_) != never) {
            now = std::max(now + 1ns, next_deadline(*faults_));
            note(send({}, now));
        }
        return numbers;
    }

    std::unique_ptr<FaultInjector> faults_;
};

constexpr std::uint32_t many = 20000;

// Four standard deviations about the mean.
void expect_rate(std::uint64_t seen, double rate) {
    EXPECT_NEAR(static_cast<double>(seen), many * rate, 4 * std::sqrt(many * rate * (1 - rate)));
}

TEST_F(Fault, WithoutRatesEverythingPassesInOrder) {
    use({});
    std::vector<std::uint32_t> expected(1000);
    std::ranges::generate(expected, [n = 0U]() mutable { return n++; });
    EXPECT_EQ(send_numbered(1000), expected);
}

TEST_F(Fault, DropsAtItsRate) {
    use({.drop = 0.05});
    const auto numbers = send_numbered(many);
    expect_rate(faults_->counters.dropped, 0.05);
    EXPECT_EQ(numbers.size(), many - faults_->counters.dropped);
    EXPECT_TRUE(std::ranges::is_sorted(numbers));
}

TEST_F(Fault, DropsEverythingAtOne) {
    use({.drop = 1});
    EXPECT_TRUE(send_numbered(100).empty());
}

TEST_F(Fault, DuplicatesAtItsRate) {
    use({.duplicate = 0.05});
    const auto numbers = send_numbered(many);
    expect_rate(faults_->counters.duplicated, 0.05);
    EXPECT_EQ(numbers.size(), many + faults_->counters.duplicated);
}

TEST_F(Fault, ADuplicateIsAFrameOfItsOwn) {
    use({.duplicate = 1});
    const auto out = send({frame(1)});
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(bytes_of(*out[0]), bytes_of(*out[1]));
    EXPECT_NE(out[0]->data(), out[1]->data());
    std::ranges::for_each(out, &Packet::free);
}

TEST_F(Fault, ReordersAtItsRateByUpToFourFrames) {
    use({.reorder = 0.01});
    const auto numbers = send_numbered(many);
    expect_rate(faults_->counters.reordered, 0.01);
    ASSERT_EQ(numbers.size(), many);
    std::uint32_t late = 0, highest = 0;
    for (std::uint32_t i = 0; i < many; ++i) {
        late += numbers[i] < highest ? 1U : 0U;
        highest = std::max(highest, numbers[i]);
        EXPECT_LE(highest - numbers[i], 8U);  // four frames, and those held back beside it
    }
    EXPECT_GE(late, faults_->counters.reordered * 9 / 10);
}

TEST_F(Fault, AFrameHeldBackComesAfterTwoMillisecondsAtMostWhenNothingFollows) {
    use({.reorder = 1});
    EXPECT_TRUE(send({frame(1)}).empty());
    const Time deadline = next_deadline(*faults_);
    EXPECT_GE(deadline, start + 1ms);
    EXPECT_LE(deadline, start + 2ms);
    EXPECT_TRUE(send({}, deadline - 1ns).empty());
    const auto out = send({}, deadline);
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(next_deadline(*faults_), never);
    out[0]->free();
}

TEST_F(Fault, CorruptsAtItsRateAndChecksumsShowIt) {
    use({.corrupt = 0.05});
    std::uint32_t shown = 0;
    for (std::uint32_t next = 0; next < many; ++next) {
        for (Packet* packet : send({frame(next)})) {
            shown += is_intact(*packet) ? 0U : 1U;
            packet->free();
        }
    }
    expect_rate(faults_->counters.corrupted, 0.05);
    EXPECT_GE(shown, faults_->counters.corrupted * 9 / 10);  // a few hit an Ethernet address
    EXPECT_LE(shown, faults_->counters.corrupted);
}

TEST_F(Fault, CorruptionShowsAlsoWhenThePortWasToFillInTheChecksum) {
    use({.corrupt = 1});
    for (std::uint32_t n = 0; n < 200; ++n) {
        Packet* packet = frame(n);
        auto* ip = reinterpret_cast<rte_ipv4_hdr*>(packet->data() + sizeof(rte_ether_hdr));
        reinterpret_cast<rte_tcp_hdr*>(ip + 1)->cksum = rte_ipv4_phdr_cksum(ip, 0);
        ip->hdr_checksum = 0;
        Port::request_tx_checksum(*packet, sizeof(rte_ether_hdr), sizeof(rte_ipv4_hdr), true, true, false);
        const auto before = bytes_of(*packet);
        const auto out = send({packet});
        ASSERT_EQ(out.size(), 1U);
        EXPECT_EQ(out[0]->mbuf()->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0U);
        const auto after = bytes_of(*out[0]);
        const bool hit_ethernet = !std::equal(before.begin(), before.begin() + sizeof(rte_ether_hdr), after.begin());
        EXPECT_EQ(is_intact(*out[0]), hit_ethernet && after[12] == 8 && after[13] == 0) << "frame " << n;
        out[0]->free();
    }
}

TEST_F(Fault, ArpIsNeverCorrupted) {
    use({.corrupt = 1});
    Packet* packet = frame(1);
    reinterpret_cast<rte_ether_hdr*>(packet->data())->ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP);
    const auto before = bytes_of(*packet);
    const auto out = send({packet});
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(bytes_of(*out[0]), before);
    EXPECT_EQ(faults_->counters.corrupted, 0U);
    out[0]->free();
}

TEST_F(Fault, DelaysEachFrameByAsMuch) {
    use({.delay = 100us});
    EXPECT_TRUE(send({frame(1), frame(2)}).empty());
    EXPECT_TRUE(send({frame(3)}, start + 50us).empty());
    EXPECT_EQ(next_deadline(*faults_), start + 100us);
    EXPECT_TRUE(send({}, start + 100us - 1ns).empty());
    const auto out = send({}, start + 100us);
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(number_of(*out[0]), 1U);
    EXPECT_EQ(number_of(*out[1]), 2U);
    EXPECT_EQ(next_deadline(*faults_), start + 150us);
    std::ranges::for_each(out, &Packet::free);
}

TEST_F(Fault, JitterIsAddedToTheDelay) {
    use({.delay = 100us, .jitter = 50us});
    send({frame(1), frame(2), frame(3)});
    EXPECT_GE(next_deadline(*faults_), start + 100us);
    const auto out = send({}, start + 150us);
    EXPECT_EQ(out.size(), 3U);
    std::ranges::for_each(out, &Packet::free);
}

TEST_F(Fault, BeyondTheBoundDelayedFramesAreDroppedAndCounted) {
    use({.delay = 1s});
    EXPECT_TRUE([&] {
        for (std::uint32_t n = 0; n < FaultDirection::delayed_max + 10; ++n) {
            if (!send({frame(n)}).empty()) {
                return false;
            }
        }
        return true;
    }());
    EXPECT_EQ(faults_->counters.delayed, FaultDirection::delayed_max);
    EXPECT_EQ(faults_->counters.overflowed, 10U);
}

TEST_F(Fault, TheSameSeedGivesTheSameFaults) {
    const FaultOptions options{.drop = 0.1, .duplicate = 0.1, .reorder = 0.1, .corrupt = 0.1, .delay = 3us, .jitter = 2us, .seed = 7};
    use(options);
    const auto first = send_numbered(1000);
    use(options);
    EXPECT_EQ(send_numbered(1000), first);
    FaultOptions other = options;
    other.seed = 8;
    use(other);
    EXPECT_NE(send_numbered(1000), first);
}

// The TCP retransmission queue refers to the mbuf, too, and will strip and write headers in it.
TEST_F(Fault, AFrameThatSomebodyElseHoldsIsCopiedBeforeItIsHeldOrSpoilt) {
    for (const FaultOptions& options : {FaultOptions{.delay = 1us}, FaultOptions{.reorder = 1}, FaultOptions{.corrupt = 1}}) {
        use(options);
        Packet* packet = frame(5);
        const auto before = bytes_of(*packet);
        packet->add_reference();
        auto out = send({packet});
        EXPECT_FALSE(packet->is_shared());
        EXPECT_EQ(bytes_of(*packet), before);
        std::memset(packet->data(), 0xff, packet->size());
        if (out.empty()) {
            out = send({}, start + 2ms);
        }
        ASSERT_EQ(out.size(), 1U);
        EXPECT_NE(out[0], packet);
        EXPECT_EQ(bytes_of(*out[0]) == before, options.corrupt == 0);
        out[0]->free();
        packet->free();
    }
}

TEST_F(Fault, WithoutMemoryForACopyTheFramePasses) {
    use({.duplicate = 1, .reorder = 1, .corrupt = 1, .delay = 1us});
    Packet* packet = frame(5);
    packet->add_reference();
    std::vector<Packet*> hoard;
    while (Packet* other = port_.allocate()) {
        hoard.push_back(other);
    }
    const auto out = send({packet});
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(out[0], packet);
    packet->free();
    packet->free();
    std::ranges::for_each(hoard, &Packet::free);
}

TEST_F(Fault, WhenThereIsNoRoomWhatIsDueWaits) {
    use({.delay = 1us});
    send({frame(1), frame(2), frame(3)});
    std::array<Packet*, 2> out{};
    ASSERT_EQ(filter_tx(*faults_, port_, start + 1us, {}, out), 2U);
    std::ranges::for_each(out, &Packet::free);
    EXPECT_EQ(next_deadline(*faults_), start + 1us);
    ASSERT_EQ(filter_tx(*faults_, port_, start + 2us, {}, out), 1U);
    out[0]->free();
}

TEST_F(Fault, TheSideSaysWhichWay) {
    std::array<Packet*, 8> packets{};
    use({.drop = 1, .side = FaultSide::tx});
    packets[0] = frame(1);
    ASSERT_EQ(filter_rx(*faults_, port_, start, packets, 1), 1U);
    use({.drop = 1, .side = FaultSide::rx});
    ASSERT_EQ(send({packets[0]}).size(), 1U);
    EXPECT_EQ(filter_rx(*faults_, port_, start, packets, 1), 0U);
}

TEST_F(Fault, ReceivedFramesAreFilteredInPlace) {
    use({.duplicate = 1, .delay = 10us, .side = FaultSide::both});
    std::array<Packet*, 8> packets{frame(1), frame(2)};
    EXPECT_EQ(filter_rx(*faults_, port_, start, packets, 2), 0U);
    EXPECT_EQ(next_deadline(*faults_), start + 10us);
    ASSERT_EQ(filter_rx(*faults_, port_, start + 10us, packets, 0), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(number_of(*packets[i]), 1 + i / 2);
        packets[i]->free();
    }
}

TEST_F(Fault, AFullReceiveBurstHasNoRoomForDuplicates) {
    use({.duplicate = 1, .side = FaultSide::rx});
    std::array<Packet*, 2> packets{frame(1), frame(2)};
    ASSERT_EQ(filter_rx(*faults_, port_, start, packets, 2), 2U);
    EXPECT_EQ(number_of(*packets[0]), 1U);
    EXPECT_EQ(number_of(*packets[1]), 2U);
    EXPECT_EQ(faults_->counters.duplicated, 0U);
    std::ranges::for_each(packets, &Packet::free);
}

TEST_F(Fault, WhatThePortSaidOfAChecksumIsForgottenWhenReceivedFramesAreCorrupted) {
    use({.corrupt = 1, .side = FaultSide::rx});
    std::array<Packet*, 1> packets{frame(1)};
    packets[0]->mbuf()->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    ASSERT_EQ(filter_rx(*faults_, port_, start, packets, 1), 1U);
    port_.offloads.rx_checksum = true;
    EXPECT_EQ(port_.rx_ipv4_checksum(*packets[0]), ChecksumState::unknown);
    EXPECT_EQ(port_.rx_l4_checksum(*packets[0]), ChecksumState::unknown);
    packets[0]->free();
}

}  // namespace
}  // namespace shunt::pmd
