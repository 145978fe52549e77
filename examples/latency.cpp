// latency: a ping-pong client over TCP or UDP, with plain sockets. It knows nothing of Shunt: run it on the kernel, or under
// `shunt`. The other side is echo (or echo_native). It prints half round trips: percentiles, and messages a second.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "latency_common.hpp"

namespace {

using namespace latency;

// Waits in the kernel, or spins when asked to; false at the deadline.
bool wait_for(int fd, short events, const Settings& settings, Time deadline) {
    if (settings.spin) {
        return Clock::now() < deadline;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd waits{fd, events, 0};
    return left.count() > 0 && poll(&waits, 1, static_cast<int>(left.count())) > 0;
}

bool is_try_again() {
    return errno == EAGAIN || errno == EINTR || errno == EINPROGRESS;
}

int open_socket(const Settings& settings, const sockaddr_in& to) {
    const int type = (settings.udp ? SOCK_DGRAM : SOCK_STREAM) | (settings.spin ? SOCK_NONBLOCK : 0);
    const int fd = socket(AF_INET, type, 0);
    if (fd < 0) {
        fail("socket", std::strerror(errno));
    }
    const int on = 1;
    if (!settings.udp) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        int error = errno;
        if (error == EINPROGRESS) {
            pollfd waits{fd, POLLOUT, 0};
            socklen_t length = sizeof error;
            if (poll(&waits, 1, static_cast<int>(settings.timeout_s * 1000)) <= 0) {
                fail("connect", "no answer in time; is the server running, and the address right?");
            }
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        }
        if (error != 0) {
            fail("connect", std::strerror(error));
        }
    }
    return fd;
}

bool send_all(int fd, const Settings& settings, const std::vector<char>& message, Time deadline) {
    std::size_t sent = 0;
    while (sent < message.size()) {
        const ssize_t n = send(fd, message.data() + sent, message.size() - sent, MSG_NOSIGNAL);
        if (n >= 0) {
            sent += static_cast<std::size_t>(n);
        } else if (!is_try_again()) {
            fail("send", std::strerror(errno));
        } else if (!wait_for(fd, POLLOUT, settings, deadline)) {
            return false;
        }
    }
    return true;
}

bool receive_all(int fd, const Settings& settings, std::vector<char>& message, Time deadline) {
    std::size_t received = 0;
    while (received < message.size()) {
        if (!settings.spin && !wait_for(fd, POLLIN, settings, deadline)) {
            return false;
        }
        const ssize_t n = recv(fd, message.data() + received, message.size() - received, 0);
        if (n > 0) {
            received += static_cast<std::size_t>(n);
        } else if (n == 0 && !settings.udp) {
            fail("receive", "the server has closed the connection");
        } else if (n < 0 && !is_try_again()) {
            fail("receive", std::strerror(errno));
        } else if (Clock::now() >= deadline) {
            return false;
        }
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    const Settings settings = read_settings(argc, argv, "latency");
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(settings.port);
    if (inet_pton(AF_INET, settings.address.c_str(), &to.sin_addr) != 1) {
        fail("address", "give an IPv4 address, such as 10.0.0.2");
    }
    const int fd = open_socket(settings, to);
    std::vector<char> out(settings.size), in(settings.size);
    Meter meter(settings);
    while (meter.has_more()) {
        stamp(out, meter.sequence());
        const Time start = Clock::now();
        bool answered = send_all(fd, settings, out, start + meter.patience());
        do {  // a late answer to an earlier datagram is not ours
            answered = answered && receive_all(fd, settings, in, start + meter.patience());
        } while (answered && settings.udp && !is_answer(in, meter.sequence()));
        if (answered) {
            meter.add(start, Clock::now());
        } else if (settings.udp) {
            meter.add_loss();
        } else {
            fail("receive", "no answer in time");
        }
    }
    close(fd);
    return meter.report();
}
