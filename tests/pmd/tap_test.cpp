// A tap port in a namespace of its own: frames come in, and the program's signals are its own.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "pmd/eal.hpp"
#include "pmd/port_inline.hpp"

namespace shunt::pmd {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// EAL starts once a process, and the namespace is for good.
template <class Body>
void in_a_namespace(Body body) {
    if (geteuid() != 0) {
        GTEST_SKIP() << "needs root";
    }
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        if (unshare(CLONE_NEWNET) != 0) {
            _exit(2);
        }
        body();
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

Outcome<Port> open_tap(const std::string& name, const PortOptions& wanted = {}) {
    EalOptions eal;
    eal.hugepages = EalOptions::Hugepages::never;
    if (auto started = start_eal(eal); !started) {
        return std::unexpected(started.error());
    }
    borrow_lcore(1);
    PortOptions options = wanted;
    options.packets = 4096;
    return open_port(LinkSpec{LinkSpec::Kind::tap, name}, options);
}

// The kernel's end of a tap: up, and a socket that sends frames into it.
class KernelEnd {
public:
    explicit KernelEnd(const std::string& name) : fd_(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))) {
        ifreq request{};
        std::strncpy(request.ifr_name, name.c_str(), sizeof request.ifr_name - 1);
        EXPECT_EQ(ioctl(fd_, SIOCGIFFLAGS, &request), 0) << name;
        request.ifr_flags |= IFF_UP;
        EXPECT_EQ(ioctl(fd_, SIOCSIFFLAGS, &request), 0) << name;
        index_ = static_cast<int>(if_nametoindex(name.c_str()));
    }
    ~KernelEnd() { close(fd_); }
    KernelEnd(const KernelEnd&) = delete;
    KernelEnd& operator=(const KernelEnd&) = delete;

    std::array<std::uint8_t, 6> mac(const std::string& name) const {
        ifreq request{};
        std::strncpy(request.ifr_name, name.c_str(), sizeof request.ifr_name - 1);
        EXPECT_EQ(ioctl(fd_, SIOCGIFHWADDR, &request), 0) << name;
        std::array<std::uint8_t, 6> address{};
        std::memcpy(address.data(), request.ifr_hwaddr.sa_data, address.size());
        return address;
    }
    void send_frame(std::uint8_t mark) const {
        std::array<std::uint8_t, 100> frame{};
        frame.fill(mark);
        sockaddr_ll to{};
        to.sll_family = AF_PACKET;
        to.sll_ifindex = index_;
        EXPECT_EQ(sendto(fd_, frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to), static_cast<ssize_t>(frame.size()));
    }

private:
    int fd_;
    int index_ = 0;
};

// True when a frame marked so comes within a few seconds.
bool receives(Port& port, std::uint8_t mark) {
    std::array<Packet*, 32> burst;
    for (const auto begin = Clock::now(); Clock::now() - begin < 5s;) {
        const std::uint16_t count = port.rx_burst(Time{}, burst);
        bool is_there = false;
        for (Packet* packet : std::span(burst).first(count)) {
            is_there = is_there || (packet->size() == 100 && packet->data()[99] == std::byte{mark});
            packet->free();
        }
        if (is_there) {
            return true;
        }
    }
    return false;
}

std::vector<void (*)(int)> dispositions() {
    std::vector<void (*)(int)> all;
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
        struct sigaction action {};
        sigaction(signal, nullptr, &action);   // of libc's own two signals: EINVAL, and a null
        all.push_back(action.sa_handler);
    }
    return all;
}

std::vector<int> tap_descriptors() {
    std::vector<int> fds;
    DIR* folder = opendir("/proc/self/fd");
    while (const dirent* entry = readdir(folder)) {
        std::array<char, 64> target{};
        const std::string path = std::string("/proc/self/fd/") + entry->d_name;
        if (readlink(path.c_str(), target.data(), target.size() - 1) > 0 && std::string_view(target.data()) == "/dev/net/tun") {
            fds.push_back(std::atoi(entry->d_name));
        }
    }
    closedir(folder);
    return fds;
}

TEST(Tap, TheProgramsSignalsAreNotTouchedAndNoneComesWithAFrame) {
    in_a_namespace([] {
        const auto before = dispositions();
        auto port = open_tap("pmdtap0");
        ASSERT_TRUE(port) << port.error().message;
        EXPECT_EQ(dispositions(), before);
        const std::vector<int> fds = tap_descriptors();
        EXPECT_FALSE(fds.empty());
        for (const int fd : fds) {
            EXPECT_EQ(fcntl(fd, F_GETFL) & O_ASYNC, 0);
            EXPECT_EQ(fcntl(fd, F_GETOWN), 0);
            EXPECT_EQ(fcntl(fd, F_GETSIG), 0);
        }
        const KernelEnd kernel("pmdtap0");
        std::atomic<bool> is_over{false};
        sigset_t all, none;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, &none);
        std::thread sender([&] {   // takes no signal itself
            while (!is_over) {
                kernel.send_frame(1);
                std::this_thread::sleep_for(5ms);
            }
        });
        sigprocmask(SIG_SETMASK, &none, nullptr);
        for (int i = 0; i < 5; ++i) {
            EXPECT_EQ(poll(nullptr, 0, 40), 0) << std::strerror(errno);
        }
        is_over = true;
        sender.join();
        EXPECT_TRUE(receives(*port, 1));
        kernel.send_frame(2);
        EXPECT_TRUE(receives(*port, 2)) << "a frame that comes when the ring had been read empty is not seen";
    });
}

TEST(Tap, TwoInOneProgramAndEachHasItsOwnFrames) {
    in_a_namespace([] {
        auto first = open_tap("pmdtap0"), second = open_tap("pmdtap1", {.mac = {}, .index = 1});
        ASSERT_TRUE(first) << first.error().message;
        ASSERT_TRUE(second) << second.error().message;
        const KernelEnd zero("pmdtap0"), one("pmdtap1");
        zero.send_frame(7);
        EXPECT_TRUE(receives(*first, 7));
        one.send_frame(8);
        EXPECT_TRUE(receives(*second, 8));
        EXPECT_NE(first->mac, second->mac);
    });
}

TEST(Tap, AGivenAddressIsOursAndNotTheKernels) {
    in_a_namespace([] {
        const std::array<std::uint8_t, 6> wanted{2, 0, 0, 0, 7, 1};
        auto port = open_tap("pmdtap0", {.mac = wanted});
        ASSERT_TRUE(port) << port.error().message;
        EXPECT_EQ(port->mac, wanted);
        const KernelEnd kernel("pmdtap0");
        EXPECT_NE(kernel.mac("pmdtap0"), wanted);
        kernel.send_frame(3);
        EXPECT_TRUE(receives(*port, 3));
    });
}

}  // namespace
}  // namespace shunt::pmd
