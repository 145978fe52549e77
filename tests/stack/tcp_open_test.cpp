// Opening a connection, from either side and from both; options; who must not be able to guess what.
#include <gtest/gtest.h>

#include <set>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

class TcpOpen : public TcpTest {};

TEST_F(TcpOpen, a_listener_answers_a_syn_and_accepts_after_the_last_ack) {
    listen();
    peer.send(flag::syn);
    const Frame answer = peer.expect();
    EXPECT_EQ(answer.flags, flag::syn | flag::ack);
    EXPECT_EQ(answer.ack, peer.snd_nxt);
    EXPECT_EQ(host.tcp().accept(*listener), nullptr);
    peer.ack();
    EXPECT_EQ(host.stack().changed().pop(), listener);
    c = host.tcp().accept(*listener);
    ASSERT_NE(c, nullptr);
    EXPECT_EQ(c->state, tcp::State::established);
    EXPECT_EQ(host.events(Event::tcp_passive_opens), 1U);
}

TEST_F(TcpOpen, a_connect_sends_a_syn_with_linuxs_options_in_linuxs_order) {
    c = *host.tcp().connect(0, 0, peer.address, peer.port, {}, host.now);
    c->owner = this;
    peer.host_port = c->local_port;
    host.flush();
    const Frame syn = peer.expect();
    EXPECT_EQ(syn.flags, flag::syn);
    EXPECT_EQ(syn.ack, 0U);
    ASSERT_EQ(syn.option_bytes.size(), 20U);
    EXPECT_EQ(syn.option_bytes.substr(0, 8), Bytes("\x02\x04\x05\xb4\x04\x02\x08\x0a", 8));
    EXPECT_EQ(syn.option_bytes.substr(16, 3), Bytes("\x01\x03\x03", 3));
    EXPECT_EQ(syn.options.mss, 1460);
    EXPECT_EQ(syn.window, 64240);
    EXPECT_EQ(syn.ttl, 64);
    peer.send(flag::syn | flag::ack);
    const Frame last = peer.expect();
    EXPECT_EQ(last.flags, flag::ack);
    EXPECT_EQ(last.ack, peer.snd_nxt);
    EXPECT_EQ(c->state, tcp::State::established);
    EXPECT_NE(c->news & ready::output, 0);
    EXPECT_EQ(host.events(Event::tcp_active_opens), 1U);
}

TEST_F(TcpOpen, only_what_the_peer_offers_is_answered) {
    listen();
    peer.has_timestamps = peer.has_sack = false;
    peer.wscale = -1;
    peer.mss = 1000;
    peer.send(flag::syn);
    const Frame answer = peer.expect();
    EXPECT_FALSE(answer.options.has_timestamp);
    EXPECT_FALSE(answer.options.sack_permitted);
    EXPECT_EQ(answer.options.wscale, -1);
    peer.ack();
    c = host.tcp().accept(*listener);
    ASSERT_NE(c, nullptr);
    EXPECT_EQ(c->mss, 1000);
    EXPECT_EQ(c->rcv_wscale, 0);
    EXPECT_EQ(c->snd_wscale, 0);
}

TEST_F(TcpOpen, all_that_the_peer_offers_is_answered) {
    open();
    EXPECT_TRUE(c->has_timestamps);
    EXPECT_TRUE(c->has_sack);
    EXPECT_EQ(c->snd_wscale, 7);
    EXPECT_GT(c->rcv_wscale, 0);
    EXPECT_EQ(c->mss, 1448);
    EXPECT_EQ(c->snd_wnd, 65535U << 7);
}

TEST_F(TcpOpen, a_scale_of_zero_is_answered_all_the_same) {
    HostSetup setup;
    listen();
    peer.wscale = 0;
    peer.send(flag::syn);
    EXPECT_GE(peer.expect().options.wscale, 0);
}

TEST_F(TcpOpen, a_peer_without_an_mss_option_gets_536_bytes) {
    listen();
    peer.mss = 0;
    peer.has_timestamps = false;
    peer.send(flag::syn);
    peer.expect();
    peer.ack();
    c = host.tcp().accept(*listener);
    ASSERT_NE(c, nullptr);
    EXPECT_EQ(c->mss, 536);
}

TEST_F(TcpOpen, a_lost_syn_is_sent_again_each_second_five_times_and_then_after_twice_as_long) {
    c = *host.tcp().connect(0, 0, peer.address, peer.port, {}, host.now);
    c->owner = this;
    peer.host_port = c->local_port;
    const Time start = host.now;
    host.flush();
    host.advance(20s);
    std::vector<std::int64_t> at_s;
    while (auto frame = host.next()) {
        EXPECT_EQ(frame->flags, flag::syn);
        at_s.push_back(count_ms(frame->at - start) / 1000);
    }
    EXPECT_EQ(at_s, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 7, 11, 19}));
}

TEST_F(TcpOpen, a_connect_that_nobody_answers_ends_in_ETIMEDOUT_after_131_seconds) {
    c = *host.tcp().connect(0, 0, peer.address, peer.port, {}, host.now);
    c->owner = this;
    host.advance(130s);
    EXPECT_EQ(c->state, tcp::State::syn_sent);
    host.advance(2s);
    EXPECT_EQ(c->state, tcp::State::closed);
    EXPECT_EQ(c->error, ETIMEDOUT);
    close();
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpOpen, a_refused_connect_ends_in_ECONNREFUSED) {
    c = *host.tcp().connect(0, 0, peer.address, peer.port, {}, host.now);
    c->owner = this;
    peer.host_port = c->local_port;
    host.flush();
    peer.expect();
    peer.send_at(0, flag::rst | flag::ack);
    EXPECT_EQ(c->error, ECONNREFUSED);
    EXPECT_NE(c->news & ready::error, 0);
    close();
}

TEST_F(TcpOpen, a_reset_that_does_not_acknowledge_our_syn_is_ignored) {
    c = *host.tcp().connect(0, 0, peer.address, peer.port, {}, host.now);
    c->owner = this;
    peer.host_port = c->local_port;
    host.flush();
    peer.expect();
    peer.send_at(0, flag::rst);
    peer.rcv_nxt += 1000;
    peer.send_at(0, flag::rst | flag::ack);
    EXPECT_EQ(c->state, tcp::State::syn_sent);
    EXPECT_EQ(host.drops(DropReason::tcp_bad_ack), 1U);
}

TEST_F(TcpOpen, both_sides_may_open_at_once) {
    c = *host.tcp().connect(0, 0, peer.address, peer.port, {}, host.now);
    c->owner = this;
    peer.host_port = c->local_port;
    host.flush();
    peer.expect();
    peer.send(flag::syn);
    const Frame answer = peer.expect();
    EXPECT_EQ(answer.flags, flag::syn | flag::ack);
    EXPECT_EQ(answer.ack, peer.snd_nxt);
    peer.send_at(peer.iss, flag::syn | flag::ack);
    EXPECT_EQ(c->state, tcp::State::established);
    host.sent.clear();
    write("hello");
    EXPECT_EQ(peer.expect().payload, "hello");
}

TEST_F(TcpOpen, who_was_shut_for_sending_says_so_when_both_sides_open_at_once) {
    c = *host.tcp().connect(0, 0, peer.address, peer.port, {}, host.now);
    c->owner = this;
    c->opening.is_mute = true;
    peer.host_port = c->local_port;
    host.flush();
    peer.expect();
    peer.send(flag::syn);
    peer.expect();
    peer.send_at(peer.iss, flag::syn | flag::ack);
    EXPECT_EQ(c->state, tcp::State::fin_wait_1);
    EXPECT_NE(peer.expect().flags & flag::fin, 0);
}

TEST_F(TcpOpen, a_lost_synack_is_sent_again_by_time_and_by_the_peers_syn) {
    listen();
    peer.send(flag::syn);
    peer.expect();
    host.advance(1100ms);
    EXPECT_EQ(peer.expect().flags, flag::syn | flag::ack);
    peer.send_at(peer.iss, flag::syn);
    EXPECT_EQ(peer.expect().flags, flag::syn | flag::ack);
    peer.ack();
    c = host.tcp().accept(*listener);
    EXPECT_NE(c, nullptr);
}

TEST_F(TcpOpen, a_half_open_connection_that_is_never_completed_goes_away) {
    listen();
    peer.send(flag::syn);
    EXPECT_EQ(host.tcp().connections_used(), 1U);
    host.advance(70s);
    EXPECT_EQ(host.tcp().connections_used(), 0U);
    EXPECT_EQ(listener->half_open, 0U);
}

TEST_F(TcpOpen, data_with_the_last_ack_are_received) {
    listen();
    peer.send(flag::syn);
    peer.expect();
    peer.send(flag::ack | flag::psh, "first");
    c = host.tcp().accept(*listener);
    ASSERT_NE(c, nullptr);
    c->owner = this;
    EXPECT_EQ(read(), "first");
}

TEST_F(TcpOpen, beyond_the_backlog_syns_are_dropped_as_tcp_backlog_full) {
    listen(2);
    for (std::uint16_t i = 0; i < 3; ++i) {
        Peer other(host, static_cast<std::uint16_t>(5000 + i));
        other.send(flag::syn);
        other.expect();
        other.ack();
    }
    EXPECT_EQ(listener->queued, 3U) << "one more than the backlog, as Linux";
    peer.send(flag::syn);
    EXPECT_TRUE(peer.is_silent());
    EXPECT_EQ(host.drops(DropReason::tcp_backlog_full), 1U);
    tcp::Connection* first = host.tcp().accept(*listener);
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(first->remote_port, 5000) << "the oldest first";
    peer.send_at(peer.iss, flag::syn);
    peer.expect();
}

TEST_F(TcpOpen, a_last_ack_beyond_the_backlog_is_ignored) {
    listen(0);
    Peer other(host, 5000);
    for (Peer* each : {&peer, &other}) {
        each->send(flag::syn);
        each->expect();
    }
    peer.ack();
    other.ack();
    EXPECT_TRUE(other.is_silent());
    EXPECT_EQ(host.drops(DropReason::tcp_backlog_full), 1U);
    EXPECT_EQ(host.tcp().connections_used(), 1U) << "the other one's SYN was answered with a cookie";
}

HostSetup aborting_on_overflow() {
    HostSetup setup;
    setup.tunables.tcp_abort_on_overflow = 1;
    return setup;
}
class TcpOpenAbortingOnOverflow : public TcpTest {
protected:
    TcpOpenAbortingOnOverflow() : TcpTest(aborting_on_overflow()) {}
};

TEST_F(TcpOpenAbortingOnOverflow, a_last_ack_beyond_the_backlog_is_reset) {
    listen(0);
    Peer other(host, 5000);
    for (Peer* each : {&peer, &other}) {
        each->send(flag::syn);
        each->expect();
    }
    peer.ack();
    other.ack();
    EXPECT_TRUE(other.expect().has(flag::rst));
    EXPECT_EQ(host.tcp().connections_used(), 1U);
}

TEST_F(TcpOpen, a_listener_that_closes_resets_what_it_has_not_handed_out) {
    listen();
    peer.send(flag::syn);
    peer.expect();
    peer.ack();
    Peer half(host, 5000);
    half.send(flag::syn);
    half.expect();
    host.tcp().close(*listener, host.now);
    host.flush();
    int resets = 0;
    while (auto frame = host.next()) {
        resets += frame->has(flag::rst);
    }
    EXPECT_EQ(resets, 1);  // as Linux: of a half-open one nobody hears
    EXPECT_EQ(host.tcp().connections_used(), 0U);
    EXPECT_EQ(host.tcp().listeners_used(), 0U);
}

TEST_F(TcpOpen, a_segment_to_a_closed_port_is_reset_and_counted_as_tcp_no_connection) {
    peer.send_at(5000, flag::syn);
    Frame reset = peer.expect();
    EXPECT_EQ(reset.flags, flag::rst | flag::ack);
    EXPECT_EQ(reset.seq, 0U);
    EXPECT_EQ(reset.ack, 5001U);
    peer.rcv_nxt = 777;
    peer.send_at(5000, flag::ack);
    reset = peer.expect();
    EXPECT_EQ(reset.flags, flag::rst);
    EXPECT_EQ(reset.seq, 777U);
    peer.send_at(5000, flag::rst);
    EXPECT_TRUE(peer.is_silent()) << "a reset is not answered";
    EXPECT_EQ(host.drops(DropReason::tcp_no_connection), 3U);
}

TEST_F(TcpOpen, a_segment_with_a_broken_header_is_tcp_malformed_or_tcp_bad_checksum) {
    open();
    Bytes segment = peer.segment(peer.snd_nxt, peer.rcv_nxt, flag::ack, {}, "data");
    Bytes broken = segment;
    broken[12] = 0x40;
    peer.give(broken);
    broken[12] = static_cast<char>(0xf0);
    peer.give(broken);
    peer.give("short");
    EXPECT_EQ(host.drops(DropReason::tcp_malformed), 3U);
    segment.back() = 'b';
    peer.give(segment);
    EXPECT_EQ(host.drops(DropReason::tcp_bad_checksum), 1U);
    EXPECT_EQ(c->rcv_queued, 0U);
}

TEST_F(TcpOpen, ports_are_taken_once_and_not_in_order) {
    listen();
    EXPECT_EQ(code_of(host.tcp().listen(0, 80, 1, {}, false).error()), EADDRINUSE);
    std::set<std::uint16_t> ports;
    std::uint16_t last = 0;
    int successive = 0;
    for (unsigned i = 0; i < 50; ++i) {
        tcp::Connection* one = *host.tcp().connect(0, 0, ip(10, 0, 0, 10 + i), 80, {}, host.now);
        successive += one->local_port == last + 1;
        last = one->local_port;
        ports.insert(last);
        EXPECT_GE(last, 32768);
        EXPECT_LE(last, 60999);
        host.tcp().release(*one, false, host.now);
    }
    EXPECT_GT(ports.size(), 45U);
    EXPECT_LT(successive, 5);
}

TEST_F(TcpOpen, initial_sequence_numbers_differ_by_peer_and_grow_with_time) {
    std::set<std::uint32_t> numbers;
    for (unsigned i = 0; i < 50; ++i) {
        tcp::Connection* one = *host.tcp().connect(0, 40000, ip(10, 0, 0, 10 + i), 80, {}, host.now);
        numbers.insert(one->iss.raw() >> 16);
        host.tcp().release(*one, false, host.now);
    }
    EXPECT_GT(numbers.size(), 45U) << "no pattern across peers";
    tcp::Connection* one = *host.tcp().connect(0, 40000, peer.address, 80, {}, host.now);
    const Seq before = one->iss;
    host.tcp().release(*one, false, host.now);
    host.advance(10ms);
    one = *host.tcp().connect(0, 40000, peer.address, 80, {}, host.now);
    EXPECT_TRUE(before < one->iss);
    host.tcp().release(*one, false, host.now);
}

TEST_F(TcpOpen, another_key_gives_other_numbers) {
    const auto iss_of = [](std::uint64_t seed) {
        HostSetup setup;
        setup.index = 1;
        setup.seed = seed;
        Host other(setup);
        tcp::Connection* one = *other.tcp().connect(0, 40000, ip(10, 0, 0, 9), 80, {}, other.now);
        const std::uint32_t iss = one->iss.raw();
        other.tcp().release(*one, false, other.now);
        return iss;
    };
    EXPECT_EQ(iss_of(1), iss_of(1));
    EXPECT_NE(iss_of(1), iss_of(2));
}

}  // namespace
}  // namespace shunt::test
