// echo: a TCP and UDP echo server with plain sockets. It knows nothing of Shunt: run it on the kernel, or under `shunt`.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

volatile std::sig_atomic_t is_stopped = 0;
constexpr std::size_t clients_max = 1000;
constexpr std::size_t chunk_bytes = 65536;
constexpr unsigned reads_max = 16;  // of one client before the next has its turn

struct Settings {
    std::uint16_t port = 7000;
    bool spin = false;
};

[[noreturn]] void fail(std::string_view what, std::string_view why) {
    std::fprintf(stderr, "echo: %.*s: %.*s\n", static_cast<int>(what.size()), what.data(), static_cast<int>(why.size()),
                 why.data());
    std::exit(1);
}

Settings read_settings(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        if (option == "--help") {
            std::puts(
                "echo: sends back what it gets, over TCP and UDP, until it is interrupted\n\n"
                "usage: echo [options]\n\n"
                "  --port N   (7000)\n"
                "  --spin     do not sleep: non-blocking calls in a loop\n"
                "  --help     this");
            std::exit(0);
        } else if (option == "--spin") {
            settings.spin = true;
        } else if (option == "--port") {
            const std::string_view value = i + 1 < argc ? argv[++i] : "";
            const auto parsed = std::from_chars(value.data(), value.data() + value.size(), settings.port);
            if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size() || settings.port == 0) {
                fail("--port", "give a number of 1 to 65535");
            }
        } else {
            fail(option, "is not known here; see --help");
        }
    }
    return settings;
}

int open_server(int type, const Settings& settings) {
    const int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail("socket", std::strerror(errno));
    }
    const int on = 1;
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(settings.port);
    if (type == SOCK_STREAM) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) {
        fail("bind", std::strerror(errno));
    }
    if (type == SOCK_STREAM && listen(fd, 128) != 0) {
        fail("listen", std::strerror(errno));
    }
    return fd;
}

struct Client {
    int fd = -1;
    std::vector<char> unsent;  // what did not fit; nothing more is read until it has gone
};

bool would_block() {
    return errno == EAGAIN || errno == EINTR;
}

// False when the connection is over.
bool send_back(Client& client, const char* data, std::size_t size) {
    const ssize_t sent = send(client.fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && !would_block()) {
        return false;
    }
    const auto done = static_cast<std::size_t>(sent < 0 ? 0 : sent);
    client.unsent = std::vector<char>(data + done, data + size);
    return true;
}

bool serve(Client& client, std::vector<char>& chunk) {
    if (!client.unsent.empty()) {
        const std::vector<char> rest = std::move(client.unsent);
        if (!send_back(client, rest.data(), rest.size())) {
            return false;
        }
    }
    for (unsigned i = 0; i < reads_max && client.unsent.empty(); ++i) {
        const ssize_t n = recv(client.fd, chunk.data(), chunk.size(), 0);
        if (n == 0 || (n < 0 && !would_block())) {
            return false;
        }
        if (n < 0) {
            return true;
        }
        if (!send_back(client, chunk.data(), static_cast<std::size_t>(n))) {
            return false;
        }
    }
    return true;
}

void serve_datagrams(int fd, std::vector<char>& chunk) {
    for (unsigned i = 0; i < reads_max; ++i) {
        sockaddr_in from{};
        socklen_t length = sizeof from;
        const ssize_t n = recvfrom(fd, chunk.data(), chunk.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
        if (n < 0) {
            return;
        }
        sendto(fd, chunk.data(), static_cast<std::size_t>(n), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&from), length);
    }
}

void accept_one(int listener, std::vector<Client>& clients) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    clients.push_back({fd, {}});
}

void run(int listener, int udp, const Settings& settings) {
    std::vector<Client> clients;
    std::vector<pollfd> waits;
    std::vector<char> chunk(chunk_bytes);
    while (is_stopped == 0) {
        waits.clear();
        waits.push_back({clients.size() < clients_max ? listener : -1, POLLIN, 0});
        waits.push_back({udp, POLLIN, 0});
        for (const Client& client : clients) {
            waits.push_back({client.fd, client.unsent.empty() ? short{POLLIN} : short{POLLOUT}, 0});
        }
        if (poll(waits.data(), waits.size(), settings.spin ? 0 : 100) <= 0) {
            continue;
        }
        if (waits[1].revents != 0) {
            serve_datagrams(udp, chunk);
        }
        std::size_t index = 2;
        std::erase_if(clients, [&](Client& client) {
            if (waits[index++].revents == 0 || serve(client, chunk)) {
                return false;
            }
            close(client.fd);
            return true;
        });
        if (waits[0].revents != 0) {
            accept_one(listener, clients);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const Settings settings = read_settings(argc, argv);
    const int listener = open_server(SOCK_STREAM, settings);
    const int udp = open_server(SOCK_DGRAM, settings);
    std::signal(SIGINT, [](int) { is_stopped = 1; });
    std::signal(SIGTERM, [](int) { is_stopped = 1; });
    std::printf("echo on port %u\n", unsigned{settings.port});
    std::fflush(stdout);
    run(listener, udp, settings);
    return 0;
}
