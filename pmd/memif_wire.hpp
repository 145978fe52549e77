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

// Watches the started port from EAL's thread: a client whose server has gone tries again every 10 ms, and whoever sleeps on the doorbell
// is woken when the link comes up.
void watch(std::uint16_t port) noexcept;
void unwatch(std::uint16_t port) noexcept;

// A descriptor to sleep on. memif's own exists only while the link is up and changes with each connection, so this is an epoll set
// around it. -1 where the driver's inside is not what memif_driver.hpp says.
int create_doorbell(std::uint16_t port, const void* pool) noexcept;
void arm(std::uint16_t port) noexcept;
void disarm(std::uint16_t port) noexcept;

// Whether this process has the rings mapped that the port uses now; fetches them where it has not.
bool may_touch_rings(std::uint16_t port) noexcept;

}  // namespace shunt::pmd::memif
