// What --fault takes, and the exact line that says why it does not.
#include <gtest/gtest.h>

#include "pmd/fault.hpp"

namespace shunt::pmd {
namespace {

std::string refusal(std::string_view text) {
    const auto parsed = parse_fault_options(text);
    return parsed ? "" : parsed.error().message;
}

TEST(FaultOption, EveryKeyIsRead) {
    const auto parsed = parse_fault_options("drop=0.01,duplicate=0.02,reorder=0.03,corrupt=0.004,delay_us=100,jitter_us=20,seed=7,side=both");
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->drop, 0.01);
    EXPECT_EQ(parsed->duplicate, 0.02);
    EXPECT_EQ(parsed->reorder, 0.03);
    EXPECT_EQ(parsed->corrupt, 0.004);
    EXPECT_EQ(parsed->delay, std::chrono::microseconds(100));
    EXPECT_EQ(parsed->jitter, std::chrono::microseconds(20));
    EXPECT_EQ(parsed->seed, 7U);
    EXPECT_EQ(parsed->side, FaultSide::both);
}

TEST(FaultOption, WhatIsNotSaidIsNoFaultAndWhatWeSend) {
    const auto parsed = parse_fault_options("seed=3");
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->drop + parsed->duplicate + parsed->reorder + parsed->corrupt, 0);
    EXPECT_EQ(parsed->delay, Duration::zero());
    EXPECT_EQ(parsed->side, FaultSide::tx);
}

TEST(FaultOption, RatesAreFromZeroToOne) {
    EXPECT_EQ(refusal("drop=0"), "");
    EXPECT_EQ(refusal("drop=1"), "");
    EXPECT_EQ(refusal("drop=1e-3"), "");
    EXPECT_EQ(refusal("drop=1.5"), "--fault drop=1.5: give a rate from 0 to 1, such as drop=0.01");
    EXPECT_EQ(refusal("seed=1,corrupt=-0.1"), "--fault corrupt=-0.1: give a rate from 0 to 1, such as drop=0.01");
    EXPECT_EQ(refusal("duplicate=nan"), "--fault duplicate=nan: give a rate from 0 to 1, such as drop=0.01");
    EXPECT_EQ(refusal("reorder=1%"), "--fault reorder=1%: give a rate from 0 to 1, such as drop=0.01");
    EXPECT_EQ(refusal("drop"), "--fault drop: give a rate from 0 to 1, such as drop=0.01");
}

TEST(FaultOption, SpansAreMicrosecondsUpToTenSeconds) {
    EXPECT_EQ(refusal("delay_us=10000000"), "");
    EXPECT_EQ(refusal("delay_us=10000001"), "--fault delay_us=10000001: give 0 to 10000000 microseconds, such as delay_us=100");
    EXPECT_EQ(refusal("jitter_us=-1"), "--fault jitter_us=-1: give 0 to 10000000 microseconds, such as delay_us=100");
    EXPECT_EQ(refusal("delay_us=1ms"), "--fault delay_us=1ms: give 0 to 10000000 microseconds, such as delay_us=100");
}

TEST(FaultOption, TheRestHasItsLineToo) {
    EXPECT_EQ(refusal("seed=x"), "--fault seed=x: give a whole number from 0, such as seed=7");
    EXPECT_EQ(refusal("side=up"), "--fault side=up: give one of: rx tx both");
    EXPECT_EQ(refusal("loss=0.1"),
              "--fault loss=0.1: is none of drop= duplicate= reorder= corrupt= (0 to 1), delay_us= jitter_us= seed= side=");
    EXPECT_EQ(refusal("drop=0.1,"), "--fault \"\": is none of drop= duplicate= reorder= corrupt= (0 to 1), delay_us= jitter_us= seed= side=");
}

}  // namespace
}  // namespace shunt::pmd
