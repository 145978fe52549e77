// The stack, and the right to work on it.
//
//     shunt::Stack::Options options;
//     options.links = {"memif:wire"};
//     options.addresses = {"10.0.0.1/24"};
//     auto stack = shunt::Stack::open(options);
//     if (!stack) { std::fprintf(stderr, "%s\n", stack.error().message.c_str()); return 1; }
//     auto socket = shunt::UdpSocket::open(*stack);
//     socket->bind({.port = 7000});
//     const shunt::Session session(*stack);              // this thread keeps the lock: the lowest latency
//     while (true) {
//         if (auto datagram = socket->receive()) { ... }  // polls the NIC when nothing waits
//     }
//
// Threads: every call of the library takes the stack's lock itself, so any thread may call anything; a handle itself is used by
// one thread at a time. Not for signal handlers. One stack a process; its keeper, a process, sends ACKs and retransmissions while the
// program does not call, and delivers what was sent when the program has ended, however it did.
#pragma once

#include <array>
#include <chrono>
#include <concepts>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shunt/handle.hpp"
#include "shunt/types.hpp"

namespace shunt::inline v0 {

class Stack {
public:
    // How to wait: spin; spin a little, then sleep; sleep.
    enum class Profile { latency, balanced, throughput };

    // What is left empty here comes from the environment (SHUNT_LINK, SHUNT_IP, ... as under the launcher), then from the
    // defaults.
    struct Options {
        std::vector<std::string> links;      // as --link: "memif:wire", "pci:0000:03:02.0", ...
        std::vector<std::string> addresses;  // as --ip: "10.0.0.1/24"; the n-th belongs to the n-th link
        std::string gateway;                 // as --gateway: "10.0.0.254"
        std::optional<Profile> profile;
        std::vector<std::string> more;  // any other option of docs/options.md, as "name=value": "packets=65536"
        bool use_environment = true;
    };

    // Starts DPDK and the port, or says in one line why not and what to do: EINVAL (an option), EBUSY (a stack was opened before
    // in this process), ENODEV and others (the port). Blocks for some 0.2 s, and once: it cannot be repeated in this process,
    // whatever came of it, unless an option was wrong.
    SHUNT_API static std::expected<Stack, StartError> open(const Options& options);
    // All from the environment.
    static std::expected<Stack, StartError> open_from_environment() { return open(Options()); }

    Stack(Stack&& other) noexcept : layer_(std::exchange(other.layer_, nullptr)) {}
    Stack& operator=(Stack&&) = delete;
    // What closed sockets had sent is delivered by the keeper. Close the sockets first; do not hold a Session.
    SHUNT_API ~Stack();

    // One round of work: takes frames from the ports, runs timers, sends. True when a frame came or a timer was due. Does not
    // block beyond the lock.
    SHUNT_API bool poll() noexcept;
    // Until a frame has come (for whichever socket) or the deadline; true for a frame. Spins or sleeps as the profile says.
    SHUNT_API bool wait(Instant deadline) noexcept;
    // Until one of the handles has something to take (see Handle::wait), or the deadline.
    template <std::derived_from<Handle>... Handles>
    bool wait(Instant deadline, const Handles&... handles) noexcept {
        const std::array<socket::Socket*, sizeof...(Handles)> all{socket_of(handles)...};
        return wait_for(all, deadline);
    }
    // The same for a list; null entries are skipped, those beyond wait_handles_max are not looked at.
    SHUNT_API bool wait(Instant deadline, std::span<const Handle* const> handles) noexcept;

    SHUNT_API Instant now() const noexcept;
    // What the wall clock showed at `at`; for time stamps of datagrams. A system call.
    SHUNT_API std::chrono::system_clock::time_point to_system_time(Instant at) const noexcept;

    // Our addresses (host order; as many as fit into `to`): how many there are.
    SHUNT_API std::size_t addresses(std::span<std::uint32_t> to) const noexcept;
    // Whether the first port's link is up. On memif: the other side is there.
    SHUNT_API bool is_link_up() const noexcept;
    // Packets free in the first port's pool (approximate; slow). For programs that keep buffers.
    SHUNT_API std::size_t packets_free() const noexcept;

private:
    friend struct Access;
    explicit Stack(socket::Layer* layer) noexcept : layer_(layer) {}
    static socket::Socket* socket_of(const Handle& handle) noexcept { return handle.socket_; }
    SHUNT_API bool wait_for(std::span<socket::Socket* const> sockets, Instant deadline) noexcept;

    socket::Layer* layer_ = nullptr;
};

// The stack's lock, kept by this thread from construction to destruction: calls of this thread inside need not take it. For a
// loop that receives and sends on one core. Others (threads, the keeper) get their turn in poll(), in a receive that finds
// nothing, and in wait; so a Session must not be kept while the thread does something long. Ends in the thread that began it. A
// Session in a Session does nothing.
class Session {
public:
    SHUNT_API explicit Session(Stack& stack) noexcept;
    SHUNT_API ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

private:
    alignas(void*) std::array<std::byte, 4 * sizeof(void*)> state_;
};

}  // namespace shunt::inline v0
