// Sixteen threads that send and receive on one stack, as they are, and with one lock held across each whole call: what a stack with a single lock around it
// would give. Plain sockets: run it under the launcher for Shunt (build/release/bin/shunt --link loop build/release/bin/threads), by itself for the kernel.
//
// A call that waits cannot hold a lock that the sender needs: with the lock, what would wait is asked again and again, and others may run in between.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "bench/ping.hpp"

namespace {

constexpr int threads = 16;
constexpr std::chrono::milliseconds round_length(200);

struct Ends {
    int one, other;
};

std::vector<Ends> connect_pairs(int count) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof name;
    auto* any = reinterpret_cast<sockaddr*>(&name);
    if (bind(listener, any, length) != 0 || listen(listener, count) != 0 || getsockname(listener, any, &length) != 0) {
        bench::die("threads", "no listener on 127.0.0.1");
    }
    std::vector<Ends> pairs;
    while (pairs.size() < static_cast<std::size_t>(count)) {
        const int one = socket(AF_INET, SOCK_STREAM, 0), on = 1;
        if (connect(one, any, length) != 0) {
            bench::die("threads", "cannot connect to 127.0.0.1");
        }
        pairs.push_back({one, accept(listener, nullptr, nullptr)});
        setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(pairs.back().other, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    close(listener);
    return pairs;
}

// One round: who is to stop, and whether a lock is held across calls.
struct Round {
    std::atomic<bool> is_over = false;
    std::mutex* lock = nullptr;

    void send_to(int fd, const char* message) const {
        std::unique_lock<std::mutex> held;
        if (lock != nullptr) {
            held = std::unique_lock(*lock);
        }
        if (send(fd, message, bench::payload_bytes, MSG_NOSIGNAL) != static_cast<ssize_t>(bench::payload_bytes)) {
            bench::die("threads", "a send that did not pass");
        }
    }
    bool receive_from(int fd, char* message) const {
        if (lock == nullptr) {
            return recv(fd, message, bench::payload_bytes, MSG_WAITALL) == static_cast<ssize_t>(bench::payload_bytes);
        }
        while (true) {
            {
                const std::scoped_lock held(*lock);
                if (const ssize_t got = recv(fd, message, bench::payload_bytes, MSG_DONTWAIT); got >= 0) {
                    return got == static_cast<ssize_t>(bench::payload_bytes);
                }
            }
            sched_yield();
        }
    }
};

// Each thread sends to itself: nobody waits for anybody.
long exchange_alone(const Round& round, Ends ends) {
    char message[bench::payload_bytes]{};
    long count = 0;
    while (!round.is_over.load(std::memory_order_relaxed)) {
        round.send_to(ends.one, message);
        round.receive_from(ends.other, message);
        count += 2;
    }
    return count;
}

// Two threads and a connection: one asks, the other answers. The first message byte says whether it is the last.
long ask(const Round& round, int fd) {
    char message[bench::payload_bytes]{};
    long count = 0;
    do {
        message[0] = round.is_over.load(std::memory_order_relaxed);
        round.send_to(fd, message);
        round.receive_from(fd, message);
        count += 4;
    } while (message[0] == 0);
    return count;
}

void answer(const Round& round, int fd) {
    char message[bench::payload_bytes]{};
    do {
        round.receive_from(fd, message);
        round.send_to(fd, message);
    } while (message[0] == 0);
}

// Calls a second, of all threads together.
double run(const std::vector<Ends>& pairs, bool has_partners, std::mutex* lock) {
    Round round;
    round.lock = lock;
    std::atomic<long> calls = 0;
    std::vector<std::thread> all;
    const auto start = std::chrono::steady_clock::now();
    for (const Ends& ends : pairs) {
        if (has_partners) {
            all.emplace_back([&round, ends] { answer(round, ends.other); });
        }
        all.emplace_back([&, ends] { calls += has_partners ? ask(round, ends.one) : exchange_alone(round, ends); });
    }
    std::this_thread::sleep_for(round_length);
    round.is_over = true;
    std::for_each(all.begin(), all.end(), [](std::thread& thread) { thread.join(); });
    return static_cast<double>(calls) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double>& values) {
    std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
    return values[values.size() / 2];
}

// Turn by turn, so that a slow moment is on both sides.
void compare(const char* name, bool has_partners, int rounds) {
    const std::vector<Ends> pairs = connect_pairs(has_partners ? threads / 2 : threads);
    std::mutex lock;
    std::vector<double> with, without, ratios;
    for (int i = 0; i < rounds; ++i) {
        without.push_back(run(pairs, has_partners, nullptr));
        with.push_back(run(pairs, has_partners, &lock));
        ratios.push_back(without.back() / with.back());
    }
    std::printf("%-30s %12.0f %12.0f %8.2f\n", name, median(without), median(with), median(ratios));
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
    std::printf("%d threads, %zu bytes a message%s %12s %12s %8s\n", threads, bench::payload_bytes, "", "calls/s", "one lock", "ratio");
    compare("each sends to itself", false, rounds);
    compare("in pairs, ask and answer", true, rounds);
}
