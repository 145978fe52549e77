// IPv4 (RFC 791), ICMP (RFC 792) and UDP (RFC 768) headers as they stand on the wire.
#pragma once

#include <cstdint>

#include "wire/big_endian.hpp"
#include "wire/checksum.hpp"

namespace shunt::wire {

struct [[gnu::packed]] Ipv4Header {
    std::uint8_t version_ihl;
    std::uint8_t tos;
    Big16 total_length;
    Big16 identification;
    Big16 fragment;  // flags and offset in units of 8 bytes
    std::uint8_t ttl;
    std::uint8_t protocol;
    std::uint16_t checksum;  // memory order
    Big32 source;
    Big32 destination;

    static constexpr std::uint16_t dont_fragment = 0x4000, more_fragments = 0x2000, offset_mask = 0x1fff;
    unsigned version() const noexcept { return version_ihl >> 4; }
    unsigned header_bytes() const noexcept { return (version_ihl & 0xfU) * 4; }
    bool is_fragment() const noexcept { return (fragment & (more_fragments | offset_mask)) != 0; }
    bool has_good_checksum() const noexcept {
        Checksum sum;
        if (header_bytes() == sizeof *this) [[likely]] {
            sum.add(this, sizeof *this);
        } else {
            sum.add(this, header_bytes());
        }
        return sum.is_good();
    }
    void fill_checksum() noexcept {
        checksum = 0;
        Checksum sum;
        sum.add(this, sizeof *this);
        checksum = sum.field();
    }
};
static_assert(sizeof(Ipv4Header) == 20);

inline constexpr std::uint8_t protocol_icmp = 1, protocol_tcp = 6, protocol_udp = 17;

constexpr bool is_multicast(std::uint32_t address) noexcept { return (address >> 28) == 0xe; }
inline constexpr std::uint32_t loopback = 0x7f000001, loopback_broadcast = 0x7fffffff;
constexpr bool is_loopback(std::uint32_t address) noexcept { return (address >> 24) == 127; }
inline constexpr std::uint32_t limited_broadcast = 0xffff'ffff;

struct [[gnu::packed]] IcmpHeader {
    std::uint8_t type;
    std::uint8_t code;
    std::uint16_t checksum;  // memory order
    Big16 word1;             // echo: identifier
    Big16 word2;             // echo: sequence number; fragmentation needed: next-hop MTU (RFC 1191)

    static constexpr std::uint8_t echo_reply = 0, unreachable = 3, echo_request = 8, time_exceeded = 11, parameter_problem = 12;
    static constexpr std::uint8_t net_unreachable = 0, host_unreachable = 1, protocol_unreachable = 2, port_unreachable = 3, fragmentation_needed = 4;
};
static_assert(sizeof(IcmpHeader) == 8);

struct [[gnu::packed]] UdpHeader {
    Big16 source_port;
    Big16 destination_port;
    Big16 length;
    std::uint16_t checksum;  // memory order; 0 on the wire: none
};
static_assert(sizeof(UdpHeader) == 8);

}  // namespace shunt::wire
