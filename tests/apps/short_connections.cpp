// Opens and closes COUNT connections, BATCH at a time, over PORTS ports from FIRST on. A third of them the client closes first, a
// third the server, a third the client resets. Every connection carries one byte each way, so none can be lost unseen.
//   short_connections server ADDRESS FIRST PORTS COUNT
//   short_connections client ADDRESS FIRST PORTS COUNT
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

constexpr int batch = 32;
enum Ending : char { client_closes = 'c', server_closes = 's', client_resets = 'r' };
constexpr std::array<char, 3> endings{client_closes, server_closes, client_resets};

[[noreturn]] void fail(const char* what, int at) {
    std::fprintf(stderr, "short_connections: %s (connection %d): %s\n", what, at, std::strerror(errno));
    std::exit(1);
}

sockaddr_in endpoint(const char* address, int port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<std::uint16_t>(port));
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
        fail("not an IPv4 address", 0);
    return at;
}

void serve(const char* address, int first, int ports, int count) {
    const int set = epoll_create1(EPOLL_CLOEXEC);
    std::vector<int> listeners;
    for (int i = 0; i < ports; ++i) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        const int one = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        const sockaddr_in at = endpoint(address, first + i);
        if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 || listen(fd, 128) != 0)
            fail("bind or listen", 0);
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
        listeners.push_back(fd);
    }
    std::printf("listens\n");
    std::fflush(stdout);

    std::array<int, 256> seen{};
    for (int ended = 0; ended < count;) {
        std::array<epoll_event, 64> events{};
        const int ready = epoll_wait(set, events.data(), static_cast<int>(events.size()), 20000);
        if (ready <= 0)
            fail("nothing came for 20 s", ended);
        for (int i = 0; i < ready; ++i) {
            const int fd = events[static_cast<std::size_t>(i)].data.fd;
            if (std::ranges::find(listeners, fd) != listeners.end()) {
                for (int peer; (peer = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
                    epoll_event event{};
                    event.events = EPOLLIN;
                    event.data.fd = peer;
                    epoll_ctl(set, EPOLL_CTL_ADD, peer, &event);
                }
                if (errno != EAGAIN && errno != ECONNABORTED)
                    fail("accept", ended);
                continue;
            }
            char byte = 0;
            const ssize_t got = read(fd, &byte, 1);
            if (got == 1) {
                ++seen[static_cast<unsigned char>(byte)];
                if (write(fd, &byte, 1) != 1)
                    fail("write", ended);
                if (byte != server_closes)
                    continue;  // until the client's FIN or RST
            } else if (got < 0 && errno == EAGAIN) {
                continue;
            } else if (got < 0 && errno != ECONNRESET) {
                fail("read", ended);
            }
            close(fd);
            ++ended;
        }
    }
    std::printf("%d closed by the client, %d by the server, %d reset\n", seen[client_closes], seen[server_closes],
                seen[client_resets]);
    if (seen[client_closes] + seen[server_closes] + seen[client_resets] != count)
        fail("bytes are missing", count);
}

int connect_patiently(const sockaddr_in& at, int index) {
    for (int attempt = 0;; ++attempt) {
        const int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0)
            fail("socket", index);
        if (connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0)
            return fd;
        // The first one may come before the wire is there; later ones must not fail.
        if (index > 0 || attempt == 20)
            fail("connect", index);
        close(fd);
        usleep(250'000);
    }
}

void request(const char* address, int first, int ports, int count) {
    std::vector<sockaddr_in> servers;
    for (int i = 0; i < ports; ++i)
        servers.push_back(endpoint(address, first + i));
    const auto begin = std::chrono::steady_clock::now();
    std::vector<int> open;
    for (int done = 0; done < count; done += static_cast<int>(open.size())) {
        open.clear();
        for (int i = done; i < count && i < done + batch; ++i) {
            open.push_back(connect_patiently(servers[static_cast<std::size_t>(i % ports)], i));
            if (write(open.back(), &endings[static_cast<std::size_t>(i % 3)], 1) != 1)
                fail("write", i);
        }
        for (int i = done; i < done + static_cast<int>(open.size()); ++i) {
            const int fd = open[static_cast<std::size_t>(i - done)];
            const char ending = endings[static_cast<std::size_t>(i % 3)];
            char byte = 0;
            if (read(fd, &byte, 1) != 1 || byte != ending)
                fail("the answer", i);
            if (ending == server_closes && read(fd, &byte, 1) != 0)
                fail("no end of file", i);
            if (ending == client_resets) {
                const linger reset{.l_onoff = 1, .l_linger = 0};
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            }
            if (close(fd) != 0)
                fail("close", i);
        }
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%d connections, %.0f a second\n", count, count / seconds);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "usage: short_connections server|client ADDRESS FIRST PORTS COUNT\n");
        return 2;
    }
    const int first = std::atoi(argv[3]);
    const int ports = std::atoi(argv[4]);
    const int count = std::atoi(argv[5]);
    if (std::string_view(argv[1]) == "server")
        serve(argv[2], first, ports, count);
    else
        request(argv[2], first, ports, count);
}
