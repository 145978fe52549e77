// The TCP header and its options (RFC 9293, 3.1-3.2; RFC 7323; RFC 2018) as they stand on the wire.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/seq.hpp"
#include "wire/big_endian.hpp"

namespace shunt::wire {

struct [[gnu::packed]] TcpHeader {
    Big16 source_port;
    Big16 destination_port;
    Big32 seq;
    Big32 ack;
    std::uint8_t offset;  // header length in 32-bit words, upper half
    std::uint8_t flags;
    Big16 window;
    std::uint16_t checksum;  // memory order
    Big16 urgent;

    unsigned header_bytes() const noexcept { return (offset >> 4U) * 4U; }
};
static_assert(sizeof(TcpHeader) == 20);

namespace tcp_flag {
inline constexpr std::uint8_t fin = 0x01, syn = 0x02, rst = 0x04, psh = 0x08, ack = 0x10, urg = 0x20, ece = 0x40, cwr = 0x80;
}

inline constexpr unsigned tcp_header_max_bytes = 60;
inline constexpr unsigned fast_open_min_bytes = 4, fast_open_max_bytes = 16;  // of a cookie
inline constexpr unsigned timestamp_option_bytes = 12;  // two NOPs in front

struct SackBlock {
    Seq left;
    Seq right;
};

struct TcpOptions {
    std::uint16_t mss = 0;       // 0: absent
    std::int8_t wscale = -1;     // -1: absent; at most 14
    bool sack_permitted = false;
    bool has_timestamp = false;
    std::uint32_t tsval = 0;
    std::uint32_t tsecr = 0;
    std::uint8_t sack_count = 0;
    std::int8_t fast_open_bytes = -1;      // of the cookie (RFC 7413, 2.1); -1: no such option, or a malformed one; 0: one is asked for
    bool fast_open_experimental = false;   // under option 254 with its magic number (RFC 7413, appendix; RFC 6994)
    const std::uint8_t* fast_open = nullptr;
    std::array<SackBlock, 4> sack{};
};

// Reads the options of a header of `bytes` option bytes; unknown ones are skipped, a malformed one ends the reading (as Linux does).
TcpOptions parse_tcp_options(const std::uint8_t* options, unsigned bytes) noexcept;

// Writes options in Linux's order and padding; returns their length, a multiple of 4. `to` has room for 40 bytes. As many SACK blocks are
// written as fit.
unsigned emit_tcp_options(const TcpOptions& options, std::uint8_t* to) noexcept;

}  // namespace shunt::wire
