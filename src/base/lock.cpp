#include "base/lock.hpp"

#include <linux/futex.h>

#include <cerrno>

namespace shunt {
namespace {

constexpr int spins = 200;
constexpr long sleep_ns = 20'000'000;  // how soon the death of a holder is noticed

// A process that nobody has waited for yet still takes signals; its pidfd says that it has ended. (A thread vanishes when it ends.)
bool has_ended(std::uint32_t tid) noexcept {
    const long pidfd = sys::call(SYS_pidfd_open, static_cast<long>(tid), 0);
    if (pidfd < 0) {
        return false;
    }
    pollfd waits{static_cast<int>(pidfd), POLLIN, 0};
    constexpr timespec at_once{0, 0};
    const bool ended = sys::ppoll(&waits, 1, &at_once, nullptr) == 1 && (waits.revents & POLLIN) != 0;
    sys::close(static_cast<int>(pidfd));
    return ended;
}

bool is_dead(std::uint32_t tid) noexcept {
    return tid != 0 && (sys::call(SYS_tkill, static_cast<long>(tid), 0) == -ESRCH || has_ended(tid));
}

}  // namespace

RobustLock::Outcome RobustLock::lock_contended(std::uint32_t tid) noexcept {
    std::uint32_t mine = tid;
    Outcome outcome = Outcome::taken;
    for (int i = 0;; ++i) {
        std::uint32_t seen = word_.load(std::memory_order_relaxed);
        if (seen == 0) {
            if (word_.compare_exchange_weak(seen, mine, std::memory_order_acquire, std::memory_order_relaxed)) {
                break;
            }
            continue;
        }
        if (i < spins) {
            if (!is_spun_for_.load(std::memory_order_relaxed)) {
                is_spun_for_.store(true, std::memory_order_relaxed);
            }
            __builtin_ia32_pause();
            continue;
        }
        // From here on we may leave others asleep behind us, so we take the lock with the bit set: one wake too many, never one too few.
        mine = tid | sleepers_bit;
        if ((seen & sleepers_bit) == 0 && !word_.compare_exchange_weak(seen, seen | sleepers_bit, std::memory_order_relaxed)) {
            continue;
        }
        const timespec timeout{0, sleep_ns};
        const long slept = sys::futex(reinterpret_cast<std::uint32_t*>(&word_), FUTEX_WAIT, seen | sleepers_bit, &timeout);
        if (slept == -ETIMEDOUT && is_dead(seen & ~sleepers_bit)) {
            std::uint32_t dead = seen | sleepers_bit;
            if (word_.compare_exchange_strong(dead, mine, std::memory_order_acquire, std::memory_order_relaxed)) {
                outcome = Outcome::taken_from_dead;
                break;
            }
        }
    }
    forget_spinners();  // the others will say so
    return outcome;
}

void RobustLock::wake_one() noexcept {
    sys::futex(reinterpret_cast<std::uint32_t*>(&word_), FUTEX_WAKE, 1);
}

}  // namespace shunt
