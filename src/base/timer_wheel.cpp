#include "base/timer_wheel.hpp"

#include <algorithm>
#include <bit>

namespace shunt {

TimerWheel::TimerWheel(Time now) noexcept : tick_(tick_of(now)) {}

void TimerWheel::arm(Timer& timer, Time deadline) noexcept {
    if (timer.is_armed) {
        unlink(timer);
    }
    timer.deadline = deadline;
    link(timer);
    next_ = std::min(next_, deadline);
}

void TimerWheel::cancel(Timer& timer) noexcept {
    if (timer.is_armed) {
        unlink(timer);
    }
}

// A timer sits in the slot of the tick in which it is certainly due (its deadline rounded up), at the lowest level whose span
// reaches there.
void TimerWheel::link(Timer& timer) noexcept {
    const Time deadline = std::max(timer.deadline, Time{});
    std::uint64_t due = tick_of(deadline == never ? deadline : deadline + Duration((1 << tick_bits) - 1));
    due = std::max(due, tick_);
    unsigned level = 0;
    const std::uint64_t distance = due ^ tick_;
    while (level + 1 < levels && distance >> (slot_bits * (level + 1)) != 0) {
        ++level;
    }
    std::uint64_t index = due >> (slot_bits * level);
    const std::uint64_t here = tick_ >> (slot_bits * level);
    if (level + 1 == levels && index - here >= slots) {
        index = here + slots - 1;  // beyond the wheel: wait in the last slot and be placed again from there
    }
    timer.slot = static_cast<std::uint16_t>(level * slots + (index & (slots - 1)));
    Timer*& head = heads_[timer.slot];
    timer.previous = nullptr;
    timer.next = head;
    if (head != nullptr) {
        head->previous = &timer;
    }
    head = &timer;
    occupied_[level] |= std::uint64_t{1} << (index & (slots - 1));
    timer.is_armed = true;
    ++armed_;
}

void TimerWheel::unlink(Timer& timer) noexcept {
    if (timer.previous != nullptr) {
        timer.previous->next = timer.next;
    } else {
        heads_[timer.slot] = timer.next;
        if (timer.next == nullptr) {
            occupied_[timer.slot / slots] &= ~(std::uint64_t{1} << (timer.slot % slots));
        }
    }
    if (timer.next != nullptr) {
        timer.next->previous = timer.previous;
    }
    timer.next = timer.previous = nullptr;
    timer.is_armed = false;
    --armed_;
}

void TimerWheel::cascade(unsigned level) noexcept {
    const std::uint64_t index = (tick_ >> (slot_bits * level)) & (slots - 1);
    if (index == 0 && level + 1 < levels) {
        cascade(level + 1);
    }
    Timer* timer = heads_[level * slots + index];
    heads_[level * slots + index] = nullptr;
    occupied_[level] &= ~(std::uint64_t{1} << index);
    while (timer != nullptr) {
        Timer* next = timer->next;
        --armed_;
        link(*timer);
        timer = next;
    }
}

// The tick of the next slot ahead that holds a timer, at the lowest level that has one: nothing is due, and nothing cascades, before it.
std::uint64_t TimerWheel::next_occupied() const noexcept {
    for (unsigned level = 0; level < levels; ++level) {
        const unsigned shift = slot_bits * level;
        const unsigned here = static_cast<unsigned>((tick_ >> shift) & (slots - 1));
        const std::uint64_t turn = (tick_ >> shift) & ~std::uint64_t{slots - 1};
        const std::uint64_t ahead = here + 1 < slots ? occupied_[level] >> (here + 1) << (here + 1) : 0;
        if (ahead != 0) {
            return (turn + static_cast<unsigned>(std::countr_zero(ahead))) << shift;
        }
        if (level + 1 == levels && occupied_[level] != 0) {
            return (turn + slots) << shift;  // the highest level goes round
        }
    }
    return ~std::uint64_t{0};
}

Timer* TimerWheel::pop_due(Time now) noexcept {
    const std::uint64_t target = tick_of(now);
    while (true) {
        if (Timer* timer = heads_[tick_ & (slots - 1)]; timer != nullptr && tick_ <= target) {
            unlink(*timer);
            return timer;
        }
        if (tick_ >= target) {
            break;
        }
        tick_ = std::min(next_occupied(), target);
        if ((tick_ & (slots - 1)) == 0) {
            cascade(1);
        }
    }
    find_next();
    return nullptr;
}

void TimerWheel::find_next() noexcept {
    next_ = never;
    if (armed_ == 0) {
        return;
    }
    for (unsigned level = 0; level < levels; ++level) {
        const unsigned shift = slot_bits * level;
        const unsigned here = static_cast<unsigned>((tick_ >> shift) & (slots - 1));
        const std::uint64_t from = level == 0 ? occupied_[0] >> here << here : (here + 1 < slots ? occupied_[level] >> (here + 1) << (here + 1) : 0);
        std::uint64_t slot_tick;
        if (from != 0) {
            slot_tick = ((tick_ >> shift) & ~std::uint64_t{slots - 1}) + static_cast<unsigned>(std::countr_zero(from));
        } else if (occupied_[level] != 0) {
            slot_tick = ((tick_ >> shift) & ~std::uint64_t{slots - 1}) + slots;  // wrapped: not before the next turn
        } else {
            continue;
        }
        const Time at{Duration(static_cast<std::int64_t>((slot_tick << shift) << tick_bits))};
        next_ = std::min(next_, at);
    }
}

bool TimerWheel::is_valid() const noexcept {
    std::uint32_t count = 0;
    for (unsigned i = 0; i < heads_.size(); ++i) {
        if ((heads_[i] != nullptr) != ((occupied_[i / slots] >> (i % slots)) & 1)) {
            return false;
        }
        for (const Timer* timer = heads_[i]; timer != nullptr; timer = timer->next) {
            ++count;
            if (!timer->is_armed || timer->slot != i) {
                return false;
            }
        }
    }
    return count == armed_;
}

}  // namespace shunt
