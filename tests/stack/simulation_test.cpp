// Two stacks talk over a bad wire, in virtual time: every byte arrives, once and in order, whatever the wire does; the stacks keep their invariants at
// each step and their pools in the end. A failure prints its seed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "stack/support/network.hpp"

namespace shunt::test {
namespace {

struct Case {
    const char* name;
    WireFaults faults;
    unsigned seeds;
    std::size_t bytes;
    bool sack = true, timestamps = true;
    bool small = false;  // small buffers and a small MTU
};
void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

// One end's program: writes its pattern, reads the other's, at random paces.
class Program {
public:
    Program(Host& host, Random& random, std::size_t to_write, std::size_t to_read) : host_(host), random_(random), to_write_(to_write), to_read_(to_read) {}

    void take(tcp::Connection* connection) {
        c = connection;
        c->owner = this;
    }
    void step() {
        if (c == nullptr) {
            return;
        }
        write();
        read();
        EXPECT_TRUE(c->is_valid());
    }
    bool is_done() const { return is_shut_ && has_eof_ && read_ == to_read_; }
    bool has_died() const { return c != nullptr && c->error != 0; }
    tcp::Connection* c = nullptr;
    std::size_t written() const { return written_; }
    std::size_t arrived() const { return read_; }

private:
    void write() {
        if (is_shut_ || !c->can_send()) {
            return;
        }
        if (written_ == to_write_) {
            host_.tcp().shutdown_send(*c, host_.now);
            is_shut_ = true;
            return;
        }
        const std::size_t size = std::min<std::size_t>(1 + random_.below(random_.below(2) == 0 ? 200 : 20'000), to_write_ - written_);
        const Bytes data = pattern(size, written_);
        written_ += host_.tcp().send(*c, as_bytes(data), false, host_.now);
    }
    void read() {
        if (random_.below(4) == 0) {
            return;
        }
        Bytes data(1 + random_.below(30'000), '\0');
        data.resize(host_.tcp().receive(*c, reinterpret_cast<std::byte*>(data.data()), static_cast<std::uint32_t>(data.size()), false, 0, host_.now));
        if (!data.empty()) {
            EXPECT_TRUE(data == pattern(data.size(), read_)) << "wrong bytes between " << read_ << " and " << read_ + data.size();
            read_ += data.size();
        }
        has_eof_ = c->fin_received && c->rcv_queued == 0;
    }

    Host& host_;
    Random& random_;
    std::size_t to_write_, to_read_, written_ = 0, read_ = 0;
    bool is_shut_ = false, has_eof_ = false;
};

// SIMULATION_SEEDS=first,factor in a run by hand: other seeds, and more of them.
std::uint64_t from_environment(int nth, std::uint64_t otherwise) {
    const char* text = std::getenv("SIMULATION_SEEDS");
    unsigned long numbers[2]{};
    return text != nullptr && std::sscanf(text, "%lu,%lu", &numbers[0], &numbers[1]) == 2 ? numbers[nth] : otherwise;
}
std::uint64_t first_seed() { return from_environment(0, 1); }
std::uint64_t seed_factor() { return from_environment(1, 1); }

class Simulation : public ::testing::TestWithParam<Case> {};

void run_one(const Case& which, std::uint64_t seed) {
    SCOPED_TRACE(::testing::Message() << which.name << " seed " << seed);
    HostSetup setup;
    setup.tunables.tcp_sack = which.sack;
    setup.tunables.tcp_timestamps = which.timestamps;
    if (which.small) {
        setup.tunables.tcp_rmem = {4096, 8192, 8192};
        setup.tunables.tcp_wmem = {4096, 4096, 8192};
        setup.mtu = 576;
    }
    Network network(seed, which.faults, setup, setup);
    auto listener = network.b.tcp().listen(0, 80, 4, {}, false);
    ASSERT_TRUE(listener);
    Program client(network.a, network.random, which.bytes, which.bytes / 2), server(network.b, network.random, which.bytes / 2, which.bytes);
    client.take(*network.a.tcp().connect(0, 0, network.b.address(), 80, {}, network.now()));
    const bool finished = network.run(
        30min, [&] { return (client.is_done() && server.is_done()) || client.has_died() || server.has_died() || ::testing::Test::HasFailure(); },
        [&] {
            if (server.c == nullptr) {
                if (tcp::Connection* accepted = network.b.tcp().accept(**listener)) {
                    server.take(accepted);
                }
            }
            client.step();
            server.step();
            EXPECT_TRUE(network.a.stack().is_valid() && network.b.stack().is_valid());
        });
    EXPECT_TRUE(finished) << "stuck: client wrote " << client.written() << " read " << client.arrived() << ", server wrote " << server.written() << " read " << server.arrived();
    EXPECT_TRUE(client.is_done() && server.is_done()) << "client error " << client.c->error << " wrote " << client.written() << " read " << client.arrived();
    network.a.tcp().release(*client.c, false, network.now());
    if (server.c != nullptr) {
        network.b.tcp().release(*server.c, false, network.now());
    }
    network.b.tcp().close(**listener, network.now());
    network.run(30min, [&] { return network.a.tcp().connections_used() == 0 && network.b.tcp().connections_used() == 0; }, [] {});
    EXPECT_EQ(network.a.tcp().connections_used(), 0U);
    EXPECT_EQ(network.b.tcp().connections_used(), 0U);
}

TEST_P(Simulation, brings_every_byte_over_intact_in_both_directions) {
    for (std::uint64_t seed = first_seed(); seed < first_seed() + GetParam().seeds * seed_factor() && !HasFailure(); ++seed) {
        run_one(GetParam(), seed);
    }
}

constexpr WireFaults clean{};
constexpr WireFaults bad{.drop_permille = 10, .duplicate_permille = 10, .reorder_permille = 10, .corrupt_permille = 1};
constexpr WireFaults awful{.drop_permille = 100, .duplicate_permille = 50, .reorder_permille = 100, .corrupt_permille = 10, .delay = 200us, .jitter = 300us};
constexpr WireFaults slow{.drop_permille = 10, .reorder_permille = 50, .delay = 20ms, .jitter = 5ms, .reorder_by = 10ms};
constexpr WireFaults shuffled{.reorder_permille = 300, .delay = 100us, .jitter = 100us, .reorder_by = 300us};

INSTANTIATE_TEST_SUITE_P(Wires, Simulation,
                         ::testing::Values(Case{"clean", clean, 3, 4 << 20}, Case{"bad", bad, 15, 2 << 20}, Case{"awful", awful, 15, 300'000}, Case{"slow", slow, 8, 500'000},
                                           Case{"shuffled", shuffled, 8, 1 << 20}, Case{"bad_without_sack", bad, 10, 1 << 20, false, true},
                                           Case{"bad_without_timestamps", bad, 10, 1 << 20, true, false}, Case{"bad_without_either", bad, 10, 500'000, false, false},
                                           Case{"awful_without_either", awful, 8, 200'000, false, false},
                                           Case{"bad_and_small", bad, 8, 300'000, true, true, true}, Case{"awful_and_small", awful, 8, 100'000, false, false, true}),
                         [](const auto& which) { return std::string(which.param.name); });

}  // namespace
}  // namespace shunt::test
