// What an event of an epoll set costs, by the size of the set: ten of its descriptors are active, all others silent. Plain sockets: run it under the launcher
// for Shunt (build/release/bin/shunt --link loop build/release/bin/epoll_sets), by itself for the kernel.
//
// Only epoll_wait and the reads are timed, not the writes that make the events; `each` is the cost of one event.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

#include "bench/ping.hpp"

namespace {

constexpr int active = 10;

class Fd {
public:
    explicit Fd(int number) : number_(number) {
        if (number < 0) {
            std::perror("epoll_sets");
            std::exit(1);
        }
    }
    Fd(Fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Fd& operator=(Fd&&) = delete;
    ~Fd() {
        if (number_ >= 0) {
            close(number_);
        }
    }
    int operator*() const noexcept { return number_; }

private:
    int number_;
};

using Ends = std::array<Fd, 2>;

// A socket that has been connected to a listener, and what the listener gave.
class Listener {
public:
    Listener() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
        name_.sin_family = AF_INET;
        name_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof name_;
        auto* name = reinterpret_cast<sockaddr*>(&name_);
        if (bind(*fd_, name, length) != 0 || listen(*fd_, 128) != 0 || getsockname(*fd_, name, &length) != 0) {
            bench::die("epoll_sets", "no listener on 127.0.0.1");
        }
    }
    Ends connection() const {
        Fd client(socket(AF_INET, SOCK_STREAM, 0));
        if (connect(*client, reinterpret_cast<const sockaddr*>(&name_), sizeof name_) != 0) {
            bench::die("epoll_sets", "cannot connect to 127.0.0.1");
        }
        Fd accepted(accept(*fd_, nullptr, nullptr));
        return {std::move(accepted), std::move(client)};
    }

private:
    Fd fd_;
    sockaddr_in name_{};
};

// The kernel's, under any system.
Ends unix_pair() {
    int ends[2]{-1, -1};
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    return {Fd(ends[0]), Fd(ends[1])};
}

// `state.range(0)` descriptors in one set, the two ends of a connection next to each other; the last `kernels` tenths of them are the kernel's.
void events(benchmark::State& state, unsigned flags, int kernels) {
    static const bench::Ticks ticks;
    const auto size = static_cast<int>(state.range(0));
    const Listener listener;
    const Fd set(epoll_create1(0));
    std::vector<Fd> all;
    while (static_cast<int>(all.size()) < size) {
        const bool is_kernels = static_cast<int>(all.size()) * active >= size * (active - kernels);
        for (Fd& end : is_kernels ? unix_pair() : listener.connection()) {
            epoll_event event{};
            event.events = EPOLLIN | flags;
            event.data.fd = *end;
            epoll_ctl(*set, EPOLL_CTL_ADD, event.data.fd, &event);
            all.push_back(std::move(end));
        }
    }
    char byte = 'x';
    for (auto _ : state) {
        for (int i = 0; i < active; ++i) {
            const auto to = static_cast<std::size_t>(i / 2 * (size / active) * 2 + i % 2);  // both ends of five connections, whatever the size
            if (write(*all[to ^ 1], &byte, 1) != 1) {
                return state.SkipWithError("a write that did not pass");
            }
        }
        epoll_event ready[2 * active];
        const std::uint64_t start = __rdtsc();
        for (int got = 0; got < active;) {
            const int count = epoll_wait(*set, ready, 2 * active, 1000);
            if (count <= 0) {
                return state.SkipWithError("an event that did not come");
            }
            for (int i = 0; i < count; ++i) {
                got += static_cast<int>(read(ready[i].data.fd, &byte, 1));
            }
        }
        state.SetIterationTime(ticks.to_ns(static_cast<double>(__rdtsc() - start)) / 1e9);
    }
    state.counters["each"] = benchmark::Counter(active, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void level(benchmark::State& state) { events(state, 0, 0); }
void edge(benchmark::State& state) { events(state, EPOLLET, 0); }
void mixed(benchmark::State& state) { events(state, 0, 4); }

BENCHMARK(level)->RangeMultiplier(10)->Range(10, 10'000)->UseManualTime();
BENCHMARK(edge)->RangeMultiplier(10)->Range(10, 10'000)->UseManualTime();
BENCHMARK(mixed)->RangeMultiplier(10)->Range(10, 10'000)->UseManualTime();

}  // namespace

int main(int argc, char** argv) {
    rlimit most{};
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
