// TCP: a listener, and connections. Nothing here blocks but wait() and wait_connected(); what cannot be done now answers EAGAIN.
//
//     auto listener = shunt::TcpListener::listen(stack, {.port = 7000});
//     while (true) {
//         if (auto accepted = listener->accept()) { clients.push_back(std::move(*accepted)); }
//         for (shunt::TcpSocket& client : clients) {
//             while (auto received = client.receive()) {       // polls the NIC when nothing waits
//                 if (received->empty()) { client.close(); break; }  // the peer has finished
//                 client.send(received->bytes());
//             }
//         }
//     }
//
// Errors of a connection, from any call on it: ECONNREFUSED, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH: the connection has
// failed; told once, afterwards receive() gives the end of the stream and sending gives EPIPE. EBADF: the handle is not open.
#pragma once

#include <cstdint>
#include <span>

#include "shunt/buffer.hpp"
#include "shunt/handle.hpp"
#include "shunt/stack.hpp"

namespace shunt::inline v0 {

struct TcpOptions {
    bool nodelay = true;  // small segments at once; Linux's sockets begin with false (Nagle)
    bool keepalive = false;
    std::uint8_t tos = 0;                 // the IP header's type of service
    std::uint32_t send_buffer_bytes = 0;  // 0: Linux's default and growth
    std::uint32_t receive_buffer_bytes = 0;
};

class TcpSocket : public Handle {
public:
    struct ConnectOptions {
        SocketAddress local;  // default: chosen by the route and at random
        TcpOptions tcp;
    };

    TcpSocket() noexcept = default;
    TcpSocket(TcpSocket&&) noexcept = default;
    TcpSocket& operator=(TcpSocket&&) noexcept = default;

    // Sends the SYN and returns; wait_connected() or wait() tell how it went. EADDRNOTAVAIL (the local address is not ours, or no
    // port is free), ENETUNREACH (no route), ECONNREFUSED (port 0), ENOBUFS (tables full).
    SHUNT_API static Expected<TcpSocket> connect(Stack& stack, SocketAddress to, const ConnectOptions& options) noexcept;
    static Expected<TcpSocket> connect(Stack& stack, SocketAddress to) noexcept { return connect(stack, to, ConnectOptions()); }
    // Until the connection is open. EAGAIN: not by the deadline; and the errors of a connection (see above).
    SHUNT_API Expected<void> wait_connected(Instant deadline) noexcept;
    // The handshake is done, and the connection has neither failed nor ended on both sides. Does not poll.
    SHUNT_API bool is_connected() const noexcept;
    SHUNT_API SocketAddress peer_address() const noexcept;

    // The oldest received packet's payload, lent until the buffer is destroyed. An empty buffer: the peer has finished (FIN), and
    // all was read. When nothing waits it polls once. EAGAIN: nothing is there; errors of a connection. What is lent no longer
    // counts against the receive window: whoever keeps buffers must bound them.
    SHUNT_API Expected<ReceivedBuffer> receive() noexcept;
    // The same with a copy; up to to.size() bytes, 0 for the end of the stream.
    SHUNT_API Expected<std::size_t> receive(std::span<std::byte> to) noexcept;

    // A packet with room for exactly `bytes`, at most claim_max(), to fill and commit. EAGAIN: the send buffer is full (when it
    // was, it has polled once), or the connection is not open yet; EMSGSIZE: more than claim_max(); ENOBUFS: no packets; EPIPE:
    // shut down for sending; errors of a connection.
    SHUNT_API Expected<SendBuffer> claim(std::size_t bytes) noexcept;
    // Payload bytes a segment carries (1448 on Ethernet with time stamps).
    SHUNT_API std::size_t claim_max() const noexcept;
    // Sends the first `bytes` of what was claimed from this socket; the buffer is used up, whatever the result. It becomes one
    // segment and is kept until acknowledged. EINVAL: more than was claimed; EPIPE and errors of a connection.
    SHUNT_API Expected<void> commit(SendBuffer&& buffer, std::size_t bytes, More more = More::no) noexcept;
    // With a copy: takes as many bytes as fit into the send buffer and says how many (at least one). Errors as claim().
    SHUNT_API Expected<std::size_t> send(std::span<const std::byte> data, More more = More::no) noexcept;
    // Until there is room to send, or the connection has failed: true; false at the deadline.
    SHUNT_API bool wait_writable(Instant deadline) const noexcept;
    // Bytes sent and not yet acknowledged, or waiting to be sent.
    SHUNT_API std::size_t unacknowledged() const noexcept;

    // No more from us: FIN behind what was sent. The peer may go on sending. ENOTCONN.
    SHUNT_API Expected<void> shutdown() noexcept;
    // Ends the connection with a reset, and closes the handle.
    SHUNT_API void abort() noexcept;
    // False: small segments wait for the ACK of earlier ones (Nagle). EBADF.
    SHUNT_API Expected<void> set_nodelay(bool on) noexcept;
    // The connection's error if it has one, told and forgotten; code 0: none.
    SHUNT_API Error take_error() noexcept;

private:
    friend struct Access;
    using Handle::Handle;
};

class TcpListener : public Handle {
public:
    struct Options {
        std::uint32_t backlog = 4096;  // connections waiting to be accepted; net.core.somaxconn limits it
        bool reuse_address = true;     // although connections of an earlier run are in TIME_WAIT
        bool reuse_port = false;       // several listeners share the port
        TcpOptions tcp;                // of the connections
    };

    TcpListener() noexcept = default;
    TcpListener(TcpListener&&) noexcept = default;
    TcpListener& operator=(TcpListener&&) noexcept = default;

    // Address 0: all of ours; port 0: one is picked (see local_address()). EADDRINUSE, EADDRNOTAVAIL (not ours), ENOBUFS (tables
    // full).
    SHUNT_API static Expected<TcpListener> listen(Stack& stack, SocketAddress at, const Options& options) noexcept;
    static Expected<TcpListener> listen(Stack& stack, SocketAddress at) noexcept { return listen(stack, at, Options()); }
    // The oldest connection that waits; its owner is now the caller. When none waits it polls once. EAGAIN: none; ENFILE: tables
    // full, the connection was reset.
    SHUNT_API Expected<TcpSocket> accept() noexcept;

private:
    friend struct Access;
    using Handle::Handle;
};

}  // namespace shunt::inline v0
