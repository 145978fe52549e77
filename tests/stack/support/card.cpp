#include "stack/support/card.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"

namespace shunt::test {
namespace {

struct [[gnu::packed]] Headers {
    wire::EthernetHeader ethernet;
    wire::Ipv4Header ip;
    wire::TcpHeader tcp;
};

Headers& headers_of(Bytes& frame) { return *reinterpret_cast<Headers*>(frame.data()); }

std::uint16_t pseudo_sum(const Headers& headers, std::size_t l4_bytes) {
    wire::Checksum sum;
    wire::add_pseudo_header(sum, __builtin_bswap32(headers.ip.source), __builtin_bswap32(headers.ip.destination), wire::protocol_tcp, static_cast<std::uint32_t>(l4_bytes));
    return sum.sum();
}

// Over the whole segment; the field holds the pseudo-header's sum.
void fill_in(Bytes& frame) {
    Headers& headers = headers_of(frame);
    wire::Checksum sum;
    const std::size_t before = sizeof(wire::EthernetHeader) + sizeof(wire::Ipv4Header);
    sum.add(frame.data() + before, frame.size() - before);
    headers.tcp.checksum = sum.field();
    headers.ip.fill_checksum();
}

void check_request(const rte_mbuf& mbuf, Bytes& frame) {
    constexpr std::uint64_t wanted = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM;
    const Headers& headers = headers_of(frame);
    const bool is_large = (mbuf.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
    const std::size_t l4_bytes = frame.size() - sizeof(wire::EthernetHeader) - sizeof(wire::Ipv4Header);
    SHUNT_CHECK((mbuf.ol_flags & wanted) == wanted);
    SHUNT_CHECK((mbuf.ol_flags & RTE_MBUF_F_TX_IPV6) == 0);
    SHUNT_CHECK(mbuf.l2_len == sizeof(wire::EthernetHeader) && mbuf.l3_len == headers.ip.header_bytes());
    SHUNT_CHECK(headers.ip.total_length + sizeof(wire::EthernetHeader) == frame.size());
    SHUNT_CHECK(headers.tcp.checksum == pseudo_sum(headers, is_large ? 0 : l4_bytes));
    SHUNT_CHECK(!is_large || (mbuf.l4_len == headers.tcp.header_bytes() && mbuf.tso_segsz != 0));
}

std::vector<Bytes> cut(const rte_mbuf& mbuf, const Bytes& large) {
    const std::size_t header_bytes = mbuf.l2_len + mbuf.l3_len + std::size_t{mbuf.l4_len};
    constexpr std::uint8_t last_only = flag::fin | flag::psh;
    std::vector<Bytes> frames;
    for (std::size_t at = header_bytes; at < large.size(); at += mbuf.tso_segsz) {
        const std::size_t size = std::min<std::size_t>(mbuf.tso_segsz, large.size() - at);
        Bytes frame = large.substr(0, header_bytes) + large.substr(at, size);
        Headers& headers = headers_of(frame);
        headers.ip.total_length = static_cast<std::uint16_t>(frame.size() - mbuf.l2_len);
        headers.ip.identification = static_cast<std::uint16_t>(headers.ip.identification + frames.size());
        headers.tcp.seq = headers.tcp.seq + static_cast<std::uint32_t>(at - header_bytes);
        headers.tcp.flags = at + size < large.size() ? static_cast<std::uint8_t>(headers.tcp.flags & ~last_only) : headers.tcp.flags;
        headers.tcp.checksum = pseudo_sum(headers, frame.size() - mbuf.l2_len - mbuf.l3_len);
        fill_in(frame);
        frames.push_back(std::move(frame));
    }
    return frames;
}

}  // namespace

pmd::Offloads card_offloads(std::uint16_t tx_pieces_max) {
    return {.tx_ipv4_checksum = true, .tx_tcp_checksum = true, .tcp_segmentation = true, .tx_pieces_max = tx_pieces_max, .multi_segment = true};
}

std::vector<Bytes> on_the_wire(const Packet& packet) {
    Bytes frame(packet.size(), '\0');
    packet.copy_out(0, frame.data(), packet.size());
    const rte_mbuf& mbuf = *packet.mbuf();
    if ((mbuf.ol_flags & RTE_MBUF_F_TX_TCP_CKSUM) != 0) {
        check_request(mbuf, frame);
        if ((mbuf.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0) {
            return cut(mbuf, frame);
        }
        fill_in(frame);
    } else if ((mbuf.ol_flags & RTE_MBUF_F_TX_IP_CKSUM) != 0) {
        headers_of(frame).ip.fill_checksum();
    }
    return {frame};
}

}  // namespace shunt::test
