// Zero windows and their probes, keep-alive.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

class TcpTimer : public TcpTest {};

TEST_F(TcpTimer, a_closed_window_is_probed_until_it_opens) {
    open();
    peer.window = 0;
    peer.ack();
    write("waiting");
    EXPECT_TRUE(peer.is_silent());
    const Time start = host.now;
    host.advance(10s);
    std::vector<std::int64_t> at_ms;
    while (auto frame = host.next()) {
        EXPECT_TRUE(frame->payload.empty());
        EXPECT_EQ(frame->seq, peer.rcv_nxt - 1);
        at_ms.push_back(count_ms(frame->at - start));
        peer.ack();
    }
    EXPECT_GE(at_ms.size(), 4U);
    EXPECT_EQ(host.events(Event::tcp_zero_window_probes), at_ms.size());
    peer.window = 1000;
    peer.ack();
    EXPECT_EQ(peer.expect().payload, "waiting");
}

TEST_F(TcpTimer, a_window_that_stays_closed_but_answers_is_waited_for_for_hours) {
    open();
    peer.window = 0;
    peer.ack();
    write("waiting");
    for (int i = 0; i < 400; ++i) {
        host.advance(30s);
        if (host.next()) {
            host.sent.clear();
            peer.ack();
        }
    }
    EXPECT_EQ(c->state, tcp::State::established);
}

TEST_F(TcpTimer, a_closed_window_that_does_not_answer_ends_in_ETIMEDOUT) {
    open();
    peer.window = 0;
    peer.ack();
    write("waiting");
    host.advance(40min);
    EXPECT_EQ(c->error, ETIMEDOUT);
    host.sent.clear();
}

TEST_F(TcpTimer, no_more_than_the_window_is_sent) {
    open();
    peer.window = 10;
    peer.ack();
    write(pattern(5000));
    std::size_t sent = 0;
    for (const Frame& frame : peer.expect_all()) {
        sent += frame.payload.size();
    }
    EXPECT_LE(sent, 10U << 7);
}

TEST_F(TcpTimer, keep_alives_start_when_they_should_and_end_in_ETIMEDOUT) {
    tcp::ConnectionOptions options;
    options.keepalive = true;
    options.keepidle_s = 10;
    options.keepintvl_s = 2;
    options.keepcnt = 3;
    open(options);
    host.tcp().apply_options(*c, host.now);
    const Time start = host.now;
    host.advance(9s);
    EXPECT_TRUE(peer.is_silent());
    host.advance(2s);
    const Frame probe = peer.expect();
    EXPECT_TRUE(probe.payload.empty());
    EXPECT_EQ(probe.seq, peer.rcv_nxt - 1);
    peer.ack();
    EXPECT_EQ(host.events(Event::tcp_keepalives), 1U);
    host.advance(5s);
    EXPECT_TRUE(peer.is_silent()) << "it answered";
    host.advance(20s);
    EXPECT_EQ(c->state, tcp::State::closed);
    EXPECT_EQ(c->error, ETIMEDOUT);
    EXPECT_EQ(host.events(Event::tcp_keepalives), 4U);
    EXPECT_LT(host.now - start, 40s);
    EXPECT_TRUE(peer.expect_all().back().has(flag::rst));
}

TEST_F(TcpTimer, without_keep_alive_a_silent_connection_stays_for_days) {
    open();
    host.advance(72h);
    EXPECT_TRUE(peer.is_silent());
    EXPECT_EQ(c->state, tcp::State::established);
}

class NearPeer : public TcpTest {
protected:
    NearPeer() : TcpTest(HostSetup{.lan_rto_min = 1ms}) {}
    void SetUp() override {
        open();
        make_ordinary();
        host.advance(1ms);
        write("a first round trip");
        peer.expect();
        peer.ack();
    }
};

// What is in the stack's and the wheel's hands: they are right to two milliseconds.
TEST_F(NearPeer, gets_a_lone_segment_again_after_two_round_trips_and_a_millisecond) {
    const Time start = host.now;
    write("lost");
    peer.expect();
    host.advance(10ms);
    const auto again = peer.expect_all();
    ASSERT_EQ(again.size(), 1U);
    EXPECT_EQ(again[0].payload, "lost");
    EXPECT_LE(again[0].at - start, 4ms);
    EXPECT_EQ(host.events(Event::tcp_timeouts), 0U);
}

TEST_F(NearPeer, may_delay_its_acknowledgement_without_a_time_out) {
    write("one way");
    peer.expect();
    host.advance(190ms);
    EXPECT_EQ(host.events(Event::tcp_timeouts), 0U);
    EXPECT_EQ(peer.expect_all().size(), 1U);
}

TEST_F(NearPeer, that_is_silent_about_full_segments_is_timed_out_within_milliseconds) {
    const Time start = host.now;
    write(pattern(4 * 1448));
    peer.expect_all();
    host.advance(20ms);
    EXPECT_GE(host.events(Event::tcp_timeouts), 1U);
    const auto again = peer.expect_all();
    ASSERT_FALSE(again.empty());
    EXPECT_LE(again.front().at - start, 5ms);
}

class FarPeer : public TcpTest {
protected:
    FarPeer() : TcpTest(HostSetup{.gateway = ip(10, 0, 0, 254), .lan_rto_min = 1ms}), far(host, 40000, 80, ip(192, 168, 9, 9)) { host.stations.emplace(ip(10, 0, 0, 254), wire::Mac{2, 0, 0, 0, 0, 8}); }
    Peer far;
};

TEST_F(FarPeer, is_waited_for_as_by_linux) {
    listen();
    c = far.connect_to(*listener);
    ASSERT_NE(c, nullptr);
    make_ordinary();
    write("lost");
    far.expect();
    host.advance(190ms);
    EXPECT_TRUE(far.is_silent());
}

}  // namespace
}  // namespace shunt::test
