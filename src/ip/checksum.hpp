// The Internet checksum over a packet of one or several segments. Only the last segment of a packet may have an odd length: fragments are
// cut at multiples of 8 bytes, receive buffers have even sizes.
#pragma once

#include "pmd/packet.hpp"
#include "wire/checksum.hpp"

namespace shunt {

inline void add_packet(wire::Checksum& sum, const Packet& packet) noexcept {
    packet.for_each_segment([&sum](const std::byte* data, std::uint32_t bytes) { sum.add(data, bytes); });
}

}  // namespace shunt
