// The congestion control algorithms alone: how a window shrinks and grows, held against the formulas of their RFCs.
#include <gtest/gtest.h>

#include <cmath>

#include "tcp/congestion.hpp"

namespace shunt::test {
namespace {

using namespace std::chrono_literals;
namespace congestion = tcp::congestion;

class Window : public ::testing::Test {
protected:
    void use(CongestionControl algorithm, std::uint32_t segments, std::uint32_t ssthresh_segments = 0) {
        c.mss = 1000;
        c.cwnd = segments * 1000;
        c.ssthresh = ssthresh_segments != 0 ? ssthresh_segments * 1000 : 0xffff'ffff;
        c.cwnd_limited = true;
        c.snd_nxt = c.snd_una + c.cwnd;
        congestion::start(c, algorithm);
    }
    // A round trip in which the whole window is acknowledged, segment by segment.
    void round_trip(Duration rtt) {
        const std::uint32_t segments = c.cwnd / 1000;
        for (std::uint32_t i = 0; i < segments; ++i) {
            now += rtt / segments;
            c.srtt = rtt;
            c.snd_una += 1000;
            congestion::on_round_trip(c, rtt);
            congestion::on_ack(c, 1000, now);
            c.snd_nxt = c.snd_una + c.cwnd;
        }
    }
    void lose() {
        c.prior_cwnd = c.cwnd;
        c.prior_ssthresh = c.ssthresh;
        c.ssthresh = congestion::ssthresh_after_loss(c);
        c.cwnd = c.ssthresh;
    }
    std::uint32_t segments() const { return c.cwnd / 1000; }

    tcp::Connection c;
    Time now{1h};
};

TEST_F(Window, has_a_name_for_each_algorithm_and_no_other) {
    EXPECT_EQ(congestion::find("cubic"), CongestionControl::cubic);
    EXPECT_EQ(congestion::find("reno"), CongestionControl::reno);
    EXPECT_EQ(congestion::find("bbr"), CongestionControl::bbr);
    EXPECT_EQ(congestion::find("vegas"), std::nullopt);
    EXPECT_EQ(congestion::name_of(CongestionControl::reno), "reno");
    EXPECT_EQ(congestion::available(CongestionControl::other), CongestionControl::cubic) << "what this host has and we have not";
}

TEST_F(Window, of_newreno_halves_and_grows_a_segment_a_round_trip) {
    use(CongestionControl::reno, 100, 50);
    lose();
    EXPECT_EQ(segments(), 50U);
    round_trip(10ms);
    EXPECT_EQ(segments(), 51U);
    for (int i = 0; i < 9; ++i) {
        round_trip(10ms);
    }
    EXPECT_EQ(segments(), 60U);
}

TEST_F(Window, doubles_each_round_trip_of_slow_start) {
    for (const auto algorithm : {CongestionControl::reno, CongestionControl::cubic}) {
        use(algorithm, 10);
        round_trip(10ms);
        EXPECT_EQ(segments(), 20U);
        round_trip(10ms);
        EXPECT_EQ(segments(), 40U);
    }
}

TEST_F(Window, that_is_not_the_limit_does_not_grow) {
    use(CongestionControl::cubic, 10);
    c.cwnd_limited = false;
    round_trip(10ms);
    EXPECT_EQ(segments(), 10U);
}

TEST_F(Window, of_cubic_shrinks_by_three_tenths_and_is_back_after_k_seconds) {
    use(CongestionControl::cubic, 1000, 1000);
    lose();
    EXPECT_EQ(segments(), 700U);
    const double k = std::cbrt(1000 * 0.3 / 0.4);  // RFC 9438, equation 2: 9.09 s
    const Time start = now;
    while (now - start < Duration(static_cast<std::int64_t>(k * 0.5 * 1e9))) {
        round_trip(100ms);
    }
    const double half_way = 0.4 * std::pow(-k / 2, 3) + 1000;
    EXPECT_NEAR(segments(), half_way, 12);
    while (now - start < Duration(static_cast<std::int64_t>(k * 1e9))) {
        round_trip(100ms);
    }
    EXPECT_NEAR(segments(), 1000, 3) << "the plateau";
    while (now - start < Duration(static_cast<std::int64_t>((k + 5) * 1e9))) {
        round_trip(100ms);
    }
    EXPECT_NEAR(segments(), 1000 + 0.4 * 125, 8) << "five seconds of convex growth";
}

TEST_F(Window, of_cubic_is_never_slower_than_renos_on_a_short_path) {
    use(CongestionControl::cubic, 20, 20);
    lose();
    EXPECT_EQ(segments(), 14U);
    for (int i = 0; i < 40; ++i) {
        round_trip(1ms);  // 40 ms in all: the cubic curve has not moved
    }
    EXPECT_GE(segments(), 14U + static_cast<unsigned>(0.5294 * 11)) << "alpha segments a round trip up to the old window (RFC 9438, 4.3)";
    EXPECT_LE(segments(), 14U + 40U);
}

TEST_F(Window, of_cubic_leaves_room_when_it_shrinks_twice) {
    use(CongestionControl::cubic, 1000, 1000);
    lose();
    EXPECT_NEAR(c.cc.loss_based.cubic.w_max, 1000, 0.1);
    lose();
    EXPECT_NEAR(c.cc.loss_based.cubic.w_max, 700 * (1 + 0.7) / 2, 0.1) << "fast convergence (RFC 9438, 4.7)";
}

TEST_F(Window, of_cubic_grows_from_where_slow_start_ended_after_a_time_out) {
    use(CongestionControl::cubic, 100, 100);
    lose();
    congestion::on_timeout(c);
    c.cwnd = 1000;
    c.ssthresh = 40'000;
    while (c.cwnd < c.ssthresh) {
        round_trip(50ms);
    }
    round_trip(50ms);
    EXPECT_NEAR(c.cc.loss_based.cubic.w_max, 40, 1);
    EXPECT_EQ(c.cc.loss_based.cubic.k_s, 0);
}

TEST_F(Window, is_as_before_when_the_loss_was_none) {
    use(CongestionControl::cubic, 1000, 1000);
    lose();
    congestion::on_undo(c);
    EXPECT_EQ(segments(), 1000U);
    EXPECT_EQ(c.ssthresh, 1'000'000U);
    EXPECT_EQ(c.cc.loss_based.cubic.w_max, 0);
}

TEST_F(Window, of_cubic_stands_still_while_nothing_is_sent) {
    use(CongestionControl::cubic, 1000, 1000);
    lose();
    round_trip(100ms);
    const std::uint32_t before = segments();
    c.last_sent_at = now;
    now += 100s;
    congestion::on_restart(c, now);
    round_trip(100ms);
    EXPECT_LE(segments(), before + 30) << "a hundred seconds of growth were not earned";
}

TEST_F(Window, leaves_slow_start_when_the_round_trip_grows_for_five_rounds) {
    use(CongestionControl::cubic, 10);
    round_trip(40ms);
    round_trip(40ms);
    round_trip(46ms);  // more than an eighth longer: conservative slow start, once a round has seen nothing else
    round_trip(46ms);
    EXPECT_TRUE(c.cc.loss_based.hystart.in_css);
    const std::uint32_t at = segments();
    round_trip(46ms);
    EXPECT_NEAR(segments(), at * 1.25, 2) << "a quarter of slow start's growth";
    for (int i = 0; i < 5; ++i) {
        round_trip(46ms);
    }
    EXPECT_LE(c.ssthresh, c.cwnd) << "slow start is over without a loss (RFC 9406, 4.2)";
}

TEST_F(Window, goes_back_to_slow_start_when_the_round_trip_shrinks_again) {
    use(CongestionControl::cubic, 10);
    round_trip(40ms);
    round_trip(40ms);
    round_trip(46ms);
    round_trip(46ms);
    ASSERT_TRUE(c.cc.loss_based.hystart.in_css);
    round_trip(41ms);
    EXPECT_FALSE(c.cc.loss_based.hystart.in_css);
    EXPECT_EQ(c.ssthresh, 0xffff'ffffU);
}

TEST_F(Window, shrinks_after_idle_times_and_remembers_in_ssthresh) {
    use(CongestionControl::cubic, 100, 100);
    c.rto = 200ms;
    congestion::on_idle(c, 450ms);
    EXPECT_EQ(segments(), 25U) << "halved once an RTO (RFC 2861)";
    EXPECT_EQ(c.ssthresh, 100'000U);
    congestion::on_idle(c, 10s);
    EXPECT_EQ(segments(), 10U) << "not below the initial window";
}

}  // namespace
}  // namespace shunt::test
