// What the simulator itself must do, and what single scenarios on it show.
#include <gtest/gtest.h>

#include <cmath>

#include "simulator/bulk.hpp"
#include "simulator/tables.hpp"
#include "simulator/theory.hpp"

namespace shunt::simulator {
namespace {

TEST(Wire, carries_no_faster_than_its_rate_and_drops_what_its_buffer_cannot_hold) {
    Wire wire({.rate_bps = 8'000'000, .delay = 1ms, .buffer_bytes = 3000}, 1);
    const Wire::Fate first = wire.carry(1000, beginning), second = wire.carry(1000, beginning), third = wire.carry(1000, beginning);
    EXPECT_EQ(first.copies[0].arrives, beginning + 2ms);
    EXPECT_EQ(second.copies[0].arrives, beginning + 3ms);
    EXPECT_EQ(third.copies[0].arrives, beginning + 4ms);
    EXPECT_EQ(wire.carry(1000, beginning).count, 0U);
    EXPECT_EQ(wire.counters.overflowed, 1U);
    EXPECT_EQ(wire.carry(1000, beginning + 2ms).count, 1U);
}

TEST(Wire, loses_duplicates_corrupts_and_reorders_as_often_as_it_is_told) {
    constexpr unsigned frames = 100'000;
    Wire wire({.loss = 0.01, .duplicate = 0.02, .corrupt = 0.03, .reorder = 0.04, .reorder_by = 1ms}, spread(1, 1));
    for (unsigned i = 0; i < frames; ++i) {
        wire.carry(100, beginning + i * 10us);
    }
    EXPECT_NEAR(static_cast<double>(wire.counters.lost) / frames, 0.01, 0.001);
    EXPECT_NEAR(static_cast<double>(wire.counters.duplicated) / frames, 0.02, 0.002);
    EXPECT_NEAR(static_cast<double>(wire.counters.corrupted) / frames, 0.03, 0.002);
    EXPECT_NEAR(static_cast<double>(wire.counters.reordered) / frames, 0.04, 0.003);
}

TEST(Wire, loses_in_bursts_of_the_length_it_is_told) {
    Wire wire({.burst = 0.01, .burst_frames = 4}, spread(2, 1));
    unsigned lost = 0, bursts = 0;
    bool was_lost = false;
    for (unsigned i = 0; i < 100'000; ++i) {
        const bool is_lost = wire.carry(100, beginning + i * 1us).count == 0;
        lost += is_lost;
        bursts += is_lost && !was_lost;
        was_lost = is_lost;
    }
    EXPECT_NEAR(static_cast<double>(lost) / bursts, 4, 0.4);
}

TEST(Theory, is_mathis_for_reno_the_larger_window_for_cubic_and_never_more_than_the_link) {
    const WireSpec wire{.rate_bps = 100'000'000, .delay = 20ms, .loss = 0.01};
    EXPECT_NEAR(theory_mbps(CongestionControl::reno, wire), 12.25 * 1448 * 8e-6 / 0.04012, 0.01);
    EXPECT_NEAR(theory_mbps(CongestionControl::cubic, {.rate_bps = 100'000'000, .delay = 100ms, .loss = 0.0001}), 1.054 * std::pow(2001.2, 0.75) * 1448 * 8e-6 / 0.20012, 0.2);
    EXPECT_NEAR(theory_mbps(CongestionControl::reno, {.rate_bps = 100'000'000, .delay = 20ms}), 95.64, 0.01);
}

TEST(Tables, are_compared_row_by_row_and_by_the_mean_of_a_group) {
    const std::vector<std::string> golden{"head", "reno,0.1,2,32,10", "reno,0.1,2,64,10"};
    const auto wrong = [&](const char* one, const char* other) {
        return compare(golden, {"head", std::string("reno,0.1,2,32,") + one, std::string("reno,0.1,2,64,") + other}, {4, 0.3, 0.1}).size();
    };
    EXPECT_EQ(wrong("10", "10"), 0U);
    EXPECT_EQ(wrong("12", "9"), 0U);
    EXPECT_EQ(wrong("12", "12"), 1U) << "the mean";
    EXPECT_EQ(wrong("14", "8"), 1U) << "a row";
    EXPECT_EQ(compare(golden, {"head", "reno,0.1,2,128,10"}, {4, 0.3, 0.1}).size(), 1U) << "a row that is new";
}

// Two stations with `delay` one way; the client sends `segments` of 1448 bytes, of whose first transmissions the last `lost` are lost. How long until the
// server has read all, in round trips since they were sent, and how many time-outs there were.
struct Tail {
    double round_trips = 0;
    std::uint64_t timeouts = 0;
};
Tail run_tail(unsigned segments, unsigned lost, Duration delay) {
    Network network(1);
    const WireSpec wire{.delay = delay};
    Station& client = network.add({}, wire, {});
    Station& server = network.add({}, wire, {});
    network.introduce();
    tcp::Listener* listener = *server.tcp().listen(0, 80, 4, {}, false);
    tcp::Connection* c = *client.tcp().connect(0, 0, server.address(), 80, {}, network.now());
    c->owner = &network;
    tcp::Connection* accepted = nullptr;
    network.run(5s, [&] { return (accepted = server.tcp().accept(*listener)) != nullptr; }, [] {});
    accepted->owner = &network;
    const std::size_t bytes = std::size_t{segments} * 1448;
    const Bytes data = test::pattern(bytes);
    unsigned seen = 0;
    network.loses = [&](unsigned from, const Bytes& frame) { return from == 0 && frame.size() > 1000 && ++seen > segments - lost && seen <= segments; };
    const Time sent = network.now();
    client.tcp().send(*c, std::as_bytes(std::span(data)), false, sent);
    network.run(5s, [&] { return accepted->rcv_queued == bytes; }, [] {});
    EXPECT_EQ(accepted->rcv_queued, bytes);
    const Tail tail{std::chrono::duration<double>(network.now() - sent) / std::chrono::duration<double>(2 * delay), client.events(Event::tcp_timeouts)};
    client.tcp().release(*c, true, network.now());
    server.tcp().release(*accepted, true, network.now());
    return tail;
}

// The probe goes out two round trips after the last ACK, and its SACK shows the others (RFC 8985, 7). A single segment waits for the peer's delayed ACK as
// well (7.2), which makes its probe as late as the time-out.
TEST(TailLoss, is_repaired_by_a_probe_in_about_two_round_trips_and_not_by_a_timeout) {
    for (const Duration delay : {2000us, 20000us, 100000us}) {
        for (const unsigned lost : {2U, 3U, 4U}) {
            const Tail tail = run_tail(10, lost, delay);
            EXPECT_EQ(tail.timeouts, 0U) << lost << " lost, delay " << count_us(delay) << " us";
            EXPECT_LT(tail.round_trips, 6.1) << lost << " lost, delay " << count_us(delay) << " us";
            EXPECT_GT(tail.round_trips, 0.9) << "nothing was lost";
        }
    }
}

TEST(Fairness, shares_a_link_evenly_between_flows_of_one_kind) {
    for (const std::string& line : fairness_table({.only = "reno,4"})) {
        EXPECT_TRUE(line.starts_with("congestion") || std::stod(line.substr(7)) > 0.9) << line;
    }
}

// A hundred thousand connections, closed by either side or reset, leave nothing behind.
TEST(Network, is_as_it_was_after_a_hundred_thousand_connections) {
    Network network(1);
    const WireSpec wire{.delay = 50us};
    Station& a = network.add({.connections_max = 32768}, wire, {});
    Station& b = network.add({.connections_max = 32768}, wire, {});
    network.introduce();
    network.collect();
    network.run(1ms, [] { return false; }, [] {});
    const std::uint32_t packets = Station::packets_free();
    tcp::Listener* listener = *b.tcp().listen(0, 80, 128, {}, false);
    for (unsigned i = 0; i < 100'000; ++i) {
        auto client = a.tcp().connect(0, 0, b.address(), 80, {}, network.now());
        ASSERT_TRUE(client) << i << ": " << code_of(client.error());
        (*client)->owner = &network;
        tcp::Connection* server = nullptr;
        network.run(5s, [&] { return (server = b.tcp().accept(*listener)) != nullptr; }, [] {});
        ASSERT_NE(server, nullptr) << i;
        server->owner = &network;
        const Bytes text = "request";
        a.tcp().send(**client, std::as_bytes(std::span(text)), false, network.now());
        network.run(1s, [&] { return server->rcv_queued == text.size(); }, [] {});
        ASSERT_EQ(server->rcv_queued, text.size());
        b.tcp().receive(*server, nullptr, 100, false, 0, network.now());
        const bool client_first = i % 2 == 0, resets = i % 10 == 9;
        Station& first = client_first ? a : b;
        first.tcp().release(client_first ? **client : *server, resets, network.now());
        network.run(1ms, [] { return false; }, [] {});
        (client_first ? b : a).tcp().release(client_first ? *server : **client, false, network.now());
        network.run(1ms, [] { return false; }, [] {});
    }
    network.run(61s, [&] { return a.tcp().connections_used() == 0 && b.tcp().connections_used() == 0; }, [] {});
    b.tcp().close(*listener, network.now());
    network.collect();
    EXPECT_EQ(a.tcp().connections_used() + b.tcp().connections_used(), 0U);
    EXPECT_EQ(a.tcp().time_wait_count() + b.tcp().listeners_used(), 0U);
    EXPECT_EQ(a.stack().udp().endpoints_used(), 0U);
    EXPECT_EQ(Station::packets_free(), packets);
}

}  // namespace
}  // namespace shunt::simulator
