// Who is who on a memif wire: the first program to come is the server, the second the client; a third is refused. Each end is claimed by
// binding an abstract socket of the wire's name, which the kernel gives back when the program ends, however it does.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace shunt::pmd::memif {

struct Claim {
    bool is_server = false;
    int fd = -1;  // of the claim; held as long as the port lives
};

// Takes the first free end of the wire. EBUSY when both are taken.
Outcome<Claim> claim_end(const std::string& wire);

// DPDK's device arguments for this end.
std::string device_arguments(const std::string& wire, const Claim& claim);

// Remembers which claim belongs to a port; give_back() lets it go.
void keep(std::uint16_t port, const Claim& claim) noexcept;
void give_back(std::uint16_t port) noexcept;

}  // namespace shunt::pmd::memif
