// Timers of one stack: a hierarchical wheel, five levels of 64 slots, tick 65.536 us, so 19 hours; later deadlines wait in the last
// slot and go round again. Arming, cancelling and expiring are O(1); a timer never fires early, and at most a tick late.
#pragma once

#include <array>
#include <cstdint>

#include "base/time.hpp"

namespace shunt {

// Embedded in what it times; `kind` says what that is, `owner` where.
struct Timer {
    Timer* next = nullptr;
    Timer* previous = nullptr;
    void* owner = nullptr;
    Time deadline = never;
    std::uint16_t slot = 0;  // level * 64 + index; meaningful while armed
    std::uint8_t kind = 0;
    bool is_armed = false;
};

class TimerWheel {
public:
    explicit TimerWheel(Time now = Time{}) noexcept;

    void arm(Timer& timer, Time deadline) noexcept;  // also re-arms
    void cancel(Timer& timer) noexcept;              // does nothing when not armed

    // The next timer that is due at `now`, disarmed; null when there is none. Call until null.
    Timer* pop_due(Time now) noexcept;
    // No timer is due before this; may be early (then pop_due finds nothing and the answer moves on).
    Time next_deadline() const noexcept { return next_; }
    std::uint32_t armed() const noexcept { return armed_; }
    bool is_valid() const noexcept;

private:
    static constexpr unsigned levels = 5, slot_bits = 6, slots = 1U << slot_bits, tick_bits = 16;

    void link(Timer& timer) noexcept;
    void unlink(Timer& timer) noexcept;
    void cascade(unsigned level) noexcept;
    std::uint64_t next_occupied() const noexcept;
    void find_next() noexcept;
    static std::uint64_t tick_of(Time t) noexcept { return static_cast<std::uint64_t>(t.time_since_epoch().count()) >> tick_bits; }

    std::array<Timer*, levels * slots> heads_{};
    std::array<std::uint64_t, levels> occupied_{};  // one bit a slot
    std::uint64_t tick_ = 0;                        // everything before it has been expired
    Time next_ = never;
    std::uint32_t armed_ = 0;
};

}  // namespace shunt
