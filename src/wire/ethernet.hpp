// Ethernet II frames and ARP (RFC 826) as they stand on the wire.
#pragma once

#include <array>
#include <cstdint>

#include "wire/big_endian.hpp"

namespace shunt::wire {

using Mac = std::array<std::uint8_t, 6>;
inline constexpr Mac broadcast_mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

constexpr bool is_group(const Mac& mac) noexcept { return (mac[0] & 1) != 0; }

struct [[gnu::packed]] EthernetHeader {
    Mac destination;
    Mac source;
    Big16 type;
};
static_assert(sizeof(EthernetHeader) == 14);

inline constexpr std::uint16_t ethertype_ipv4 = 0x0800;
inline constexpr std::uint16_t ethertype_arp = 0x0806;

struct [[gnu::packed]] ArpPacket {
    Big16 hardware_type;
    Big16 protocol_type;
    std::uint8_t hardware_length;
    std::uint8_t protocol_length;
    Big16 operation;
    Mac sender_mac;
    Big32 sender_address;
    Mac target_mac;
    Big32 target_address;

    static constexpr std::uint16_t request = 1, reply = 2;
    bool is_well_formed() const noexcept {
        return hardware_type == 1 && protocol_type == ethertype_ipv4 && hardware_length == 6 && protocol_length == 4 && !is_group(sender_mac) &&
               (operation == request || operation == reply);
    }
};
static_assert(sizeof(ArpPacket) == 28);

}  // namespace shunt::wire
