// The end of a connection, in every order.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

using tcp::State;

class TcpClose : public TcpTest {
protected:
    void SetUp() override { open(); }
    // We close first and sit in TIME_WAIT.
    void close_first() {
        close();
        EXPECT_TRUE(peer.expect().has(flag::fin));
        peer.ack();
        peer.send(flag::fin | flag::ack);
        EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
        EXPECT_EQ(host.tcp().time_wait_count(), 1U);
    }
};

TEST_F(TcpClose, by_us_first_ends_in_time_wait_for_60_seconds) {
    close_first();
    host.advance(59s);
    EXPECT_EQ(host.tcp().connections_used(), 1U);
    host.advance(2s);
    EXPECT_EQ(host.tcp().connections_used(), 0U);
    EXPECT_EQ(host.tcp().time_wait_count(), 0U);
}

TEST_F(TcpClose, by_the_peer_first_leaves_nothing_behind) {
    peer.send(flag::fin | flag::ack);
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
    EXPECT_EQ(c->state, State::close_wait);
    EXPECT_NE(c->news & ready::peer_shut, 0);
    close();
    EXPECT_TRUE(peer.expect().has(flag::fin));
    peer.ack();
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpClose, by_both_at_once_passes_through_closing) {
    tcp::Connection* connection = c;
    shutdown();
    const Frame fin = peer.expect();
    EXPECT_TRUE(fin.has(flag::fin));
    peer.rcv_nxt = fin.seq;  // the peer has not seen it
    peer.send(flag::fin | flag::ack);
    EXPECT_EQ(connection->state, State::closing);
    EXPECT_EQ(host.next()->ack, peer.snd_nxt);
    peer.rcv_nxt = fin.end();
    peer.ack();
    EXPECT_EQ(connection->state, State::time_wait);
    close();
    host.advance(61s);
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpClose, a_fin_with_the_ack_of_ours_goes_straight_to_time_wait) {
    close();
    peer.expect();
    peer.send(flag::fin | flag::ack);
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
    EXPECT_EQ(host.tcp().time_wait_count(), 1U);
}

TEST_F(TcpClose, half_closed_the_peer_may_go_on_sending) {
    shutdown();
    EXPECT_TRUE(peer.expect().has(flag::fin));
    peer.ack();
    EXPECT_EQ(c->state, State::fin_wait_2);
    peer.send(flag::ack | flag::psh, "still talking");
    EXPECT_EQ(read(), "still talking");
    host.advance(10min);
    EXPECT_EQ(c->state, State::fin_wait_2) << "the program holds it";
    host.sent.clear();
    peer.send(flag::fin | flag::ack);
    EXPECT_EQ(c->state, State::time_wait);
}

TEST_F(TcpClose, half_closed_by_the_peer_we_may_go_on_sending) {
    peer.send(flag::fin | flag::ack);
    peer.expect();
    write("still talking");
    EXPECT_EQ(peer.expect().payload, "still talking");
    peer.ack();
    EXPECT_EQ(c->state, State::close_wait);
}

TEST_F(TcpClose, data_and_fin_go_out_together_and_in_order) {
    c->options.cork = true;
    write("last words");
    close();
    const Frame frame = peer.expect();
    EXPECT_EQ(frame.payload, "last words");
    EXPECT_TRUE(frame.has(flag::fin));
}

TEST_F(TcpClose, data_that_are_not_acknowledged_are_sent_again_after_close) {
    write("important");
    peer.expect();
    close();
    EXPECT_TRUE(peer.expect().has(flag::fin));
    EXPECT_EQ(host.tcp().orphans_with_data(), 1U);
    host.advance(2s);
    bool has_data = false, has_fin = false;
    while (auto frame = host.next()) {
        has_data |= frame->payload == "important";
        has_fin |= frame->has(flag::fin);
    }
    EXPECT_TRUE(has_data);
    EXPECT_TRUE(has_fin);
    peer.ack();
    EXPECT_EQ(host.tcp().orphans_with_data(), 0U);
}

TEST_F(TcpClose, with_unread_data_resets) {
    peer.send(flag::ack, "unread");
    host.sent.clear();
    close();
    EXPECT_TRUE(peer.expect().has(flag::rst));
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpClose, with_linger_zero_resets) {
    write("never mind");
    peer.expect();
    close(true);
    const Frame reset = peer.expect();
    EXPECT_TRUE(reset.has(flag::rst));
    EXPECT_EQ(reset.seq, peer.rcv_nxt);
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpClose, data_after_close_are_answered_by_a_reset_and_counted_as_tcp_after_close) {
    close();
    peer.expect();
    peer.send(flag::ack, "too late");
    EXPECT_TRUE(peer.expect().has(flag::rst));
    EXPECT_EQ(host.drops(DropReason::tcp_after_close), 1U);
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpClose, a_peer_that_never_closes_is_left_after_tcp_fin_timeout) {
    close();
    peer.expect();
    peer.ack();
    host.advance(59s);
    EXPECT_EQ(host.tcp().connections_used(), 1U);
    host.advance(3s);
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpClose, a_fin_in_time_wait_is_acknowledged_again) {
    close_first();
    peer.send_at(peer.snd_nxt - 1, flag::fin | flag::ack);
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
    EXPECT_EQ(host.tcp().time_wait_count(), 1U);
}

TEST_F(TcpClose, a_newer_syn_opens_again_out_of_time_wait) {
    close_first();
    host.advance(2s);
    peer.snd_nxt += 100'000;
    peer.send(flag::syn);
    EXPECT_EQ(peer.expect().flags, flag::syn | flag::ack);
    EXPECT_EQ(host.tcp().time_wait_count(), 0U);
}

TEST_F(TcpClose, an_old_syn_does_not) {
    close_first();
    peer.ts_skew = static_cast<std::uint32_t>(-10'000);
    peer.send_at(peer.iss - 1000, flag::syn);
    EXPECT_EQ(host.tcp().time_wait_count(), 1U);
    EXPECT_FALSE(peer.expect().has(flag::syn));
}

// A connection to `server` that the host opens and closes first. Returns its port.
std::uint16_t close_into_time_wait(Host& other, Peer& server) {
    tcp::Connection* first = server.accept_from();
    const std::uint16_t port = first->local_port;
    other.tcp().release(*first, false, other.now);
    other.flush();
    server.expect();
    server.send(flag::fin | flag::ack);
    server.expect();
    EXPECT_EQ(other.tcp().time_wait_count(), 1U);
    return port;
}

TEST_F(TcpClose, a_port_in_time_wait_is_used_again_for_the_same_peer_after_a_second) {
    HostSetup setup;
    setup.index = 1;
    setup.tunables.ip_local_port_range = {40000, 40000};
    setup.tunables.tcp_tw_reuse = 1;
    Host other(setup);
    Peer server(other, 80);
    close_into_time_wait(other, server);
    EXPECT_EQ(code_of(other.tcp().connect(0, 0, server.address, 80, {}, other.now).error()), EADDRNOTAVAIL);
    other.advance(2s);
    const auto again = other.tcp().connect(0, 0, server.address, 80, {}, other.now);
    EXPECT_TRUE(again);
}

TEST_F(TcpClose, a_port_in_time_wait_that_a_program_asks_for_is_used_again_at_once_if_there_were_timestamps) {
    for (const bool has_timestamps : {true, false}) {
        HostSetup setup;
        setup.index = 1;
        setup.tunables.tcp_timestamps = has_timestamps ? 1 : 0;
        Host other(setup);
        Peer server(other, 80);
        const std::uint16_t port = close_into_time_wait(other, server);
        const Seq used_before(server.rcv_nxt);
        const auto again = other.tcp().connect(0, port, server.address, 80, {}, other.now);
        if (has_timestamps) {
            ASSERT_TRUE(again);
            EXPECT_TRUE((*again)->iss > used_before);
            EXPECT_EQ(other.tcp().time_wait_count(), 0U);
        } else {
            EXPECT_EQ(code_of(again.error()), EADDRNOTAVAIL);
        }
    }
}

TEST_F(TcpClose, beyond_tcp_max_tw_buckets_the_longest_waiting_goes) {
    HostSetup setup;
    setup.index = 1;
    setup.tunables.tcp_max_tw_buckets = 2;
    Host other(setup);
    for (std::uint16_t i = 0; i < 3; ++i) {
        Peer server(other, static_cast<std::uint16_t>(80 + i));
        tcp::Connection* each = server.accept_from();
        other.tcp().release(*each, false, other.now);
        other.flush();
        server.expect();
        server.send(flag::fin | flag::ack);
        server.expect();
    }
    EXPECT_EQ(other.tcp().time_wait_count(), 2U);
    EXPECT_EQ(other.events(Event::tcp_time_wait_overflows), 1U);
    other.tcp().for_each_connection([](const tcp::Connection& each) { EXPECT_NE(each.remote_port, 80); });
}

TEST_F(TcpClose, a_fin_out_of_order_waits_for_what_is_missing) {
    const std::uint32_t base = peer.snd_nxt;
    peer.send_at(base + 5, flag::ack | flag::fin, "world");
    EXPECT_EQ(c->state, State::established);
    EXPECT_EQ(peer.expect().ack, base);
    peer.send_at(base, flag::ack, "hello");
    peer.snd_nxt = base + 11;
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
    EXPECT_EQ(c->state, State::close_wait);
    EXPECT_EQ(read(), "helloworld");
}

TEST_F(TcpClose, a_fin_sent_twice_is_acknowledged_twice) {
    peer.send(flag::fin | flag::ack);
    peer.expect();
    peer.send_at(peer.snd_nxt - 1, flag::fin | flag::ack);
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
    EXPECT_EQ(c->state, State::close_wait);
}

TEST_F(TcpClose, a_reset_in_close_wait_is_EPIPE) {
    peer.send(flag::fin | flag::ack);
    peer.expect();
    peer.send(flag::rst);
    EXPECT_EQ(c->state, State::closed);
    EXPECT_EQ(c->error, EPIPE);
}

TEST_F(TcpClose, a_reset_ends_time_wait) {
    close_first();
    peer.send(flag::rst);
    EXPECT_EQ(host.tcp().connections_used(), 0U);
}

TEST_F(TcpClose, after_shutdown_for_receiving_data_can_still_be_read) {
    host.tcp().shutdown_receive(*c);
    peer.send(flag::ack, "unheard");
    EXPECT_EQ(c->rcv_queued, 7U);
    host.advance(100ms);
    EXPECT_EQ(peer.expect_all().back().ack, peer.snd_nxt);
}

}  // namespace
}  // namespace shunt::test
