// echo_native: a TCP and UDP echo server on Shunt's library. What comes in is read in the packet it came in, and answered in a
// packet that is claimed from the port. The port comes from the environment: SHUNT_LINK=memif:wire SHUNT_IP=10.0.0.2/24
// echo_native
#include <shunt/shunt.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

volatile std::sig_atomic_t is_stopped = 0;
constexpr std::size_t clients_max = 1000;
constexpr unsigned reads_max = 16;  // of one client before the next has its turn

struct Settings {
    std::uint16_t port = 7000;
    bool spin = false;
};

[[noreturn]] void fail(std::string_view what, std::string_view why) {
    std::fprintf(stderr, "echo_native: %.*s: %.*s\n", static_cast<int>(what.size()), what.data(), static_cast<int>(why.size()),
                 why.data());
    std::exit(1);
}

Settings read_settings(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        if (option == "--help") {
            std::puts(
                "echo_native: sends back what it gets, over TCP and UDP, until it is interrupted\n\n"
                "usage: echo_native [options]\n\n"
                "  --port N   (7000)\n"
                "  --spin     do not sleep\n"
                "  --help     this\n\n"
                "The port and the address come from the environment: SHUNT_LINK, SHUNT_IP, ...");
            std::exit(0);
        } else if (option == "--spin") {
            settings.spin = true;
        } else if (option == "--port") {
            const auto at = shunt::SocketAddress::parse(std::string(":") + (i + 1 < argc ? argv[++i] : ""));
            if (!at || at->port == 0) {
                fail("--port", "give a number of 1 to 65535");
            }
            settings.port = at->port;
        } else {
            fail(option, "is not known here; see --help");
        }
    }
    return settings;
}

// A client, and what it has sent but not yet got back: a segment is taken only when its answer can be sent.
struct Client {
    shunt::TcpSocket socket;
    shunt::ReceivedBuffer waiting;
    std::size_t answered = 0;  // bytes of `waiting`
};

// Sends what fits; false when the connection is over.
bool answer(Client& client) {
    while (client.answered < client.waiting.size()) {
        const auto left = client.waiting.bytes().subspan(client.answered);
        const std::size_t size = std::min(left.size(), client.socket.claim_max());
        auto buffer = client.socket.claim(size);
        if (!buffer) {
            return buffer.error().code == EAGAIN || buffer.error().code == ENOBUFS;
        }
        std::memcpy(buffer->bytes().data(), left.data(), size);
        if (!client.socket.commit(std::move(*buffer), size)) {
            return false;
        }
        client.answered += size;
    }
    client.waiting.release();
    return true;
}

// False when the connection is over.
bool serve(Client& client, bool& worked) {
    for (unsigned i = 0; i < reads_max; ++i) {
        if (!client.waiting.empty()) {
            if (!answer(client)) {
                return false;
            }
            if (!client.waiting.empty()) {
                return true;
            }
        }
        if (!client.socket.has_something()) {
            return true;
        }
        auto received = client.socket.receive();
        if (!received) {
            return received.error().code == EAGAIN;
        }
        if (received->empty()) {
            return false;
        }
        worked = true;
        client.waiting = std::move(*received);
        client.answered = 0;
    }
    return true;
}

void serve(shunt::UdpSocket& udp, bool& worked) {
    for (unsigned i = 0; i < reads_max && udp.has_something(); ++i) {
        const auto datagram = udp.receive();
        if (!datagram) {
            return;
        }
        worked = true;
        const auto& payload = datagram->payload;
        if (payload.is_contiguous() && payload.size() <= udp.claim_max()) {
            auto buffer = udp.claim(payload.size());
            if (buffer) {
                std::ranges::copy(payload.bytes(), buffer->bytes().begin());
                static_cast<void>(udp.commit_to(std::move(*buffer), payload.size(), datagram->source));
            }
        } else {
            std::vector<std::byte> whole(payload.size());
            payload.copy_to(whole);
            static_cast<void>(udp.send_to(whole, datagram->source));
        }
    }
}

void run(shunt::Stack& stack, shunt::TcpListener& listener, shunt::UdpSocket& udp, const Settings& settings) {
    std::vector<Client> clients;
    clients.reserve(clients_max);
    std::vector<const shunt::Handle*> handles;
    const shunt::Session session(stack);
    while (is_stopped == 0) {
        bool worked = stack.poll();
        if (listener.has_something() && clients.size() < clients_max) {
            if (auto accepted = listener.accept()) {
                clients.push_back({std::move(*accepted), {}, 0});
                worked = true;
            }
        }
        if (udp.has_something()) {
            serve(udp, worked);
        }
        std::erase_if(clients, [&worked](Client& client) {
            const bool has_work = !client.waiting.empty() || client.socket.has_something();
            return has_work && !serve(client, worked);
        });
        if (worked || settings.spin) {
            continue;
        }
        handles.assign({&listener, &udp});
        for (const Client& client : clients) {
            handles.push_back(&client.socket);
        }
        stack.wait(stack.now() + std::chrono::milliseconds(50), handles);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const Settings settings = read_settings(argc, argv);
    auto stack = shunt::Stack::open_from_environment();
    if (!stack) {
        fail("shunt", stack.error().message);
    }
    auto listener = shunt::TcpListener::listen(*stack, {.ipv4 = 0, .port = settings.port});
    if (!listener) {
        fail("listen", listener.error().message());
    }
    auto udp = shunt::UdpSocket::open(*stack);
    if (!udp) {
        fail("socket", udp.error().message());
    }
    if (const auto bound = udp->bind({.ipv4 = 0, .port = settings.port}); !bound) {
        fail("bind", bound.error().message());
    }
    std::signal(SIGINT, [](int) { is_stopped = 1; });
    std::signal(SIGTERM, [](int) { is_stopped = 1; });
    std::printf("echo on port %u\n", unsigned{settings.port});
    std::fflush(stdout);
    run(*stack, *listener, *udp, settings);
    return 0;
}
