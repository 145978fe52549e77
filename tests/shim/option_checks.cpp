// Socket options: what can be set, what reads back, what is refused.
#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "checks.hpp"

using namespace checks;

namespace {

int get(int fd, int level, int option) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, option, &value, &length) == 0 ? value : -errno;
}

// What it said to `value`, and what it reads afterwards.
void say_set(int fd, const char* what, int level, int option, int value) {
    const int result = setsockopt(fd, level, option, &value, sizeof value);
    say("%s=%s,%d", what, result == 0 ? "ok" : error_name(errno), get(fd, level, option));
}

std::string congestion_of(int fd) {
    char name[16]{};
    socklen_t length = sizeof name;
    return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0 ? name : error_name(errno);
}

}  // namespace

CHECK(options_of_connections) {
    int client, server;
    pair(client, server);
    say_set(client, "nodelay", IPPROTO_TCP, TCP_NODELAY, 1);
    say_set(client, "nodelay", IPPROTO_TCP, TCP_NODELAY, 0);
    say_set(client, "cork", IPPROTO_TCP, TCP_CORK, 1);
    say_set(client, "keepalive", SOL_SOCKET, SO_KEEPALIVE, 7);
    say_set(client, "reuse", SOL_SOCKET, SO_REUSEADDR, 5);
    say_set(client, "priority", SOL_SOCKET, SO_PRIORITY, 5);
    say_set(client, "oobinline", SOL_SOCKET, SO_OOBINLINE, 1);
    say_set(client, "tos", IPPROTO_IP, IP_TOS, 0x10);
    say_set(client, "ttl", IPPROTO_IP, IP_TTL, 33);
    say_set(client, "ttl", IPPROTO_IP, IP_TTL, 256);
    say_set(client, "ttl", IPPROTO_IP, IP_TTL, 0);
    say_set(client, "user timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
    say_set(client, "user timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
    say_set(client, "idle", IPPROTO_TCP, TCP_KEEPIDLE, 40000);
    say_set(client, "idle", IPPROTO_TCP, TCP_KEEPIDLE, 0);
    say_set(client, "interval", IPPROTO_TCP, TCP_KEEPINTVL, 3);
    say_set(client, "count", IPPROTO_TCP, TCP_KEEPCNT, 128);
    say_set(client, "syn", IPPROTO_TCP, TCP_SYNCNT, 3);
    say_set(client, "notsent", IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384);
    say_set(client, "lowat", SOL_SOCKET, SO_RCVLOWAT, 4);
    say_set(client, "lowat", SOL_SOCKET, SO_RCVLOWAT, 0);
    say("sndlowat=%d", get(client, SOL_SOCKET, SO_SNDLOWAT));
    say_set(client, "type", SOL_SOCKET, SO_TYPE, 1);
    say_set(client, "error", SOL_SOCKET, SO_ERROR, 1);
    say_set(client, "busy poll", SOL_SOCKET, SO_BUSY_POLL, 0);
    say_set(client, "mtu discover", IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    say_set(client, "no such", IPPROTO_TCP, 999, 1);
    say_set(client, "no such", SOL_SOCKET, 999, 1);
    say_set(client, "no such", IPPROTO_IP, 999, 1);
    say_set(client, "udp's", IPPROTO_UDP, UDP_SEGMENT, 1);
    say("defaults: %d %d %d", get(server, IPPROTO_TCP, TCP_NODELAY), get(server, IPPROTO_IP, IP_TOS), get(server, SOL_SOCKET, SO_KEEPALIVE));
    close_all({client, server});
}

CHECK(options_are_inherited) {
    const int from = listener();
    const int on = 1, ttl = 44, idle = 123;
    setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(from, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(from, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
    setsockopt(from, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    const linger ends{1, 3};
    setsockopt(from, SOL_SOCKET, SO_LINGER, &ends, sizeof ends);
    const timeval second{1, 0};
    setsockopt(from, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    const int client = connected_to(port_of(from));
    const int server = accept(from, nullptr, nullptr);
    linger seen{};
    socklen_t length = sizeof seen;
    getsockopt(server, SOL_SOCKET, SO_LINGER, &seen, &length);
    say("%d %d %d %d linger=%d,%d", get(server, IPPROTO_TCP, TCP_NODELAY), get(server, SOL_SOCKET, SO_KEEPALIVE), get(server, IPPROTO_IP, IP_TTL),
        get(server, IPPROTO_TCP, TCP_KEEPIDLE), seen.l_onoff, seen.l_linger);
    timeval timeout{};
    length = sizeof timeout;
    getsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length);
    say("timeout=%ld", static_cast<long>(timeout.tv_sec));
    close_all({client, server, from});
}

// What is set on a fresh socket holds when its side is known.
CHECK(options_set_before_connect) {
    const int from = listener();
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    say_set(fd, "ttl", IPPROTO_IP, IP_TTL, 33);
    say_set(fd, "tos", IPPROTO_IP, IP_TOS, 0x10);
    say_set(fd, "linger2", IPPROTO_TCP, TCP_LINGER2, 7);
    say_set(fd, "maxseg", IPPROTO_TCP, TCP_MAXSEG, 500);
    say_set(fd, "recvttl", IPPROTO_IP, IP_RECVTTL, 1);
    say_set(fd, "locks", SOL_SOCKET, SO_BUF_LOCK, 3);
    say_set(fd, "rcvbuf", SOL_SOCKET, SO_RCVBUF, 50'000);
    const sockaddr_in to = at(port_of(from));
    connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    say("%d %d %d %d %d %d %d", get(fd, IPPROTO_IP, IP_TTL), get(fd, IPPROTO_IP, IP_TOS), get(fd, IPPROTO_TCP, TCP_LINGER2), get(fd, IPPROTO_TCP, TCP_MAXSEG) <= 500,
        get(fd, IPPROTO_IP, IP_RECVTTL), get(fd, SOL_SOCKET, SO_BUF_LOCK), get(fd, SOL_SOCKET, SO_RCVBUF));
    close_all({from, fd});
}

CHECK(options_of_datagrams) {
    const int fd = bound(SOCK_DGRAM, address);
    say_set(fd, "broadcast", SOL_SOCKET, SO_BROADCAST, 1);
    say_set(fd, "pktinfo", IPPROTO_IP, IP_PKTINFO, 1);
    say_set(fd, "nodelay", IPPROTO_TCP, TCP_NODELAY, 1);
    say_set(fd, "timestamp", SOL_SOCKET, SO_TIMESTAMP, 1);
    say_set(fd, "timestampns", SOL_SOCKET, SO_TIMESTAMPNS, 1);
    say("timestamp=%d", get(fd, SOL_SOCKET, SO_TIMESTAMP));
    say_set(fd, "rcvbuf", SOL_SOCKET, SO_RCVBUF, 100'000);
    say_set(fd, "rcvbuf", SOL_SOCKET, SO_RCVBUF, 1);
    say_set(fd, "sndbuf", SOL_SOCKET, SO_SNDBUF, 100'000);
    say_set(fd, "sndbuf", SOL_SOCKET, SO_SNDBUF, 1);
    say_set(fd, "tos", IPPROTO_IP, IP_TOS, 0xb8);
    say_set(fd, "multicast ttl", IPPROTO_IP, IP_MULTICAST_TTL, 4);
    say_set(fd, "multicast loop", IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    const unsigned char small = 9;
    say_result("a byte", setsockopt(fd, IPPROTO_IP, IP_TTL, &small, 1));
    say("%d", get(fd, IPPROTO_IP, IP_TTL));
    say_result("short", setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &small, 1));
    close(fd);
}

CHECK(congestion_control) {
    int client, server;
    pair(client, server);
    say_result("reno", setsockopt(client, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    say("%s, others %d", congestion_of(client).c_str(), congestion_of(server) == "reno");
    say_result("cubic", setsockopt(client, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5));
    say_result("no such", setsockopt(client, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6));
    say_result("empty", setsockopt(client, IPPROTO_TCP, TCP_CONGESTION, "", 0));
    say("%s", congestion_of(client).c_str());
    char name[2];
    socklen_t length = sizeof name;
    say_result("two letters", getsockopt(client, IPPROTO_TCP, TCP_CONGESTION, name, &length));
    say("%.2s %u", name, length);
    close_all({client, server});
    const int from = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(from, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    const sockaddr_in any = at(0);
    bind(from, reinterpret_cast<const sockaddr*>(&any), sizeof any);
    listen(from, 5);
    const int other = connected_to(port_of(from));
    const int accepted = accept(from, nullptr, nullptr);
    say("listener %s, accepted %s, other %d", congestion_of(from).c_str(), congestion_of(accepted).c_str(), congestion_of(other) == "reno");
    close_all({from, other, accepted});
}

CHECK(structures_as_options) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in any = at(0);
    bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any);
    const int number = 1;
    say_result("short linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, &number, sizeof number));
    timeval timeout{0, 1'000'000};
    say_result("microseconds", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    timeout = {-1, 0};
    say_result("negative", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    linger ends{0, 9};
    socklen_t length = sizeof ends;
    say_result("linger", getsockopt(fd, SOL_SOCKET, SO_LINGER, &ends, &length));
    say("%d %u", ends.l_onoff, length);
    say_result("no value", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, nullptr, sizeof number));
    say_result("no length", getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &ends, nullptr));
    length = 1;
    unsigned char byte = 9;
    say_result("one byte", getsockopt(fd, SOL_SOCKET, SO_TYPE, &byte, &length));
    say("%u of %u", byte, length);
    close(fd);
}

// A filter, or another thing that a user-space stack does not have, must not be forgotten silently: it works, or the call fails.
CHECK(a_filter_works) {
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    sock_filter nothing[] = {{BPF_RET | BPF_K, 0, 0, 0}};
    const sock_fprog program{1, nothing};
    const bool is_set = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
    const sockaddr_in any = at(0);
    if (is_set && bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
        say("as it should be");  // an address that is the stack's alone cannot have one
        close(fd);
        return;
    }
    const int other = bound(SOCK_DGRAM, address);
    const sockaddr_in to = at(port_of(fd));
    sendto(other, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    nap_ms(20);
    say("%s", is_set && receive_text(fd, MSG_DONTWAIT) != "<EAGAIN>" ? "filtered in vain" : "as it should be");
    close_all({fd, other});
}

CHECK(unsent_and_unread_bytes) {
    int client, server;
    pair(client, server);
    int bytes = -1;
    say_result("SIOCOUTQ of listener's end", ioctl(server, TIOCOUTQ, &bytes));
    say("%d", bytes);
    send_text(client, "12345");
    nap_ms(20);
    say_result("mark", ioctl(server, SIOCATMARK, &bytes));
    say("%d %d", bytes, sockatmark(server));
    say_result("unknown", ioctl(server, 0x1234, &bytes));
    const int from = listener();
    say_result("listener", ioctl(from, FIONREAD, &bytes));
    close_all({client, server, from});
    const int fd = bound(SOCK_DGRAM, address);
    say_result("datagram", ioctl(fd, FIONREAD, &bytes));
    say("%d", bytes);
    close(fd);
}
