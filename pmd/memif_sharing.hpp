// memif's rings and bells in every process that uses the port. One process, the owner, runs EAL's loop, and there connections come and go; the others
// fetch what it has: descriptors of the rings, which lie at the same addresses everywhere, in a window reserved before the first fork, and of the
// eventfds by which the two ends wake each other.
//
// The owner keeps one message in a socket that all have inherited, and the others look at it without taking it (MSG_PEEK gives copies of the
// descriptors). So nobody waits for anybody, whoever holds the stack's lock. Knows nothing of DPDK.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace shunt::pmd::memif {

inline constexpr std::size_t ports_max = 32;

struct alignas(64) Gate {
    std::atomic<std::uint32_t> busy{0};      // somebody is inside a burst
};
// Shared by all processes that use the ports.
struct Gates {
    alignas(64) std::atomic<std::uint32_t> generation{1};   // counts mappings of rings; a process that has fetched none has seen 0
    std::array<Gate, ports_max> of{};
};

// Made before the first memif port; null until then.
extern Gates* gates;
// The generation that this process is known to have for a port. A fork inherits it.
extern std::array<std::uint32_t, ports_max> seen;

// Maps the gates, reserves the window, opens the mailbox. False where there is no memory or no descriptor.
bool create_gates() noexcept;

// Who connects: at first the process that opens the ports, then the keeper.
bool is_owner() noexcept;
void set_owner(bool is) noexcept;

// For the owner: what memif's mmap and munmap are. -errno; the mapping lies in the window as long as there is room.
long map_rings(std::size_t size, int protection, int flags, int fd, long offset) noexcept;
long unmap_rings(void* address, std::size_t size) noexcept;
// True when `address` lies in rings that this process has mapped (or had when it forked).
bool is_mapped_here(const void* address) noexcept;

// For the owner: puts the rings and these bells, and what else is to stay open, into the mailbox. Once a generation, when a link is up.
void share(std::span<const int> bells) noexcept;
// For the others: false when the owner has not shared the present generation yet.
bool fetch() noexcept;
// The descriptor, in this process, of the owner's bell `number`; -1: not fetched.
int bell_here(int number) noexcept;

// Returns when every burst that had begun is over. memif has marked its port before, so whoever begins after this sees that.
void wait_for_bursts() noexcept;

}  // namespace shunt::pmd::memif
