// IPv4 reassembly (RFC 791 section 3.2, RFC 815, RFC 1122 section 3.3.2). The table is an arena of its own, which every process of the stack
// has mapped; pieces wait as the packets they came in. The caller holds the stack's lock. Knows nothing of protocols above IP.
//
// Bounded on all sides: datagrams (the oldest is given up for a new one), pieces a datagram, an eighth of the packet pool, and time. Pieces
// that overlap cost their datagram, as in RFC 5722; a piece all of which is there already does not.
#pragma once

#include <cstdint>

#include "base/random.hpp"
#include "base/time.hpp"
#include "pmd/packet.hpp"

namespace shunt::pmd {

struct Fragments;

// 64 KiB at an MTU of 296, the smallest that was ever in use. Deviation: Linux counts bytes only.
inline constexpr std::uint32_t fragments_per_datagram_max = 256;
inline constexpr std::uint32_t fragments_pool_share = 8;  // pieces that wait may hold one in so many of the pool's packets
inline constexpr Duration reassembly_timeout = std::chrono::seconds(30);  // Linux's; RFC 1122 3.3.2 would have 60 to 120 s

// A table for `max_datagrams` incomplete datagrams at a time; null when there is no memory. `key` keeps a sender from choosing what collides.
// destroy_fragments() frees the packets that are kept.
Fragments* create_fragments(std::uint32_t max_datagrams, Duration timeout = reassembly_timeout, SecretKey key = {}) noexcept;
void destroy_fragments(Fragments* fragments) noexcept;

// After a death in the middle of a change: as new, whatever was held is lost. keep_fragments: when it is whole, what it holds stays out of the pool.
class PoolRepair;
void forget_fragments(Fragments& fragments) noexcept;
void keep_fragments(const Fragments& fragments, PoolRepair& repair) noexcept;

// Takes ownership of `fragment`, whose data() is a checked IPv4 header in one piece and whose size() is that header's total length. The
// complete datagram, perhaps in several segments, when this was the piece that lacked: data() is its IPv4 header with the total length and
// the header checksum mended, its L4 checksum unknown. Null when the piece was kept or thrown away.
Packet* reassemble(Fragments& fragments, Packet* fragment, Time now) noexcept;

// Frees what has waited longer than the timeout; reassemble() does the same, so this is for quiet times only.
void expire(Fragments& fragments, Time now) noexcept;

// Fragments thrown away: malformed, twice there, overlapping, too many, too late.
std::uint64_t fragments_failed(const Fragments& fragments) noexcept;

}  // namespace shunt::pmd
