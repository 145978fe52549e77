// See packet_pool.hpp.
#include "pmd/packet_pool.hpp"

#include <fmt/core.h>

#include <mutex>

#include "pmd/dpdk.hpp"
#include "pmd/packet.hpp"

namespace shunt::pmd {
namespace {

constexpr unsigned cache_packets = 256;
// A frame of 2048 bytes in one piece: what every driver's descriptors take; jumbo frames are chains.
constexpr std::uint16_t room_bytes = 2048 + RTE_PKTMBUF_HEADROOM;

std::mutex mutex;
rte_mempool* pool = nullptr;
unsigned users = 0;

}  // namespace

Outcome<rte_mempool*> use_packet_pool(std::uint32_t packets) {
    const std::lock_guard lock(mutex);
    if (pool == nullptr) {
        // A cache may hold no more than two thirds of the pool.
        const unsigned cache = packets >= 4 * cache_packets ? cache_packets : 0;
        // One at a time, as the stack's lock has it: so nobody waits in the ring for one who died there.
        pool = rte_pktmbuf_pool_create_by_ops("shunt_packets", packets, cache, packet_meta_bytes, room_bytes, SOCKET_ID_ANY, "ring_sp_sc");
        if (pool == nullptr) {
            const std::uint64_t mib = (std::uint64_t{packets} * (room_bytes + packet_meta_bytes + sizeof(rte_mbuf) + 64) >> 20) + 16;
            return explain(ENOMEM, fmt::format("--packets {}: no memory for so many packet buffers ({}); they need --memory-mib {} or more, or give "
                                               "fewer packets",
                                               packets, rte_strerror(rte_errno), mib));
        }
    }
    ++users;
    return pool;
}

void release_packet_pool() noexcept {
    const std::lock_guard lock(mutex);
    if (users > 0 && --users == 0 && rte_mempool_full(pool) == 1) {
        rte_mempool_free(pool);
        pool = nullptr;
    }
}

}  // namespace shunt::pmd
