// The real clock: the processor's time-stamp counter, scaled to nanoseconds. Plain data, so that it may live in the shared arena and give
// all processes of a stack the same time. Starts at about one second, so that "a while ago" is never negative.
#pragma once

#include <x86intrin.h>

#include <cstdint>

#include "base/time.hpp"

namespace shunt::pmd {

class TscClock {
public:
    // Measures the counter against the kernel's clock; takes about 10 ms. Accurate to some 10 parts in a million.
    static TscClock calibrated() noexcept;

    // A clock of `ticks_per_second`, which reads one second at `start_ticks`.
    static constexpr TscClock from_rate(double ticks_per_second, std::uint64_t start_ticks) noexcept {
        TscClock clock;
        clock.start_ = start_ticks;
        clock.ns_per_tick_q32_ = static_cast<std::uint64_t>(1e9 / ticks_per_second * 4294967296.0 + 0.5);
        return clock;
    }

    // A clock that stands still at `time`: whoever holds it moves time by replacing it (virtual time).
    static constexpr TscClock standing_at(Time time) noexcept {
        TscClock clock;
        clock.first_ns_ = time.time_since_epoch().count();
        return clock;
    }

    Time now() const noexcept { return at(__rdtsc()); }
    constexpr Time at(std::uint64_t ticks) const noexcept {
        // 128 bits in between: 64 would overflow after a few seconds.
        const auto ns = (static_cast<unsigned __int128>(ticks - start_) * ns_per_tick_q32_) >> 32;
        return Time(Duration(first_ns_ + static_cast<std::int64_t>(ns)));
    }
    constexpr double ticks_per_second() const noexcept { return 1e9 * 4294967296.0 / static_cast<double>(ns_per_tick_q32_); }

private:
    std::uint64_t start_ = 0;
    std::uint64_t ns_per_tick_q32_ = 0;  // 32.32 fixed point
    std::int64_t first_ns_ = 1'000'000'000;
};

}  // namespace shunt::pmd
