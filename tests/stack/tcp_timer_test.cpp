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

}  // namespace
}  // namespace shunt::test
