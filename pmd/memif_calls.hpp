// What must be known across the moment when memif's connection goes: EAL's interrupt thread unmaps the rings while a stack may be
// reading them. memif's own close() is renamed to ours (memif_calls.syms); it waits until every burst has been left.
// Knows nothing of DPDK. `Gates` is shared by all processes that use the ports, the rest belongs to the process.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace shunt::pmd::memif {

inline constexpr std::size_t ports_max = 32;

struct alignas(64) Gate {
    std::atomic<std::uint32_t> busy{0};      // somebody is inside a burst
    std::atomic<int> doorbell_fd{-1};        // the ring's event descriptor that is in our epoll set
};
struct Gates {
    alignas(64) std::atomic<std::uint32_t> generation{0};   // counts mappings of rings by whichever process
    std::array<Gate, ports_max> of{};
};

// Mapped before the first memif port; null until then.
extern Gates* gates;
// The generation up to which this process is known to have the port's rings mapped. A fork inherits it; a connection that another
// process makes afterwards raises `generation` only, and the rings must not be touched here.
extern std::array<std::uint32_t, ports_max> seen;

bool create_gates() noexcept;
// True when `address` lies in rings that this process has mapped (or had when it forked).
bool is_mapped_here(const void* address) noexcept;
// The descriptor that memif connected last, in this thread; still_open: it has not closed it since.
int last_connected() noexcept;
bool is_still_open(int fd) noexcept;
// Called, in EAL's thread, when memif has closed something: the link may be down.
void set_on_close(void (*callback)()) noexcept;

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
