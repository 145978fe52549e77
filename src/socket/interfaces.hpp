// The interfaces that a program is shown for our ports: names and indices that the kernel's never have, and the addresses. Known from the
// configuration alone; what only the started port knows (its hardware address, whether it is up) is asked of the stack.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "config/config.hpp"

namespace shunt::socket {

struct Interface {
    std::string name;         // "shunt/0", "shunt/1", ...: the kernel allows no '/'; or the kernel's own, see is_kernels
    unsigned index = 0;       // from INT_MAX downwards: the kernel counts up from 1
    bool is_kernels = false;  // packet:, xdp: the port stands on this interface of the kernel's; loop: the addresses are further ones of lo
    std::uint16_t mtu = 0;
    std::vector<config::Ipv4Prefix> addresses;
    unsigned port = 0;        // the n-th of the stack's links; none of loop
};

// What only a port can tell; zeros and "up" before the stack has started.
struct InterfaceState {
    std::array<std::uint8_t, 6> mac{};
    bool is_up = true;
};

inline constexpr unsigned loopback_index = 1;  // lo's, in every network namespace of Linux's

InterfaceState state_of(const Interface& interface) noexcept;

// One for each port, in the order of the links, or lo alone where there is no port.
std::vector<Interface> interfaces_of(const config::Config& config);

}  // namespace shunt::socket
