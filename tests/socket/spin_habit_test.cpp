#include "socket/spin_habit.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace shunt::socket {
namespace {

// How many waits pass before each of the next `count` spins, all of which miss.
std::vector<int> pauses(SpinHabit& habit, int count) {
    std::vector<int> found;
    for (int i = 0; i < count; ++i) {
        int waits = 0;
        while (!habit.spins_now()) {
            ++waits;
        }
        habit.miss();
        found.push_back(waits);
    }
    return found;
}

TEST(SpinHabit, spins_in_each_wait_while_that_pays) {
    SpinHabit habit;
    for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(habit.spins_now());
        habit.hit();
    }
}

TEST(SpinHabit, spins_ever_more_rarely_where_it_does_not_pay) {
    SpinHabit habit;
    EXPECT_EQ(pauses(habit, 10), (std::vector{0, 1, 2, 4, 8, 16, 32, 64, 64, 64}));
}

TEST(SpinHabit, one_hit_brings_it_back) {
    SpinHabit habit;
    pauses(habit, 8);
    while (!habit.spins_now()) {
    }
    habit.hit();
    EXPECT_EQ(pauses(habit, 3), (std::vector{0, 1, 2}));
}

}  // namespace
}  // namespace shunt::socket
