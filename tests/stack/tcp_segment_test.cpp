// Segments that are not quite right: RFC 9293, 3.10.7.4, with the stricter rules of RFC 5961 and the timestamps of RFC 7323.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

class TcpSegment : public TcpTest {
protected:
    void SetUp() override { open(); }
    void expect_challenge() {
        const Frame answer = peer.expect();
        EXPECT_EQ(answer.flags, flag::ack);
        EXPECT_EQ(answer.ack, peer.snd_nxt);
        EXPECT_EQ(host.events(Event::tcp_challenge_acks), 1U);
        EXPECT_EQ(c->state, tcp::State::established);
    }
};

TEST_F(TcpSegment, a_reset_exactly_at_rcv_nxt_ends_the_connection) {
    peer.send(flag::rst);
    EXPECT_EQ(c->state, tcp::State::closed);
    EXPECT_EQ(c->error, ECONNRESET);
    EXPECT_EQ(host.events(Event::tcp_resets_received), 1U);
    EXPECT_TRUE(peer.is_silent());
    close();
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpSegment, a_reset_elsewhere_in_the_window_is_challenged) {
    peer.send_at(peer.snd_nxt + 10, flag::rst);
    expect_challenge();
    EXPECT_EQ(host.drops(DropReason::tcp_bad_reset), 1U);
}

TEST_F(TcpSegment, a_reset_outside_the_window_is_ignored) {
    peer.send_at(peer.snd_nxt + 10'000'000, flag::rst);
    peer.send_at(peer.snd_nxt - 10'000, flag::rst);
    EXPECT_TRUE(peer.is_silent());
    EXPECT_EQ(host.drops(DropReason::tcp_bad_reset), 2U);
    EXPECT_EQ(c->state, tcp::State::established);
}

TEST_F(TcpSegment, a_reset_with_an_old_timestamp_still_counts) {
    peer.ts_skew = static_cast<std::uint32_t>(-1000);
    peer.send(flag::rst);
    EXPECT_EQ(c->state, tcp::State::closed);
}

TEST_F(TcpSegment, a_syn_in_an_established_connection_is_challenged) {
    peer.send_at(peer.snd_nxt, flag::syn);
    expect_challenge();
}

TEST_F(TcpSegment, challenges_are_few_for_one_connection) {
    for (int i = 0; i < 10; ++i) {
        peer.send_at(peer.snd_nxt, flag::syn);
    }
    EXPECT_EQ(host.events(Event::tcp_challenge_acks), 1U);
    host.advance(600ms);
    peer.send_at(peer.snd_nxt, flag::syn);
    EXPECT_EQ(host.events(Event::tcp_challenge_acks), 2U);
}

TEST_F(TcpSegment, an_ack_of_what_was_never_sent_is_challenged_as_tcp_bad_ack) {
    peer.rcv_nxt += 1;
    peer.ack();
    expect_challenge();
    EXPECT_EQ(host.drops(DropReason::tcp_bad_ack), 1U);
}

TEST_F(TcpSegment, an_ack_from_long_ago_is_tcp_bad_ack) {
    peer.rcv_nxt -= 100'000'000;
    peer.ack();
    EXPECT_EQ(host.drops(DropReason::tcp_bad_ack), 1U);
}

TEST_F(TcpSegment, data_with_an_ack_that_is_a_little_old_are_taken) {
    peer.rcv_nxt -= 100;
    peer.send(flag::ack, "late");
    EXPECT_EQ(read(), "late");
}

TEST_F(TcpSegment, without_an_ack_bit_a_segment_is_tcp_no_ack_bit) {
    peer.send_at(peer.snd_nxt, 0, "data");
    EXPECT_EQ(host.drops(DropReason::tcp_no_ack_bit), 1U);
    EXPECT_EQ(c->rcv_queued, 0U);
}

TEST_F(TcpSegment, an_old_timestamp_is_acknowledged_and_dropped_as_tcp_paws) {
    host.advance(10s);
    peer.send(flag::ack, "now");
    host.sent.clear();
    peer.ts_skew = static_cast<std::uint32_t>(-5000);
    peer.send_at(peer.snd_nxt, flag::ack, "old");
    EXPECT_EQ(host.drops(DropReason::tcp_paws), 1U);
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
    EXPECT_EQ(read(), "now");
}

TEST_F(TcpSegment, a_timestamp_that_is_weeks_behind_is_believed_after_24_days_of_silence) {
    host.advance(24h * 25);  // the peer's stamps are more than half a circle further: they look older
    peer.send(flag::ack, "back");
    EXPECT_EQ(host.drops(DropReason::tcp_paws), 0U);
    EXPECT_EQ(read(), "back");
}

TEST_F(TcpSegment, data_beyond_the_window_are_answered_and_dropped_as_tcp_out_of_window) {
    peer.send_at(peer.snd_nxt + 10'000'000, flag::ack, "far");
    EXPECT_EQ(host.drops(DropReason::tcp_out_of_window), 1U);
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
}

TEST_F(TcpSegment, data_that_came_before_are_acknowledged_again_as_tcp_duplicate_with_a_dsack) {
    peer.send(flag::ack, "0123456789");
    host.sent.clear();
    peer.send_at(peer.snd_nxt - 10, flag::ack, "0123456789");
    const Frame answer = peer.expect();
    EXPECT_EQ(answer.ack, peer.snd_nxt);
    ASSERT_EQ(answer.options.sack_count, 1);
    EXPECT_EQ(answer.options.sack[0].left.raw(), peer.snd_nxt - 10);
    EXPECT_EQ(answer.options.sack[0].right.raw(), peer.snd_nxt);
    EXPECT_EQ(host.drops(DropReason::tcp_duplicate), 1U);
    EXPECT_EQ(read(), "0123456789");
}

TEST_F(TcpSegment, data_that_are_partly_new_are_taken_from_where_they_are) {
    peer.send(flag::ack, "01234");
    peer.send_at(peer.snd_nxt - 5, flag::ack, "0123456789");
    EXPECT_EQ(read(), "0123456789");
}

TEST_F(TcpSegment, data_that_reach_beyond_the_window_are_cut) {
    const std::uint32_t window = c->rcv_adv - c->rcv_nxt;
    std::uint32_t given = 0;
    while (given + 1400 <= window) {
        peer.send(flag::ack, pattern(1400, given));
        given += 1400;
    }
    // What is left of the window is smaller than this segment, or closes with it.
    peer.send_at(peer.snd_nxt, flag::ack, pattern(1400, given));
    EXPECT_EQ(c->rcv_queued, std::max(c->rcv_queued, given));
    EXPECT_LE(c->rcv_nxt - Seq(peer.iss + 1), std::uint32_t{given + 1400});
    const Bytes data = read();
    EXPECT_TRUE(data == pattern(data.size()));
}

TEST_F(TcpSegment, a_keep_alive_probe_is_answered) {
    peer.send_at(peer.snd_nxt - 1, flag::ack);
    const Frame answer = peer.expect();
    EXPECT_EQ(answer.flags, flag::ack);
    EXPECT_EQ(answer.ack, peer.snd_nxt);
}

TEST_F(TcpSegment, to_a_broadcast_address_nothing_is_answered) {
    IpFields f;
    f.source = peer.address;
    f.destination = ip(10, 0, 0, 255);
    f.protocol = wire::protocol_tcp;
    TcpFields t;
    t.source_port = 1;
    t.destination_port = 80;
    t.flags = flag::syn;
    host.give_ip(ipv4(f, tcp(f.source, f.destination, t, {})));
    EXPECT_TRUE(peer.is_silent());
}

TEST_F(TcpSegment, a_syn_flagged_with_fin_or_nothing_at_all_does_not_open) {
    Peer other(host, 5000);
    other.send_at(1, flag::syn | flag::fin);
    other.send_at(1, 0);
    other.send_at(1, flag::rst);
    EXPECT_TRUE(other.is_silent());
    EXPECT_EQ(host.tcp().connections_used(), 1U);
}

}  // namespace
}  // namespace shunt::test
