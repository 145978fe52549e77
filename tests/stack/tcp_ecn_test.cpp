// Explicit congestion notification (RFC 3168): who agrees to it, what a mark does at the receiver and an echo at the sender.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

constexpr std::uint8_t ect_0 = 2, ce = 3;

HostSetup with_ecn(std::int32_t mode) {
    HostSetup setup;
    setup.tunables.tcp_ecn = mode;
    return setup;
}

// tcp_ecn=2, Linux's default: we answer, and do not ask.
class TcpEcn : public TcpTest {
protected:
    explicit TcpEcn(std::int32_t mode = 2) : TcpTest(with_ecn(mode)) { peer.round_trip = 10ms; }
    // A connection that the peer has opened, asking for ECN.
    void open_with_ecn() {
        listen();
        peer.send(flag::syn | flag::ece | flag::cwr);
        ASSERT_EQ(peer.expect().flags, flag::syn | flag::ack | flag::ece);
        host.advance(10ms);
        peer.ack();
        c = host.tcp().accept(*listener);
        ASSERT_NE(c, nullptr);
        c->owner = this;
    }
    void send_marked(const Bytes& data) {
        peer.tos = ce;
        peer.send(flag::ack, data);
        peer.tos = ect_0;
    }
};

TEST_F(TcpEcn, is_agreed_upon_when_the_peer_asks) {
    open_with_ecn();
    EXPECT_TRUE(c->has_ecn);
    write("data");
    EXPECT_EQ(peer.expect().tos, ect_0);
}

TEST_F(TcpEcn, is_not_used_with_a_peer_that_does_not_ask) {
    open();
    EXPECT_FALSE(c->has_ecn);
    write("data");
    EXPECT_EQ(peer.expect().tos, 0);
    peer.tos = ce;
    peer.send(flag::ack, "marked by mistake");
    peer.tos = 0;
    host.advance(50ms);
    EXPECT_FALSE(peer.expect().has(flag::ece));
}

TEST_F(TcpEcn, is_refused_to_a_syn_that_is_itself_marked) {
    listen();
    peer.tos = ect_0;
    peer.send(flag::syn | flag::ece | flag::cwr);
    EXPECT_EQ(peer.expect().flags, flag::syn | flag::ack);
}

TEST_F(TcpEcn, plain_acks_carry_no_mark) {
    open_with_ecn();
    peer.send(flag::ack, "data");
    const Frame ack = peer.expect();
    EXPECT_EQ(ack.tos, 0);
    EXPECT_FALSE(ack.has(flag::ece));
}

TEST_F(TcpEcn, a_mark_is_echoed_in_every_ack_until_the_sender_has_heard) {
    open_with_ecn();
    send_marked("one");
    EXPECT_TRUE(peer.expect().has(flag::ece)) << "at once";
    peer.send(flag::ack, "two");
    EXPECT_TRUE(peer.expect().has(flag::ece));
    peer.send(flag::ack | flag::cwr, "three");
    EXPECT_FALSE(peer.expect().has(flag::ece));
    EXPECT_EQ(host.events(Event::tcp_ecn_marks), 1U);
    EXPECT_EQ(read(), "onetwothree");
}

TEST_F(TcpEcn, a_mark_on_the_segment_that_confirms_the_last_one_counts) {
    open_with_ecn();
    send_marked("one");
    peer.expect();
    peer.tos = ce;
    peer.send(flag::ack | flag::cwr, "two");
    EXPECT_TRUE(peer.expect().has(flag::ece));
}

TEST_F(TcpEcn, an_echo_reduces_the_window_once_and_nothing_is_sent_again) {
    open_with_ecn();
    write(pattern(10U * c->mss));
    const auto flight = peer.expect_all();
    ASSERT_EQ(flight.size(), 10U);
    host.advance(10ms);
    const std::uint32_t before = c->cwnd;
    for (unsigned i = 0; i < 10; ++i) {
        peer.rcv_nxt = flight[i].end();
        peer.send(flag::ack | flag::ece);
    }
    EXPECT_EQ(host.events(Event::tcp_ecn_reductions), 1U);
    EXPECT_EQ(host.events(Event::tcp_retransmits), 0U);
    EXPECT_EQ(c->cwnd / c->mss, before / c->mss * 7 / 10) << "CUBIC's factor";
    EXPECT_EQ(c->recovery, tcp::Recovery::open);
}

TEST_F(TcpEcn, the_first_new_data_after_a_reduction_say_so_and_only_those) {
    open_with_ecn();
    write("data");
    const Frame data = peer.expect();
    peer.rcv_nxt = data.end();
    peer.send(flag::ack | flag::ece);
    write("more");
    const Frame more = peer.expect();
    EXPECT_TRUE(more.has(flag::cwr));
    peer.rcv_nxt = more.end();
    peer.ack();
    write("again");
    EXPECT_FALSE(peer.expect().has(flag::cwr));
}

TEST_F(TcpEcn, what_is_sent_again_carries_no_mark) {
    open_with_ecn();
    write("lost");
    EXPECT_EQ(peer.expect().tos, ect_0);
    host.advance(2s);
    const auto again = peer.expect_all();
    ASSERT_FALSE(again.empty());
    for (const Frame& frame : again) {
        EXPECT_EQ(frame.tos, 0);
    }
}

TEST_F(TcpEcn, a_loss_in_the_same_window_does_not_reduce_it_twice) {
    open_with_ecn();
    write(pattern(10U * c->mss));
    const std::uint32_t start = peer.expect_all()[0].seq;
    host.advance(10ms);
    peer.rcv_nxt = start + c->mss;
    peer.send(flag::ack | flag::ece);
    const std::uint32_t ssthresh = c->ssthresh;
    peer.ack_with_sack(start + c->mss, {{Seq(start + 2U * c->mss), Seq(start + 6U * c->mss)}});
    EXPECT_EQ(c->recovery, tcp::Recovery::recovery);
    EXPECT_EQ(c->ssthresh, ssthresh);
}

class TcpEcnAsking : public TcpEcn {
protected:
    TcpEcnAsking() : TcpEcn(1) {}
    Frame connect() {
        c = *host.tcp().connect(0, 0, peer.address, peer.port, {}, host.now);
        c->owner = this;
        peer.host_port = c->local_port;
        host.flush();
        return peer.expect();
    }
};

TEST_F(TcpEcnAsking, is_on_when_the_peer_agrees) {
    EXPECT_EQ(connect().flags, flag::syn | flag::ece | flag::cwr);
    peer.send(flag::syn | flag::ack | flag::ece);
    EXPECT_EQ(peer.expect().flags, flag::ack);
    EXPECT_TRUE(c->has_ecn);
}

TEST_F(TcpEcnAsking, is_off_when_the_peer_mirrors_both_flags_or_none) {
    for (const int flags : {0, flag::ece | flag::cwr}) {
        connect();
        peer.send(static_cast<std::uint8_t>(flag::syn | flag::ack | flags));
        peer.expect();
        EXPECT_FALSE(c->has_ecn);
        close(true);
        peer.expect_all();
        peer.snd_nxt = peer.iss;
    }
}

TEST_F(TcpEcnAsking, is_not_asked_for_again_when_the_first_syn_is_lost) {
    connect();
    host.advance(1100ms);
    EXPECT_EQ(peer.expect().flags, flag::syn);
    peer.send(flag::syn | flag::ack | flag::ece);
    peer.expect();
    EXPECT_FALSE(c->has_ecn);
}

class TcpEcnOff : public TcpEcn {
protected:
    TcpEcnOff() : TcpEcn(0) {}
};

TEST_F(TcpEcnOff, is_refused_to_a_peer_that_asks) {
    listen();
    peer.send(flag::syn | flag::ece | flag::cwr);
    EXPECT_EQ(peer.expect().flags, flag::syn | flag::ack);
}

}  // namespace
}  // namespace shunt::test
