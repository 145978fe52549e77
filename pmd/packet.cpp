// Packets of several segments: the slow halves of Packet.
#include "pmd/packet.hpp"

#include <algorithm>

#include "pmd/dpdk.hpp"

namespace shunt {

void Packet::copy_out_segments(std::uint32_t offset, void* to, std::uint32_t n) const noexcept {
    auto* out = static_cast<std::byte*>(to);
    for (const rte_mbuf* segment = this; segment != nullptr && n > 0; segment = segment->next) {
        if (offset >= segment->data_len) {
            offset -= segment->data_len;
            continue;
        }
        const std::uint32_t here = std::min<std::uint32_t>(n, segment->data_len - offset);
        std::memcpy(out, rte_pktmbuf_mtod_offset(segment, const std::byte*, offset), here);
        out += here;
        n -= here;
        offset = 0;
    }
}

void Packet::skip_front(std::uint32_t n) noexcept {
    pkt_len -= n;
    for (rte_mbuf* segment = this; segment != nullptr && n > 0; segment = segment->next) {
        const auto here = static_cast<std::uint16_t>(std::min<std::uint32_t>(n, segment->data_len));
        segment->data_off = static_cast<std::uint16_t>(segment->data_off + here);
        segment->data_len = static_cast<std::uint16_t>(segment->data_len - here);
        n -= here;
    }
    // The head stays, also when it is empty; it carries the note and the reference. Empty segments behind it are dropped.
    while (data_len == 0 && nb_segs > 1 && next->data_len == 0) {
        rte_mbuf* empty = next;
        next = empty->next;
        --nb_segs;
        rte_pktmbuf_free_seg(empty);
    }
}

void Packet::trim_back(std::uint32_t n) noexcept {
    std::uint32_t keep = pkt_len - n;
    pkt_len = keep;
    rte_mbuf* segment = this;
    std::uint16_t segments = 1;
    while (keep > segment->data_len && segment->next != nullptr) {
        keep -= segment->data_len;
        segment = segment->next;
        ++segments;
    }
    segment->data_len = static_cast<std::uint16_t>(keep);
    rte_mbuf* rest = segment->next;
    segment->next = nullptr;
    nb_segs = segments;
    while (rest != nullptr) {
        rte_mbuf* following = rest->next;
        rte_pktmbuf_free_seg(rest);
        rest = following;
    }
}

}  // namespace shunt
