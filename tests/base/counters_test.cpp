// Counters have names, time has a far end, errors have a code.
#include "base/counters.hpp"

#include <gtest/gtest.h>

#include <set>

#include "base/result.hpp"
#include "base/time.hpp"

namespace shunt {
namespace {

TEST(Counters, have_a_name_of_their_own_each) {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < static_cast<std::size_t>(DropReason::count_); ++i) {
        names.insert(name_of(static_cast<DropReason>(i)));
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(DropReason::count_));
    EXPECT_EQ(name_of(DropReason::ethernet_short), "ethernet_short");
    EXPECT_EQ(name_of(DropReason::packet_pool_empty), "packet_pool_empty");
    EXPECT_EQ(name_of(Event::rx_packets), "rx_packets");
    EXPECT_EQ(name_of(Event::tcp_rx_collapsed), "tcp_rx_collapsed");
}

TEST(Counters, count_each_reason_and_event_by_itself) {
    Counters counters;
    counters.count(DropReason::arp_malformed);
    counters.count(Event::tx_packets, 3);
    EXPECT_EQ(counters.of(DropReason::arp_malformed), 1U);
    EXPECT_EQ(counters.of(DropReason::ip_malformed), 0U);
    EXPECT_EQ(counters.of(Event::tx_packets), 3U);
}

TEST(Time, does_not_wrap_beyond_never) {
    const Time t{std::chrono::seconds(5)};
    EXPECT_EQ(saturating_add(t, std::chrono::seconds(1)), Time{std::chrono::seconds(6)});
    EXPECT_EQ(saturating_add(t, Duration::max()), never);
    EXPECT_EQ(saturating_add(never, std::chrono::seconds(1)), never);
}

TEST(Result, carries_a_value_or_an_errno) {
    const Result<int> bad = fail(EINVAL);
    ASSERT_FALSE(bad);
    EXPECT_EQ(code_of(bad.error()), EINVAL);
    const Outcome<int> explained = explain(ENODEV, "--link: gone");
    EXPECT_EQ(explained.error().message, "--link: gone");
}

}  // namespace
}  // namespace shunt
