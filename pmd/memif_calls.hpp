// What must be known across the moment when memif's connection goes: EAL's interrupt thread unmaps the rings while a stack may be
// reading them. memif's own close() is renamed to ours (memif_calls.syms); it waits until every burst has been left. So are the reads and writes of its
// bells, whose descriptors have other numbers in other processes. Knows nothing of DPDK.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pmd/memif_sharing.hpp"

namespace shunt::pmd::memif {

// The descriptor that memif connected last, in this thread; still_open: it has not closed it since.
int last_connected() noexcept;
bool is_still_open(int fd) noexcept;
// The control channels that are open; how many.
std::size_t connected(std::span<int> to) noexcept;
// Called, in EAL's loop, before memif closes a descriptor, and after: the link may be down.
void set_on_close(void (*before)(int fd), void (*after)()) noexcept;

// Keeps the rings in place for as long as it lives.
class Inside {
public:
    explicit Inside(std::uint16_t port) noexcept : gate_(gates->of[port]) {
        gate_.busy.store(1, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);   // the other side sleeps before it looks: no fence needed here
    }
    ~Inside() { gate_.busy.store(0, std::memory_order_release); }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

private:
    Gate& gate_;
};

}  // namespace shunt::pmd::memif
