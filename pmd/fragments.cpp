// See fragments.hpp. The death row is DPDK's list of what it wants freed; we count it and free it at once.
#include "pmd/fragments.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "pmd/dpdk.hpp"

namespace shunt::pmd {

struct Fragments {
    rte_ip_frag_tbl* table = nullptr;
    std::uint64_t failed = 0;
    rte_ip_frag_death_row dead{};
};

namespace {

static_assert(fragments_per_datagram_max == RTE_LIBRTE_IP_FRAG_MAX_FRAG);

constexpr std::uint32_t datagram_bytes_max = 65535;
constexpr std::uint32_t bucket_entries = 8;

// The table only compares and subtracts its "cycles": the stack's nanoseconds do.
std::uint64_t cycles(Time now) noexcept {
    return static_cast<std::uint64_t>(now.time_since_epoch().count());
}

void bury(Fragments& fragments) noexcept {
    fragments.failed += fragments.dead.cnt;
    rte_ip_frag_free_death_row(&fragments.dead, 0);
}

// rte_ip_frag adds up lengths without asking whether the sum fits a datagram, or whether a piece in the middle ends on 8 bytes.
bool is_acceptable(const rte_ipv4_hdr& header, std::uint32_t header_bytes, std::uint32_t total) noexcept {
    const std::uint16_t field = rte_be_to_cpu_16(header.fragment_offset);
    const std::uint32_t offset = (field & RTE_IPV4_HDR_OFFSET_MASK) * std::uint32_t{RTE_IPV4_HDR_OFFSET_UNITS};
    const bool is_last = (field & RTE_IPV4_HDR_MF_FLAG) == 0;
    const std::uint32_t payload = total - header_bytes;
    return payload != 0 && (is_last || payload % RTE_IPV4_HDR_OFFSET_UNITS == 0) && header_bytes + offset + payload <= datagram_bytes_max;
}

}  // namespace

Fragments* create_fragments(std::uint32_t max_datagrams, Duration timeout) noexcept {
    void* memory = rte_zmalloc("shunt_fragments", sizeof(Fragments), RTE_CACHE_LINE_SIZE);
    if (memory == nullptr) {
        return nullptr;
    }
    auto* fragments = new (memory) Fragments;
    const std::uint32_t datagrams = std::max<std::uint32_t>(max_datagrams, 1);
    const std::uint32_t buckets = std::bit_ceil((datagrams + bucket_entries - 1) / bucket_entries);
    fragments->table = rte_ip_frag_table_create(buckets, bucket_entries, datagrams, static_cast<std::uint64_t>(timeout.count()), SOCKET_ID_ANY);
    if (fragments->table == nullptr) {
        rte_free(fragments);
        return nullptr;
    }
    return fragments;
}

void destroy_fragments(Fragments* fragments) noexcept {
    if (fragments != nullptr) {
        rte_ip_frag_table_destroy(fragments->table);
        rte_free(fragments);
    }
}

Packet* reassemble(Fragments& fragments, Packet* fragment, Time now) noexcept {
    expire(fragments, now);
    rte_mbuf* mbuf = fragment->mbuf();
    auto* header = rte_pktmbuf_mtod(mbuf, rte_ipv4_hdr*);
    const std::uint32_t header_bytes = rte_ipv4_hdr_len(header);
    if (!is_acceptable(*header, header_bytes, rte_be_to_cpu_16(header->total_length))) {
        ++fragments.failed;
        fragment->free();
        return nullptr;
    }
    mbuf->tx_offload = 0;
    mbuf->l3_len = header_bytes & 0x1ff;
    rte_mbuf* whole = rte_ipv4_frag_reassemble_packet(fragments.table, &fragments.dead, mbuf, cycles(now), header);
    bury(fragments);
    if (whole == nullptr) {
        return nullptr;
    }
    if (whole->pkt_len > datagram_bytes_max) {  // the first piece's header was longer than the last one's
        ++fragments.failed;
        rte_pktmbuf_free(whole);
        return nullptr;
    }
    // What the port said of the first piece's checksum is not about the datagram, and the library's wish for a header checksum is not ours.
    whole->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_TX_OFFLOAD_MASK);
    whole->tx_offload = 0;
    header = rte_pktmbuf_mtod(whole, rte_ipv4_hdr*);
    header->hdr_checksum = 0;
    header->hdr_checksum = rte_ipv4_cksum(header);
    return Packet::from(whole);
}

void expire(Fragments& fragments, Time now) noexcept {
    rte_ip_frag_table_del_expired_entries(fragments.table, &fragments.dead, cycles(now));
    bury(fragments);
}

std::uint64_t fragments_failed(const Fragments& fragments) noexcept {
    return fragments.failed;
}

}  // namespace shunt::pmd
