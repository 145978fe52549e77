// Data in both directions: segments, acknowledgements, Nagle, windows.
#include <gtest/gtest.h>

#include <deque>
#include <vector>

#include "stack/support/peer.hpp"

namespace shunt::test {
namespace {

class TcpData : public TcpTest {
protected:
    void SetUp() override { open(); }
};

TEST_F(TcpData, goes_both_ways) {
    write("hello");
    const Frame frame = peer.expect();
    EXPECT_EQ(frame.payload, "hello");
    EXPECT_EQ(frame.flags, flag::ack | flag::psh);
    peer.send(flag::ack | flag::psh, "world");
    EXPECT_EQ(host.stack().changed().pop(), c);
    EXPECT_EQ(read(), "world");
    EXPECT_EQ(c->outstanding(), 0U);
}

TEST_F(TcpData, is_cut_into_full_segments) {
    EXPECT_EQ(write(pattern(5000)), 5000U);
    Bytes all;
    for (const Frame& frame : peer.expect_all()) {
        EXPECT_LE(frame.payload.size(), 1448U);
        all += frame.payload;
    }
    EXPECT_GE(all.size(), 4344U);
    peer.ack();
    for (const Frame& frame : peer.expect_all()) {
        all += frame.payload;
    }
    EXPECT_TRUE(all == pattern(5000));
}

TEST_F(TcpData, a_lone_segment_is_acknowledged_after_40_ms) {
    make_ordinary();
    const Time start = host.now;
    peer.send(flag::ack, "one");
    EXPECT_TRUE(peer.is_silent());
    host.advance(39ms);
    EXPECT_TRUE(peer.is_silent());
    host.advance(2ms);
    const Frame ack = peer.expect();
    EXPECT_EQ(ack.ack, peer.snd_nxt);
    EXPECT_GE(ack.at - start, 40ms);
    EXPECT_LT(ack.at - start, 41ms);
}

TEST_F(TcpData, every_second_full_segment_is_acknowledged_at_once) {
    make_ordinary();
    peer.send(flag::ack, pattern(1448));
    EXPECT_TRUE(peer.is_silent());
    peer.send(flag::ack, pattern(1448));
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
}

TEST_F(TcpData, the_first_segments_are_acknowledged_at_once) {
    peer.send(flag::ack, "one");
    EXPECT_EQ(peer.expect().ack, peer.snd_nxt);
}

TEST_F(TcpData, an_answer_carries_the_acknowledgement) {
    make_ordinary();
    peer.send(flag::ack, "question");
    write("answer");
    const Frame frame = peer.expect();
    EXPECT_EQ(frame.payload, "answer");
    EXPECT_EQ(frame.ack, peer.snd_nxt);
    peer.ack();
    host.advance(100ms);
    EXPECT_TRUE(peer.is_silent());
}

TEST_F(TcpData, nagle_holds_a_small_segment_while_another_is_under_way) {
    write("a");
    EXPECT_EQ(peer.expect().payload, "a");
    write("b");
    write("c");
    EXPECT_TRUE(peer.is_silent());
    peer.ack();
    EXPECT_EQ(peer.expect().payload, "bc");
}

TEST_F(TcpData, without_nagle_every_write_goes_out) {
    c->options.nodelay = true;
    for (const char* text : {"a", "b", "c"}) {
        write(text);
        EXPECT_EQ(peer.expect().payload, text);
    }
}

TEST_F(TcpData, a_cork_holds_what_does_not_fill_a_segment) {
    c->options.cork = true;
    write(pattern(2000));
    EXPECT_EQ(peer.expect().payload.size(), 1448U);
    EXPECT_TRUE(peer.is_silent());
    c->options.cork = false;
    c->options.nodelay = true;
    host.tcp().push(*c, host.now);
    host.flush();
    EXPECT_EQ(peer.expect().payload.size(), 552U);
}

TEST_F(TcpData, what_more_holds_back_stays_when_data_come_without_news_of_ours) {
    make_ordinary();
    write("held ", true);
    peer.send(flag::ack, pattern(1448));
    peer.send(flag::ack, pattern(1448));
    EXPECT_EQ(peer.expect().payload, "");
    EXPECT_TRUE(peer.is_silent());
    write("back");
    EXPECT_EQ(peer.expect().payload, "held back");
}

TEST_F(TcpData, a_peek_leaves_what_it_shows) {
    peer.send(flag::ack, "abcdef");
    Bytes shown(3, '\0');
    EXPECT_EQ(host.tcp().receive(*c, reinterpret_cast<std::byte*>(shown.data()), 3, true, 2, host.now), 3U);
    EXPECT_EQ(shown, "cde");
    EXPECT_EQ(read(), "abcdef");
}

TEST_F(TcpData, a_received_packet_may_be_taken_as_it_is) {
    peer.send(flag::ack, "abc");
    Packet* packet = host.tcp().take(*c, host.now);
    ASSERT_NE(packet, nullptr);
    EXPECT_EQ(packet->size(), 3U);
    packet->free();
    EXPECT_EQ(host.tcp().take(*c, host.now), nullptr);
}

TEST_F(TcpData, a_claimed_packet_is_sent_without_a_copy) {
    Packet* packet = host.tcp().claim(*c);
    std::memcpy(packet->append(5), "hello", 5);
    host.tcp().send_packet(*c, packet, false, host.now);
    host.flush();
    EXPECT_EQ(peer.expect().payload, "hello");
    EXPECT_TRUE(c->is_valid());
}

TEST_F(TcpData, the_initial_congestion_window_is_ten_segments) {
    write(pattern(60'000));
    EXPECT_EQ(peer.expect_all().size(), 10U);
}

TEST_F(TcpData, slow_start_doubles_each_round_trip) {
    std::size_t written = write(pattern(65'000));
    std::size_t previous = peer.expect_all().size();
    for (int round = 0; round < 2; ++round) {
        host.advance(10ms);
        // Acknowledge every second segment, as a receiver does.
        const std::uint32_t end = peer.rcv_nxt;
        for (std::uint32_t at = c->snd_una.raw() + 2896; at <= end; at += 2896) {
            peer.rcv_nxt = at;
            peer.ack();
        }
        peer.rcv_nxt = end;
        written += write(pattern(65'000, written));
        const std::size_t now = peer.expect_all().size();
        EXPECT_NEAR(static_cast<double>(now), static_cast<double>(previous * 2), 3);
        previous = now;
    }
}

TEST_F(TcpData, out_of_order_segments_are_put_in_order_and_reported_by_sack) {
    const std::uint32_t base = peer.snd_nxt;
    peer.send_at(base + 10, flag::ack, pattern(10, 10));
    Frame ack = peer.expect();
    EXPECT_EQ(ack.ack, base);
    ASSERT_EQ(ack.options.sack_count, 1);
    EXPECT_EQ(ack.options.sack[0].left.raw(), base + 10);
    EXPECT_EQ(ack.options.sack[0].right.raw(), base + 20);
    peer.send_at(base + 30, flag::ack, pattern(10, 30));
    ack = peer.expect();
    ASSERT_EQ(ack.options.sack_count, 2);
    EXPECT_EQ(ack.options.sack[0].left.raw(), base + 30) << "the newest first";
    EXPECT_EQ(ack.options.sack[1].left.raw(), base + 10);
    peer.send_at(base + 20, flag::ack, pattern(10, 20));
    ack = peer.expect();
    ASSERT_EQ(ack.options.sack_count, 1);
    EXPECT_EQ(ack.options.sack[0].right.raw(), base + 40);
    EXPECT_EQ(c->rcv_queued, 0U);
    peer.send(flag::ack, pattern(10));
    peer.snd_nxt = base + 40;
    ack = peer.expect();
    EXPECT_EQ(ack.ack, base + 40);
    EXPECT_EQ(ack.options.sack_count, 0);
    EXPECT_EQ(read(), pattern(40));
    EXPECT_EQ(host.events(Event::tcp_out_of_order), 3U);
}

TEST_F(TcpData, overlapping_pieces_in_any_order_make_the_stream) {
    Random random(7);
    for (int round = 0; round < 50; ++round) {
        const std::uint32_t base = peer.snd_nxt;
        const Bytes data = pattern(3000, static_cast<std::size_t>(round) * 3000);
        for (int i = 0; i < 40; ++i) {
            const std::uint32_t from = random.below(3000), size = 1 + random.below(std::min(700U, 3000 - from));
            peer.send_at(base + from, flag::ack, data.substr(from, size));
            ASSERT_TRUE(c->is_valid());
        }
        for (std::uint32_t from = 0; from < 3000; from += 1000) {
            peer.send_at(base + from, flag::ack, data.substr(from, 1000));
        }
        peer.snd_nxt = base + 3000;
        ASSERT_TRUE(read() == data) << round;
        host.sent.clear();
        host.advance(1s);
    }
    EXPECT_EQ(c->ooo_bytes, 0U);
}

TEST_F(TcpData, too_many_pieces_out_of_order_are_dropped_as_tcp_queue_full) {
    for (std::uint32_t i = 1; i < 400; ++i) {
        peer.send_at(peer.snd_nxt + i * 2, flag::ack, "x");
        if (host.drops(DropReason::tcp_queue_full) != 0) {
            break;
        }
    }
    EXPECT_GT(host.drops(DropReason::tcp_queue_full), 0U);
    EXPECT_TRUE(c->is_valid());
}

TEST_F(TcpData, pieces_out_of_order_take_a_quarter_of_all_packets_at_most_and_the_rest_is_tcp_out_of_order_full) {
    c->rcvbuf = 8U << 20;
    for (std::uint32_t i = 1; i < 9000 && host.drops(DropReason::tcp_out_of_order_full) == 0; ++i) {
        peer.send_at(peer.snd_nxt + i * 2, flag::ack, "x");
    }
    EXPECT_EQ(host.drops(DropReason::tcp_out_of_order_full), 1U);
    EXPECT_EQ(host.drops(DropReason::tcp_queue_full), 0U);
    EXPECT_EQ(host.tcp().out_of_order_packets(), c->ooo_packets);
    peer.send_at(c->rcv_nxt.raw(), flag::rst, "");
    EXPECT_EQ(host.tcp().out_of_order_packets(), 0U);
}

TEST_F(TcpData, many_small_segments_are_copied_together) {
    for (int i = 0; i < 200; ++i) {
        peer.send(flag::ack, "0123456789");
    }
    EXPECT_GT(host.events(Event::tcp_rx_collapsed), 100U);
    EXPECT_LT(c->rcv_packets, 40U);
    EXPECT_EQ(read().size(), 2000U);
    EXPECT_EQ(c->rcv_packets, 0U);
}

TEST_F(TcpData, the_window_closes_as_the_buffer_fills_and_opens_when_it_is_read) {
    Frame last;
    std::size_t sent = 0;
    while (sent < 500'000) {
        const std::uint32_t room = c->rcv_adv - c->rcv_nxt;
        if (room < 1448) {
            break;
        }
        peer.send(flag::ack, pattern(1448, sent));
        sent += 1448;
        for (const Frame& frame : peer.expect_all()) {
            last = frame;
        }
    }
    EXPECT_LT(sent, 500'000U);
    EXPECT_LT(std::uint32_t{last.window} << c->rcv_wscale, 3000U);
    const Bytes data = read();
    EXPECT_TRUE(data == pattern(sent));
    const Frame update = peer.expect();
    EXPECT_GT(std::uint32_t{update.window} << c->rcv_wscale, 30'000U);
}

TEST_F(TcpData, a_smaller_mtu_from_icmp_makes_segments_smaller_and_resends_what_was_too_large) {
    write(pattern(4000));
    const auto first = peer.expect_all();
    give_icmp(3, 4, first[0].seq, 1000);
    EXPECT_EQ(c->mss, 1000 - 40 - 12);
    EXPECT_EQ(c->error, 0);
    host.advance(1s);
    Bytes again;
    std::uint32_t end = first[0].seq;
    while (auto frame = host.next()) {
        EXPECT_LE(frame->payload.size(), 948U);
        if (frame->seq == end) {
            again += frame->payload;
            end = frame->end();
            peer.rcv_nxt = end;
            peer.ack();
        }
    }
    EXPECT_TRUE(again == pattern(again.size()));
    EXPECT_GE(again.size(), 2896U);
    // An error about a sequence number that is not under way is a forgery.
    give_icmp(3, 4, first[0].seq - 100'000, 600);
    EXPECT_EQ(c->mss, 948);
}

// Somebody writes to peers that read nothing until packets run out.
TEST_F(TcpData, for_peers_that_do_not_read_leaves_packets_for_others) {
    const std::uint32_t all = host.link().port.pool_size();
    std::deque<Peer> peers;
    std::vector<tcp::Connection*> stuck;
    for (std::uint16_t i = 0; i < 30; ++i) {
        Peer& each = peers.emplace_back(host, static_cast<std::uint16_t>(50000 + i));
        stuck.push_back(each.connect_to(*listener));
        ASSERT_NE(stuck.back(), nullptr);
        each.window = 0;
        each.ack();
        stuck.back()->sndbuf = 4'000'000;
    }
    const Bytes data = pattern(50'000);
    for (int round = 0; round < 200; ++round) {
        for (tcp::Connection* each : stuck) {
            host.tcp().send(*each, as_bytes(data), {}, host.now);
        }
    }
    EXPECT_EQ(host.events(Event::memory_shortages), 1U);
    EXPECT_GT(host.packets_available(), all / 20);
    EXPECT_FALSE(host.tcp().is_writable(*stuck.front()));
    EXPECT_EQ(write("all the same"), 12U);
    EXPECT_EQ(peer.expect().payload, "all the same");
    peer.send(flag::ack, "and back");
    EXPECT_EQ(read(), "and back");
    for (tcp::Connection* each : stuck) {
        host.tcp().release(*each, true, host.now);
    }
    host.flush();
    host.sent.clear();
}

TEST_F(TcpData, that_a_program_does_not_read_while_packets_are_nearly_used_up_are_dropped_as_tcp_packets_exhausted) {
    std::vector<Packet*> held;
    write("to be acknowledged");
    peer.expect();
    peer.send(flag::ack, "first");
    while (host.packets_available() > host.link().port.pool_size() / 20) {
        held.push_back(host.allocate());
    }
    host.advance(10ms);
    const std::uint32_t lost = peer.snd_nxt;
    write("more");
    host.sent.clear();
    peer.rcv_nxt += 4;
    peer.send(flag::ack, "second");
    EXPECT_EQ(host.drops(DropReason::tcp_packets_exhausted), 1U);
    EXPECT_EQ(c->outstanding(), 0U);  // the acknowledgement in it counts
    EXPECT_EQ(read(), "first");
    for (Packet* packet : held) {
        packet->free();
    }
    host.advance(10ms);
    peer.send_at(lost, flag::ack, "second");
    EXPECT_EQ(read(), "second");
}

}  // namespace
}  // namespace shunt::test
