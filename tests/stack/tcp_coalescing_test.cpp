// Many segments at once: large frames for a port that cuts them (TSO), one answer to a burst of segments received.
#include <gtest/gtest.h>

#include "stack/support/card.hpp"
#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

constexpr std::size_t full = 1448;

// Writes, and says how many frames the port got for it.
class LargeFrames : public TcpTest {
protected:
    explicit LargeFrames(std::uint16_t tx_pieces_max = 64) : TcpTest(HostSetup{.offloads = card_offloads(tx_pieces_max)}) {}
    void SetUp() override {
        open();
        make_ordinary();
    }
    unsigned frames_for(const Bytes& data) {
        const unsigned before = host.frames_handed_over;
        EXPECT_EQ(write(data), data.size());
        return host.frames_handed_over - before;
    }
    void expect_data(const Bytes& data) {
        Bytes all;
        for (const Frame& frame : peer.expect_all()) {
            EXPECT_LE(frame.payload.size(), full);
            all += frame.payload;
        }
        EXPECT_TRUE(all == data);
    }
};

class FewPieces : public LargeFrames {
protected:
    FewPieces() : LargeFrames(5) {}
};

TEST_F(LargeFrames, carry_a_write_that_arrives_in_segments) {
    EXPECT_EQ(frames_for(pattern(20 * full)), 1U);
    EXPECT_EQ(host.events(Event::tcp_large_frames), 1U);
    const auto frames = peer.expect_all();
    ASSERT_EQ(frames.size(), 20U);
    for (std::size_t i = 0; i < frames.size(); ++i) {
        EXPECT_EQ(frames[i].payload.size(), full);
        EXPECT_EQ(frames[i].has(flag::psh), i == 19) << i;
    }
}

TEST_F(LargeFrames, end_with_the_last_piece_of_a_write) {
    EXPECT_EQ(frames_for(pattern(3 * full + 100)), 1U);
    expect_data(pattern(3 * full + 100));
}

TEST_F(LargeFrames, are_at_most_what_ip_can_say) {
    c->sndbuf = 1'000'000;
    c->cwnd = full;
    write(pattern(40 * full), true);
    write(pattern(40 * full, 40 * full), true);
    c->cwnd = 100 * full;
    const unsigned before = host.frames_handed_over;
    EXPECT_TRUE(peer.expect().payload == pattern(full));
    peer.ack();
    EXPECT_EQ(host.frames_handed_over - before, 2U);
    EXPECT_EQ(c->unsent(), 0U);
    expect_data(pattern(79 * full, full));
}

TEST_F(LargeFrames, are_not_made_of_one_segment) {
    EXPECT_EQ(frames_for(pattern(full)), 1U);
    EXPECT_EQ(host.events(Event::tcp_large_frames), 0U);
    expect_data(pattern(full));
}

TEST_F(FewPieces, are_what_some_drivers_take) {
    EXPECT_EQ(frames_for(pattern(10 * full)), 3U);  // four segments behind the headers
    expect_data(pattern(10 * full));
}

TEST_F(LargeFrames, stop_at_the_congestion_window) {
    c->cwnd = 4 * full;
    write(pattern(10 * full));
    EXPECT_EQ(peer.expect_all().size(), 4U);
    EXPECT_EQ(c->outstanding(), 4 * full);
}

TEST_F(LargeFrames, are_repaired_segment_by_segment) {
    write(pattern(10 * full));
    const auto frames = peer.expect_all();
    ASSERT_EQ(frames.size(), 10U);
    const std::uint32_t lost = frames[3].seq;
    host.advance(1ms);
    peer.ack_with_sack(lost, {{Seq(frames[4].seq), Seq(frames[9].end())}});
    host.advance(5ms);
    const auto again = peer.expect_all();
    ASSERT_EQ(again.size(), 1U);
    EXPECT_EQ(again[0].seq, lost);
    EXPECT_TRUE(again[0].payload == pattern(full, 3 * full));
    peer.ack();
    EXPECT_EQ(c->outstanding(), 0U);
}

TEST_F(LargeFrames, stay_whole_while_the_port_holds_them_and_a_segment_is_sent_again) {
    ASSERT_EQ(host.tcp().send(*c, as_bytes(pattern(5 * full)), {}, host.now), 5 * full);
    host.stack().flush(host.now);  // the frame waits in the port
    host.now += 2s;
    host.step();  // time-out: one goes again, and both frames are collected
    const auto frames = peer.expect_all();
    ASSERT_EQ(frames.size(), 6U);
    Bytes all;
    for (std::size_t i = 0; i < 5; ++i) {
        all += frames[i].payload;
    }
    EXPECT_TRUE(all == pattern(5 * full));
    EXPECT_TRUE(frames[5].payload == pattern(full, frames[5].seq - frames[0].seq));
}

TEST_F(LargeFrames, are_not_used_where_routers_may_cut_the_segments) {
    c->path.fragment_field = 0;  // IP_PMTUDISC_DONT
    EXPECT_EQ(frames_for(pattern(5 * full)), 5U);
    expect_data(pattern(5 * full));
}

TEST_F(LargeFrames, leave_a_fin_alone) {
    write(pattern(3 * full));
    shutdown();
    const auto frames = peer.expect_all();
    ASSERT_EQ(frames.size(), 4U);
    EXPECT_TRUE(frames[3].has(flag::fin));
    EXPECT_FALSE(frames[2].has(flag::fin));
}

// A burst: what the peer sends waits until all of it is there.
class Burst : public TcpTest {
protected:
    void SetUp() override {
        open();
        make_ordinary();
        host.gathers = true;
    }
};

TEST_F(Burst, of_segments_in_order_has_one_answer) {
    for (std::size_t i = 0; i < 10; ++i) {
        peer.send(flag::ack, pattern(full, i * full));
    }
    host.step();
    const auto answers = peer.expect_all();
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].ack, peer.snd_nxt);
    EXPECT_EQ(host.events(Event::tcp_coalesced), 9U);
    EXPECT_TRUE(read() == pattern(10 * full));
}

TEST_F(Burst, that_ends_in_a_damaged_segment_is_answered_all_the_same) {
    peer.send(flag::ack, pattern(full));
    peer.send(flag::ack, pattern(full));
    const std::uint32_t good = peer.snd_nxt;
    Bytes damaged = peer.segment(peer.snd_nxt, peer.rcv_nxt, flag::ack, peer.syn_options(), pattern(full));
    damaged.back() ^= 1;
    peer.give(damaged);
    host.step();
    const auto answers = peer.expect_all();
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].ack, good);
    EXPECT_EQ(host.drops(DropReason::tcp_bad_checksum), 1U);
}

TEST_F(Burst, with_a_hole_has_an_answer_to_each_segment_behind_it) {
    peer.snd_nxt += full;
    for (int i = 0; i < 3; ++i) {
        peer.send(flag::ack, pattern(full));
    }
    host.step();
    EXPECT_EQ(peer.expect_all().size(), 3U);
}

TEST_F(Burst, that_ends_in_a_reset_ends_the_connection) {
    peer.send(flag::ack, pattern(full));
    peer.send(flag::ack, pattern(full));
    peer.send(flag::rst);
    host.step();
    EXPECT_EQ(c->state, tcp::State::closed);
    close();
}

TEST_F(Burst, of_two_flows_answers_both) {
    host.gathers = false;
    Peer second(host, 40001);
    second.address = peer.address;
    tcp::Connection* other = second.connect_to(*listener);
    ASSERT_NE(other, nullptr);
    other->quick_acks = 0;
    other->options.quickack = false;
    host.gathers = true;
    for (int i = 0; i < 2; ++i) {
        peer.send(flag::ack, pattern(full));
        peer.send(flag::ack, pattern(full));
        second.send(flag::ack, pattern(full));
        second.send(flag::ack, pattern(full));
    }
    host.step();
    unsigned to_first = 0, to_second = 0;
    for (const Frame& frame : host.sent) {
        to_first += frame.destination_port == peer.port;
        to_second += frame.destination_port == second.port;
    }
    EXPECT_EQ(to_first, 2U);
    EXPECT_EQ(to_second, 2U);
    host.sent.clear();
    host.tcp().release(*other, true, host.now);
    host.flush();
    host.sent.clear();
}

TEST_F(Burst, of_acknowledgements_lets_new_data_out_once) {
    host.gathers = false;
    c->cwnd = 6 * full;
    write(pattern(12 * full));
    const auto first = peer.expect_all();
    ASSERT_EQ(first.size(), 6U);
    host.gathers = true;
    for (const Frame& frame : first) {
        peer.rcv_nxt = frame.end();
        peer.ack();
    }
    EXPECT_EQ(host.events(Event::tcp_coalesced), 0U);
    host.step();
    EXPECT_EQ(host.events(Event::tcp_coalesced), 5U);
    EXPECT_GE(peer.expect_all().size(), 6U);
}

}  // namespace
}  // namespace shunt::test
