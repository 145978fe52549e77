// Under a flood of SYNs (RFC 4987): memory stays bounded, what is established goes on, and new connections get through by SYN cookies.
#include <gtest/gtest.h>

#include "base/random.hpp"
#include "stack/support/peer.hpp"
#include "wire/ipv4.hpp"

namespace shunt::test {
namespace {

HostSetup behind_a_gateway(std::int32_t syncookies) {
    HostSetup setup;
    setup.gateway = ip(10, 0, 0, 2);
    setup.tunables.tcp_syncookies = syncookies;
    return setup;
}

class TcpFlood : public TcpTest {
protected:
    explicit TcpFlood(std::int32_t syncookies = 1) : TcpTest(behind_a_gateway(syncookies)) {}

    // A SYN of nobody's, from anywhere.
    void give_syn() {
        Peer nobody(host, static_cast<std::uint16_t>(random.below(64512) + 1024), 80, 0x0b000000 + random.below(0x60000000));
        nobody.iss = nobody.snd_nxt = static_cast<std::uint32_t>(random.next());
        nobody.send(flag::syn);
    }
    // `peer` stands in an accept queue of one, `other` has a SYN-ACK with a cookie.
    void fill_the_accept_queue() {
        listen(0);
        give_syn();
        host.sent.clear();
        for (Peer* each : {&peer, &other}) {
            each->send(flag::syn);
            each->expect();
        }
        peer.ack();
    }
    Random random{7};
    Peer other{host, 5000};
};

class TcpFloodWithoutCookies : public TcpFlood {
protected:
    TcpFloodWithoutCookies() : TcpFlood(0) {}
};

TEST_F(TcpFlood, of_a_million_syns_leaves_connections_running_and_new_ones_possible_in_bounded_memory) {
    constexpr std::uint32_t syns = 1'000'000, backlog = 64;
    listen(backlog);
    peer.send(flag::syn);
    peer.expect();
    peer.ack();
    c = host.tcp().accept(*listener);
    ASSERT_NE(c, nullptr);
    c->owner = this;
    const std::uint32_t packets = host.packets_available();
    std::uint32_t opened = 0, most = 0;
    for (std::uint32_t i = 1; i <= syns; ++i) {
        give_syn();
        host.sent.clear();
        most = std::max(most, host.tcp().connections_used());
        if (i % 100'000 == 0) {
            peer.send(flag::ack | flag::psh, "still here");
            EXPECT_EQ(read(), "still here");
            EXPECT_EQ(write("and answered"), 12U);
            EXPECT_EQ(peer.expect_all().back().payload, "and answered");
            peer.ack();
            Peer newcomer(host, static_cast<std::uint16_t>(20000 + i / 100'000));
            newcomer.send(flag::syn);
            newcomer.expect();
            newcomer.ack();
            tcp::Connection* fresh = host.tcp().accept(*listener);
            ASSERT_NE(fresh, nullptr) << "after " << i;
            EXPECT_TRUE(fresh->has_timestamps && fresh->has_sack);
            EXPECT_EQ(fresh->snd_wscale, 7);
            ++opened;
            host.tcp().release(*fresh, true, host.now);
            host.flush();
            host.sent.clear();
            host.advance(100ms);
        }
    }
    EXPECT_EQ(opened, syns / 100'000);
    EXPECT_LE(most, backlog + 3) << "the flood holds no more connections than the backlog";
    EXPECT_LE(listener->half_open, backlog + 1);
    EXPECT_GE(host.packets_available(), packets - 8);
    EXPECT_GE(host.events(Event::tcp_syn_cookies_sent), syns - backlog - 1);
    EXPECT_EQ(host.events(Event::tcp_syn_cookies_accepted), opened);
    host.advance(70s);
    EXPECT_EQ(host.tcp().connections_used(), 1U) << "the half-open ones are gone";
}

TEST_F(TcpFlood, of_acks_opens_nothing) {
    listen(0);
    give_syn();
    give_syn();
    host.sent.clear();
    for (int i = 0; i < 10'000; ++i) {
        Peer guesser(host, static_cast<std::uint16_t>(random.below(64512) + 1024));
        guesser.send_at(static_cast<std::uint32_t>(random.next()), flag::ack);
        host.sent.clear();
    }
    EXPECT_EQ(host.events(Event::tcp_syn_cookies_accepted), 0U);
    EXPECT_GE(host.events(Event::tcp_syn_cookies_failed), 10'000U);
    EXPECT_LE(host.tcp().connections_used(), 1U);
}

TEST_F(TcpFlood, a_cookie_opens_only_between_the_ports_that_it_was_made_for) {
    listen(0);
    give_syn();
    host.sent.clear();
    peer.send(flag::syn);
    const Frame answer = peer.expect();
    Peer thief(host, static_cast<std::uint16_t>(peer.port + 1));
    thief.snd_nxt = peer.snd_nxt;
    thief.rcv_nxt = answer.seq + 1;
    thief.ack();
    EXPECT_TRUE(thief.expect().has(flag::rst));
    peer.ack();
    EXPECT_NE(host.tcp().accept(*listener), nullptr);
}

TEST_F(TcpFlood, a_last_ack_with_a_cookie_beyond_the_accept_queue_is_dropped) {
    fill_the_accept_queue();
    other.ack();
    EXPECT_TRUE(other.is_silent());
    EXPECT_EQ(host.drops(DropReason::tcp_backlog_full), 1U);
    EXPECT_EQ(listener->queued, 1U);
}

// What it has sent behind that ACK has no cookie that fits, and is no reason for a reset: the ACK comes again.
TEST_F(TcpFlood, later_segments_of_one_whose_last_ack_found_no_room_do_not_reset_it) {
    fill_the_accept_queue();
    const std::uint32_t first = other.snd_nxt;
    other.send(flag::ack, "first ");
    other.send(flag::ack | flag::psh, "second");
    EXPECT_TRUE(other.is_silent());
    ASSERT_NE(host.tcp().accept(*listener), nullptr);
    other.send_at(first + 6, flag::ack | flag::psh, "second");  // a tail loss probe
    EXPECT_TRUE(other.is_silent());
    host.advance(200ms);
    other.send_at(first, flag::ack, "first ");
    other.send_at(first + 6, flag::ack | flag::psh, "second");
    c = host.tcp().accept(*listener);
    ASSERT_NE(c, nullptr);
    EXPECT_EQ(read(), "first second");
}

TEST_F(TcpFloodWithoutCookies, three_quarters_of_tcp_max_syn_backlog_may_be_half_open) {
    const_cast<Tunables&>(host.stack().tunables()).tcp_max_syn_backlog = 40;
    listen(100);
    for (int i = 0; i < 100; ++i) {
        give_syn();
    }
    host.sent.clear();
    EXPECT_EQ(listener->half_open, 30U);
    EXPECT_EQ(host.drops(DropReason::tcp_backlog_full), 70U);
}

// ---------------------------------------------------------------- Fast Open, where a script would have to be long

TEST(FastOpenCache, forgets_the_destination_asked_for_least_recently) {
    auto arena = Arena::map(tcp::FastOpenCache::arena_bytes());
    ASSERT_TRUE(arena);
    tcp::FastOpenCache cache(*arena, {1, 2});
    cache.find_or_make(1, 77).mss = 1234;
    for (std::uint32_t i = 1; i <= 100'000; ++i) {
        cache.find_or_make(1, 1000 + i).mss = 1;
        cache.find_or_make(1, 77);  // asked for again and again
    }
    ASSERT_NE(cache.find(1, 77), nullptr);
    EXPECT_EQ(cache.find(1, 77)->mss, 1234);
    std::uint32_t known = 0;
    for (std::uint32_t i = 1; i <= 100'000; ++i) {
        known += cache.find(1, 1000 + i) != nullptr;
    }
    EXPECT_LT(known, tcp::FastOpenCache::sets * tcp::FastOpenCache::ways);
    EXPECT_GT(known, tcp::FastOpenCache::sets * tcp::FastOpenCache::ways / 2);
    EXPECT_EQ(cache.find(2, 77), nullptr) << "another address of ours";
    cache.clear();
    EXPECT_EQ(cache.find(1, 77), nullptr);
    arena->unmap();
}

TEST(FastOpenCookie, is_linuxs_for_the_same_key_and_addresses) {
    const SecretKey key{0xb2b2b2b2a1a1a1a1U, 0xd4d4d4d4c3c3c3c3U};
    const tcp::FastOpenCookie cookie = tcp::make_fast_open_cookie(key, ip(192, 0, 2, 1), ip(192, 168, 0, 1));
    EXPECT_EQ(cookie.size, 8);
    const std::array<std::uint8_t, 8> expected{0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb};
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), cookie.bytes.begin()));
}

}  // namespace
}  // namespace shunt::test
