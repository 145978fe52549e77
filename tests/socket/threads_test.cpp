// Many threads on one stack, through the socket layer as the shim calls it, over --link loop. Meant for the thread sanitizer above all.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "socket/loop.hpp"

namespace shunt::socket {
namespace {

using namespace loop;

// A description and the kernel's descriptor behind it.
class Handle {
public:
    explicit Handle(int type) : fd_(::socket(AF_INET, type, 0)), socket_(open(the_stack(), fd_).value()) {}
    explicit Handle(Socket& accepted) : fd_(::socket(AF_INET, SOCK_STREAM, 0)), socket_(&accepted) {}
    ~Handle() {
        release(*socket_, fd_);
        ::close(fd_);
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    Socket& get() { return *socket_; }
    int fd() const { return fd_; }
    std::uint16_t bind_somewhere() { return loop::bind_somewhere(*socket_); }
    long connect_to(std::uint16_t port) {
        const sockaddr_in address = loopback(port);
        return connect(*socket_, as_any(address), sizeof address);
    }
    long send_byte_to(std::uint16_t port) {
        sockaddr_in to = loopback(port);
        char byte = 'x';
        iovec part{&byte, 1};
        msghdr message{};
        message.msg_name = &to;
        message.msg_namelen = sizeof to;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        return send_message(*socket_, &message, 0);
    }
    bool send_all(const std::vector<char>& data) {
        for (std::size_t sent = 0; sent < data.size();) {
            const long result = send(*socket_, data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
            if (result <= 0) {
                return false;
            }
            sent += static_cast<std::size_t>(result);
        }
        return true;
    }
    std::vector<char> receive_all(std::size_t size) {
        std::vector<char> data(size);
        std::size_t got = 0;
        while (got < size) {
            const long result = receive(*socket_, fd_, data.data() + got, size - got, 0);
            if (result <= 0) {
                break;
            }
            got += static_cast<std::size_t>(result);
        }
        data.resize(got);
        return data;
    }

private:
    int fd_;
    Socket* socket_;
};

std::vector<char> random_bytes(std::mt19937& random, std::size_t size) {
    std::vector<char> bytes(size);
    for (char& byte : bytes) {
        byte = static_cast<char>(random());
    }
    return bytes;
}

void echo_until_end(Socket& accepted) {
    Handle connection(accepted);
    std::vector<char> chunk(5000);
    for (long got = 0; (got = receive(connection.get(), connection.fd(), chunk.data(), chunk.size(), 0)) > 0;) {
        if (!connection.send_all({chunk.begin(), chunk.begin() + got})) {
            return;
        }
    }
}

TEST(Threads, EightClientsAndEightServersThatShareAListenerLoseNoByte) {
    constexpr int pairs = 8, connections = 6, rounds = 8;
    Handle listener(SOCK_STREAM);
    const std::uint16_t port = listener.bind_somewhere();
    ASSERT_EQ(listen(listener.get(), 64), 0);
    std::atomic<int> intact = 0, to_accept = pairs * connections;
    std::vector<std::thread> threads;
    for (int i = 0; i < pairs; ++i) {
        threads.emplace_back([&] {
            while (to_accept.fetch_sub(1) > 0) {
                Socket* accepted = nullptr;
                ASSERT_EQ(accept(listener.get(), listener.fd(), &accepted, nullptr, nullptr), 0);
                ASSERT_NE(accepted, nullptr);
                echo_until_end(*accepted);
            }
        });
        threads.emplace_back([&, i] {
            std::mt19937 random(static_cast<unsigned>(i));
            for (int n = 0; n < connections; ++n) {
                Handle client(SOCK_STREAM);
                ASSERT_EQ(client.connect_to(port), 0);
                for (int round = 0; round < rounds; ++round) {
                    const auto data = random_bytes(random, 1 + random() % 20'000);
                    ASSERT_TRUE(client.send_all(data));
                    ASSERT_EQ(client.receive_all(data.size()), data);
                    ++intact;
                }
                EXPECT_EQ(shutdown(client.get(), SHUT_WR), 0);
                EXPECT_TRUE(client.receive_all(1).empty());
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(intact, pairs * connections * rounds);
}

TEST(Threads, ManySendersToOneSocketAreAllHeardOnce) {
    constexpr unsigned senders = 8, datagrams = 200;
    Handle receiver(SOCK_DGRAM);
    const std::uint16_t port = receiver.bind_somewhere();
    std::vector<std::atomic<unsigned>> heard(senders * datagrams);
    std::atomic<unsigned> total = 0;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < senders; ++i) {
        threads.emplace_back([&, i] {
            Handle sender(SOCK_DGRAM);
            ASSERT_EQ(sender.connect_to(port), 0);
            for (unsigned n = 0; n < datagrams; ++n) {
                const unsigned number = i * datagrams + n;
                while (total + 64 < number % datagrams * senders) {  // not faster than it is read
                    std::this_thread::yield();
                }
                ASSERT_EQ(send(sender.get(), &number, sizeof number, 0), static_cast<long>(sizeof number));
            }
        });
        threads.emplace_back([&] {
            while (total < senders * datagrams) {
                unsigned number = 0;
                if (receive(receiver.get(), receiver.fd(), &number, sizeof number, MSG_DONTWAIT) == static_cast<long>(sizeof number)) {
                    ++heard.at(number);
                    ++total;
                } else {
                    std::this_thread::yield();
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const auto& times : heard) {
        ASSERT_EQ(times, 1U);
    }
}

TEST(Threads, ShutdownEndsACallThatBlocksElsewhere) {
    Handle listener(SOCK_STREAM);
    const std::uint16_t port = listener.bind_somewhere();
    ASSERT_EQ(listen(listener.get(), 8), 0);
    for (int i = 0; i < 20; ++i) {
        Handle client(SOCK_STREAM);
        ASSERT_EQ(client.connect_to(port), 0);
        Socket* accepted = nullptr;
        ASSERT_EQ(accept(listener.get(), listener.fd(), &accepted, nullptr, nullptr), 0);
        Handle server(*accepted);
        std::thread reader([&] { EXPECT_TRUE(client.receive_all(1).empty()); });
        std::this_thread::sleep_for(std::chrono::microseconds(50 * i));
        EXPECT_EQ(shutdown(client.get(), SHUT_RDWR), 0);
        reader.join();
    }
}

TEST(Threads, OneShotEventsOfASharedSetComeToOneThreadEach) {
    constexpr unsigned sockets = 16, messages = 50, waiters = 6;
    EpollSet& set = *open_epoll(the_stack()).value();
    const int epfd = ::epoll_create1(0);
    std::vector<std::unique_ptr<Handle>> receivers;
    std::vector<std::uint16_t> ports;
    epoll_event event{};
    for (unsigned i = 0; i < sockets; ++i) {
        receivers.push_back(std::make_unique<Handle>(SOCK_DGRAM));
        ports.push_back(receivers.back()->bind_somewhere());
        event.events = EPOLLIN | EPOLLONESHOT;
        event.data.u32 = i;
        ASSERT_EQ(epoll_control(set, EPOLL_CTL_ADD, receivers[i]->fd(), receivers[i]->get(), &event), 0);
    }
    std::vector<std::atomic<int>> inside(sockets);
    std::atomic<unsigned> got = 0;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < waiters; ++i) {
        threads.emplace_back([&] {
            while (got < sockets * messages) {
                epoll_event ready{};
                const timespec patience{0, 20'000'000};
                if (epoll_wait(set, epfd, &ready, 1, &patience, nullptr) != 1) {
                    continue;
                }
                const std::uint32_t n = ready.data.u32;
                EXPECT_EQ(inside[n].fetch_add(1), 0);  // nobody else has it until it is armed again
                char byte;
                while (receive(receivers[n]->get(), receivers[n]->fd(), &byte, 1, MSG_DONTWAIT) == 1) {
                    ++got;
                }
                inside[n].fetch_sub(1);
                epoll_event again{};
                again.events = EPOLLIN | EPOLLONESHOT;
                again.data.u32 = n;
                EXPECT_EQ(epoll_control(set, EPOLL_CTL_MOD, receivers[n]->fd(), receivers[n]->get(), &again), 0);
            }
        });
    }
    Handle sender(SOCK_DGRAM);
    for (unsigned m = 0; m < messages * sockets; ++m) {
        ASSERT_EQ(sender.send_byte_to(ports[m % sockets]), 1);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(got, sockets * messages);
    receivers.clear();
    release(set);
    ::close(epfd);
}

// A call looks its descriptor up before it has the lock; meanwhile another thread may have closed it.
TEST(Threads, ACallThatComesTooLateFindsNoSocket) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    Socket& socket = *open(the_stack(), fd).value();
    release(socket, fd);
    ::close(fd);
    char byte = 0;
    epoll_event event{};
    Socket* accepted = nullptr;
    const sockaddr_in to = loopback(1);
    EpollSet* set = open_epoll(the_stack()).value();
    EXPECT_EQ(send(socket, &byte, 1, MSG_NOSIGNAL), -EBADF);
    EXPECT_EQ(receive(socket, fd, &byte, 1, 0), -EBADF);
    EXPECT_EQ(accept(socket, fd, &accepted, nullptr, nullptr), -EBADF);
    EXPECT_EQ(connect(socket, as_any(to), sizeof to), -EBADF);
    EXPECT_EQ(epoll_control(*set, EPOLL_CTL_ADD, fd, socket, &event), -EBADF);
    PollItem item{&socket, nullptr, fd, POLLIN, 0};
    const timespec zero{0, 0};
    EXPECT_EQ(poll(the_stack(), std::span(&item, 1), &zero, nullptr), 1);
    EXPECT_EQ(item.revents, POLLNVAL);
    release(*set);
    EXPECT_EQ(epoll_wait(*set, fd, &event, 1, &zero, nullptr), -EBADF);
}

TEST(Threads, PollingWhileOthersCloseAndConnectAnew) {
    Handle listener(SOCK_STREAM);
    const std::uint16_t port = listener.bind_somewhere();
    ASSERT_EQ(listen(listener.get(), 64), 0);
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    std::atomic<Socket*> current = open(the_stack(), fd).value();
    std::atomic<bool> is_over = false;
    std::vector<std::thread> pollers;
    for (int i = 0; i < 3; ++i) {
        pollers.emplace_back([&] {
            const timespec brief{0, 100'000};
            while (!is_over) {
                PollItem item{current.load(), nullptr, fd, POLLIN, 0};
                EXPECT_GE(poll(the_stack(), std::span(&item, 1), &brief, nullptr), 0);
            }
        });
    }
    const sockaddr_in to = loopback(port);
    for (int round = 0; round < 2000; ++round) {
        Socket* fresh = open(the_stack(), fd).value();
        EXPECT_EQ(connect(*fresh, as_any(to), sizeof to), 0);
        Socket* accepted = nullptr;
        EXPECT_EQ(accept(listener.get(), listener.fd(), &accepted, nullptr, nullptr), 0);
        Socket* old = current.exchange(fresh);
        release(*old, fd);
        if (accepted != nullptr) {
            release(*accepted, -1);
        }
    }
    is_over = true;
    for (std::thread& each : pollers) {
        each.join();
    }
    release(*current.load(), fd);
    ::close(fd);
}

}  // namespace
}  // namespace shunt::socket
