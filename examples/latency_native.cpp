// latency_native: a ping-pong client over TCP or UDP on Shunt's library: messages are built in packets and read in packets, no
// copy. The port comes from the environment: SHUNT_LINK=memif:wire SHUNT_IP=10.0.0.1/24 latency_native 10.0.0.2
#include <shunt/shunt.hpp>

#include <optional>
#include <utility>

#include "latency_common.hpp"

namespace {

using namespace latency;

[[noreturn]] void fail_with(std::string_view what, shunt::Error error) {
    fail(what, error.message());
}

// Reading the clock costs as much as a poll: look at it now and then only.
class Patience {
public:
    explicit Patience(Time deadline) : deadline_(deadline) {}
    bool is_over() { return ++turns_ % 256 == 0 && Clock::now() >= deadline_; }

private:
    Time deadline_;
    unsigned turns_ = 0;
};

template <class Socket>
void sleep_unless_spinning(shunt::Stack& stack, const Socket& socket, const Settings& settings) {
    if (!settings.spin) {
        stack.wait(stack.now() + std::chrono::milliseconds(4), socket);
    }
}

// Sends one message, built in place in as many packets as it takes.
template <class Socket>
bool send_message(Socket& socket, const Settings& settings, std::uint64_t sequence, Patience& patience) {
    for (std::size_t sent = 0; sent < settings.size;) {
        const std::size_t size = std::min(settings.size - sent, socket.claim_max());
        auto buffer = socket.claim(size);
        if (!buffer) {
            if (buffer.error().code != EAGAIN) {
                fail_with("send", buffer.error());
            }
            if (patience.is_over()) {
                return false;
            }
            continue;
        }
        if (sent == 0) {
            auto bytes = buffer->bytes();
            stamp(bytes, sequence);
        }
        sent += size;
        const auto done = socket.commit(std::move(*buffer), size, sent < settings.size ? shunt::More::yes : shunt::More::no);
        if (!done) {
            fail_with("send", done.error());
        }
    }
    return true;
}

bool receive_stream(shunt::Stack& stack, shunt::TcpSocket& socket, const Settings& settings, Patience& patience) {
    for (std::size_t received = 0; received < settings.size;) {
        const auto buffer = socket.receive();
        if (buffer && buffer->empty()) {
            fail("receive", "the server has closed the connection");
        }
        if (buffer) {
            received += buffer->size();
        } else if (buffer.error().code != EAGAIN) {
            fail_with("receive", buffer.error());
        } else if (patience.is_over()) {
            return false;
        } else {
            sleep_unless_spinning(stack, socket, settings);
        }
    }
    return true;
}

bool receive_datagram(shunt::Stack& stack, shunt::UdpSocket& socket, const Settings& settings, std::uint64_t sequence,
                      Patience& patience) {
    while (true) {
        const auto datagram = socket.receive();
        if (datagram && is_answer(datagram->payload.bytes(), sequence)) {
            return true;
        }
        if (!datagram && datagram.error().code != EAGAIN) {
            fail_with("receive", datagram.error());
        }
        if (patience.is_over()) {
            return false;
        }
        if (!datagram) {
            sleep_unless_spinning(stack, socket, settings);
        }
    }
}

int measure_tcp(shunt::Stack& stack, shunt::SocketAddress to, const Settings& settings) {
    auto socket = shunt::TcpSocket::connect(stack, to);
    if (!socket) {
        fail_with("connect", socket.error());
    }
    if (const auto open = socket->wait_connected(stack.now() + std::chrono::seconds(settings.timeout_s)); !open) {
        fail("connect", open.error().code == EAGAIN ? "no answer in time; is the server running, and the address right?"
                                                    : open.error().message());
    }
    Meter meter(settings);
    std::optional<shunt::Session> session(std::in_place, stack);
    while (meter.has_more()) {
        const Time start = Clock::now();
        Patience patience(start + meter.patience());
        if (!send_message(*socket, settings, meter.sequence(), patience) || !receive_stream(stack, *socket, settings, patience)) {
            fail("receive", "no answer in time");
        }
        meter.add(start, Clock::now());
    }
    session.reset();
    socket->close();
    return meter.report();
}

int measure_udp(shunt::Stack& stack, shunt::SocketAddress to, const Settings& settings) {
    auto socket = shunt::UdpSocket::open(stack);
    if (!socket) {
        fail_with("socket", socket.error());
    }
    if (const auto done = socket->connect(to); !done) {
        fail_with("connect", done.error());
    }
    if (settings.size > socket->claim_max()) {
        fail("--size", "a datagram built in one packet holds at most " + std::to_string(socket->claim_max()) + " bytes here");
    }
    Meter meter(settings);
    std::optional<shunt::Session> session(std::in_place, stack);
    while (meter.has_more()) {
        const Time start = Clock::now();
        Patience patience(start + meter.patience());
        if (send_message(*socket, settings, meter.sequence(), patience) &&
            receive_datagram(stack, *socket, settings, meter.sequence(), patience)) {
            meter.add(start, Clock::now());
        } else {
            meter.add_loss();
        }
    }
    session.reset();
    socket->close();
    return meter.report();
}

}  // namespace

int main(int argc, char** argv) {
    const Settings settings = read_settings(argc, argv, "latency_native");
    auto to = shunt::SocketAddress::parse(settings.address);
    if (!to) {
        fail("address", "give an IPv4 address, such as 10.0.0.2");
    }
    if (to->port == 0) {
        to->port = settings.port;
    }
    auto stack = shunt::Stack::open_from_environment();
    if (!stack) {
        fail("shunt", stack.error().message);
    }
    return settings.udp ? measure_udp(*stack, *to, settings) : measure_tcp(*stack, *to, settings);
}
