// Losses and their repair: fast retransmit with and without SACK, RACK, tail loss probes, time-outs, undo.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

class TcpLoss : public TcpTest {
protected:
    TcpLoss() { peer.round_trip = 10ms; }
    // Sends `count` full segments and returns where they start.
    std::uint32_t send_segments(std::size_t count) {
        write(pattern(count * c->mss));
        const auto frames = peer.expect_all();
        EXPECT_EQ(frames.size(), count);
        host.advance(10ms);  // their way to the peer and back
        return frames.empty() ? 0 : frames[0].seq;
    }
    wire::SackBlock block(std::uint32_t start, unsigned from, unsigned to) const { return {Seq(start + from * c->mss), Seq(start + to * c->mss)}; }
};

TEST_F(TcpLoss, a_hole_below_three_sacked_segments_is_sent_again_at_once) {
    open();
    const std::uint32_t start = send_segments(6);
    peer.ack_with_sack(start, {block(start, 1, 2)});
    peer.ack_with_sack(start, {block(start, 1, 3)});
    EXPECT_TRUE(peer.is_silent());
    peer.ack_with_sack(start, {block(start, 1, 4)});
    const Frame again = peer.expect();
    EXPECT_EQ(again.seq, start);
    EXPECT_EQ(again.payload, pattern(c->mss));
    EXPECT_EQ(host.events(Event::tcp_fast_recoveries), 1U);
    EXPECT_EQ(c->recovery, tcp::Recovery::recovery);
    peer.rcv_nxt = start + 6U * c->mss;
    peer.ack();
    EXPECT_EQ(c->recovery, tcp::Recovery::open);
    EXPECT_EQ(c->outstanding(), 0U);
    EXPECT_LT(c->cwnd, 10U * c->mss);
}

TEST_F(TcpLoss, two_holes_are_both_repaired) {
    open();
    const std::uint32_t start = send_segments(8);
    peer.ack_with_sack(start, {block(start, 1, 2), block(start, 3, 5)});
    host.advance(1ms);
    peer.ack_with_sack(start, {block(start, 1, 2), block(start, 3, 8)});
    host.advance(20ms);
    std::vector<std::uint32_t> resent;
    while (auto frame = host.next()) {
        resent.push_back((frame->seq - start) / c->mss);
    }
    EXPECT_EQ(resent, (std::vector<std::uint32_t>{0, 2}));
}

TEST_F(TcpLoss, a_little_reordering_is_waited_for) {
    open();
    const std::uint32_t start = send_segments(4);
    peer.ack_with_sack(start, {block(start, 1, 2)});
    peer.rcv_nxt = start + 4U * c->mss;
    peer.ack();
    EXPECT_TRUE(peer.is_silent());
    EXPECT_EQ(host.events(Event::tcp_retransmits), 0U);
}

TEST_F(TcpLoss, a_single_sacked_segment_behind_a_hole_is_enough_after_the_reordering_window) {
    open();
    const std::uint32_t start = send_segments(2);
    peer.ack_with_sack(start, {block(start, 1, 2)});
    host.advance(5ms);  // a quarter of the round trip
    EXPECT_EQ(peer.expect().seq, start);
    EXPECT_EQ(host.events(Event::tcp_timeouts), 0U);
}

TEST_F(TcpLoss, three_duplicate_acks_repair_without_sack) {
    peer.has_sack = false;
    open();
    const std::uint32_t start = send_segments(6);
    const std::uint32_t end = peer.rcv_nxt;
    peer.rcv_nxt = start;
    peer.ack();
    peer.ack();
    EXPECT_TRUE(peer.is_silent());
    peer.ack();
    EXPECT_EQ(peer.expect().seq, start);
    EXPECT_EQ(host.events(Event::tcp_fast_recoveries), 1U);
    // A partial ACK: the next hole follows without three more.
    peer.rcv_nxt = start + c->mss;
    peer.ack();
    EXPECT_EQ(peer.expect().seq, start + c->mss);
    peer.rcv_nxt = end;
    peer.ack();
    EXPECT_EQ(c->recovery, tcp::Recovery::open);
    EXPECT_TRUE(c->is_valid());
}

TEST_F(TcpLoss, a_lost_tail_is_probed_for_after_two_round_trips_and_not_timed_out) {
    open();
    send_segments(1);
    peer.ack();
    const std::uint32_t start = send_segments(4);
    host.advance(60ms);
    const Frame probe = peer.expect();
    EXPECT_EQ(probe.seq, start + 3U * c->mss) << "the last one";
    EXPECT_EQ(host.events(Event::tcp_tail_loss_probes), 1U);
    EXPECT_EQ(host.events(Event::tcp_timeouts), 0U);
    // The peer has only that one: RACK sees what is missing.
    host.advance(10ms);
    peer.ack_with_sack(start, {block(start, 3, 4)});
    host.advance(10ms);
    EXPECT_EQ(peer.expect_all().size(), 1U) << "proportional rate reduction: as many as have arrived, while losses show";
    peer.ack_with_sack(start + c->mss, {block(start, 3, 4)});
    EXPECT_EQ(peer.expect_all().size(), 2U) << "and one more when all goes well";
    EXPECT_EQ(host.events(Event::tcp_timeouts), 0U);
}

TEST_F(TcpLoss, a_time_out_comes_after_200_ms_at_least_and_doubles) {
    peer.has_sack = false;  // no probes in between
    peer.round_trip = {};
    open();
    write("lost");
    const Frame first = peer.expect();
    host.advance(7s);
    std::vector<std::int64_t> gaps_ms;
    Time last = first.at;
    while (auto frame = host.next()) {
        EXPECT_EQ(frame->seq, first.seq);
        EXPECT_EQ(frame->payload, "lost");
        gaps_ms.push_back(count_ms(frame->at - last));
        last = frame->at;
    }
    ASSERT_GE(gaps_ms.size(), 4U);
    EXPECT_NEAR(static_cast<double>(gaps_ms[0]), 200, 5);
    for (std::size_t i = 1; i < gaps_ms.size(); ++i) {
        EXPECT_NEAR(static_cast<double>(gaps_ms[i]), static_cast<double>(gaps_ms[i - 1] * 2), 5);
    }
    peer.rcv_nxt = first.end();
    peer.ack();
    EXPECT_EQ(c->outstanding(), 0U);
    EXPECT_EQ(c->backoff, 0);
}

TEST_F(TcpLoss, after_a_time_out_everything_missing_is_sent_again) {
    open();
    const std::uint32_t start = send_segments(10);
    const std::uint32_t end = peer.rcv_nxt;
    std::uint32_t have = start;
    for (int i = 0; i < 50 && have != end; ++i) {
        host.advance(300ms);
        while (auto frame = host.next()) {
            if (frame->seq == have) {
                have = frame->end();
                peer.ts_recent = frame->options.tsval;
            }
        }
        peer.rcv_nxt = have;
        peer.ack();
        ASSERT_TRUE(c->is_valid());
    }
    EXPECT_EQ(have, end);
    EXPECT_EQ(c->outstanding(), 0U);
}

TEST_F(TcpLoss, a_peer_that_never_answers_again_is_given_up_with_ETIMEDOUT) {
    open();
    write("anyone?");
    host.advance(5min);
    EXPECT_NE(c->state, tcp::State::closed);
    host.advance(25min);
    EXPECT_EQ(c->state, tcp::State::closed);
    EXPECT_EQ(c->error, ETIMEDOUT);
    close();
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpLoss, a_user_timeout_gives_up_earlier) {
    tcp::ConnectionOptions options;
    options.user_timeout_ms = 5000;
    open(options);
    write("anyone?");
    host.advance(4s);
    EXPECT_NE(c->state, tcp::State::closed);
    host.advance(10s);
    EXPECT_EQ(c->state, tcp::State::closed);
    EXPECT_EQ(c->error, ETIMEDOUT);
}

TEST_F(TcpLoss, a_spurious_recovery_is_undone_by_timestamps) {
    open();
    const std::uint32_t start = send_segments(6);
    const std::uint32_t before = c->cwnd;
    const std::uint32_t echo = peer.ts_recent;
    peer.ack_with_sack(start, {block(start, 1, 4)});
    EXPECT_EQ(peer.expect().seq, start);
    EXPECT_LT(c->cwnd, before);
    host.advance(1ms);
    peer.rcv_nxt = start + 6U * c->mss;
    peer.ts_recent = echo;  // the first transmission had only been late
    peer.ack();
    EXPECT_EQ(host.events(Event::tcp_undo), 1U);
    EXPECT_GE(c->cwnd, before);
}

TEST_F(TcpLoss, a_sack_of_what_was_never_sent_is_ignored) {
    open();
    const std::uint32_t start = send_segments(3);
    peer.ack_with_sack(start, {block(start, 5, 9), {Seq(start + 100), Seq(start + 50)}});
    EXPECT_EQ(c->sacked_out, 0U);
    EXPECT_TRUE(c->is_valid());
}

TEST_F(TcpLoss, window_updates_are_no_duplicate_acks) {
    peer.has_sack = false;
    open();
    send_segments(4);
    peer.rcv_nxt -= 4U * c->mss;
    for (std::uint16_t i = 0; i < 6; ++i) {
        peer.window = static_cast<std::uint16_t>(60'000 + i);
        peer.ack();
    }
    EXPECT_EQ(host.events(Event::tcp_retransmits), 0U);
}

}  // namespace
}  // namespace shunt::test
