// Epoll sets in epoll sets, in poll and in select; one shot and exclusive entries; sockets on both sides.
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "checks.hpp"

using namespace checks;

namespace {

int control(int epfd, int operation, int fd, unsigned events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return epoll_ctl(epfd, operation, fd, &event);
}

int add(int epfd, int fd, unsigned events) {
    return control(epfd, EPOLL_CTL_ADD, fd, events);
}

// How many events, and of what; the descriptors are the caller's to know.
void say_count(const char* what, int epfd, int timeout_ms = 1000) {
    epoll_event events[16];
    const int count = epoll_wait(epfd, events, 16, timeout_ms);
    say("%s=%d:%x", what, count, count > 0 ? events[0].events : 0);
}

}  // namespace

CHECK(a_chain_of_sets) {
    int client, server;
    pair(client, server);
    int chain[7];
    for (int& each : chain) {
        each = epoll_create1(0);
    }
    for (int i = 0; i + 1 < 7; ++i) {
        say_result("link", add(chain[i + 1], chain[i], EPOLLIN));
    }
    say_result("loop", add(chain[0], chain[2], EPOLLIN));
    say_result("itself", add(chain[0], chain[0], EPOLLIN));
    say_result("socket last", add(chain[0], server, EPOLLIN));
    say_count("before", chain[4], 0);
    send_text(client, "x");
    say_count("after", chain[4]);
    say_count("again", chain[4], 0);
    receive_text(server);
    say_count("drained", chain[4], 10);
    say_result("mod", control(chain[1], EPOLL_CTL_MOD, chain[0], 0));
    send_text(client, "y");
    say_count("not asked for", chain[3], 20);
    say_result("del", control(chain[1], EPOLL_CTL_DEL, chain[0], 0));
    say_result("del twice", control(chain[1], EPOLL_CTL_DEL, chain[0], 0));
    say_count("cut", chain[3], 20);
    say_count("itself", chain[0], 0);
    for (const int each : chain) {
        close(each);
    }
    close_all({client, server});
}

CHECK(an_edge_triggered_set_in_a_set) {
    int client, server;
    pair(client, server);
    const int inner = epoll_create1(0), outer = epoll_create1(0);
    add(inner, server, EPOLLIN);
    add(outer, inner, EPOLLIN | EPOLLET);
    send_text(client, "x");
    say_count("edge", outer);
    say_count("no edge", outer, 20);
    send_text(client, "y");
    say_count("edge", outer);
    say_result("one shot", control(outer, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLONESHOT));
    say_count("shot", outer);
    send_text(client, "z");
    say_count("shot before", outer, 20);
    close(inner);
    send_text(client, "z");
    say_count("closed", outer, 20);
    close_all({client, server, outer});
}

// Waits begin before there is anything, and a socket of the set is ready later.
CHECK(waits_for_a_set) {
    int client, server;
    pair(client, server);
    const int inner = epoll_create1(0), outer = epoll_create1(0);
    add(inner, server, EPOLLIN);
    add(outer, inner, EPOLLIN);
    for (int way = 0; way < 3; ++way) {
        std::thread writer([client] {
            nap_ms(30);
            send_text(client, "x");
        });
        const long start = now_ms();
        if (way == 0) {
            say_count("epoll", outer, 5000);
        } else if (way == 1) {
            pollfd item{inner, POLLIN | POLLOUT, 0};
            say_result("poll", poll(&item, 1, 5000));
            say("%x", item.revents);
        } else {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(inner, &set);
            timeval limit{5, 0};
            say_result("select", select(inner + 1, &set, nullptr, nullptr, &limit));
            say("%d", FD_ISSET(inner, &set) ? 1 : 0);
        }
        say("%s", now_ms() - start < 3000 ? "soon" : "late");
        writer.join();
        receive_text(server);
    }
    pollfd item{inner, POLLIN, 0};
    say_result("empty", poll(&item, 1, 10));
    close_all({client, server, inner, outer});
}

// What is in the inner set becomes known after the sets were put together.
CHECK(a_set_in_a_set_before_its_sockets) {
    const int inner = epoll_create1(0), outer = epoll_create1(0);
    say_result("nest", add(outer, inner, EPOLLIN));
    const int event = eventfd(1, EFD_NONBLOCK);
    add(inner, event, EPOLLIN);
    say_count("eventfd", outer);
    eventfd_t value;
    eventfd_read(event, &value);
    const int from = socket(AF_INET, SOCK_STREAM, 0);
    add(inner, from, EPOLLIN | EPOLLET);
    say_count("fresh", outer, 0);
    const sockaddr_in any = at(0);
    bind(from, reinterpret_cast<const sockaddr*>(&any), sizeof any);
    listen(from, 5);
    epoll_event ignored[4];
    while (epoll_wait(inner, ignored, 4, 0) > 0) {
    }
    say_count("listening", outer, 10);
    const int client = connected_to(port_of(from));
    say_count("waiting", outer);
    say_count("inner", inner);
    say_count("edge told", outer, 10);
    eventfd_write(event, 1);
    say_count("eventfd", outer);
    close_all({inner, outer, event, from, client});
}

CHECK(one_shot_on_both_sides) {
    in_addr any{};
    const int from = listener(SOCK_NONBLOCK, any);
    const int epfd = epoll_create1(0);
    add(epfd, from, EPOLLIN | EPOLLONESHOT);
    in_addr loopback;
    loopback.s_addr = htonl(INADDR_LOOPBACK);
    const int first = connected_to(port_of(from), loopback);
    const int second = connected_to(port_of(from));
    say_count("first", epfd);
    say_count("fired", epfd, 30);
    say_result("mod", control(epfd, EPOLL_CTL_MOD, from, EPOLLIN | EPOLLONESHOT));
    say_count("again", epfd);
    say_count("fired", epfd, 30);
    control(epfd, EPOLL_CTL_MOD, from, EPOLLIN);
    say_count("level", epfd);
    close(accept(from, nullptr, nullptr));
    say_count("one left", epfd);
    close(accept(from, nullptr, nullptr));
    say_count("none left", epfd, 20);
    close_all({first, second, from, epfd});
}

CHECK(exclusive_entries) {
    int client, server;
    pair(client, server);
    const int epfd = epoll_create1(0), other = epoll_create1(0);
    say_result("add", add(epfd, server, EPOLLIN | EPOLLEXCLUSIVE));
    say_result("twice", add(epfd, server, EPOLLIN | EPOLLEXCLUSIVE));
    say_result("mod", control(epfd, EPOLL_CTL_MOD, server, EPOLLIN));
    say_result("mod to", control(epfd, EPOLL_CTL_MOD, server, EPOLLIN | EPOLLEXCLUSIVE));
    say_result("one shot", add(other, server, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT));
    say_result("rdhup", add(other, server, EPOLLIN | EPOLLRDHUP | EPOLLEXCLUSIVE));
    say_result("a set", add(other, epfd, EPOLLIN | EPOLLEXCLUSIVE));
    say_result("edge", add(other, server, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE));
    send_text(client, "x");
    say_count("first", epfd);
    say_count("second", other);
    say_count("second", other, 10);
    close_all({client, server, epfd, other});
}

CHECK(mistakes_with_sets) {
    int client, server;
    pair(client, server);
    const int epfd = epoll_create1(0);
    epoll_event event{};
    say_result("operation", epoll_ctl(epfd, 77, server, &event));
    say_result("no event", epoll_ctl(epfd, EPOLL_CTL_ADD, server, nullptr));
    say_result("not there", control(epfd, EPOLL_CTL_MOD, server, EPOLLIN));
    say_result("not a set", control(client, EPOLL_CTL_ADD, server, EPOLLIN));
    say_result("no set", control(-1, EPOLL_CTL_ADD, server, EPOLLIN));
    add(epfd, server, EPOLLIN);
    say_result("no room", epoll_wait(epfd, &event, 0, 0));
    say_result("less", epoll_wait(epfd, &event, -1, 0));
    const timespec wrong{0, 1'000'000'000}, before{-1, 0};
    say_result("time", epoll_pwait2(epfd, &event, 1, &wrong, nullptr));
    say_result("time", epoll_pwait2(epfd, &event, 1, &before, nullptr));
    pollfd item{server, POLLIN, 0};
    say_result("ppoll", ppoll(&item, 1, &wrong, nullptr));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(server, &set);
    say_result("pselect", pselect(server + 1, &set, nullptr, nullptr, &wrong, nullptr));
    send_text(client, "x");
    say_result("long", epoll_wait(epfd, &event, 1, 0x7fff'ffff));
    const timespec ages{0x7fff'ffff'ffff'ffff, 0};
    say_result("ages", epoll_pwait2(epfd, &event, 1, &ages, nullptr));
    close_all({client, server, epfd});
}

CHECK(one_set_of_many_threads) {
    constexpr int threads = 4, messages = 40;
    int client, server;
    pair(client, server);
    const int epfd = epoll_create1(0);
    add(epfd, server, EPOLLIN | EPOLLONESHOT);
    std::vector<std::thread> list;
    std::vector<int> got(threads, 0);
    for (int i = 0; i < threads; ++i) {
        list.emplace_back([=, &got] {
            epoll_event event;
            while (epoll_wait(epfd, &event, 1, 500) == 1) {
                char data[8];
                got[static_cast<size_t>(i)] += static_cast<int>(recv(server, data, 1, MSG_DONTWAIT));
                control(epfd, EPOLL_CTL_MOD, server, EPOLLIN | EPOLLONESHOT);
            }
        });
    }
    for (int i = 0; i < messages; ++i) {
        send_text(client, "x");
        nap_ms(1);
    }
    int sum = 0;
    for (int i = 0; i < threads; ++i) {
        list[static_cast<size_t>(i)].join();
        sum += got[static_cast<size_t>(i)];
    }
    say("%d of %d", sum, messages);
    close_all({client, server, epfd});
}
