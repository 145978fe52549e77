// The less hot half of Port, and the bursts' unusual cases.
#include "pmd/port.hpp"

#include <poll.h>

#include <algorithm>
#include <array>

#include "base/sys.hpp"
#include "pmd/dpdk.hpp"
#include "pmd/memif_wire.hpp"
#include "pmd/port_inline.hpp"

namespace shunt::pmd {
namespace {

// How often a full transmit ring is asked again before frames are dropped: some 4 us, a frame of 1500 bytes at 3 Gb/s.
constexpr int tx_tries = 100;
// Frames go through the fault injector in parts of this size.
constexpr std::size_t fault_part = 64;

}  // namespace

std::uint16_t Port::gated_rx_burst(std::span<Packet*> packets) noexcept {
    if (!memif::may_touch_rings(id)) {
        return 0;
    }
    return rte_eth_rx_burst(id, queue, reinterpret_cast<rte_mbuf**>(packets.data()), static_cast<std::uint16_t>(packets.size()));
}

std::uint16_t Port::gated_tx_once(Packet** packets, std::uint16_t count) noexcept {
    const memif::Inside inside(id);
    if (memif::seen[id] != memif::gates->generation.load(std::memory_order_relaxed) && !memif::may_touch_rings(id)) [[unlikely]] {
        return 0;
    }
    return rte_eth_tx_burst(id, queue, reinterpret_cast<rte_mbuf**>(packets), count);
}

std::uint16_t Port::tx_retry(std::span<Packet*> packets, std::uint16_t sent) noexcept {
    const auto count = static_cast<std::uint16_t>(packets.size());
    // A wire without a peer has no room later either.
    const int tries_max = is_gated && !is_link_up() ? 0 : tx_tries;
    for (int tries = 0; sent < count && tries < tries_max; ++tries) {
        rte_pause();
        const auto left = static_cast<std::uint16_t>(count - sent);
        const std::uint16_t more =
            is_gated ? gated_tx_once(packets.data() + sent, left)
                     : ungated_tx_once(packets.data() + sent, left);
        if (more > 0) {
            tries = 0;
        }
        sent = static_cast<std::uint16_t>(sent + more);
    }
    tx_dropped += static_cast<std::uint64_t>(count - sent);
    std::for_each(packets.begin() + sent, packets.end(), [](Packet* packet) { packet->free(); });
    return sent;
}

// For drivers that send one segment only. A packet that somebody else holds as well, or that does not fit, is copied; where that fails
// it goes as it is, and the driver drops it.
void Port::make_contiguous(std::span<Packet*> packets) noexcept {
    for (Packet*& packet : packets) {
        if (packet->is_contiguous()) {
            continue;
        }
        if (packet->is_shared() || rte_pktmbuf_linearize(packet->mbuf()) != 0) {
            rte_mbuf* copy = rte_pktmbuf_copy(packet->mbuf(), static_cast<rte_mempool*>(pool), 0, UINT32_MAX);
            if (copy != nullptr) {
                packet->free();
                packet = Packet::from(copy);
            }
        }
    }
}

std::uint16_t Port::faulty_rx_burst(Time now, std::span<Packet*> packets) noexcept {
    faulty_tx_burst(now, {});   // frames whose time has come
    return filter_rx(*faults, *this, now, packets, driver_rx_burst(packets));
}

std::uint16_t Port::faulty_tx_burst(Time now, std::span<Packet*> packets) noexcept {
    std::array<Packet*, 3 * fault_part> out;
    const auto total = static_cast<std::uint16_t>(packets.size());
    do {
        const std::span<Packet*> part = packets.first(std::min(packets.size(), fault_part));
        packets = packets.subspan(part.size());
        const std::uint16_t count = filter_tx(*faults, *this, now, part, out);
        driver_tx_burst(std::span(out).first(count));
    } while (!packets.empty());
    return total;
}

Time Port::next_deadline() const noexcept {
    return faults == nullptr ? never : pmd::next_deadline(*faults);
}

std::uint32_t Port::pool_available() const noexcept {
    auto* mempool = static_cast<rte_mempool*>(pool);
    const rte_mempool_cache* cache = rte_mempool_default_cache(mempool, rte_lcore_id());
    return rte_mempool_ops_get_count(mempool) + (cache != nullptr ? cache->len : 0);
}

std::uint32_t Port::pool_size() const noexcept {
    return static_cast<const rte_mempool*>(pool)->size;
}

bool Port::is_link_up() const noexcept {
    rte_eth_link link{};
    const bool is_up = rte_eth_link_get_nowait(id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
    // What is sent before this process has the rings is lost.
    return is_up && (!is_gated || memif::seen[id] == memif::gates->generation.load(std::memory_order_relaxed));
}

int Port::rx_event_fd() const noexcept {
    return rx_event_fd_;
}

void Port::arm_rx_interrupt() noexcept {
    if (rx_event_fd_ < 0 || rx_event_is_frames_) {
        return;
    }
    if (is_gated) {
        memif::arm(id);
    } else {
        rte_eth_dev_rx_intr_enable(id, queue);
    }
}

void Port::disarm_rx_interrupt() noexcept {
    if (rx_event_fd_ < 0 || rx_event_is_frames_) {
        return;
    }
    if (is_gated) {
        memif::disarm(id);
        return;
    }
    rte_eth_dev_rx_intr_disable(id, queue);
    pollfd readable{rx_event_fd_, POLLIN, 0};
    const timespec now{};
    if (sys::ppoll(&readable, 1, &now, nullptr) == 1) {
        std::uint64_t count = 0;
        sys::read(rx_event_fd_, &count, sizeof count);
    }
}

Port::Statistics Port::statistics() const noexcept {
    rte_eth_stats stats{};
    rte_eth_stats_get(id, &stats);
    return {stats.ipackets, stats.opackets, stats.ibytes,    stats.obytes, stats.imissed,
            stats.ierrors,  stats.rx_nombuf, stats.oerrors, tx_dropped};
}

}  // namespace shunt::pmd
