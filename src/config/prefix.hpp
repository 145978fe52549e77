// An IPv4 address with the length of its network's prefix.
#pragma once

#include <cstdint>

namespace shunt::config {

struct Ipv4Prefix {
    std::uint32_t address_host_order = 0;
    std::uint8_t length = 32;
    std::uint32_t mask() const noexcept { return length == 0 ? 0 : ~std::uint32_t{0} << (32 - length); }
    bool contains(std::uint32_t address) const noexcept { return ((address ^ address_host_order) & mask()) == 0; }
    std::uint32_t broadcast() const noexcept { return length >= 31 ? 0 : address_host_order | ~mask(); }  // 0: none
    friend bool operator==(const Ipv4Prefix&, const Ipv4Prefix&) = default;
};

}  // namespace shunt::config
