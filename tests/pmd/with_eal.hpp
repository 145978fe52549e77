// For tests that need packets: DPDK started once a process without hugepages, and a pool of one's own that must be full at the end.
#pragma once

#include <gtest/gtest.h>
#include <rte_mempool.h>

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "pmd/eal.hpp"
#include "pmd/port.hpp"
#include "pmd/port_inline.hpp"

namespace shunt::pmd {

inline constexpr Time start = Time(std::chrono::hours(1));

class WithEal : public testing::Test {
protected:
    static void SetUpTestSuite() {
        const auto started = start_eal({.memory_mib = 256, .hugepages = EalOptions::Hugepages::never, .links = {}});
        ASSERT_TRUE(started) << started.error().message;
    }
};

class WithPool : public WithEal {
protected:
    static constexpr std::uint32_t pool_packets = 16383;

    void SetUp() override {
        static int count = 0;
        const std::string name = "test_packets" + std::to_string(count++);
        pool_ = rte_pktmbuf_pool_create(name.c_str(), pool_packets, 0, packet_meta_bytes, RTE_PKTMBUF_HEADROOM + 2048, SOCKET_ID_ANY);
        ASSERT_NE(pool_, nullptr);
        port_.pool = pool_;
    }
    void TearDown() override {
        if (pool_ != nullptr) {
            EXPECT_EQ(free_packets(), pool_packets) << "a packet leaked, or was freed twice";
            rte_mempool_free(pool_);
        }
    }
    std::uint32_t free_packets() const { return rte_mempool_avail_count(pool_); }

    Packet* packet_of(std::span<const std::uint8_t> bytes) {
        Packet* packet = port_.allocate();
        std::memcpy(packet->append(static_cast<std::uint32_t>(bytes.size())), bytes.data(), bytes.size());
        return packet;
    }

    rte_mempool* pool_ = nullptr;
    Port port_;
};

inline std::vector<std::uint8_t> bytes_of(const Packet& packet) {
    std::vector<std::uint8_t> bytes(packet.size());
    packet.copy_out(0, bytes.data(), packet.size());
    return bytes;
}

}  // namespace shunt::pmd
