// poll, select and epoll over sockets, pipes and each other.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
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

int add(int epfd, int fd, unsigned events, int operation = EPOLL_CTL_ADD) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return epoll_ctl(epfd, operation, fd, &event);
}

struct Name {
    int fd;
    const char* name;
};

// "a:1 b:4" in the order of the names.
void say_events(int epfd, std::initializer_list<Name> names, int timeout_ms = 1000) {
    epoll_event events[16];
    const int count = epoll_wait(epfd, events, 16, timeout_ms);
    if (count <= 0) {
        say_result("none", count);
        return;
    }
    std::string text = "[";
    for (const Name& each : names) {
        for (int i = 0; i < count; ++i) {
            if (events[i].data.fd == each.fd) {
                char one[64];
                snprintf(one, sizeof one, "%s%s:%x", text.size() > 1 ? " " : "", each.name, events[i].events);
                text += one;
            }
        }
    }
    say("%s]", text.c_str());
}

void set_ready_by_then(int ms) {
    nap_ms(ms);
}

}  // namespace

CHECK(poll_of_sockets_and_pipes) {
    int client, server, pipe_ends[2];
    pair(client, server);
    pipe(pipe_ends);
    pollfd list[] = {{server, POLLIN, 0}, {pipe_ends[0], POLLIN, 0}, {-1, POLLIN, 0}, {client, POLLIN | POLLOUT, 0}};
    say_result("poll", poll(list, 4, 0));
    say("%x %x %x %x", list[0].revents, list[1].revents, list[2].revents, list[3].revents);
    list[3].events = POLLIN;
    const long start = now_ms();
    say_result("poll", poll(list, 4, 50));
    say("waited=%d", now_ms() - start >= 45);
    std::thread late([&] {
        nap_ms(30);
        write(pipe_ends[1], "x", 1);
    });
    say_result("pipe", poll(list, 4, 2000));
    say("%x %x", list[0].revents, list[1].revents);
    late.join();
    char data[8];
    read(pipe_ends[0], data, sizeof data);
    std::thread later([&] {
        nap_ms(30);
        send_text(client, "x");
    });
    say_result("socket", poll(list, 4, 2000));
    say("%x %x", list[0].revents, list[1].revents);
    later.join();
    close(pipe_ends[1]);
    say_result("both", poll(list, 4, -1));
    say("%x %x", list[0].revents, list[1].revents);
    close_all({client, pipe_ends[0]});
    list[1].fd = pipe_ends[0];
    list[0].events = POLLIN | POLLRDHUP;
    nap_ms(20);
    say_result("closed", poll(list, 2, 100));
    say("%x %x", list[0].revents, list[1].revents);
    close(server);
}

CHECK(poll_of_ends) {
    int client, server;
    pair(client, server);
    pollfd item{server, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0};
    poll(&item, 1, 0);
    say("open=%x", item.revents);
    shutdown(client, SHUT_WR);
    nap_ms(20);
    poll(&item, 1, 0);
    say("half=%x", item.revents);
    shutdown(server, SHUT_WR);
    nap_ms(20);
    poll(&item, 1, 0);
    say("over=%x", item.revents);
    item.events = 0;
    poll(&item, 1, 0);
    say("unasked=%x", item.revents);
    close_all({client, server});
    const int fresh = socket(AF_INET, SOCK_STREAM, 0);
    item = {fresh, POLLIN | POLLOUT, 0};
    poll(&item, 1, 0);
    say("fresh=%x", item.revents);
    close(fresh);
    const int from = listener();
    item = {from, POLLIN | POLLOUT, 0};
    say_result("listener", poll(&item, 1, 0));
    const int other = connected_to(port_of(from));
    nap_ms(20);
    say_result("connection", poll(&item, 1, 1000));
    say("%x", item.revents);
    close_all({from, other});
}

CHECK(poll_with_a_mask) {
    int client, server;
    pair(client, server);
    const Handler handler(SIGUSR1, SA_RESTART);
    sigset_t usr1, none, before;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, &before);
    raise(SIGUSR1);
    pollfd item{server, POLLIN, 0};
    say_result("blocked", poll(&item, 1, 20));
    const timespec second{1, 0};
    say_result("ppoll", ppoll(&item, 1, &second, &none));
    say("handled=%d", handler.count());
    raise(SIGUSR1);
    const int epfd = epoll_create1(0);
    add(epfd, server, EPOLLIN);
    epoll_event event;
    say_result("epoll_pwait", epoll_pwait(epfd, &event, 1, 1000, &none));
    raise(SIGUSR1);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(server, &set);
    say_result("pselect", pselect(server + 1, &set, nullptr, nullptr, &second, &none));
    say("handled=%d", handler.count());
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    std::thread other([self = pthread_self()] {
        nap_ms(50);
        pthread_kill(self, SIGUSR1);
    });
    say_result("poll despite SA_RESTART", poll(&item, 1, 2000));
    other.join();
    close_all({client, server, epfd});
}

CHECK(select_of_sockets_and_pipes) {
    int client, server, pipe_ends[2];
    pair(client, server);
    pipe(pipe_ends);
    const int end = std::max({client, server, pipe_ends[0], pipe_ends[1]}) + 1;
    fd_set in, out, except;
    const auto reset = [&] {
        FD_ZERO(&in);
        FD_ZERO(&out);
        FD_ZERO(&except);
        FD_SET(server, &in);
        FD_SET(pipe_ends[0], &in);
        FD_SET(server, &except);
    };
    reset();
    timeval timeout{0, 50'000};
    say_result("none", select(end, &in, &out, &except, &timeout));
    say("left=%ld in=%d", static_cast<long>(timeout.tv_sec * 1'000'000 + timeout.tv_usec), FD_ISSET(server, &in) != 0);
    send_text(client, "x");
    nap_ms(20);
    reset();
    FD_SET(server, &out);
    FD_SET(pipe_ends[1], &out);
    timeout = {5, 0};
    say_result("three", select(end, &in, &out, &except, &timeout));
    say("in=%d%d out=%d%d except=%d left=%d", FD_ISSET(server, &in) != 0, FD_ISSET(pipe_ends[0], &in) != 0, FD_ISSET(server, &out) != 0,
        FD_ISSET(pipe_ends[1], &out) != 0, FD_ISSET(server, &except) != 0, timeout.tv_sec == 4 || timeout.tv_sec == 5);
    receive_text(server);
    close(client);
    nap_ms(20);
    reset();
    say_result("end", select(end, &in, nullptr, nullptr, nullptr));
    say("in=%d", FD_ISSET(server, &in) != 0);
    close(pipe_ends[0]);
    reset();
    say_result("closed", select(end, &in, nullptr, nullptr, nullptr));
    timeout = {-1, 0};
    reset();
    say_result("negative", select(end, &in, nullptr, nullptr, &timeout));
    close_all({server, pipe_ends[1]});
}

CHECK(epoll_level_and_edge) {
    for (const unsigned mode : {0U, static_cast<unsigned>(EPOLLET), static_cast<unsigned>(EPOLLONESHOT)}) {
        int client, server;
        pair(client, server);
        const int epfd = epoll_create1(EPOLL_CLOEXEC);
        say_result("add", add(epfd, server, EPOLLIN | mode));
        say_events(epfd, {{server, "s"}}, 0);
        send_text(client, "ab");
        say_events(epfd, {{server, "s"}});
        say_events(epfd, {{server, "s"}}, 0);
        char byte;
        recv(server, &byte, 1, 0);
        say_events(epfd, {{server, "s"}}, 0);
        send_text(client, "c");
        set_ready_by_then(20);
        say_events(epfd, {{server, "s"}}, 0);
        receive_text(server);
        say_result("mod", add(epfd, server, EPOLLIN | EPOLLOUT | mode, EPOLL_CTL_MOD));
        say_events(epfd, {{server, "s"}}, 0);
        say_events(epfd, {{server, "s"}}, 0);
        shutdown(client, SHUT_WR);
        set_ready_by_then(20);
        add(epfd, server, EPOLLIN | EPOLLRDHUP | mode, EPOLL_CTL_MOD);
        say_events(epfd, {{server, "s"}}, 0);
        say_result("del", epoll_ctl(epfd, EPOLL_CTL_DEL, server, nullptr));
        say_events(epfd, {{server, "s"}}, 0);
        close_all({client, server, epfd});
    }
}

CHECK(epoll_of_sockets_and_pipes) {
    int client, server, pipe_ends[2];
    pair(client, server);
    pipe(pipe_ends);
    const int event_fd = eventfd(0, 0);
    const int epfd = epoll_create(1);
    add(epfd, server, EPOLLIN);
    add(epfd, pipe_ends[0], EPOLLIN);
    add(epfd, event_fd, EPOLLIN);
    const auto names = {Name{server, "socket"}, Name{pipe_ends[0], "pipe"}, Name{event_fd, "event"}};
    say_events(epfd, names, 20);
    write(pipe_ends[1], "x", 1);
    say_events(epfd, names);
    send_text(client, "x");
    set_ready_by_then(20);
    say_events(epfd, names);
    const unsigned long one = 1;
    write(event_fd, &one, sizeof one);
    set_ready_by_then(1);  // Shunt asks the kernel every 20 us while its own sockets are ready
    say_events(epfd, names);
    epoll_event event;
    int seen[3] = {0, 0, 0};
    for (int i = 0; i < 30; ++i) {
        usleep(10);
        if (epoll_wait(epfd, &event, 1, 0) == 1) {
            ++seen[event.data.fd == server ? 0 : event.data.fd == pipe_ends[0] ? 1 : 2];
        }
    }
    say("each had its turn=%d", seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
    receive_text(server);
    std::thread late([&] {
        nap_ms(30);
        send_text(client, "later");
    });
    epoll_ctl(epfd, EPOLL_CTL_DEL, pipe_ends[0], nullptr);
    epoll_ctl(epfd, EPOLL_CTL_DEL, event_fd, nullptr);
    say_events(epfd, names);
    late.join();
    close_all({client, server, epfd, event_fd, pipe_ends[0], pipe_ends[1]});
}

CHECK(epoll_mistakes) {
    int client, server;
    pair(client, server);
    const int epfd = epoll_create1(0);
    epoll_event event{};
    say_result("add", add(epfd, server, EPOLLIN));
    say_result("again", add(epfd, server, EPOLLIN));
    say_result("mod other", add(epfd, client, EPOLLIN, EPOLL_CTL_MOD));
    say_result("del other", epoll_ctl(epfd, EPOLL_CTL_DEL, client, nullptr));
    say_result("itself", add(epfd, epfd, EPOLLIN));
    say_result("to a socket", add(client, server, EPOLLIN));
    say_result("operation", add(epfd, server, EPOLLIN, 99));
    say_result("no room", epoll_wait(epfd, &event, 0, 0));
    say_result("of a socket", epoll_wait(server, &event, 1, 0));
    say_result("flags", epoll_create1(1));
    close(server);
    say_result("closed", epoll_ctl(epfd, EPOLL_CTL_DEL, server, nullptr));
    send_text(client, "x");
    say_result("left", epoll_wait(epfd, &event, 1, 20));
    close_all({client, epfd});
}

CHECK(epoll_before_the_decision) {
    const int epfd = epoll_create1(0);
    const int from = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say_result("add", add(epfd, from, EPOLLIN));
    const sockaddr_in any = at(0);
    bind(from, reinterpret_cast<const sockaddr*>(&any), sizeof any);
    listen(from, 5);
    add(epfd, client, EPOLLOUT | EPOLLIN);
    const sockaddr_in name = at(port_of(from));
    connect(client, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    nap_ms(20);
    say_events(epfd, {{from, "listener"}, {client, "client"}});
    const int server = accept(from, nullptr, nullptr);
    send_text(server, "x");
    nap_ms(20);
    say_events(epfd, {{from, "listener"}, {client, "client"}});
    add(epfd, client, EPOLLIN, EPOLL_CTL_MOD);
    say("%s", receive_text(client).c_str());
    say_events(epfd, {{from, "listener"}, {client, "client"}}, 10);
    close_all({from, client, server, epfd});
}

CHECK(epoll_of_a_wildcard_listener) {
    const int epfd = epoll_create1(0);
    const int from = listener(SOCK_NONBLOCK, in_addr{INADDR_ANY});
    add(epfd, from, EPOLLIN);
    for (const in_addr where : {address, in_addr{htonl(INADDR_LOOPBACK)}}) {
        say_events(epfd, {{from, "l"}}, 10);
        const int client = connected_to(port_of(from), where);
        nap_ms(20);
        say_events(epfd, {{from, "l"}});
        const int server = accept(from, nullptr, nullptr);
        say("accepted=%d", server >= 0);
        say_result("more", accept(from, nullptr, nullptr));
        close_all({client, server});
    }
    say_result("del", epoll_ctl(epfd, EPOLL_CTL_DEL, from, nullptr));
    const int client = connected_to(port_of(from));
    say_events(epfd, {{from, "l"}}, 10);
    close_all({client, from, epfd});
}

CHECK(epoll_waits_while_another_thread_adds) {
    int client, server;
    const int epfd = epoll_create1(0);
    std::thread other([&] {
        nap_ms(50);
        pair(client, server);
        send_text(client, "x");
        add(epfd, server, EPOLLIN);
    });
    epoll_event event{};
    const int count = epoll_wait(epfd, &event, 1, 5000);
    other.join();
    say_result("count", count);
    say("right=%d", count == 1 && event.data.fd == server);
    close_all({client, server, epfd});
}

// Another thread's sendto gives a socket its side while we wait for it in the kernel.
CHECK(poll_hears_of_a_socket_whose_side_was_open) {
    for (const bool by_select : {false, true}) {
        const int peer = bound(SOCK_DGRAM, address);
        const int open = socket(AF_INET, SOCK_DGRAM, 0);
        std::thread other([&] {
            nap_ms(50);
            sockaddr_in name = at(port_of(peer));
            socklen_t length = sizeof name;
            char data[8];
            sendto(open, "x", 1, 0, reinterpret_cast<const sockaddr*>(&name), length);
            recvfrom(peer, data, sizeof data, 0, reinterpret_cast<sockaddr*>(&name), &length);
            sendto(peer, "y", 1, 0, reinterpret_cast<const sockaddr*>(&name), length);
        });
        pollfd item{open, POLLIN, 0};
        fd_set readable;
        FD_ZERO(&readable);
        FD_SET(open, &readable);
        timeval limit{5, 0};
        say_result("ready", by_select ? select(open + 1, &readable, nullptr, nullptr, &limit) : poll(&item, 1, 5000));
        say("set=%d revents=%x", FD_ISSET(open, &readable) != 0, item.revents);
        other.join();
        say("%s", receive_text(open, MSG_DONTWAIT).c_str());
        close_all({open, peer});
    }
}

CHECK(poll_hears_of_the_first_socket_in_a_set) {
    int client, server, pipe_ends[2];
    pair(client, server);
    pipe(pipe_ends);
    send_text(client, "x");
    const int epfd = epoll_create1(0);
    std::thread other([&] {
        nap_ms(50);
        add(epfd, server, EPOLLIN);
    });
    pollfd list[] = {{pipe_ends[0], POLLIN, 0}, {epfd, POLLIN, 0}};
    say_result("ready", poll(list, 2, 5000));
    say("%x %x", list[0].revents, list[1].revents);
    other.join();
    close_all({client, server, epfd, pipe_ends[0], pipe_ends[1]});
}

CHECK(epoll_and_duplicates) {
    int client, server;
    pair(client, server);
    const int first = epoll_create1(0);
    const int second = epoll_create1(0);
    const int same = dup(first);
    add(first, server, EPOLLIN);
    add(second, server, EPOLLIN);
    send_text(client, "x");
    nap_ms(20);
    say_events(first, {{server, "s"}}, 0);
    say_events(second, {{server, "s"}}, 0);
    say_events(same, {{server, "s"}}, 0);
    close(first);
    say_events(same, {{server, "s"}}, 0);
    const int copy = dup(server);
    say_result("copy", add(same, copy, EPOLLIN));
    say_events(same, {{server, "s"}, {copy, "copy"}}, 0);
    epoll_ctl(same, EPOLL_CTL_DEL, copy, nullptr);
    close(server);
    say_events(same, {{server, "s"}}, 0);
    close(copy);
    say_events(same, {{server, "s"}}, 10);
    close_all({client, second, same});
}

CHECK(epoll_in_epoll) {
    int client, server;
    pair(client, server);
    const int inner = epoll_create1(0);
    const int outer = epoll_create1(0);
    add(inner, server, EPOLLIN);
    say_result("nest", add(outer, inner, EPOLLIN));
    say_events(outer, {{inner, "inner"}}, 0);
    pollfd item{inner, POLLIN, 0};
    say_result("poll", poll(&item, 1, 0));
    send_text(client, "x");
    nap_ms(20);
    say_events(outer, {{inner, "inner"}}, 1000);
    say_result("poll", poll(&item, 1, 1000));
    say_events(inner, {{server, "s"}}, 0);
    receive_text(server);
    say_events(outer, {{inner, "inner"}}, 0);
    close_all({client, server, inner, outer});
}

CHECK(many_connections_in_one_set) {
    constexpr int pairs = 200;
    const int from = listener();
    const int epfd = epoll_create1(0);
    std::vector<int> clients, servers;
    for (int i = 0; i < pairs; ++i) {
        clients.push_back(connected_to(port_of(from)));
        servers.push_back(accept(from, nullptr, nullptr));
        add(epfd, servers.back(), i % 2 != 0 ? EPOLLIN | EPOLLET : EPOLLIN);
    }
    for (const int fd : clients) {
        send_text(fd, "x");
    }
    int got = 0;
    epoll_event events[32];
    for (int count; (count = epoll_wait(epfd, events, 32, 200)) > 0;) {
        for (int i = 0; i < count; ++i) {
            got += receive_text(events[i].data.fd, MSG_DONTWAIT) == "x";
        }
    }
    say("got=%d", got);
    std::vector<pollfd> list;
    for (const int fd : servers) {
        list.push_back({fd, POLLIN, 0});
    }
    for (int i = 0; i < pairs; i += 2) {
        close(clients[static_cast<std::size_t>(i)]);
    }
    nap_ms(50);
    say_result("poll", poll(list.data(), list.size(), 100));
    for (int i = 0; i < pairs; ++i) {
        close(servers[static_cast<std::size_t>(i)]);
        if (i % 2 != 0) {
            close(clients[static_cast<std::size_t>(i)]);
        }
    }
    close_all({from, epfd});
}
