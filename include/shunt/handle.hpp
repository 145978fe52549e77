// What the three kinds of socket have in common: they are handles of two pointers, movable, closed on destruction, and one can
// wait for them.
//
//     shunt::UdpSocket socket = ...;
//     if (socket.wait(stack.now() + std::chrono::milliseconds(10))) { take what is there }
#pragma once

#include <span>
#include <utility>

#include "shunt/types.hpp"

namespace shunt::socket {
struct Layer;
struct Socket;
}  // namespace shunt::socket

namespace shunt::inline v0 {

struct Access;

class Handle {
public:
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    // False for one that was default-constructed, moved from, or closed. Every call on such a handle but close() answers EBADF,
    // or false.
    bool is_open() const noexcept { return socket_ != nullptr; }

    // Lets go, as close(2) does: what was sent is still delivered and the connection is ended in order, behind the program's
    // back; with received data unread the peer gets a reset. Does not wait. Buffers of the socket stay valid. Does nothing twice.
    SHUNT_API void close() noexcept;

    // Until there is something to take (data, a datagram, a connection to accept, end of stream, an error; for a connection that
    // is being opened: how that ended), or the deadline. Polls first, so `at_once` asks only. True: something is there. Spins as
    // long as the profile says, then sleeps; a signal does not end it. Lets other threads in meanwhile, also in a Session.
    SHUNT_API bool wait(Instant deadline) const noexcept;

    // What wait() would say at once, without polling. For a loop over many sockets: stack.poll(), then take from those that have
    // something.
    SHUNT_API bool has_something() const noexcept;

    // Our end; port 0 while unbound.
    SHUNT_API SocketAddress local_address() const noexcept;

protected:
    friend struct Access;
    friend class Stack;
    Handle() noexcept = default;
    Handle(socket::Layer* layer, socket::Socket* socket) noexcept : layer_(layer), socket_(socket) {}
    Handle(Handle&& other) noexcept : layer_(other.layer_), socket_(std::exchange(other.socket_, nullptr)) {}
    Handle& operator=(Handle&& other) noexcept {
        if (this != &other) {
            close();
            layer_ = other.layer_;
            socket_ = std::exchange(other.socket_, nullptr);
        }
        return *this;
    }
    ~Handle() { close(); }

    socket::Layer* layer_ = nullptr;
    socket::Socket* socket_ = nullptr;
};

// How many handles one wait can take.
inline constexpr std::size_t wait_handles_max = 1024;

}  // namespace shunt::inline v0
