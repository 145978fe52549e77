// The timer wheel: never early, at most a tick late, whatever the distance and however time jumps.
#include "base/timer_wheel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/random.hpp"

namespace shunt {
namespace {

using namespace std::chrono_literals;

constexpr Duration tick{65'536};

Time at(Duration d) { return Time{} + d; }

// The tick at whose end a deadline is certainly over.
Time due_of(Time deadline) {
    const auto ns = deadline.time_since_epoch().count();
    return Time{Duration((ns + tick.count() - 1) / tick.count() * tick.count())};
}

TEST(TimerWheel, fires_a_timer_after_its_deadline_and_within_a_tick) {
    for (const Duration distance : {Duration(1), Duration(1us), Duration(65'536), Duration(65'537), Duration(1ms), Duration(40ms), Duration(1s), Duration(60s), Duration(2h), Duration(20h), Duration(49h)}) {
        TimerWheel wheel(at(1s));
        Timer timer;
        wheel.arm(timer, at(1s) + distance);
        EXPECT_EQ(wheel.pop_due(at(1s) + distance - Duration(1)), nullptr) << distance.count();
        EXPECT_EQ(wheel.pop_due(at(1s) + distance + tick), &timer) << distance.count();
        EXPECT_FALSE(timer.is_armed);
        EXPECT_EQ(wheel.armed(), 0U);
    }
}

TEST(TimerWheel, fires_a_deadline_in_the_past_at_once) {
    TimerWheel wheel(at(10s));
    Timer timer;
    wheel.arm(timer, at(1s));
    EXPECT_LE(wheel.next_deadline(), at(10s));
    EXPECT_EQ(wheel.pop_due(at(10s)), &timer);
}

TEST(TimerWheel, keeps_a_deadline_that_never_comes) {
    TimerWheel wheel(at(1s));
    Timer timer;
    wheel.arm(timer, never);
    EXPECT_EQ(wheel.pop_due(at(100h)), nullptr);
    EXPECT_TRUE(timer.is_armed);
    EXPECT_TRUE(wheel.is_valid());
}

TEST(TimerWheel, forgets_a_cancelled_timer) {
    TimerWheel wheel(at(1s));
    Timer timer;
    wheel.cancel(timer);
    wheel.arm(timer, at(2s));
    wheel.cancel(timer);
    wheel.cancel(timer);
    EXPECT_EQ(wheel.pop_due(at(3s)), nullptr);
    EXPECT_EQ(wheel.armed(), 0U);
    EXPECT_EQ(wheel.next_deadline(), never);
}

TEST(TimerWheel, fires_a_rearmed_timer_once_at_its_new_deadline) {
    TimerWheel wheel(at(1s));
    Timer timer;
    wheel.arm(timer, at(2s));
    wheel.arm(timer, at(5s));
    EXPECT_EQ(wheel.armed(), 1U);
    EXPECT_EQ(wheel.pop_due(at(4s)), nullptr);
    EXPECT_EQ(wheel.pop_due(at(5s) + tick), &timer);
    EXPECT_EQ(wheel.pop_due(at(9s)), nullptr);
}

TEST(TimerWheel, lets_an_expired_timer_be_armed_again_from_its_own_expiry) {
    TimerWheel wheel(at(1s));
    Timer timer;
    int fired = 0;
    wheel.arm(timer, at(1s) + 1ms);
    for (Time now = at(1s); now <= at(2s); now += 1ms) {
        while (Timer* due = wheel.pop_due(now)) {
            ++fired;
            wheel.arm(*due, now + 10ms);
        }
    }
    EXPECT_NEAR(fired, 99, 10);
}

TEST(TimerWheel, says_when_it_wants_to_be_called_not_later_than_the_first_timer) {
    TimerWheel wheel(at(1s));
    EXPECT_EQ(wheel.next_deadline(), never);
    Timer near, far;
    wheel.arm(far, at(2h));
    wheel.arm(near, at(1s) + 40ms);
    EXPECT_LE(wheel.next_deadline(), at(1s) + 40ms);
    // Following its answers leads to every timer, and not after millions of them.
    std::vector<Timer*> order;
    int calls = 0;
    while (wheel.armed() != 0 && ++calls < 1000) {
        while (Timer* due = wheel.pop_due(wheel.next_deadline())) {
            order.push_back(due);
        }
    }
    EXPECT_EQ(order, (std::vector<Timer*>{&near, &far}));
    EXPECT_LT(calls, 20);
}

class TimerWheelAgainstAMap : public ::testing::TestWithParam<std::uint64_t> {};

class Reference {
public:
    explicit Reference(std::uint64_t seed) : random_(seed), timers_(300), wheel_(now_) {}

    void step() {
        Timer& timer = timers_[random_.below(static_cast<std::uint32_t>(timers_.size()))];
        switch (random_.below(8)) {
            case 0: case 1: case 2: case 3:
                forget(timer);
                expected_.emplace(now_ + random_span(), &timer);
                wheel_.arm(timer, find(timer)->first);
                break;
            case 4:
                forget(timer);
                wheel_.cancel(timer);
                break;
            case 5:
                now_ += random_span();
                expire();
                break;
            default:
                now_ = std::max(now_, std::min(wheel_.next_deadline(), now_ + Duration(1h)));
                expire();
                break;
        }
        ASSERT_TRUE(wheel_.is_valid());
        ASSERT_EQ(wheel_.armed(), expected_.size());
        if (!expected_.empty()) {
            ASSERT_LE(wheel_.next_deadline(), due_of(std::max(expected_.begin()->first, Time{})));
        }
    }

private:
    using Expected = std::multimap<Time, Timer*>;
    Expected::iterator find(Timer& timer) {
        return std::find_if(expected_.begin(), expected_.end(), [&](const auto& entry) { return entry.second == &timer; });
    }
    void forget(Timer& timer) {
        if (auto it = find(timer); it != expected_.end()) {
            expected_.erase(it);
        }
    }
    Duration random_span() {
        const Duration unit = std::array<Duration, 6>{1us, 100us, 10ms, 1s, 5min, 8h}[random_.below(6)];
        return Duration(static_cast<std::int64_t>(random_.next() % static_cast<std::uint64_t>(unit.count() * 4)));
    }
    void expire() {
        while (Timer* timer = wheel_.pop_due(now_)) {
            const auto entry = find(*timer);
            ASSERT_NE(entry, expected_.end());
            ASSERT_LE(entry->first, now_) << "early";
            expected_.erase(entry);
        }
        if (!expected_.empty()) {
            ASSERT_GT(expected_.begin()->first, now_ - tick) << "late";
        }
    }

    Random random_;
    Time now_ = at(1s);
    std::vector<Timer> timers_;
    TimerWheel wheel_;
    Expected expected_;
};

TEST_P(TimerWheelAgainstAMap, fires_what_the_map_says_when_it_says_so) {
    Reference reference(GetParam());
    for (int i = 0; i < 3000 && !HasFatalFailure(); ++i) {
        reference.step();
    }
    EXPECT_FALSE(HasFatalFailure()) << "seed " << GetParam();
}
INSTANTIATE_TEST_SUITE_P(Seeds, TimerWheelAgainstAMap, ::testing::Range<std::uint64_t>(1, 21));

}  // namespace
}  // namespace shunt
