// A memif peer that is killed, or stopped, in the middle of traffic: no crash, no packet lost from the pool, no send that takes for ever.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <string>

#include "pmd/eal.hpp"
#include "pmd/port_inline.hpp"

namespace shunt::pmd {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
constexpr int rounds_max = 100;
constexpr auto time_max = 3500ms;    // for all rounds of a test
constexpr auto patience = 8s;        // for one step: another program may have the processor
constexpr std::uint32_t pool_packets = 4096;

Outcome<Port> open_end(const std::string& wire) {
    EalOptions eal;
    eal.memory_mib = 64;
    eal.hugepages = EalOptions::Hugepages::never;
    if (auto started = start_eal(eal); !started) {
        return std::unexpected(started.error());
    }
    borrow_lcore(1);
    PortOptions options;
    options.packets = pool_packets;
    return open_port(LinkSpec{LinkSpec::Kind::memif, wire}, options);
}

// Sends back what comes. A fresh program: EAL starts once a process.
pid_t start_echo(const std::string& wire) {
    const pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "memif_peer_test", "--echo", wire.c_str(), nullptr);
        _exit(3);
    }
    return child;
}

void kill_and_wait(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
}

class Load {
public:
    explicit Load(Port& port) : port_(port) {}

    // Sends and receives until the condition holds; false when it does not in time.
    template <class Condition>
    bool until(Condition condition) {
        for (const auto begin = Clock::now(); Clock::now() - begin < patience;) {
            step();
            if (condition()) {
                return true;
            }
        }
        return false;
    }
    void step() {
        std::array<Packet*, 32> burst;
        std::uint16_t count = 0;
        while (count < burst.size() && (burst[count] = port_.allocate()) != nullptr) {
            burst[count++]->append(1000);
        }
        const auto begin = Clock::now();
        port_.tx_burst(Time{}, std::span(burst).first(count));
        longest = std::max(longest, Clock::now() - begin);
        count = port_.rx_burst(Time{}, burst);
        received += count;
        std::for_each_n(burst.begin(), count, [](Packet* packet) { packet->free(); });
    }

    std::uint64_t received = 0;
    Clock::duration longest{};   // that a send took

private:
    Port& port_;
};

std::ptrdiff_t open_descriptors() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

// Each test is a process of its own, for EAL.
template <class Body>
void in_a_process(Body body) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(50);
        body();
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

// `is_first`: ours is the first program on the wire, its server; else the peers are.
void kill_peers(const std::string& wire, bool is_first) {
    pid_t peer = is_first ? -1 : start_echo(wire);
    if (!is_first) {
        usleep(400'000);
    }
    auto port = open_end(wire);
    ASSERT_TRUE(port) << port.error().message;
    const std::uint32_t free_before = port->pool_available();
    Load load(*port);
    std::ptrdiff_t fds_before = 0;
    const auto begin = Clock::now();
    int round = 0;
    for (; round < rounds_max && Clock::now() - begin < time_max; ++round) {
        peer = peer < 0 ? start_echo(wire) : peer;
        const std::uint64_t before = load.received;
        const bool came_up = load.until([&] { return load.received > before + std::uint64_t{32} * static_cast<unsigned>(round % 7); });
        kill_and_wait(peer);
        peer = -1;
        ASSERT_TRUE(came_up) << "round " << round;
        ASSERT_TRUE(load.until([&] { return !port->is_link_up(); })) << "round " << round;
        if (round == 0) {
            usleep(50'000);
            fds_before = open_descriptors();
        }
    }
    EXPECT_GE(round, 5);
    EXPECT_LT(load.longest, 1s);
    EXPECT_TRUE(load.until([&] { return open_descriptors() <= fds_before; })) << open_descriptors() << " descriptors, " << fds_before << " before";
    EXPECT_EQ(port->pool_available(), free_before) << "packets were lost";
    std::printf("%d rounds, the longest send took %lld us\n", round, static_cast<long long>(load.longest / 1us));
    std::fflush(stdout);
}

TEST(MemifPeer, ClientsAreKilledInMidTrafficAgainAndAgain) {
    in_a_process([] { kill_peers("pmdkillc" + std::to_string(getpid()), true); });
}

TEST(MemifPeer, ServersAreKilledInMidTrafficAgainAndAgain) {
    in_a_process([] { kill_peers("pmdkills" + std::to_string(getpid()), false); });
}

TEST(MemifPeer, StoppedInMidTrafficAndContinued) {
    in_a_process([] {
        const std::string wire = "pmdstop" + std::to_string(getpid());
        auto port = open_end(wire);
        ASSERT_TRUE(port) << port.error().message;
        const pid_t peer = start_echo(wire);
        Load load(*port);
        ASSERT_TRUE(load.until([&] { return load.received != 0; }));
        for (int round = 0; round < 5; ++round) {
            kill(peer, SIGSTOP);
            const std::uint64_t dropped = port->tx_dropped;
            EXPECT_TRUE(load.until([&] { return port->tx_dropped > dropped + 2000; })) << "a ring that nobody empties takes no end of frames";
            EXPECT_TRUE(port->is_link_up());
            kill(peer, SIGCONT);
            const std::uint64_t before = load.received;
            EXPECT_TRUE(load.until([&] { return load.received > before + 5000; })) << "round " << round;
        }
        EXPECT_LT(load.longest, 1s);
        kill_and_wait(peer);
    });
}

[[noreturn]] void run_echo(const std::string& wire) {
    alarm(20);
    auto port = open_end(wire);
    if (!port) {
        _exit(1);
    }
    std::array<Packet*, 32> burst;
    for (;;) {
        const std::uint16_t count = port->rx_burst(Time{}, burst);
        port->tx_burst(Time{}, std::span(burst).first(count));
    }
}

}  // namespace
}  // namespace shunt::pmd

int main(int count, char** arguments) {
    if (count == 3 && std::string(arguments[1]) == "--echo") {
        shunt::pmd::run_echo(arguments[2]);
    }
    testing::InitGoogleTest(&count, arguments);
    return RUN_ALL_TESTS();
}
