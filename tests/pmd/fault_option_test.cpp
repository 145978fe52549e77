// What --fault takes, and the exact line that says why it does not.
#include "pmd/fault_spec.hpp"

#include <gtest/gtest.h>

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

TEST(FaultOption, BlanksMayFollowAComma) {
    const auto parsed = parse_fault_options("drop=0.5,  seed=3");
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->drop, 0.5);
    EXPECT_EQ(parsed->seed, 3U);
    EXPECT_NE(refusal("drop=0.5, "), "");
}

TEST(FaultOption, RatesAreFromZeroToOne) {
    EXPECT_EQ(refusal("drop=0"), "");
    EXPECT_EQ(refusal("drop=1"), "");
    EXPECT_EQ(refusal("drop=1e-3"), "");
    EXPECT_EQ(refusal("drop=1.5"), "\"drop=1.5\" is no rate; give one from 0 to 1, such as drop=0.01");
    EXPECT_EQ(refusal("seed=1,corrupt=-0.1"), "\"corrupt=-0.1\" is no rate; give one from 0 to 1, such as drop=0.01");
    EXPECT_EQ(refusal("duplicate=nan"), "\"duplicate=nan\" is no rate; give one from 0 to 1, such as drop=0.01");
    EXPECT_EQ(refusal("reorder=1%"), "\"reorder=1%\" is no rate; give one from 0 to 1, such as drop=0.01");
    EXPECT_EQ(refusal("drop"), "\"drop\" is no rate; give one from 0 to 1, such as drop=0.01");
}

TEST(FaultOption, SpansAreMicrosecondsUpToTenSeconds) {
    EXPECT_EQ(refusal("delay_us=10000000"), "");
    EXPECT_EQ(refusal("delay_us=10000001"), "\"delay_us=10000001\" is no time; give 0 to 10000000 microseconds, such as delay_us=100");
    EXPECT_EQ(refusal("jitter_us=-1"), "\"jitter_us=-1\" is no time; give 0 to 10000000 microseconds, such as delay_us=100");
    EXPECT_EQ(refusal("delay_us=1ms"), "\"delay_us=1ms\" is no time; give 0 to 10000000 microseconds, such as delay_us=100");
}

TEST(FaultOption, TheRestHasItsLineToo) {
    EXPECT_EQ(refusal("seed=x"), "\"seed=x\" is no seed; give a whole number from 0, such as seed=7");
    EXPECT_EQ(refusal("side=up"), "\"side=up\" is no side; give one of: rx tx both");
    EXPECT_EQ(refusal("loss=0.1"),
              "\"loss=0.1\" is none of drop= duplicate= reorder= corrupt= (0 to 1), delay_us= jitter_us= seed= side=");
    EXPECT_EQ(refusal("drop=0.1,"), "\"\" is none of drop= duplicate= reorder= corrupt= (0 to 1), delay_us= jitter_us= seed= side=");
}

}  // namespace
}  // namespace shunt::pmd
