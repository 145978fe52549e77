// The stack's lock: process-shared and robust. Uncontended it costs one atomic exchange each way; contended it spins, then sleeps on
// a futex; a waiter notices that the holder has died.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/sys.hpp"

namespace shunt {

class RobustLock {
public:
    enum class Outcome { taken, taken_from_dead };

    Outcome lock(std::uint32_t tid) noexcept {
        std::uint32_t expected = 0;
        if (__builtin_expect(word_.compare_exchange_strong(expected, tid, std::memory_order_acquire, std::memory_order_relaxed), true)) {
            return Outcome::taken;
        }
        return lock_contended(tid);
    }
    bool try_lock(std::uint32_t tid) noexcept {
        std::uint32_t expected = 0;
        return word_.compare_exchange_strong(expected, tid, std::memory_order_acquire, std::memory_order_relaxed);
    }
    void unlock() noexcept {
        if (__builtin_expect((word_.exchange(0, std::memory_order_release) & sleepers_bit) != 0, false)) {
            wake_one();
        }
    }
    // Somebody has given up spinning and sleeps: a holder that only polls should let go.
    bool is_wanted() const noexcept { return is_spun_for_.load(std::memory_order_relaxed) || (word_.load(std::memory_order_relaxed) & sleepers_bit) != 0; }
    // It has been free for a while and nobody took it: who spun for it has died. One who lives says so again.
    void forget_spinners() noexcept { is_spun_for_.store(false, std::memory_order_relaxed); }
    std::uint32_t holder() const noexcept { return word_.load(std::memory_order_relaxed) & ~sleepers_bit; }

private:
    static constexpr std::uint32_t sleepers_bit = 0x8000'0000;
    Outcome lock_contended(std::uint32_t tid) noexcept;
    void wake_one() noexcept;

    std::atomic<std::uint32_t> word_{0};      // holder's thread id; the top bit says that somebody may sleep
    std::atomic<bool> is_spun_for_{false};    // by somebody, not long ago
};

}  // namespace shunt
