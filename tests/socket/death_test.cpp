// Processes that are killed inside the stack's lock, at any moment: the survivors never hang, never get a wrong byte, and lose no packet of the pool for good.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"
#include "socket/loop.hpp"

namespace shunt::socket {
namespace {

using namespace std::chrono_literals;
using namespace loop;
constexpr timespec patience{10, 0};

// A description without a descriptor in the way: the kernel's is needed for its kind alone.
Socket& make(int type) {
    const int fd = ::socket(AF_INET, type, 0);
    Socket& made = *open(the_stack(), fd).value();
    ::close(fd);
    return made;
}

bool becomes(Socket& socket, short events) {
    PollItem item{&socket, nullptr, -1, events, 0};
    return poll(the_stack(), std::span(&item, 1), &patience, nullptr) == 1;
}

// What a byte of the stream is depends on where it stands.
char byte_at(std::size_t at) { return static_cast<char>(at * 2654435761U >> 13); }

struct Pair {
    Socket* client = nullptr;
    Socket* server = nullptr;
};

// Empty: a reset hit one of them; a hang fails the test.
std::optional<Pair> connect_pair(Socket& listener, std::uint16_t port) {
    Pair pair{&make(SOCK_STREAM), nullptr};
    const sockaddr_in to = loopback(port);
    set_nonblocking(*pair.client, true);
    set_nonblocking(listener, true);
    connect(*pair.client, as_any(to), sizeof to);
    EXPECT_TRUE(becomes(*pair.client, POLLOUT)) << "a connect hangs";
    while (take_error(*pair.client) == 0 && becomes(listener, POLLIN)) {
        sockaddr_in from{}, mine{};
        socklen_t length = sizeof from;
        if (accept(listener, -1, &pair.server, reinterpret_cast<sockaddr*>(&from), &length) != 0) {
            continue;
        }
        length = sizeof mine;
        local_name(*pair.client, reinterpret_cast<sockaddr*>(&mine), &length);
        if (from.sin_port == mine.sin_port) {
            return pair;
        }
        release(*pair.server, -1);  // one that the dead process had begun
    }
    release(*pair.client, -1);
    return std::nullopt;
}

void close(const Pair& pair) {
    release(*pair.client, -1);
    release(*pair.server, -1);
}

// One piece across, at `at`. False: reset. A hang and a wrong byte fail the test.
bool exchange(const Pair& pair, std::size_t at, std::size_t size) {
    std::vector<char> data(size);
    for (std::size_t i = 0; i < size; ++i) {
        data[i] = byte_at(at + i);
    }
    std::vector<char> chunk(size);
    for (std::size_t sent = 0, got = 0; got < size;) {
        const long result = sent == size ? 0 : send(*pair.client, data.data() + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += static_cast<std::size_t>(std::max(result, 0L));
        if (result < 0 && result != -EAGAIN) {
            EXPECT_TRUE(result == -ECONNRESET || result == -EPIPE) << result;
            return false;
        }
        EXPECT_TRUE(becomes(*pair.server, POLLIN)) << "a receive hangs";
        const long here = receive(*pair.server, -1, chunk.data(), chunk.size(), MSG_DONTWAIT);
        if (here == -EAGAIN) {
            continue;
        }
        EXPECT_TRUE(here > 0 || here == -ECONNRESET) << here << ": an end of file that nobody has sent, or another error";
        for (long i = 0; i < here; ++i) {
            if (chunk[static_cast<std::size_t>(i)] != data[got + static_cast<std::size_t>(i)]) {
                ADD_FAILURE() << "a wrong byte at " << at + got + static_cast<std::size_t>(i);
                return false;
            }
        }
        if (here <= 0) {
            return false;
        }
        got += static_cast<std::size_t>(here);
    }
    return true;
}

// What the child does until it is killed: everything that changes the stack, on sockets that its parent has as well and on its own.
[[noreturn]] void work(Socket& listener, std::uint16_t port, Socket& datagrams, std::uint16_t datagram_port, const Pair& shared, EpollSet& set, unsigned seed) {
    std::minstd_rand random(seed);
    std::vector<char> chunk(20'000);
    const int epfd = ::epoll_create1(0);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    for (std::size_t written = 0;;) {
        const sockaddr_in to = loopback(port);
        Socket& client = make(SOCK_STREAM);
        set_nonblocking(client, true);
        connect(client, as_any(to), sizeof to);
        epoll_control(set, EPOLL_CTL_ADD, 1000, client, &event);
        send(client, chunk.data(), random() % chunk.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        Socket* accepted = nullptr;
        if (accept(listener, -1, &accepted, nullptr, nullptr) == 0) {
            receive(*accepted, -1, chunk.data(), random() % chunk.size(), MSG_DONTWAIT);
            release(*accepted, -1);
        }
        const sockaddr_in there = loopback(datagram_port);
        Socket& sender = make(SOCK_DGRAM);
        connect(sender, as_any(there), sizeof there);
        send(sender, chunk.data(), random() % 1000, MSG_DONTWAIT);
        receive(datagrams, -1, chunk.data(), chunk.size(), MSG_DONTWAIT);
        epoll_event ready[4];
        const timespec at_once{0, 0};
        epoll_wait(set, epfd, ready, 4, &at_once, nullptr);
        std::size_t size = 1 + random() % 4000;
        for (std::size_t i = 0; i < size; ++i) {
            chunk[i] = byte_at(written + i);
        }
        written += static_cast<std::size_t>(std::max(send(*shared.client, chunk.data(), size, MSG_NOSIGNAL | MSG_DONTWAIT), 0L));
        release(sender, -1);
        release(client, -1);
    }
}

int fork_worker(const std::vector<Socket*>& sockets, EpollSet& set, const auto& begin) {
    expect_child();
    for (Socket* each : sockets) {
        retain_for_child(*each);
    }
    retain_for_child(set);
    const int pid = ::fork();
    if (pid == 0) {
        Runtime::instance().after_fork_in_child();
        become_child();
        begin();
    }
    name_child(pid);
    return pid;
}

std::uint32_t packets_free() {
    Guard guard(layer());
    return the_stack().ipv4().packet_source()->pool_available();
}

std::uint64_t deaths() {
    Guard guard(layer());
    return the_stack().counters().of(Event::holders_died);
}

// What the child wrote on the shared connection before it died, as far as it came: in order, and ended by a reset or by nothing.
void expect_right_bytes(Socket& receiver, std::size_t& at) {
    std::vector<char> chunk(65536);
    for (long got = 0; (got = receive(receiver, -1, chunk.data(), chunk.size(), MSG_DONTWAIT)) > 0;) {
        for (long i = 0; i < got; ++i, ++at) {
            ASSERT_EQ(chunk[static_cast<std::size_t>(i)], byte_at(at)) << "a wrong byte at " << at;
        }
    }
}

bool wait_for_burial() {
    for (const auto end = std::chrono::steady_clock::now() + 10s; std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(1ms)) {
        Guard guard(layer());
        unsigned alive = 0;
        for (const Process& each : layer().ledger.processes()) {
            alive += each.state != Process::State::none;
        }
        if (alive <= 1) {
            return true;
        }
    }
    return false;
}

// What all processes have.
struct Shared {
    Socket& listener = make(SOCK_STREAM);
    Socket& datagrams = make(SOCK_DGRAM);
    EpollSet& set = *open_epoll(the_stack()).value();
    std::uint16_t port = bind_somewhere(listener);
    std::uint16_t datagram_port = bind_somewhere(datagrams);

    Shared() {
        EXPECT_EQ(listen(listener, 64), 0);
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u32 = 7;
        EXPECT_EQ(epoll_control(set, EPOLL_CTL_ADD, 1, datagrams, &event), 0);
    }
    ~Shared() {
        release(datagrams, -1);
        release(listener, -1);
        release(set);
    }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
};

// A child at work is killed while its parent is. True: the parent's connection was reset.
bool kill_one(Shared& shared, unsigned seed) {
    const auto own = connect_pair(shared.listener, shared.port), both = connect_pair(shared.listener, shared.port);
    if (!own || !both) {
        ADD_FAILURE() << "no connection";
        return false;
    }
    std::mt19937 random(seed);
    const int child = fork_worker({&shared.listener, &shared.datagrams, both->client, both->server}, shared.set,
                                  [&] { work(shared.listener, shared.port, shared.datagrams, shared.datagram_port, *both, shared.set, seed); });
    const auto lives_until = std::chrono::steady_clock::now() + std::chrono::microseconds(200 + random() % 6000);
    std::atomic<bool> is_dead = false;
    std::thread killer([&] {
        std::this_thread::sleep_until(lives_until);
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        is_dead = true;
    });
    std::size_t at = 0, child_at = 0;
    bool is_open = true;
    for (bool is_last = false; is_open && !is_last;) {
        is_last = is_dead;
        const std::size_t size = 1 + random() % 30'000;
        is_open = exchange(*own, at, size);
        at += size;
        expect_right_bytes(*both->server, child_at);
    }
    killer.join();
    expect_right_bytes(*both->server, child_at);
    close(*own);
    close(*both);
    EXPECT_TRUE(wait_for_burial());
    return !is_open;
}

void expect_that_all_goes_on(Shared& shared) {
    const auto fresh = connect_pair(shared.listener, shared.port);
    ASSERT_TRUE(fresh);
    EXPECT_TRUE(exchange(*fresh, 0, 50'000));
    close(*fresh);
    std::vector<char> drained(65536);
    while (receive(shared.datagrams, -1, drained.data(), drained.size(), MSG_DONTWAIT) >= 0) {
    }
    Socket& sender = make(SOCK_DGRAM);
    const sockaddr_in to = loopback(shared.datagram_port);
    EXPECT_EQ(connect(sender, as_any(to), sizeof to), 0);
    EXPECT_EQ(send(sender, "x", 1, 0), 1);
    epoll_event ready{};
    const int epfd = ::epoll_create1(0);
    EXPECT_EQ(epoll_wait(shared.set, epfd, &ready, 1, &patience, nullptr), 1);
    ::close(epfd);
    EXPECT_EQ(ready.data.u32, 7U);
    EXPECT_EQ(receive(shared.datagrams, -1, drained.data(), drained.size(), MSG_DONTWAIT), 1);
    release(sender, -1);
}

TEST(Death, WhoeverIsKilledAtWorkTheOthersGoOn) {
    const char* wanted = std::getenv("SHUNT_TEST_ROUNDS");
    const unsigned rounds = wanted != nullptr ? static_cast<unsigned>(std::atoi(wanted)) : 150;
    ::alarm(rounds / 2 + 120);  // a hang inside the lock
    the_stack();
    const std::uint32_t free_before = packets_free();
    unsigned resets = 0;
    {
        Shared shared;
        for (unsigned seed = 1; seed <= rounds && !HasFailure(); ++seed) {
            SCOPED_TRACE("seed " + std::to_string(seed));
            resets += kill_one(shared, seed) ? 1U : 0U;
            expect_that_all_goes_on(shared);
        }
    }
    const auto died = static_cast<unsigned>(deaths());
    std::printf("%u of %u died over a change, %u connections of the survivor's were reset\n", died, rounds, resets);
    EXPECT_GT(died, 0U) << "the test has tested nothing";
    // All that was in use is free again: connections in TIME_WAIT hold no packet.
    std::uint32_t free_after = 0;
    for (int i = 0; i < 1000 && (free_after = packets_free()) != free_before; ++i) {
        std::this_thread::sleep_for(1ms);
    }
    EXPECT_EQ(free_after, free_before);
    const Guard guard(layer());
    EXPECT_EQ(layer().sockets.used(), 0U);
    EXPECT_EQ(layer().interests.used(), 0U);
    EXPECT_EQ(layer().sets.used(), 0U);
    EXPECT_TRUE(the_stack().is_valid());
}

}  // namespace
}  // namespace shunt::socket
