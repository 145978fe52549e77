// A memif wire between two processes: who is who, frames there and back, sleeping, either side leaving and coming back.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <string>

#include "pmd/eal.hpp"
#include "pmd/port_inline.hpp"

namespace shunt::pmd {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto patience = std::chrono::seconds(10);

template <class Condition>
bool wait_until(Condition condition) {
    for (const auto start = Clock::now(); Clock::now() - start < patience;) {
        if (condition()) {
            return true;
        }
    }
    return false;
}

Outcome<Port> open_end(const std::string& wire) {
    EalOptions eal;
    eal.hugepages = EalOptions::Hugepages::never;
    if (auto started = start_eal(eal); !started) {
        return std::unexpected(started.error());
    }
    borrow_lcore(1);
    PortOptions options;
    options.packets = 4096;
    return open_port(LinkSpec{LinkSpec::Kind::memif, wire}, options);
}

// A process of its own that sends back what comes, until it is killed. `sleeps`: on the port's descriptor.
[[noreturn]] void echo(const std::string& wire, bool sleeps) {
    auto port = open_end(wire);
    if (!port) {
        _exit(port.error().code == EBUSY ? 2 : 1);
    }
    std::array<Packet*, 32> burst;
    for (;;) {
        std::uint16_t count = port->rx_burst(Time{}, burst);
        if (count == 0 && sleeps) {
            port->arm_rx_interrupt();
            count = port->rx_burst(Time{}, burst);
            if (pollfd event{port->rx_event_fd(), POLLIN, 0}; count == 0) {
                poll(&event, 1, -1);
            }
            port->disarm_rx_interrupt();
        }
        port->tx_burst(Time{}, std::span(burst).first(count));
    }
}

pid_t start_echo(const std::string& wire, bool sleeps = false) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        echo(wire, sleeps);
    }
    return child;
}

void kill_and_wait(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
}

// One frame there and back; sent again every 100 ms, for frames without a link are dropped.
bool goes_round(Port& port) {
    std::array<Packet*, 32> burst;
    auto sent = Clock::time_point{};
    return wait_until([&] {
        if (Clock::now() - sent > std::chrono::milliseconds(100)) {
            Packet* packet = port.allocate();
            std::memset(packet->append(118), 0x5A, 118);
            port.tx_burst(Time{}, std::span(&packet, 1));
            sent = Clock::now();
        }
        const std::uint16_t count = port.rx_burst(Time{}, burst);
        bool is_ours = count != 0;
        for (Packet* packet : std::span(burst).first(count)) {
            is_ours = is_ours && packet->size() == 118 && packet->data()[117] == std::byte{0x5A};
            packet->free();
        }
        return is_ours;
    });
}

// EAL starts once a process and the peers are forked before it: each test is a process of its own.
template <class Body>
void in_a_process(Body body) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        body();
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

std::string wire_name(const char* test) {
    return std::string(test) + std::to_string(getpid());
}

TEST(Memif, FramesGoThereAndBackAndTheEndsDiffer) {
    in_a_process([] {
        const std::string wire = wire_name("round");
        const pid_t peer = start_echo(wire);
        auto port = open_end(wire);
        ASSERT_TRUE(port) << port.error().message;
        EXPECT_TRUE(goes_round(*port));
        EXPECT_TRUE(port->is_link_up());
        EXPECT_FALSE(port->offloads.multi_segment);
        EXPECT_EQ(port->mac[0], 0x02);
        kill_and_wait(peer);
        EXPECT_TRUE(wait_until([&] { return !port->is_link_up(); }));
    });
}

TEST(Memif, TheWireComesBackWhoeverLeaves) {
    in_a_process([] {
        const std::string wire = wire_name("back");
        pid_t peer = start_echo(wire);
        usleep(300'000);   // the peer is most likely the server now, and the next one is when it has gone
        auto port = open_end(wire);
        ASSERT_TRUE(port) << port.error().message;
        EXPECT_TRUE(goes_round(*port));
        for (int round = 0; round < 3; ++round) {
            kill_and_wait(peer);
            // A fresh program, not a fork of one that has EAL: the test runs itself.
            peer = fork();
            if (peer == 0) {
                execl("/proc/self/exe", "memif_test", "--echo", wire.c_str(), nullptr);
                _exit(3);
            }
            EXPECT_TRUE(goes_round(*port)) << "round " << round;
        }
        kill_and_wait(peer);
    });
}

TEST(Memif, AThirdProgramIsTold) {
    in_a_process([] {
        const std::string wire = wire_name("third");
        const pid_t first = start_echo(wire), second = start_echo(wire);
        usleep(500'000);
        auto third = open_end(wire);
        ASSERT_FALSE(third);
        EXPECT_EQ(third.error().code, EBUSY);
        EXPECT_NE(third.error().message.find("--link memif:" + wire), std::string::npos) << third.error().message;
        kill_and_wait(first);
        kill_and_wait(second);
    });
}

TEST(Memif, ASleeperIsWokenByEachFrame) {
    in_a_process([] {
        const std::string wire = wire_name("sleep");
        const pid_t peer = start_echo(wire, true);
        auto port = open_end(wire);
        ASSERT_TRUE(port) << port.error().message;
        ASSERT_TRUE(port->offloads.rx_interrupt);
        for (int i = 0; i < 300; ++i) {
            const auto start = Clock::now();
            ASSERT_TRUE(goes_round(*port));
            if (i > 0) {
                EXPECT_LT(Clock::now() - start, std::chrono::milliseconds(90)) << "frame " << i << " was not noticed when it came";
            }
            usleep(200);
        }
        kill_and_wait(peer);
    });
}

}  // namespace

void run_echo(const char* wire) {
    alarm(60);
    echo(wire, false);
}

}  // namespace shunt::pmd

int main(int count, char** arguments) {
    if (count == 3 && std::string(arguments[1]) == "--echo") {
        shunt::pmd::run_echo(arguments[2]);
    }
    testing::InitGoogleTest(&count, arguments);
    return RUN_ALL_TESTS();
}
