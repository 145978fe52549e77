// Who is who on a memif wire: the first program to come is the server, the second the client; a third is refused. Each end is claimed by
// its name (claim.hpp).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "pmd/claim.hpp"

namespace shunt::pmd::memif {

struct End {
    bool is_server = false;
    Claim claim;  // held as long as the port lives
};

// Takes the first end of the wire that is free, or whose keeper leaves. EBUSY when programs have both.
Outcome<End> claim_end(const std::string& wire);

// DPDK's device arguments for this end.
std::string device_arguments(const std::string& wire, const End& end);

// Which end a port is.
void note_end(std::uint16_t port, const End& end) noexcept;

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
