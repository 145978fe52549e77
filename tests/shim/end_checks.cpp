// How waits and connections end: by another thread's close or shutdown, by signals, by the peer, by time.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "checks.hpp"

using namespace checks;

namespace {

long start_connect(int fd, int port) {
    const sockaddr_in name = at(port);
    return connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
}

}  // namespace

CHECK(connecting_states) {
    const int from = listener();
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say_result("first", start_connect(fd, port_of(from)));
    pollfd item{fd, POLLOUT, 0};
    poll(&item, 1, 1000);
    say("revents=%x", item.revents);
    say_result("second", start_connect(fd, port_of(from)));
    say_result("third", start_connect(fd, port_of(from)));
    close(fd);
    const int other = socket(AF_INET, SOCK_STREAM, 0);
    say_result("refused", start_connect(other, closed_port()));
    say_result("again", start_connect(other, port_of(from)));
    close_all({other, from});
    const int fresh = socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in port_zero = at(0);
    say_result("port 0", connect(fresh, reinterpret_cast<const sockaddr*>(&port_zero), sizeof port_zero));
    say_result("no address", connect(fresh, nullptr, sizeof port_zero));
    say_result("short", connect(fresh, reinterpret_cast<const sockaddr*>(&port_zero), 4));
    say_result("negative", connect(-1, reinterpret_cast<const sockaddr*>(&port_zero), sizeof port_zero));
    close(fresh);
}

CHECK(listener_is_shut_down_by_another_thread) {
    for (const in_addr where : {address, in_addr{INADDR_ANY}}) {
        const int from = listener(0, where);
        std::thread other([from] {
            nap_ms(50);
            shutdown(from, SHUT_RDWR);
        });
        say_result("accept", accept(from, nullptr, nullptr));
        other.join();
        say_result("again", accept(from, nullptr, nullptr));
        pollfd item{from, POLLIN | POLLOUT, 0};
        poll(&item, 1, 0);
        say("revents=%x", item.revents);
        say_result("listen", listen(from, 5));
        close(from);
    }
}

CHECK(shutdown_wakes_readers_and_polls) {
    int client, server;
    pair(client, server);
    const auto later = [](int fd, int how) {
        return std::thread([fd, how] {
            nap_ms(50);
            shutdown(fd, how);
        });
    };
    std::thread first = later(server, SHUT_RD);
    say("%s", receive_text(server).c_str());
    first.join();
    std::thread second = later(client, SHUT_RDWR);
    pollfd item{client, POLLIN | POLLRDHUP, 0};
    say_result("poll", poll(&item, 1, 2000));
    second.join();
    say("revents=%x", item.revents);
    close_all({client, server});
    pair(client, server);
    const int epfd = epoll_create1(0);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
    epoll_ctl(epfd, EPOLL_CTL_ADD, client, &event);
    std::thread third = later(client, SHUT_RD);
    say_result("epoll", epoll_wait(epfd, &event, 1, 2000));
    third.join();
    say("events=%x", event.events);
    close_all({client, server, epfd});
    const int fd = bound(SOCK_DGRAM, address);
    std::thread fourth = later(fd, SHUT_RDWR);
    say("%s", receive_text(fd).c_str());
    fourth.join();
    close(fd);
}

CHECK(close_by_another_thread) {
    int client, server;
    pair(client, server);
    std::thread other([&] {
        nap_ms(50);
        close(server);
        nap_ms(50);
        send_text(client, "into a closed descriptor");
    });
    say("%s", receive_text(server).c_str());
    other.join();
    say("%s", receive_text(client, MSG_DONTWAIT).c_str());
    close(client);
}

CHECK(half_closed_connections_go_on) {
    int client, server;
    pair(client, server);
    shutdown(client, SHUT_WR);
    nap_ms(20);
    std::vector<char> data(100'000, 'x');
    long sent = 0;
    std::thread sender([&] {
        while (sent < 1'000'000) {
            const ssize_t n = send(server, data.data(), data.size(), MSG_NOSIGNAL);
            if (n <= 0) {
                break;
            }
            sent += n;
        }
        close(server);
    });
    long got = 0;
    std::vector<char> room(30'000);
    for (ssize_t n; (n = recv(client, room.data(), room.size(), 0)) > 0; got += n) {
    }
    sender.join();
    say("all=%d", got == sent && sent >= 1'000'000);
    close(client);
}

CHECK(low_water_mark) {
    int client, server;
    pair(client, server);
    const int five = 5;
    setsockopt(server, SOL_SOCKET, SO_RCVLOWAT, &five, sizeof five);
    send_text(client, "abc");
    nap_ms(20);
    pollfd item{server, POLLIN, 0};
    say_result("too few", poll(&item, 1, 20));
    std::thread other([client] {
        nap_ms(50);
        send_text(client, "defghi");
    });
    say("%s", receive_text(server).c_str());
    other.join();
    send_text(client, "jk");
    nap_ms(20);
    say("%s", receive_text(server, MSG_DONTWAIT).c_str());
    close_all({client, server});
}

CHECK(many_waiters_of_one_socket) {
    int client, server;
    pair(client, server);
    std::atomic<int> got{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i) {
        readers.emplace_back([&] {
            char byte;
            got += recv(server, &byte, 1, 0) == 1;
        });
    }
    nap_ms(30);
    for (int i = 0; i < 4; ++i) {
        send_text(client, "x");
        nap_ms(5);
    }
    for (std::thread& each : readers) {
        each.join();
    }
    say("got=%d", got.load());
    close_all({client, server});
}

namespace {

struct Echo {
    std::atomic<bool> is_over{false};
    std::atomic<int> rounds{0}, wrong{0};
};

void serve(int from) {
    std::vector<std::thread> echoes;
    for (int fd; (fd = accept(from, nullptr, nullptr)) >= 0;) {
        echoes.emplace_back([fd] {
            char data[64];
            for (ssize_t n; (n = recv(fd, data, sizeof data, 0)) > 0;) {
                if (send(fd, data, static_cast<size_t>(n), MSG_NOSIGNAL) != n) {
                    break;
                }
            }
            close(fd);
        });
    }
    for (std::thread& each : echoes) {
        each.join();
    }
}

// Until somebody ends the connection.
void ask(Echo& echo, int fd, const std::string& text) {
    while (!echo.is_over && send(fd, text.data(), text.size(), MSG_NOSIGNAL) > 0) {
        const std::string back = receive_text(fd);
        if (back != text) {
            echo.wrong += back != "<EOF>" && back != "<ECONNRESET>" && text.compare(0, back.size(), back) != 0;
            return;
        }
        ++echo.rounds;
    }
}

}  // namespace

CHECK(threads_echo_while_others_close) {
    constexpr int threads = 16;
    const int from = listener();
    Echo echo;
    std::thread server(serve, from);
    std::vector<std::thread> clients;
    std::vector<std::atomic<int>> open(threads);
    for (int i = 0; i < threads; ++i) {
        clients.emplace_back([&, i, port = port_of(from)] {
            while (!echo.is_over) {
                const int fd = connected_to(port);
                open[static_cast<size_t>(i)] = fd;
                ask(echo, fd, "thread " + std::to_string(i));
                open[static_cast<size_t>(i)] = -1;
                close(fd);
            }
        });
    }
    const long end = now_ms() + 1500;
    for (int i = 0; now_ms() < end; i = (i + 1) % threads) {
        nap_ms(10);
        shutdown(open[static_cast<size_t>(i)], SHUT_RDWR);  // -1 and a number that has just been closed do no harm
    }
    echo.is_over = true;
    for (std::thread& each : clients) {
        each.join();
    }
    shutdown(from, SHUT_RDWR);
    server.join();
    close(from);
    say("some=%d wrong=%d", echo.rounds > 100, echo.wrong.load());
}

CHECK(interrupted_in_every_call) {
    int client, server;
    pair(client, server);
    const pthread_t self = pthread_self();
    const auto signal_later = [self] {
        return std::thread([self] {
            nap_ms(40);
            pthread_kill(self, SIGUSR1);
        });
    };
    for (const int flags : {0, static_cast<int>(SA_RESTART)}) {
        const Handler handler(SIGUSR1, flags);
        pollfd item{server, POLLIN, 0};
        std::thread a = signal_later();
        say_result("poll", poll(&item, 1, 300));
        a.join();
        fd_set set;
        FD_ZERO(&set);
        FD_SET(server, &set);
        timeval third{0, 300'000};
        std::thread b = signal_later();
        say_result("select", select(server + 1, &set, nullptr, nullptr, &third));
        b.join();
        const int epfd = epoll_create1(0);
        epoll_event event{};
        event.events = EPOLLIN;
        epoll_ctl(epfd, EPOLL_CTL_ADD, server, &event);
        std::thread c = signal_later();
        say_result("epoll_wait", epoll_wait(epfd, &event, 1, 300));
        c.join();
        close(epfd);
        const timeval limit{0, 300'000};  // with a time-out no call restarts
        setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        std::thread d = signal_later();
        say("%s", receive_text(server).c_str());
        d.join();
        const timeval none{};
        setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
        const int fd = bound(SOCK_DGRAM, address);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        std::thread e = signal_later();
        say("%s", receive_text(fd).c_str());
        e.join();
        close(fd);
        say("handled=%d", handler.count());
    }
    std::vector<char> much(1 << 20);
    fcntl(client, F_SETFL, O_NONBLOCK);
    while (send(client, much.data(), much.size(), MSG_NOSIGNAL) > 0) {
    }
    nap_ms(100);
    while (send(client, much.data(), much.size(), MSG_NOSIGNAL) > 0) {
    }
    fcntl(client, F_SETFL, 0);
    const Handler handler(SIGUSR1, 0);
    std::thread other = signal_later();
    say_result("send", send(client, much.data(), much.size(), MSG_NOSIGNAL));
    other.join();
    close_all({client, server});
}
