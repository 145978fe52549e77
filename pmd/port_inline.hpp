// The hottest code of the product: bursts and packet allocation, inline over DPDK's own inline functions.
// Include this where those members of Port are called. A system header only because DPDK's headers do not pass our warnings.
#pragma once

#if defined(__GNUC__)
#pragma GCC system_header
#endif
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mempool.h>

#include "pmd/fault.hpp"
#include "pmd/memif_calls.hpp"
#include "pmd/port.hpp"

namespace shunt::pmd {

inline std::uint16_t Port::driver_rx_burst(std::span<Packet*> packets) noexcept {
    auto** mbufs = reinterpret_cast<rte_mbuf**>(packets.data());
    if (!is_gated) {
        return rte_eth_rx_burst(id, queue, mbufs, static_cast<std::uint16_t>(packets.size()));
    }
    const memif::Inside inside(id);
    if (memif::seen[id] != memif::gates->generation.load(std::memory_order_relaxed)) [[unlikely]] {
        return gated_rx_burst(packets);
    }
    return rte_eth_rx_burst(id, queue, mbufs, static_cast<std::uint16_t>(packets.size()));
}

inline std::uint16_t Port::rx_burst(Time now, std::span<Packet*> packets) noexcept {
    if (faults != nullptr) [[unlikely]] {
        return faulty_rx_burst(now, packets);
    }
    return driver_rx_burst(packets);
}

// Some drivers have to see frames that ask for offloads beforehand (they set sums that their cards want). A frame they refuse ends the
// burst there, and is tried, and in the end dropped, as if the ring were full.
inline std::uint16_t Port::ungated_tx_once(Packet** packets, std::uint16_t count) noexcept {
    auto** mbufs = reinterpret_cast<rte_mbuf**>(packets);
    return rte_eth_tx_burst(id, queue, mbufs, prepares_tx_ ? rte_eth_tx_prepare(id, queue, mbufs, count) : count);
}

inline std::uint16_t Port::driver_tx_burst(std::span<Packet*> packets) noexcept {
    if (packets.empty()) {
        return 0;   // memif reads the first of none
    }
    if (!offloads.multi_segment) {
        for (Packet* packet : packets) {
            if (!packet->is_contiguous()) [[unlikely]] {
                make_contiguous(packets);
                break;
            }
        }
    }
    const auto count = static_cast<std::uint16_t>(packets.size());
    const std::uint16_t sent = is_gated ? gated_tx_once(packets.data(), count) : ungated_tx_once(packets.data(), count);
    return sent == count ? sent : tx_retry(packets, sent);
}

inline std::uint16_t Port::tx_burst(Time now, std::span<Packet*> packets) noexcept {
    if (faults != nullptr) [[unlikely]] {
        return faulty_tx_burst(now, packets);
    }
    return driver_tx_burst(packets);
}

inline Packet* Port::allocate() noexcept {
    return Packet::from(rte_pktmbuf_alloc(static_cast<rte_mempool*>(pool)));
}

inline ChecksumState Port::rx_ipv4_checksum(const Packet& packet) const noexcept {
    if (!offloads.rx_checksum) {
        return ChecksumState::unknown;
    }
    const std::uint64_t flags = packet.mbuf()->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
    return flags == RTE_MBUF_F_RX_IP_CKSUM_GOOD ? ChecksumState::good : flags == RTE_MBUF_F_RX_IP_CKSUM_BAD ? ChecksumState::bad : ChecksumState::unknown;
}

inline ChecksumState Port::rx_l4_checksum(const Packet& packet) const noexcept {
    if (!offloads.rx_checksum) {
        return ChecksumState::unknown;
    }
    const std::uint64_t flags = packet.mbuf()->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    return flags == RTE_MBUF_F_RX_L4_CKSUM_GOOD ? ChecksumState::good : flags == RTE_MBUF_F_RX_L4_CKSUM_BAD ? ChecksumState::bad : ChecksumState::unknown;
}

inline void Port::request_tx_checksum(Packet& packet, std::uint16_t l2_bytes, std::uint16_t l3_bytes, bool ip, bool tcp, bool udp) noexcept {
    rte_mbuf* mbuf = packet.mbuf();
    mbuf->l2_len = l2_bytes;
    mbuf->l3_len = l3_bytes;
    mbuf->ol_flags |= RTE_MBUF_F_TX_IPV4 | (ip ? RTE_MBUF_F_TX_IP_CKSUM : 0) | (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : 0) | (udp ? RTE_MBUF_F_TX_UDP_CKSUM : 0);
}

inline void Port::request_segmentation(Packet& packet, std::uint16_t l2_bytes, std::uint16_t l3_bytes, std::uint16_t l4_bytes, std::uint16_t mss) noexcept {
    rte_mbuf* mbuf = packet.mbuf();
    mbuf->l2_len = l2_bytes;
    mbuf->l3_len = l3_bytes;
    mbuf->l4_len = l4_bytes;
    mbuf->tso_segsz = mss;
    mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
}

inline void borrow_lcore(unsigned lcore_id) noexcept {
    RTE_PER_LCORE(_lcore_id) = lcore_id;
}

}  // namespace shunt::pmd
