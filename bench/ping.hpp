// What the three ping-pong programs (wire_ping, native_ping, socket_ping) have in common: arguments, the clock, the percentiles and the line
// they print. The same code measures every path, so the paths differ in nothing else. Knows nothing of Shunt.
#pragma once

#include <x86intrin.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace bench {

inline constexpr std::size_t payload_bytes = 64;
inline constexpr double warm_up_seconds = 0.15;
inline constexpr double lost_after_seconds = 0.05;  // a message without an answer is sent again after so long, and not counted

[[noreturn]] inline void die(const char* what, const char* why) {
    std::fprintf(stderr, "%s: %s\n", what, why);
    std::exit(1);
}

// The time-stamp counter, held against the kernel's clock.
class Ticks {
public:
    Ticks() {
        const auto start = std::chrono::steady_clock::now();
        const std::uint64_t first = __rdtsc();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        const std::uint64_t last = __rdtsc();
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
        per_second_ = static_cast<double>(last - first) / passed.count();
    }
    std::uint64_t of_seconds(double seconds) const noexcept { return static_cast<std::uint64_t>(seconds * per_second_); }
    double to_ns(double ticks) const noexcept { return ticks / per_second_ * 1e9; }
    double per_second() const noexcept { return per_second_; }

private:
    double per_second_ = 1;
};

// Counts by logarithm with 256 steps an octave: values are right to 0.4 per cent, and few cache lines are touched.
class Histogram {
public:
    void add(std::uint64_t ticks) noexcept {
        ++counts_[index_of(ticks)];
        ++total_;
    }
    std::uint64_t total() const noexcept { return total_; }
    double percentile(double percent) const noexcept {
        const double wanted = static_cast<double>(total_) * percent / 100;
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            seen += counts_[i];
            if (seen != 0 && static_cast<double>(seen) >= wanted) {
                return middle_of(i);
            }
        }
        return 0;
    }

private:
    static constexpr unsigned step_bits = 8, octaves = 36;
    static std::size_t index_of(std::uint64_t ticks) noexcept {
        const auto width = static_cast<unsigned>(std::bit_width(ticks | (1U << step_bits)));
        const unsigned shift = width - step_bits - 1 < octaves - 1 ? width - step_bits - 1 : octaves - 1;
        const std::uint64_t step = ticks >> shift;
        return shift * (1U << step_bits) + static_cast<std::size_t>(step < (2U << step_bits) ? step : (2U << step_bits) - 1);
    }
    static double middle_of(std::size_t index) noexcept {
        const std::size_t octave = index >> step_bits;
        const std::size_t shift = octave == 0 ? 0 : octave - 1;
        const std::size_t step = index - (shift << step_bits);
        return (static_cast<double>(step) + (shift == 0 ? 0 : 0.5)) * static_cast<double>(std::uint64_t{1} << shift);
    }
    std::array<std::uint32_t, (octaves + 1) << step_bits> counts_{};
    std::uint64_t total_ = 0;
};

// Runs `exchange(give_up_at)` for so many seconds after a warm-up and prints the result. `exchange` makes one round trip and returns true, or false when
// no answer came before the counter stood at `give_up_at`. The end of one round trip is the start of the next: one clock read a message.
template <class Exchange>
void ping_for(double seconds, Exchange exchange) {
    const Ticks ticks;
    static Histogram histogram;
    const std::uint64_t patience = ticks.of_seconds(lost_after_seconds);
    const std::uint64_t warm_until = __rdtsc() + ticks.of_seconds(warm_up_seconds);
    unsigned lost = 0, lost_in_warm_up = 0;
    std::uint64_t at = __rdtsc();
    for (; at < warm_until; at = __rdtsc()) {
        if (!exchange(at + patience) && ++lost_in_warm_up > 200) {
            die("client", "no answer in 10 seconds");
        }
    }
    const std::uint64_t start = at;
    const std::uint64_t end = start + ticks.of_seconds(seconds);
    while (at < end) {
        const bool answered = exchange(at + patience);
        const std::uint64_t now = __rdtsc();
        if (answered) {
            histogram.add(now - at);
        } else if (++lost > 200) {
            die("client", "more than 200 messages were lost");
        }
        at = now;
    }
    const auto half_ns = [&](double percent) { return ticks.to_ns(histogram.percentile(percent)) / 2; };
    std::printf("result %.1f %.1f %.1f %.0f %u\n", half_ns(50), half_ns(99), half_ns(99.9),
                static_cast<double>(histogram.total()) / (static_cast<double>(at - start) / ticks.per_second()), lost);
    std::fflush(stdout);
}

inline void say_ready() {
    std::puts("ready");
    std::fflush(stdout);
}

}  // namespace bench
