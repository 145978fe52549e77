// UDP: datagrams, with and without a copy. Nothing here blocks but wait(); what cannot be done now answers EAGAIN.
//
//     auto socket = shunt::UdpSocket::open(stack);
//     socket->bind({.port = 7000});
//     while (true) {
//         if (auto datagram = socket->receive()) {            // polls the NIC when nothing waits
//             socket->send_to(datagram->payload.bytes(), datagram->source);
//         }
//     }
//
// Errors, from any call: EBADF: the handle is not open.
#pragma once

#include <span>

#include "shunt/buffer.hpp"
#include "shunt/handle.hpp"
#include "shunt/stack.hpp"

namespace shunt::inline v0 {

// A received datagram, lent until its payload is destroyed.
struct Datagram {
    ReceivedBuffer payload;  // may be empty: so may a datagram
    SocketAddress source;
    SocketAddress destination;  // which of our addresses it came to
    Instant received_at;        // when it was taken from the port, see Stack::to_system_time()
};

class UdpSocket : public Handle {
public:
    struct Options {
        bool reuse_address = false;
        bool reuse_port = false;
        bool broadcast = false;  // may send to broadcast addresses
        std::uint8_t tos = 0;
        std::uint32_t receive_buffer_bytes = 0;  // 0: net.core.rmem_default
    };

    UdpSocket() noexcept = default;
    UdpSocket(UdpSocket&&) noexcept = default;
    UdpSocket& operator=(UdpSocket&&) noexcept = default;

    // ENOBUFS: tables full.
    SHUNT_API static Expected<UdpSocket> open(Stack& stack, const Options& options) noexcept;
    static Expected<UdpSocket> open(Stack& stack) noexcept { return open(stack, Options()); }
    // Address 0: all of ours; port 0: one is picked. EADDRINUSE, EADDRNOTAVAIL (not ours), EINVAL (bound already).
    SHUNT_API Expected<void> bind(SocketAddress at) noexcept;
    // Fixes the peer: send() and commit() go there, only its datagrams are received, its ICMP errors are heard. ENETUNREACH,
    // EACCES (broadcast), ENOBUFS. A default SocketAddress dissolves it.
    SHUNT_API Expected<void> connect(SocketAddress to) noexcept;
    SHUNT_API SocketAddress peer_address() const noexcept;

    // The oldest datagram. When none waits it polls once. EAGAIN: none; ECONNREFUSED and the like: what ICMP said of a datagram
    // sent before (connected sockets only), told once.
    SHUNT_API Expected<Datagram> receive() noexcept;
    // With a copy; what does not fit into `to` is lost. Its size as sent, which may be more than to.size().
    SHUNT_API Expected<std::size_t> receive(std::span<std::byte> to, SocketAddress* source = nullptr) noexcept;
    // Datagrams lost because the receive buffer was full.
    SHUNT_API std::size_t drops() const noexcept;

    // A packet with room for exactly `bytes`, at most claim_max(), to fill and commit. EMSGSIZE, ENOBUFS (no packets).
    SHUNT_API Expected<SendBuffer> claim(std::size_t bytes) noexcept;
    // Payload bytes of a datagram that is not fragmented (1472 on Ethernet).
    SHUNT_API std::size_t claim_max() const noexcept;
    // Sends the first `bytes` of what was claimed; the buffer is used up, whatever the result. With More::yes it leaves with the
    // next send or poll, in one burst. EINVAL (more than claimed), EMSGSIZE, ENETUNREACH, EACCES (broadcast), ENOBUFS,
    // EDESTADDRREQ (commit: not connected), ECONNREFUSED and the like as receive().
    SHUNT_API Expected<void> commit(SendBuffer&& buffer, std::size_t bytes, More more = More::no) noexcept;
    SHUNT_API Expected<void> commit_to(SendBuffer&& buffer, std::size_t bytes, SocketAddress to, More more = More::no) noexcept;
    // With a copy; up to 65507 bytes, in fragments where needed. Errors as commit; EMSGSIZE beyond that.
    SHUNT_API Expected<void> send(std::span<const std::byte> data, More more = More::no) noexcept;
    SHUNT_API Expected<void> send_to(std::span<const std::byte> data, SocketAddress to, More more = More::no) noexcept;

private:
    friend struct Access;
    using Handle::Handle;
};

}  // namespace shunt::inline v0
