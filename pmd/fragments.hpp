// IPv4 reassembly (RFC 791 section 3.2, RFC 1122 section 3.3.2) with DPDK's rte_ip_frag. The table lives in DPDK's memory, which every
// process of the stack has mapped; the caller holds the stack's lock. Knows nothing of protocols above IP.
//
// Deviation: a datagram may have fragments_per_datagram_max pieces (11,840 bytes at an MTU of 1500), not 64 KiB, because Debian's
// rte_ip_frag is compiled so; longer ones are thrown away and counted. Nor does its key hold the protocol number.
#pragma once

#include <cstdint>

#include "base/time.hpp"
#include "pmd/packet.hpp"

namespace shunt::pmd {

struct Fragments;

inline constexpr std::uint32_t fragments_per_datagram_max = 8;
inline constexpr Duration reassembly_timeout = std::chrono::seconds(30);  // Linux's; RFC 1122 3.3.2 would have 60 to 120 s

// A table for `max_datagrams` incomplete datagrams at a time, which may pin fragments_per_datagram_max packets each; null when there is no
// memory. destroy_fragments() frees the packets that are kept.
Fragments* create_fragments(std::uint32_t max_datagrams, Duration timeout = reassembly_timeout) noexcept;
void destroy_fragments(Fragments* fragments) noexcept;

// Takes ownership of `fragment`, whose data() is a checked IPv4 header in one piece and whose size() is that header's total length. The
// complete datagram, perhaps in several segments, when this was the piece that lacked: data() is its IPv4 header with the total length and
// the header checksum mended, its L4 checksum unknown. Null when the piece was kept or thrown away.
Packet* reassemble(Fragments& fragments, Packet* fragment, Time now) noexcept;

// Frees what has waited longer than the timeout; reassemble() does the same, so this is for quiet times only.
void expire(Fragments& fragments, Time now) noexcept;

// Fragments thrown away: malformed, overlapping, too many, too late.
std::uint64_t fragments_failed(const Fragments& fragments) noexcept;

}  // namespace shunt::pmd
