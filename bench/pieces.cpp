// What the stack's pieces cost, one process, one core. Where making the input would cost more than the piece, only the piece is timed
// (manual time, with a batch of inputs made beforehand) and the column `each` says what one of them took.
#include <benchmark/benchmark.h>
#include <unistd.h>
#include <x86intrin.h>

#include <fstream>
#include <memory>
#include <vector>

#include "base/random.hpp"
#include "base/timer_wheel.hpp"
#include "bench/peer.hpp"
#include "bench/ping.hpp"
#include "pmd/packet.hpp"
#include "wire/checksum.hpp"
#include "wire/tcp.hpp"

namespace {

using bench::StackOnRing;
using shunt::Time;
namespace wire = shunt::wire;

const bench::Ticks& ticks() {
    static const bench::Ticks measured;
    return measured;
}

// Times `work` as one iteration of a benchmark with manual time.
template <class Work>
void timed(benchmark::State& state, Work work) {
    const std::uint64_t start = __rdtsc();
    work();
    state.SetIterationTime(ticks().to_ns(static_cast<double>(__rdtsc() - start)) / 1e9);
}

void report_each(benchmark::State& state, std::int64_t batch) {
    state.counters["each"] = benchmark::Counter(static_cast<double>(batch), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

// --- Headers ------------------------------------------------------------------------------------------------------------------------
void parse_options(benchmark::State& state, const wire::TcpOptions& options) {
    std::uint8_t bytes[40];
    const unsigned length = wire::emit_tcp_options(options, bytes);
    for (auto _ : state) {
        benchmark::DoNotOptimize(bytes);
        benchmark::DoNotOptimize(wire::parse_tcp_options(bytes, length));
    }
}

void parse_timestamps(benchmark::State& state) {
    wire::TcpOptions options;
    options.has_timestamp = true;
    parse_options(state, options);
}
BENCHMARK(parse_timestamps);

void parse_syn_options(benchmark::State& state) {
    wire::TcpOptions options;
    options.mss = 1460;
    options.wscale = 7;
    options.sack_permitted = options.has_timestamp = true;
    parse_options(state, options);
}
BENCHMARK(parse_syn_options);

void parse_sack_blocks(benchmark::State& state) {
    wire::TcpOptions options;
    options.has_timestamp = true;
    options.sack_count = 3;
    parse_options(state, options);
}
BENCHMARK(parse_sack_blocks);

// Ethernet, IPv4 with its checksum, TCP with time stamps: as far as the fields that decide whose it is.
void parse_headers(benchmark::State& state) {
    alignas(64) std::uint8_t frame[66] = {};
    new (frame) wire::EthernetHeader{{}, {}, wire::ethertype_ipv4};
    auto* ip = new (frame + 14) wire::Ipv4Header{0x45, 0, 52, 1, 0, 64, wire::protocol_tcp, 0, 1, 2};
    ip->fill_checksum();
    new (frame + 34) wire::TcpHeader{1, 2, 3, 4, 0x80, wire::tcp_flag::ack, 5, 0, 0};
    wire::TcpOptions options;
    options.has_timestamp = true;
    wire::emit_tcp_options(options, frame + 54);
    for (auto _ : state) {
        benchmark::DoNotOptimize(frame);
        benchmark::ClobberMemory();
        const auto* ethernet = reinterpret_cast<const wire::EthernetHeader*>(frame);
        const auto* tcp = reinterpret_cast<const wire::TcpHeader*>(frame + 14 + ip->header_bytes());
        bool good = ethernet->type == wire::ethertype_ipv4 && ip->version() == 4 && ip->has_good_checksum() && !ip->is_fragment() && tcp->header_bytes() >= 20;
        benchmark::DoNotOptimize(good);
        benchmark::DoNotOptimize(wire::parse_tcp_options(frame + 54, tcp->header_bytes() - 20));
    }
}
BENCHMARK(parse_headers);

void checksum(benchmark::State& state) {
    const std::vector<std::uint8_t> data(static_cast<std::size_t>(state.range(0)), 0x5a);
    for (auto _ : state) {
        wire::Checksum sum;
        benchmark::DoNotOptimize(data.data());
        sum.add(data.data(), data.size());
        benchmark::DoNotOptimize(sum.field());
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(checksum)->Arg(64)->Arg(1460);

// --- Timers -------------------------------------------------------------------------------------------------------------------------
// Re-arming one timer among many others, as each segment does.
void timer_arm_and_cancel(benchmark::State& state) {
    shunt::TimerWheel wheel;
    std::vector<shunt::Timer> timers(static_cast<std::size_t>(state.range(0)));
    shunt::Random random(7);
    for (shunt::Timer& timer : timers) {
        wheel.arm(timer, Time(std::chrono::milliseconds(random.below(60'000))));
    }
    shunt::Timer timer;
    std::int64_t ms = 0;
    for (auto _ : state) {
        wheel.arm(timer, Time(std::chrono::milliseconds(200 + (++ms & 1023))));
        wheel.cancel(timer);
    }
}
BENCHMARK(timer_arm_and_cancel)->Arg(0)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// All of a thousand timers within ten seconds, asked for each millisecond, while so many others wait for hours.
void timer_expire(benchmark::State& state) {
    std::vector<shunt::Timer> timers(1000), idle(static_cast<std::size_t>(state.range(0)));
    shunt::Random random(7);
    Time now{};
    shunt::TimerWheel wheel(now);
    for (shunt::Timer& timer : idle) {
        wheel.arm(timer, now + std::chrono::hours(12) + std::chrono::milliseconds(random.below(10'000'000)));
    }
    for (auto _ : state) {
        for (shunt::Timer& timer : timers) {
            wheel.arm(timer, now + std::chrono::milliseconds(random.below(10'000)));
        }
        timed(state, [&] {
            const Time end = now + std::chrono::seconds(11);
            for (; now < end; now += std::chrono::milliseconds(1)) {
                while (now >= wheel.next_deadline() && wheel.pop_due(now) != nullptr) {
                }
            }
        });
    }
    report_each(state, 1000);
}
BENCHMARK(timer_expire)->Arg(0)->Arg(1'000'000)->UseManualTime();

// --- Segments -----------------------------------------------------------------------------------------------------------------------
std::int64_t resident_bytes() {
    std::int64_t pages = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> pages >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

// Building many connections takes seconds, so one stack serves all benchmarks that want that many.
struct Crowd {
    explicit Crowd(std::uint32_t count) : ring(count + 16) {
        connections.reserve(count);
        const std::int64_t before = resident_bytes();
        for (std::uint32_t id = 0; id < count; ++id) {
            connections.push_back(&ring.establish(id));
            ring.pass(std::chrono::microseconds(1));
        }
        bytes_each = static_cast<double>(resident_bytes() - before) / count - sizeof(void*);
    }
    StackOnRing ring;
    std::vector<shunt::tcp::Connection*> connections;
    double bytes_each = 0;  // of memory that was touched, all in all
};

Crowd& crowd_of(std::int64_t count) {
    static std::unique_ptr<Crowd> crowd;
    if (crowd == nullptr || crowd->connections.size() != static_cast<std::size_t>(count)) {
        crowd.reset();
        crowd = std::make_unique<Crowd>(static_cast<std::uint32_t>(count));
    }
    return *crowd;
}

// Of `busy` out of so many connections, the others idle. Through an ICMP error that quotes a sequence number outside what is in flight: found, and
// ignored (RFC 5927). With all of a million busy the lookup waits for memory, twice.
void connection_lookup(benchmark::State& state) {
    Crowd& crowd = crowd_of(state.range(0));
    shunt::Random random(7);
    constexpr std::size_t order_size = 1 << 16;
    std::vector<const shunt::tcp::Connection*> busy;
    for (std::int64_t i = 0; i < state.range(1); ++i) {
        busy.push_back(crowd.connections[random.below(static_cast<std::uint32_t>(crowd.connections.size()))]);
    }
    std::vector<std::array<std::uint32_t, 3>> keys;  // apart from the connections, so that only the lookup touches those
    for (std::size_t i = 0; i < order_size; ++i) {
        const auto& c = *busy[random.below(static_cast<std::uint32_t>(busy.size()))];
        keys.push_back({c.remote_address, c.remote_port, (c.snd_una - 1000).raw()});
    }
    std::size_t i = 0;
    for (auto _ : state) {
        const auto& [address, port, seq] = keys[i++ & (order_size - 1)];
        crowd.ring.stack().tcp().icmp_error(bench::our_address, bench::our_port, address, static_cast<std::uint16_t>(port), shunt::Seq(seq), ECONNREFUSED, false, 0,
                                            crowd.ring.now);
    }
    if (state.range(0) >= 1'000) {
        state.counters["bytes_each"] = crowd.bytes_each;
    }
}
BENCHMARK(connection_lookup)->Args({1, 1})->Args({1'000, 1'000})->Args({100'000, 1'000})->Args({1'000'000, 1'000})->Args({1'000'000, 1'000'000});

// Arguments: connections, segments a poll, payload bytes. From the port to the receive queue, ACKs included; the program's read is not.
void segment_in(benchmark::State& state) {
    Crowd& crowd = crowd_of(state.range(0));
    StackOnRing& ring = crowd.ring;
    const auto batch = state.range(1);
    const auto payload = static_cast<std::uint32_t>(state.range(2));
    shunt::Random random(7);
    std::uint64_t received = 0;
    for (auto _ : state) {
        auto& c = *crowd.connections[random.below(static_cast<std::uint32_t>(crowd.connections.size()))];
        for (std::int64_t i = 0; i < batch; ++i) {
            ring.give(ring.next_segment(c, payload, static_cast<std::uint32_t>(i) * payload));
        }
        timed(state, [&] { ring.poll(); });
        received += ring.stack().tcp().receive(c, nullptr, payload * static_cast<std::uint32_t>(batch), false, 0, ring.now);
        ring.drain();
        ring.pass(std::chrono::microseconds(10));
    }
    if (received != static_cast<std::uint64_t>(state.iterations() * batch) * payload) {
        state.SkipWithError("not every segment was received");
    }
    report_each(state, batch);
}
BENCHMARK(segment_in)->Args({1, 1, 64})->Args({1, 16, 64})->Args({1, 16, 1448})->Args({1'000, 1, 64})->Args({100'000, 1, 64})->Args({1'000'000, 1, 64})->UseManualTime();

// Arguments as above. From the program's call to the port.
void segment_out(benchmark::State& state) {
    Crowd& crowd = crowd_of(state.range(0));
    StackOnRing& ring = crowd.ring;
    const auto batch = state.range(1);
    const std::vector<std::byte> data(static_cast<std::size_t>(state.range(2)));
    shunt::Random random(7);
    std::int64_t sent = 0;
    for (auto _ : state) {
        auto& c = *crowd.connections[random.below(static_cast<std::uint32_t>(crowd.connections.size()))];
        timed(state, [&] {
            for (std::int64_t i = 0; i < batch; ++i) {
                ring.stack().tcp().send(c, data, false, ring.now);
                ring.stack().flush(ring.now);
            }
        });
        sent += ring.drain();
        ring.pass(std::chrono::microseconds(10));
        ring.give(ring.next_segment(c, 0));  // the peer has it all
        ring.poll();
        ring.drain();
    }
    if (sent < state.iterations() * batch) {
        state.SkipWithError("not every segment was sent");
    }
    report_each(state, batch);
}
BENCHMARK(segment_out)->Args({1, 1, 64})->Args({1, 8, 64})->Args({1, 8, 1448})->Args({1'000, 1, 64})->Args({100'000, 1, 64})->Args({1'000'000, 1, 64})->UseManualTime();

}  // namespace
