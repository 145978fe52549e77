// The packet pool: one for all ports of a process, so that a frame received on one may leave through another.
#pragma once

#include <cstdint>

#include "base/result.hpp"

struct rte_mempool;

namespace shunt::pmd {

// The process's pool, created with `packets` at the first call; the number is that of the first call. Counts its users.
Outcome<rte_mempool*> use_packet_pool(std::uint32_t packets);
// Gives one use back; the last one frees the pool if no packet is out, else it stays for the next.
void release_packet_pool() noexcept;

}  // namespace shunt::pmd
