// Time as the stack knows it: a point and a span on a clock that cannot be read.
// Whoever calls the stack reads a real clock (see pmd/clock.hpp) or invents one (tests) and passes the result down;
// since StackClock has no now(), reading the time below Stack::poll does not compile.
#pragma once

#include <chrono>
#include <cstdint>

namespace shunt {

struct StackClock {
    using rep = std::int64_t;
    using period = std::nano;
    using duration = std::chrono::duration<rep, period>;
    using time_point = std::chrono::time_point<StackClock>;
    static constexpr bool is_steady = true;
};

using Duration = StackClock::duration;
using Time = StackClock::time_point;

// A deadline that never comes.
inline constexpr Time never = Time::max();

// t + d, where "never" and very long spans stay "never" instead of wrapping.
constexpr Time saturating_add(Time t, Duration d) noexcept {
    return d >= never - t ? never : t + d;
}

constexpr std::int64_t count_us(Duration d) noexcept {
    return std::chrono::duration_cast<std::chrono::microseconds>(d).count();
}
constexpr std::int64_t count_ms(Duration d) noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

}  // namespace shunt
