// Calibrating the time-stamp counter. EAL has a rate of its own, but rounds it to 10 MHz: up to 0.2% off.
#include "pmd/clock.hpp"

#include <time.h>

#include <cstdint>

#include "base/sys.hpp"

namespace shunt::pmd {
namespace {

struct Pair {
    std::uint64_t ticks;
    std::int64_t ns;
};

std::int64_t kernel_ns() noexcept {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_RAW, &time);
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// Both clocks at one moment: of some readings the one whose bracket is the narrowest, since that was not interrupted.
Pair read_both() noexcept {
    Pair best{};
    std::uint64_t narrowest = ~std::uint64_t{0};
    for (int i = 0; i < 16; ++i) {
        const std::uint64_t before = __rdtsc();
        const std::int64_t ns = kernel_ns();
        const std::uint64_t width = __rdtsc() - before;
        if (width < narrowest) {
            narrowest = width;
            best = {before + width / 2, ns};
        }
    }
    return best;
}

}  // namespace

TscClock TscClock::calibrated() noexcept {
    const Pair first = read_both();
    const timespec pause{0, 10'000'000};
    sys::call(SYS_nanosleep, sys::word(&pause), 0);
    const Pair last = read_both();
    const double seconds = static_cast<double>(last.ns - first.ns) * 1e-9;
    return from_rate(static_cast<double>(last.ticks - first.ticks) / seconds, first.ticks);
}

}  // namespace shunt::pmd
