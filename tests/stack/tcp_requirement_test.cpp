// What RFC 9293 and RFC 1122 require and a script cannot show: several connections, addresses, frames to everybody, hours, ICMP of rare types.
#include <gtest/gtest.h>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

using tcp::State;

class TcpRequirement : public TcpTest {
protected:
    // A SYN to port 80.
    Bytes syn_to(std::uint32_t destination) const {
        IpFields f;
        f.source = peer.address;
        f.destination = destination;
        f.protocol = wire::protocol_tcp;
        TcpFields t;
        t.source_port = 5000;
        t.destination_port = 80;
        t.flags = flag::syn;
        return ipv4(f, tcp(f.source, f.destination, t, {}));
    }
};

TEST_F(TcpRequirement, a_port_is_listened_on_beside_its_connections_in_every_state) {
    open();
    Peer half_open(host, 5001);
    half_open.send(flag::syn);
    EXPECT_TRUE(half_open.expect().has(flag::syn));
    Peer server(host, 7, 80);
    const auto connecting = host.tcp().connect(0, 80, server.address, 7, {}, host.now);
    ASSERT_TRUE(connecting);
    (*connecting)->owner = this;
    host.flush();
    EXPECT_EQ(server.expect().flags, flag::syn);

    EXPECT_EQ(code_of(host.tcp().listen(0, 80, 1, {}, false).error()), EADDRINUSE);
    EXPECT_EQ(c->state, State::established);
    EXPECT_EQ((*connecting)->state, State::syn_sent);
    half_open.send(flag::ack);
    EXPECT_NE(host.tcp().accept(*listener), nullptr);
    write("still here");
    EXPECT_EQ(peer.expect().payload, "still here");
}

TEST(TcpPorts, of_listeners_are_not_picked_for_connections) {
    HostSetup setup;
    setup.tunables.ip_local_port_range = {40000, 40001};
    Host host(setup);
    Peer server(host, 7);
    ASSERT_TRUE(host.tcp().listen(0, 40000, 1, {}, false));
    for (int i = 0; i < 8; ++i) {
        const auto picked = host.tcp().pick_port(host.address(), server.address, 7, host.now);
        ASSERT_TRUE(picked);
        EXPECT_EQ(*picked, 40001);
    }
}

TEST_F(TcpRequirement, the_route_chooses_our_address_unless_the_program_does_and_it_stays) {
    const std::uint32_t second = ip(10, 0, 0, 7);
    ASSERT_TRUE(host.stack().ipv4().add_address({second, 24, 0}));
    for (const auto& [wanted, expected] : {std::pair{std::uint32_t{0}, host.address()}, std::pair{second, second}}) {
        const auto connecting = host.tcp().connect(wanted, 0, peer.address, 7, {}, host.now);
        ASSERT_TRUE(connecting);
        (*connecting)->owner = this;
        host.flush();
        EXPECT_EQ(host.next()->source, expected);
        host.advance(1100ms);
        EXPECT_EQ(host.next()->source, expected);
        host.tcp().release(**connecting, false, host.now);
    }
}

TEST_F(TcpRequirement, a_window_has_more_than_sixteen_bits) {
    open();
    make_ordinary();
    write(pattern(60'000));
    write(pattern(30'000));
    EXPECT_GT(c->outstanding(), 65'535U);
    EXPECT_GT(c->snd_wnd, 65'535U);
    host.sent.clear();
}

TEST_F(TcpRequirement, a_window_opens_by_a_segment_at_least) {
    open();
    std::size_t given = 0;
    while (c->rcv_adv - c->rcv_nxt >= 1448) {
        peer.send(flag::ack, pattern(1448, given));
        given += 1448;
    }
    peer.send(flag::ack, pattern(c->rcv_adv - c->rcv_nxt, given));
    host.sent.clear();
    const Seq edge = c->rcv_adv;
    std::size_t left = 1400;
    for (; left != 0; left -= 100) {  // room for less than a segment of the peer's: nobody hears of it
        read(100);
        host.flush();
    }
    EXPECT_TRUE(peer.is_silent());
    peer.send_at(peer.snd_nxt, flag::ack, "probe");
    EXPECT_EQ(peer.expect().window, 0);
    EXPECT_EQ(c->rcv_adv, edge);
    read(3000);
    host.flush();
    EXPECT_GE(std::uint32_t{peer.expect().window} << c->rcv_wscale, 1448U);
}

TEST_F(TcpRequirement, no_keep_alive_is_sent_while_data_are_under_way) {
    tcp::ConnectionOptions options;
    options.keepalive = true;
    options.keepidle_s = 1;
    options.keepintvl_s = 1;
    open(options);
    host.tcp().apply_options(*c, host.now);
    write("anyone?");
    host.advance(20s);
    EXPECT_EQ(host.events(Event::tcp_keepalives), 0U);
    EXPECT_GT(host.events(Event::tcp_timeouts), 3U);
    host.sent.clear();
}

TEST_F(TcpRequirement, nobody_is_given_up_within_100_seconds) {
    open();
    write("anyone?");
    host.advance(100s);
    EXPECT_EQ(c->state, State::established);
    host.sent.clear();
}

TEST_F(TcpRequirement, the_time_out_grows_to_120_seconds) {
    open();
    write("anyone?");
    Time previous = peer.expect().at;
    Duration gap{};
    host.advance(10min);
    while (const auto frame = host.next()) {
        EXPECT_LE(frame->at - previous, 121s);
        gap = frame->at - previous;
        previous = frame->at;
    }
    EXPECT_GE(gap, 119s);
}

TEST_F(TcpRequirement, no_segment_may_be_cut_by_routers) {
    listen();
    peer.send(flag::syn);
    EXPECT_EQ(peer.expect().fragment, wire::Ipv4Header::dont_fragment);
    peer.send(flag::ack);
    c = host.tcp().accept(*listener);
    c->owner = this;
    write(pattern(5000));
    for (const Frame& frame : peer.expect_all()) {
        EXPECT_EQ(frame.fragment, wire::Ipv4Header::dont_fragment);
    }
}

TEST_F(TcpRequirement, a_router_that_names_no_mtu_is_given_576_bytes_and_none_makes_them_fewer_than_552) {
    open();
    write(pattern(1448));
    const std::uint32_t seq = peer.expect().seq;
    give_icmp(3, 4, seq, 0);
    EXPECT_EQ(c->mss, 576 - 40 - 12);
    give_icmp(3, 4, seq, 68);
    EXPECT_EQ(c->mss, 552 - 40 - 12);
    give_icmp(3, 4, seq, 1400);
    EXPECT_EQ(c->mss, 552 - 40 - 12) << "an error never makes them more";
    EXPECT_EQ(c->path.mtu, 552);
    host.sent.clear();
}

TEST_F(TcpRequirement, time_stamps_do_not_tell_how_long_we_have_been_up) {
    listen();
    Peer other(host, 40000, 80, ip(10, 0, 0, 3));
    peer.send(flag::syn);
    other.send(flag::syn);
    const std::uint32_t first = peer.expect().options.tsval, second = other.expect().options.tsval;
    EXPECT_NE(first, second);
    EXPECT_NE(first, static_cast<std::uint32_t>(count_ms(host.now.time_since_epoch())));
}

TEST_F(TcpRequirement, a_sack_block_that_reaches_beyond_what_was_sent_is_not_believed) {
    open();
    write(pattern(5 * 1448));
    const std::uint32_t first = peer.expect_all().front().seq;
    peer.ack_with_sack(first, {{Seq(first + 1448), Seq(first + 6 * 1448)}});
    EXPECT_EQ(c->sacked_out, 0U);
    peer.ack_with_sack(first, {{Seq(first + 1448), Seq(first + 5 * 1448)}});
    EXPECT_EQ(c->sacked_out, 4U * 1448);
    host.sent.clear();
}

TEST_F(TcpRequirement, nobody_is_connected_to_a_group) {
    for (const std::uint32_t group : {ip(10, 0, 0, 255), ip(224, 0, 0, 1), wire::limited_broadcast}) {
        EXPECT_EQ(code_of(host.tcp().connect(0, 0, group, 80, {}, host.now).error()), ENETUNREACH);
    }
    host.flush();
    EXPECT_FALSE(host.next());
}

TEST_F(TcpRequirement, a_syn_to_a_group_is_not_answered) {
    listen();
    host.give_ip(syn_to(ip(10, 0, 0, 255)));
    host.give_ip(syn_to(wire::limited_broadcast));
    host.give_ip(syn_to(ip(224, 0, 0, 1)));
    host.give(ethernet({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {2, 0, 0, 0, 0, 9}, wire::ethertype_ipv4, syn_to(host.address())));
    EXPECT_FALSE(host.next());
    EXPECT_EQ(host.tcp().connections_used(), 0U);
    host.give_ip(syn_to(host.address()));
    EXPECT_TRUE(host.next());
}

TEST_F(TcpRequirement, numbers_go_on_when_a_syn_reopens_a_connection_out_of_time_wait) {
    peer.has_timestamps = false;
    peer.window = 0x4000;
    open();
    const std::uint32_t first = peer.rcv_nxt;
    for (int i = 0; i < 200; ++i) {  // more in no time than the clock of initial numbers counts
        write(pattern(10'000));
        peer.expect_all();
        peer.ack();
        peer.expect_all();
        peer.ack();
    }
    const std::uint32_t last = peer.rcv_nxt;
    ASSERT_GT(last - first, 1'000'000U);
    close();
    peer.expect();
    peer.send(flag::fin | flag::ack);
    peer.expect();
    ASSERT_EQ(host.tcp().time_wait_count(), 1U);
    peer.snd_nxt += 100'000;
    peer.send(flag::syn);
    const Frame answer = peer.expect();
    EXPECT_TRUE(answer.has(flag::syn));
    EXPECT_GT(Seq(answer.seq), Seq(last));
}

TEST_F(TcpRequirement, data_under_a_window_that_was_taken_back_are_not_given_up) {
    open();
    write("beyond");
    host.sent.clear();
    peer.window = 0;
    peer.ack();
    for (int i = 0; i < 400; ++i) {
        host.advance(30s);
        if (host.next()) {
            host.sent.clear();
            peer.ack();
        }
    }
    ASSERT_EQ(c->state, State::established);
    peer.window = 1000;
    peer.rcv_nxt += 6;
    peer.ack();
    EXPECT_EQ(c->outstanding(), 0U);
    write("and on");
    host.sent.clear();
    host.advance(30min);
    EXPECT_EQ(c->error, ETIMEDOUT) << "it answers no more";
    host.sent.clear();
}

TEST_F(TcpRequirement, after_three_retransmissions_the_next_hop_is_asked_for_again) {
    open();
    host.advance(5s);
    const std::uint64_t before = host.events(Event::arp_requests);
    write("anyone?");
    host.advance(1200ms);
    EXPECT_EQ(host.events(Event::tcp_timeouts), 2U);
    EXPECT_EQ(host.events(Event::arp_requests), before);
    host.advance(4s);
    EXPECT_GE(host.events(Event::tcp_timeouts), 4U);
    EXPECT_GT(host.events(Event::arp_requests), before);
    host.sent.clear();
}

TEST_F(TcpRequirement, soft_errors_of_any_type_are_told_when_the_connection_is_given_up) {
    constexpr std::pair<std::uint8_t, std::uint8_t> soft[] = {{3, 0}, {3, 1}, {3, 5}, {11, 0}, {11, 1}, {12, 0}};
    open();
    write("anyone?");
    const std::uint32_t seq = peer.expect().seq;
    for (const auto& [type, code] : soft) {
        give_icmp(type, code, seq);
        EXPECT_EQ(c->state, State::established) << int{type} << ' ' << int{code};
        EXPECT_EQ(c->error, 0);
    }
    EXPECT_EQ(host.events(Event::icmp_errors_received), std::size(soft));
    host.advance(30min);
    EXPECT_EQ(c->error, EPROTO) << "the last one";
    host.sent.clear();
}

TEST_F(TcpRequirement, a_source_quench_changes_nothing) {
    open();
    write(pattern(1000));
    const std::uint32_t cwnd = c->cwnd;
    give_icmp(4, 0, peer.expect().seq);
    EXPECT_EQ(c->cwnd, cwnd);
    EXPECT_EQ(host.drops(DropReason::icmp_ignored), 1U);
    EXPECT_TRUE(peer.is_silent());
}

TEST_F(TcpRequirement, a_segment_outside_the_window_is_answered_in_time_wait) {
    open();
    close();
    peer.expect();
    peer.send(flag::fin | flag::ack);
    peer.expect();
    peer.send_at(peer.snd_nxt - 1, flag::ack);
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
    peer.ack();
    EXPECT_TRUE(peer.is_silent()) << "nothing is wrong with this one";
}

}  // namespace
}  // namespace shunt::test
