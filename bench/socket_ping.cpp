// Ping-pong over plain sockets, non-blocking and spinning. Knows nothing of Shunt: as it is, it measures the kernel; under `shunt`, the shim.
//   socket_ping server|client tcp|udp ADDRESS PORT SECONDS
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bench/ping.hpp"

namespace {

int check(int result, const char* what) {
    if (result < 0) {
        bench::die(what, std::strerror(errno));
    }
    return result;
}

sockaddr_in address_of(const char* text, const char* port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
        bench::die(text, "not an IPv4 address");
    }
    return address;
}

void make_fast(int fd, bool is_tcp) {
    const int on = 1;
    if (is_tcp) {
        check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    }
    check(fcntl(fd, F_SETFL, check(fcntl(fd, F_GETFL), "fcntl") | O_NONBLOCK), "fcntl");
}

void send_all(int fd, const char* data, std::size_t size) {
    while (size != 0) {
        const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            bench::die("send", std::strerror(errno));
        }
        data += sent > 0 ? sent : 0;
        size -= sent > 0 ? static_cast<std::size_t>(sent) : 0;
    }
}

void serve_tcp(int listener, double seconds) {
    const bench::Ticks ticks;
    const std::uint64_t end = __rdtsc() + ticks.of_seconds(seconds);
    const int fd = check(accept(listener, nullptr, nullptr), "accept");
    make_fast(fd, true);
    char buffer[4096];
    while (__rdtsc() < end) {
        const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got > 0) {
            send_all(fd, buffer, static_cast<std::size_t>(got));
        } else if (got == 0 || errno != EAGAIN) {
            return;
        }
    }
}

void serve_udp(int fd, double seconds) {
    const bench::Ticks ticks;
    const std::uint64_t end = __rdtsc() + ticks.of_seconds(seconds);
    make_fast(fd, false);
    char buffer[4096];
    sockaddr_in from{};
    while (__rdtsc() < end) {
        socklen_t length = sizeof from;
        const ssize_t got = recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &length);
        if (got >= 0) {
            sendto(fd, buffer, static_cast<std::size_t>(got), 0, reinterpret_cast<const sockaddr*>(&from), length);
        }
    }
}

// One message there and back. A TCP message is never sent twice; a datagram is, by the caller.
bool exchange(int fd, bool is_tcp, std::uint64_t give_up_at) {
    char buffer[bench::payload_bytes] = {};
    send_all(fd, buffer, sizeof buffer);
    std::size_t received = 0;
    while (received < sizeof buffer) {
        const ssize_t got = recv(fd, buffer, sizeof buffer - received, 0);
        if (got > 0) {
            received += static_cast<std::size_t>(got);
        } else if (got == 0) {
            bench::die("recv", "the server has gone");
        } else if (errno != EAGAIN) {
            bench::die("recv", std::strerror(errno));
        } else if (!is_tcp && __rdtsc() > give_up_at) {
            return false;
        }
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        bench::die("usage", "socket_ping server|client tcp|udp ADDRESS PORT SECONDS");
    }
    const bool is_tcp = std::string_view(argv[2]) == "tcp";
    const sockaddr_in address = address_of(argv[3], argv[4]);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    const double seconds = std::atof(argv[5]);
    const int fd = check(socket(AF_INET, is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0), "socket");
    if (std::string_view(argv[1]) == "client") {
        check(connect(fd, generic, sizeof address), "connect");
        make_fast(fd, is_tcp);
        bench::ping_for(seconds, [&](std::uint64_t give_up_at) { return exchange(fd, is_tcp, give_up_at); });
        return 0;
    }
    const int on = 1;
    check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
    check(bind(fd, generic, sizeof address), "bind");
    if (is_tcp) {
        check(listen(fd, 4), "listen");
    }
    bench::say_ready();
    is_tcp ? serve_tcp(fd, seconds) : serve_udp(fd, seconds);
}
