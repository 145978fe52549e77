// BBR and the delivery rate on a model of a path: a bottleneck with a queue and a round-trip time. No stack, no wire.
#include <gtest/gtest.h>

#include <deque>

#include "tcp/congestion.hpp"

namespace shunt::test {
namespace {

using namespace std::chrono_literals;
namespace congestion = tcp::congestion;
using Mode = tcp::Bbr::Mode;

constexpr std::uint32_t segment = 1000;

class Path : public ::testing::Test {
protected:
    Path() {
        c.mss = segment;
        c.cwnd = 10 * segment;
        c.state = tcp::State::established;
        congestion::start(c, CongestionControl::bbr);
    }
    // The program always has something to send, or `pause` says that it has not.
    void run(Duration duration) {
        for (const Time end = now + duration; now < end; now += 50us) {
            deliver();
            send();
        }
    }
    double segments_under_way() const { return static_cast<double>(c.outstanding()) / segment; }
    double bandwidth_delay_product() const { return bytes_per_second * static_cast<double>(round_trip.count()) * 1e-9; }

    tcp::Connection c;
    Time now{1h};
    double bytes_per_second = 10e6;
    Duration round_trip = 20ms;
    unsigned lose_each = 0;  // every so many segments one is lost
    bool has_data = true;
    std::uint64_t arrived = 0;

private:
    struct Flight {
        Time acknowledged;
        PacketMeta meta;
        bool is_lost;
    };
    void send() {
        if (c.outstanding() == 0) {
            congestion::on_restart(c, now);
        }
        while (has_data && c.outstanding() + segment <= c.cwnd && (c.pacing_rate == 0 || c.pace_next <= now)) {
            PacketMeta meta;
            meta.stamp_ns = now.time_since_epoch().count();
            tcp::rate_on_send(c, meta, c.outstanding() == 0, now);
            c.pace_next = std::max(c.pace_next, now - tcp::pacing_burst) + tcp::pacing_time(c, segment);
            free_at_ = std::max(free_at_, now) + Duration(static_cast<std::int64_t>(segment / bytes_per_second * 1e9));
            flights_.push_back({free_at_ + round_trip, meta, lose_each != 0 && ++sent_ % lose_each == 0});
            c.snd_nxt += segment;
        }
        if (!has_data) {
            tcp::rate_on_app_limited(c);
        }
    }
    // Losses are repaired by magic, in the window of the ACK that shows them.
    void deliver() {
        while (!flights_.empty() && flights_.front().acknowledged <= now) {
            const Flight flight = flights_.front();
            flights_.pop_front();
            tcp::RateSample sample;
            sample.prior_in_flight = c.pipe();
            sample.acked = flight.is_lost ? 0 : segment;
            sample.lost = flight.is_lost ? segment : 0;
            c.snd_una += segment;
            if (!flight.is_lost) {
                c.delivered += segment;
                arrived += segment;
                sample.rtt = now - Time{Duration(flight.meta.stamp_ns)};
                c.srtt = sample.rtt;
                c.min_rtt = c.min_rtt == Duration{} ? sample.rtt : std::min(c.min_rtt, sample.rtt);
                tcp::rate_on_delivery(c, flight.meta, sample);
            }
            tcp::rate_on_ack(c, sample, now);
            congestion::on_sample(c, sample, c.cwnd, now);
        }
    }

    std::deque<Flight> flights_;
    Time free_at_{};
    unsigned sent_ = 0;
};

TEST_F(Path, is_measured_and_filled_within_a_few_round_trips) {
    run(600ms);
    EXPECT_TRUE(c.cc.bbr.filled_pipe);
    EXPECT_EQ(c.cc.bbr.mode, Mode::probe_bw);
    EXPECT_NEAR(c.cc.bbr.bandwidth, bytes_per_second, bytes_per_second * 0.05);
    EXPECT_NEAR(static_cast<double>(c.cc.bbr.min_rtt.count()), 20e6, 1e6);
    arrived = 0;
    run(2s);
    EXPECT_GT(static_cast<double>(arrived), 2 * bytes_per_second * 0.95);
    EXPECT_LT(c.outstanding(), bandwidth_delay_product() * 1.5) << "a standing queue";
}

TEST_F(Path, that_loses_one_segment_in_a_hundred_is_still_filled) {
    lose_each = 100;
    run(1s);
    arrived = 0;
    run(2s);
    EXPECT_GT(static_cast<double>(arrived), 2 * bytes_per_second * 0.90);
}

TEST_F(Path, that_becomes_slower_is_followed_within_ten_rounds) {
    run(1s);
    bytes_per_second = 2e6;
    run(3s);
    EXPECT_NEAR(c.cc.bbr.bandwidth, bytes_per_second, bytes_per_second * 0.1);
    EXPECT_LT(c.pacing_rate, bytes_per_second * 1.4);
}

TEST_F(Path, that_becomes_faster_is_followed) {
    run(1s);
    bytes_per_second = 40e6;
    run(5s);
    EXPECT_NEAR(c.cc.bbr.bandwidth, bytes_per_second, bytes_per_second * 0.1);
}

TEST_F(Path, round_trip_time_is_looked_for_anew_after_ten_seconds) {
    run(2s);
    round_trip = 30ms;  // a longer way: only an empty pipe shows it
    bool probed = false;
    std::uint32_t least = UINT32_MAX;
    for (int i = 0; i < 11'000 && !probed; ++i) {
        run(1ms);
        probed = c.cc.bbr.mode == Mode::probe_rtt;
    }
    ASSERT_TRUE(probed);
    for (int i = 0; i < 300; ++i) {
        run(1ms);
        least = std::min(least, c.outstanding());
    }
    EXPECT_LE(least, 4 * segment);
    EXPECT_EQ(c.cc.bbr.mode, Mode::probe_bw);
    EXPECT_NEAR(static_cast<double>(c.cc.bbr.min_rtt.count()), 30e6, 1e6);
}

TEST_F(Path, is_not_thought_slow_because_the_program_is) {
    run(1s);
    const float before = c.cc.bbr.bandwidth;
    for (int i = 0; i < 100; ++i) {  // a segment or so each 30 ms
        has_data = true;
        run(50us);
        has_data = false;
        run(30ms);
    }
    EXPECT_GT(c.cc.bbr.bandwidth, before * 0.9F);
    EXPECT_NEAR(static_cast<double>((now - c.cc.bbr.min_rtt_at).count()), 0, 1e9) << "and its round-trip time is heard of";
}

TEST_F(Path, rate_is_what_TCP_INFO_tells) {
    run(2s);
    EXPECT_NEAR(static_cast<float>(c.rate_delivered) * tcp::rate_ticks_per_second / static_cast<float>(c.rate_ticks), bytes_per_second, bytes_per_second * 0.1);
    EXPECT_FALSE(c.rate_is_app_limited);
}

}  // namespace
}  // namespace shunt::test
