// TCP: connections, their ends, errors, flags, options.
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

#include "checks.hpp"

using namespace checks;

CHECK(echo) {
    int client, server;
    pair(client, server);
    send_text(client, "hello");
    say("%s", receive_text(server).c_str());
    write(server, "world", 5);
    char data[16]{};
    say_result("read", read(client, data, sizeof data));
    say("%s", data);
    say_result("read of nothing", read(client, data, 0));
    close(server);
    say("%s", receive_text(client).c_str());
    close(client);
}

CHECK(connect_without_blocking) {
    const int from = listener();
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const sockaddr_in name = at(port_of(from));
    const int result = connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    say("started=%d", result == 0 || errno == EINPROGRESS);
    pollfd item{fd, POLLOUT, 0};
    say_result("poll", poll(&item, 1, 2000));
    int error = -1;
    socklen_t length = sizeof error;
    say_result("getsockopt", getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    say("error=%d revents=%x", error, item.revents);
    const int again = connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    say("again=%s", again == 0 || errno == EISCONN ? "connected" : error_name(errno));
    say_result("third", connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name));
    close_all({fd, from});
}

CHECK(refused) {
    const sockaddr_in name = at(closed_port());
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    say_result("connect", connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name));
    int error = -1;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    say("error=%d", error);
    close(fd);
}

CHECK(refused_without_blocking) {
    const sockaddr_in name = at(closed_port());
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int result = connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    const bool at_once = result < 0 && errno == ECONNREFUSED;
    say("started=%d", result < 0 && (errno == EINPROGRESS || at_once));
    if (!at_once) {
        pollfd item{fd, POLLIN | POLLOUT, 0};
        poll(&item, 1, 2000);
        int error = -1;
        socklen_t length = sizeof error;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        say("error=%s revents=%x", error_name(error), item.revents);
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        say("cleared=%d", error);
    }
    close(fd);
}

CHECK(accept_flags) {
    const int from = listener(SOCK_NONBLOCK);
    say_result("none", accept(from, nullptr, nullptr));
    for (const int flags : std::initializer_list<int>{0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC}) {
        const int client = connected_to(port_of(from));
        pollfd item{from, POLLIN, 0};
        poll(&item, 1, 2000);
        sockaddr_in peer{};
        socklen_t length = sizeof peer;
        const int fd = accept4(from, reinterpret_cast<sockaddr*>(&peer), &length, flags);
        say("nonblock=%d cloexec=%d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        say("peer=%d len=%u", ntohs(peer.sin_port) == port_of(client), length);
        if ((flags & SOCK_NONBLOCK) != 0) {
            say("%s", receive_text(fd).c_str());
        }
        close_all({fd, client});
    }
    say_result("bad flags", accept4(from, nullptr, nullptr, 0x40000000));
    close(from);
}

CHECK(names) {
    const int from = listener();
    const int client = connected_to(port_of(from));
    const int server = accept(from, nullptr, nullptr);
    sockaddr_in name{};
    socklen_t length = sizeof name;
    say_result("peer", getpeername(client, reinterpret_cast<sockaddr*>(&name), &length));
    say("right=%d len=%u", name.sin_addr.s_addr == address.s_addr && ntohs(name.sin_port) == port_of(from), length);
    length = sizeof name;
    say_result("own", getsockname(server, reinterpret_cast<sockaddr*>(&name), &length));
    say("right=%d", name.sin_addr.s_addr == address.s_addr && ntohs(name.sin_port) == port_of(from));
    length = 4;
    say_result("short", getsockname(server, reinterpret_cast<sockaddr*>(&name), &length));
    say("len=%u", length);
    length = sizeof name;
    say_result("of listener", getpeername(from, reinterpret_cast<sockaddr*>(&name), &length));
    close_all({client, server, from});
    const int fresh = socket(AF_INET, SOCK_STREAM, 0);
    length = sizeof name;
    say_result("fresh peer", getpeername(fresh, reinterpret_cast<sockaddr*>(&name), &length));
    length = sizeof name;
    say_result("fresh own", getsockname(fresh, reinterpret_cast<sockaddr*>(&name), &length));
    say("port=%d", name.sin_port);
    close(fresh);
}

CHECK(shutdown_of_one_half) {
    int client, server;
    pair(client, server);
    send_text(client, "last words");
    say_result("shutdown", shutdown(client, SHUT_WR));
    say("%s", receive_text(server).c_str());
    say("%s", receive_text(server).c_str());
    send_text(server, "answer");
    say("%s", receive_text(client).c_str());
    say_result("send", send(client, "x", 1, MSG_NOSIGNAL));
    say_result("bad", shutdown(client, 7));
    say_result("read half", shutdown(client, SHUT_RD));
    say("%s", receive_text(client).c_str());
    close_all({client, server});
    const int fresh = socket(AF_INET, SOCK_STREAM, 0);
    say_result("fresh", shutdown(fresh, SHUT_WR));
    close(fresh);
}

CHECK(broken_pipe) {
    int client, server;
    pair(client, server);
    shutdown(client, SHUT_WR);
    const Handler handler(SIGPIPE, 0);
    say_result("write", write(client, "x", 1));
    say("signals=%d", handler.count());
    say_result("send", send(client, "x", 1, MSG_NOSIGNAL));
    say("signals=%d", handler.count());
    iovec piece{const_cast<char*>("x"), 1};
    say_result("writev", writev(client, &piece, 1));
    say("signals=%d", handler.count());
    close_all({client, server});
}

CHECK(reset) {
    int client, server;
    pair(client, server);
    const linger now{1, 0};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(client);
    nap_ms(20);
    pollfd item{server, POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&item, 1, 1000);
    say("revents=%x", item.revents);
    say("%s", receive_text(server).c_str());
    say("%s", receive_text(server).c_str());
    say_result("send", send(server, "x", 1, MSG_NOSIGNAL));
    close(server);
}

CHECK(close_with_unread_data_resets) {
    int client, server;
    pair(client, server);
    send_text(client, "unread");
    nap_ms(20);
    close(server);
    nap_ms(20);
    say("%s", receive_text(client).c_str());
    close(client);
}

CHECK(send_after_the_peer_has_gone) {
    int client, server;
    pair(client, server);
    close(server);
    nap_ms(20);
    say_result("first", send(client, "x", 1, MSG_NOSIGNAL));
    nap_ms(20);
    say_result("second", send(client, "x", 1, MSG_NOSIGNAL));
    say("%s", receive_text(client).c_str());
    close(client);
}

CHECK(receive_flags) {
    int client, server;
    pair(client, server);
    say("%s", receive_text(server, MSG_DONTWAIT).c_str());
    send_text(client, "abcdef");
    say("%s", receive_text(server, MSG_PEEK).c_str());
    char data[8]{};
    say_result("peek again", recv(server, data, 3, MSG_PEEK));
    say_result("discard", recv(server, data, 2, MSG_TRUNC));
    say_result("rest", recv(server, data, sizeof data, 0));
    say("%.4s", data);
    std::thread late([client] {
        nap_ms(30);
        send_text(client, "1234");
        nap_ms(30);
        send_text(client, "5678");
    });
    say_result("all", recv(server, data, 8, MSG_WAITALL));
    say("%.8s", data);
    late.join();
    send_text(client, "end");
    close(client);
    say_result("all but cut short", recv(server, data, 8, MSG_WAITALL));
    close(server);
}

CHECK(vectors) {
    int client, server;
    pair(client, server);
    char one[] = "one", two[] = "two", three[] = "three";
    iovec out[] = {{one, 3}, {two, 3}, {nullptr, 0}, {three, 5}};
    say_result("writev", writev(client, out, 4));
    nap_ms(10);
    char a[4]{}, b[16]{};
    iovec in[] = {{a, 3}, {b, 15}};
    say_result("readv", readv(server, in, 2));
    say("%s %s", a, b);
    say_result("negative", writev(client, out, -1));
    say_result("none", writev(client, out, 0));
    say_result("too many", writev(client, out, 2000));
    msghdr message{};
    message.msg_iov = out;
    message.msg_iovlen = 2;
    say_result("sendmsg", sendmsg(client, &message, 0));
    sockaddr_in from{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = in;
    say_result("recvmsg", recvmsg(server, &message, 0));
    say("name=%u flags=%x", message.msg_namelen, message.msg_flags);
    close_all({client, server});
}

CHECK(several_messages_in_one_call) {
    int client, server;
    pair(client, server);
    char a[] = "aa", b[] = "bbb";
    iovec pieces[] = {{a, 2}, {b, 3}};
    mmsghdr messages[2]{};
    for (int i = 0; i < 2; ++i) {
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    say_result("sendmmsg", sendmmsg(client, messages, 2, 0));
    say("%u %u", messages[0].msg_len, messages[1].msg_len);
    nap_ms(10);
    say("%s", receive_text(server).c_str());
    close_all({client, server});
}

CHECK(bytes_waiting) {
    int client, server;
    pair(client, server);
    int bytes = -1;
    say_result("ioctl", ioctl(server, FIONREAD, &bytes));
    say("%d", bytes);
    send_text(client, "seven77");
    nap_ms(20);
    ioctl(server, FIONREAD, &bytes);
    say("%d", bytes);
    const int on = 1;
    say_result("nonblocking", ioctl(server, FIONBIO, &on));
    receive_text(server);
    say("%s %d", receive_text(server).c_str(), (fcntl(server, F_GETFL) & O_NONBLOCK) != 0);
    fcntl(server, F_SETFL, fcntl(server, F_GETFL) & ~O_NONBLOCK);
    say("%d", (fcntl(server, F_GETFL) & O_NONBLOCK) != 0);
    nap_ms(20);
    say_result("outq", ioctl(client, TIOCOUTQ, &bytes));
    say("%d", bytes);
    close_all({client, server});
}

CHECK(mistakes) {
    const int from = listener();
    const sockaddr_in name = at(port_of(from));
    const auto* where = reinterpret_cast<const sockaddr*>(&name);
    const int other = socket(AF_INET, SOCK_STREAM, 0);
    say_result("in use", bind(other, where, sizeof name));
    say_result("twice", bind(from, where, sizeof name));
    say_result("short", bind(other, where, 3));
    say_result("accept", accept(other, nullptr, nullptr));
    char data[4];
    say_result("recv", recv(other, data, 4, 0));
    say_result("send", send(other, data, 4, MSG_NOSIGNAL));
    say_result("recv of listener", recv(from, data, 4, 0));
    say_result("connect of listener", connect(from, where, sizeof name));
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    say_result("family", connect(other, reinterpret_cast<sockaddr*>(&v6), sizeof v6));
    close_all({from, other});
    say_result("closed", send(other, data, 4, 0));
    int client, server;
    pair(client, server);
    const sockaddr_in again = at(port_of(server));
    say_result("connected", connect(client, reinterpret_cast<const sockaddr*>(&again), sizeof again));
    say_result("listen", listen(client, 5));
    say_result("bind", bind(client, reinterpret_cast<const sockaddr*>(&again), sizeof again));
    close_all({client, server});
}

CHECK(options) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int on = 1, buffer = 100'000;
    say_result("before", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    const int from = listener();
    const sockaddr_in name = at(port_of(from));
    connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    const auto get = [](int socket, int level, int option) {
        int value = -1;
        socklen_t length = sizeof value;
        return getsockopt(socket, level, option, &value, &length) == 0 ? value : -errno;
    };
    say("nodelay=%d keepalive=%d rcvbuf=%d", get(fd, IPPROTO_TCP, TCP_NODELAY), get(fd, SOL_SOCKET, SO_KEEPALIVE), get(fd, SOL_SOCKET, SO_RCVBUF));
    say("type=%d accepting=%d %d", get(fd, SOL_SOCKET, SO_TYPE), get(fd, SOL_SOCKET, SO_ACCEPTCONN), get(from, SOL_SOCKET, SO_ACCEPTCONN));
    say("domain=%d protocol=%d reuse=%d", get(fd, SOL_SOCKET, SO_DOMAIN), get(fd, SOL_SOCKET, SO_PROTOCOL), get(fd, SOL_SOCKET, SO_REUSEADDR));
    const int idle = 77;
    say_result("idle", setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle));
    say("idle=%d intvl=%d cnt=%d", get(fd, IPPROTO_TCP, TCP_KEEPIDLE), get(fd, IPPROTO_TCP, TCP_KEEPINTVL), get(fd, IPPROTO_TCP, TCP_KEEPCNT));
    say_result("short", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, 1));
    say("unknown=%s", error_name(-get(fd, IPPROTO_TCP, 999)));
    say("bad level=%s", error_name(-get(fd, 999, 1)));
    timeval timeout{1, 500'000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    timeout = {};
    socklen_t length = sizeof timeout;
    getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length);
    say("timeout=%ld.%06ld", static_cast<long>(timeout.tv_sec), static_cast<long>(timeout.tv_usec));
    tcp_info info{};
    length = sizeof info;
    say_result("info", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    say("state=%d", info.tcpi_state);
    close_all({fd, from});
}

CHECK(time_outs) {
    int client, server;
    pair(client, server);
    const timeval tenth{0, 100'000};
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &tenth, sizeof tenth);
    const long start = now_ms();
    say("%s", receive_text(server).c_str());
    const long took = now_ms() - start;
    say("in time=%d", took >= 95 && took < 1000);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &tenth, sizeof tenth);
    std::vector<char> much(1 << 20);
    long total = 0, last = 0;
    while ((last = send(client, much.data(), much.size(), MSG_NOSIGNAL)) > 0 && total < (1L << 30)) {
        total += last;
    }
    say_result("send", last);
    say("some=%d", total > 0);
    close_all({client, server});
}

CHECK(full_buffers) {
    int client, server;
    pair(client, server);
    fcntl(client, F_SETFL, O_NONBLOCK);
    std::vector<char> much(65536, 'x');
    long total = 0, last = 0;
    while ((last = send(client, much.data(), much.size(), 0)) > 0) {
        total += last;
    }
    say_result("full", last);
    pollfd item{client, POLLOUT, 0};
    say_result("poll", poll(&item, 1, 0));
    long got = 0;
    fcntl(server, F_SETFL, O_NONBLOCK);
    while (got < total) {
        pollfd readable{server, POLLIN, 0};
        if (poll(&readable, 1, 2000) <= 0) {
            break;
        }
        while ((last = recv(server, much.data(), much.size(), 0)) > 0) {
            got += last;
        }
    }
    say("all=%d", got == total);
    say_result("poll", poll(&item, 1, 2000));
    say("revents=%x", item.revents);
    close_all({client, server});
}

CHECK(window_clamp_bounds_the_window_not_the_buffer) {
    const int from = listener(), clamp = 500;
    say_result("clamp", setsockopt(from, IPPROTO_TCP, TCP_WINDOW_CLAMP, &clamp, sizeof clamp));
    const int client = connected_to(port_of(from)), server = accept(from, nullptr, nullptr);
    const std::vector<char> data(9000, 'x');
    say_result("send", send(client, data.data(), data.size(), 0));
    say_result("shutdown", shutdown(client, SHUT_WR));
    pollfd item{server, POLLRDHUP, 0};
    say_result("poll", poll(&item, 1, 2000));  // all of it has come, though nothing was read
    close_all({client, server, from});
}

CHECK(much_data_both_ways) {
    int client, server;
    pair(client, server);
    constexpr long bytes = 8 << 20;
    const auto push = [](int fd, unsigned seed) {
        std::vector<unsigned char> data(50'000);
        for (long done = 0; done < bytes;) {
            for (unsigned char& each : data) {
                each = static_cast<unsigned char>((seed = seed * 1664525 + 1013904223) >> 24);
            }
            const auto size = static_cast<std::size_t>(std::min<long>(static_cast<long>(data.size()), bytes - done));
            for (std::size_t at = 0; at < size;) {
                const ssize_t n = send(fd, data.data() + at, size - at, MSG_NOSIGNAL);
                if (n <= 0) {
                    return;
                }
                at += static_cast<std::size_t>(n);
            }
            done += static_cast<long>(size);
        }
        shutdown(fd, SHUT_WR);
    };
    const auto pull = [](int fd, unsigned seed) {
        std::vector<unsigned char> data(40'000);
        long done = 0, wrong = 0;
        for (ssize_t n; (n = recv(fd, data.data(), data.size(), 0)) > 0; done += n) {
            for (ssize_t i = 0; i < n; ++i) {
                wrong += data[static_cast<std::size_t>(i)] != static_cast<unsigned char>((seed = seed * 1664525 + 1013904223) >> 24);
            }
        }
        return done == bytes && wrong == 0;
    };
    bool there = false;
    std::thread sender(push, client, 1U), answerer(push, server, 2U), reader([&] { there = pull(server, 1); });
    const bool back = pull(client, 2);
    for (std::thread* each : {&sender, &answerer, &reader}) {
        each->join();
    }
    say("there=%d back=%d", there, back);
    close_all({client, server});
}
