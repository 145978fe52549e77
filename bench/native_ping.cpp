// Ping-pong over the C++ library: received packets are borrowed, the stack's lock is kept by the one thread there is.
//   native_ping server|client tcp|udp LINK ADDRESS/LENGTH PEER:PORT SECONDS     (server: PEER is its own address)
#include <shunt/shunt.hpp>

#include <cerrno>
#include <string>

#include "bench/ping.hpp"

namespace {

template <class T>
T must(std::expected<T, shunt::Error> result, const char* what) {
    if (!result) {
        bench::die(what, std::string(result.error().message()).c_str());
    }
    return std::move(*result);
}

void serve_tcp(shunt::Stack& stack, shunt::SocketAddress at, std::uint64_t end) {
    auto listener = must(shunt::TcpListener::listen(stack, at), "listen");
    bench::say_ready();
    auto accepted = listener.accept();
    while (!accepted && __rdtsc() < end) {
        accepted = listener.accept();
    }
    auto socket = must(std::move(accepted), "accept");
    while (__rdtsc() < end) {
        if (auto received = socket.receive()) {
            if (received->empty() || !socket.send(received->bytes())) {
                return;
            }
        } else if (received.error().code != EAGAIN) {
            return;
        }
    }
}

void serve_udp(shunt::Stack& stack, shunt::SocketAddress at, std::uint64_t end) {
    auto socket = must(shunt::UdpSocket::open(stack), "socket");
    if (const auto bound = socket.bind(at); !bound) {
        bench::die("bind", std::string(bound.error().message()).c_str());
    }
    bench::say_ready();
    while (__rdtsc() < end) {
        if (auto datagram = socket.receive()) {
            (void)socket.send_to(datagram->payload.bytes(), datagram->source);
        }
    }
}

void ask_tcp(shunt::Stack& stack, shunt::SocketAddress to, double seconds) {
    auto socket = must(shunt::TcpSocket::connect(stack, to), "connect");
    if (const auto connected = socket.wait_connected(stack.now() + std::chrono::seconds(5)); !connected) {
        bench::die("connect", std::string(connected.error().message()).c_str());
    }
    const shunt::Session session(stack);
    const std::array<std::byte, bench::payload_bytes> message{};
    bench::ping_for(seconds, [&](std::uint64_t) {
        must(socket.send(message), "send");
        for (std::size_t got = 0; got < message.size();) {
            if (auto received = socket.receive()) {
                if (received->empty()) {
                    bench::die("receive", "the server has gone");
                }
                got += received->size();
            } else if (received.error().code != EAGAIN) {
                bench::die("receive", std::string(received.error().message()).c_str());
            }
        }
        return true;
    });
}

void ask_udp(shunt::Stack& stack, shunt::SocketAddress to, double seconds) {
    auto socket = must(shunt::UdpSocket::open(stack), "socket");
    if (const auto connected = socket.connect(to); !connected) {
        bench::die("connect", std::string(connected.error().message()).c_str());
    }
    const shunt::Session session(stack);
    const std::array<std::byte, bench::payload_bytes> message{};
    bench::ping_for(seconds, [&](std::uint64_t give_up_at) {
        (void)socket.send(message);
        while (!socket.receive()) {
            if (__rdtsc() > give_up_at) {
                return false;
            }
        }
        return true;
    });
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 7) {
        bench::die("usage", "native_ping server|client tcp|udp LINK ADDRESS/LENGTH PEER:PORT SECONDS");
    }
    const bool is_tcp = std::string_view(argv[2]) == "tcp";
    const auto address = shunt::SocketAddress::parse(argv[5]);
    if (!address) {
        bench::die(argv[5], "not an address");
    }
    shunt::Stack::Options options;
    options.links = {argv[3]};
    options.addresses = {argv[4]};
    options.profile = shunt::Stack::Profile::latency;
    options.use_environment = false;
    auto stack = shunt::Stack::open(options);
    if (!stack) {
        bench::die("native_ping", stack.error().message.c_str());
    }
    const double seconds = std::atof(argv[6]);
    if (std::string_view(argv[1]) == "client") {
        is_tcp ? ask_tcp(*stack, *address, seconds) : ask_udp(*stack, *address, seconds);
        return 0;
    }
    const bench::Ticks ticks;
    const std::uint64_t end = __rdtsc() + ticks.of_seconds(seconds);
    const shunt::Session session(*stack);
    is_tcp ? serve_tcp(*stack, *address, end) : serve_udp(*stack, *address, end);
}
