// send and receive in all their forms. A received byte is copied once, into the caller's buffer; a sent one once, into a packet.
#include <algorithm>
#include <array>
#include <utility>

#include "base/sys.hpp"
#include "pmd/port_inline.hpp"
#include "socket/ancillary.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

constexpr std::size_t vector_max = 1024;  // IOV_MAX

bool is_nonblocking_call(const Socket& socket, int flags) noexcept { return socket.nonblocking || (flags & MSG_DONTWAIT) != 0; }

// Waits for one socket; 0 when it is time to try again, else -errno (-EAGAIN for a time-out). `kernel`: its other side.
long wait_for(Guard& guard, Socket& socket, pollfd* kernel, Time deadline, bool restartable, bool (*is_ready)(const Layer&, const Socket&) noexcept) noexcept {
    Socket* sockets[] = {&socket};
    WaitFor what;
    what.sockets = sockets;
    if (kernel != nullptr) {
        what.kernel = std::span(kernel, 1);
    }
    what.deadline = deadline;
    what.restartable = restartable;
    const Layer& layer = guard.layer();
    switch (wait_until(guard, what, [&] { return is_ready(layer, socket); })) {
        case Wake::ready:
        case Wake::kernel_ready: return 0;
        case Wake::timed_out: return -EAGAIN;
        case Wake::interrupted: return -EINTR;
    }
    return -EINTR;
}

bool may_read(const Layer&, const Socket& socket) noexcept {
    if (socket.udp != nullptr) {
        return !socket.udp->rcv_queue.is_empty() || socket.udp->error != 0 || socket.udp->is_shut_for_receive;
    }
    const tcp::Connection& c = *socket.connection;
    return c.rcv_queued != 0 || c.fin_received || c.rcv_shut || c.error != 0 || c.state == tcp::State::closed || c.state == tcp::State::time_wait;
}

bool may_write(const Layer& layer, const Socket& socket) noexcept {
    const tcp::Connection& c = *socket.connection;
    return c.error != 0 || (!c.is_opening() && (!c.can_send() || layer.stack->tcp().send_room(c) != 0));
}

// ---------------------------------------------------------------- TCP

// What a send on a connection that cannot send gives.
long send_error(Socket& socket) noexcept {
    tcp::Connection* c = socket.connection;
    if (c == nullptr) {
        return -EPIPE;
    }
    if (c->error != 0) {
        return -std::exchange(c->error, 0);
    }
    return c->can_send() || c->state == tcp::State::syn_sent || c->state == tcp::State::syn_received ? 0 : -EPIPE;
}

// `skip`: bytes of the vector that have gone already.
long send_stream(Guard& guard, Socket& socket, std::span<const iovec> vector, int flags, std::size_t skip = 0) noexcept {
    Layer& layer = guard.layer();
    tcp::Tcp& tcp = layer.stack->tcp();
    const bool nonblocking = is_nonblocking_call(socket, flags);
    Time now = layer.now();
    const Time deadline = saturating_add(now, socket.sndtimeo);
    long sent = 0;
    for (std::size_t i = 0; i < vector.size(); ++i) {
        std::span<const std::byte> left(static_cast<const std::byte*>(vector[i].iov_base), vector[i].iov_len);
        if (skip != 0) [[unlikely]] {
            const std::size_t gone = std::min(skip, left.size());
            left = left.subspan(gone);
            skip -= gone;
        }
        const bool is_last = i + 1 == vector.size();
        while (!left.empty()) {
            if (const long error = send_error(socket); error != 0) {
                return sent != 0 ? sent : error;
            }
            tcp::Connection& c = *socket.connection;
            const bool more = (flags & MSG_MORE) != 0 || !is_last;
            const std::uint32_t taken = c.can_transfer() ? tcp.send(c, left, more, now) : 0;
            left = left.subspan(taken);
            sent += taken;
            if (left.empty()) {
                break;
            }
            if (taken != 0) {
                layer.stack->flush(now);
                continue;
            }
            if (nonblocking) {
                tcp.push(c, now);
                layer.stack->flush(now);
                return sent != 0 ? sent : -EAGAIN;
            }
            tcp.push(c, now);
            if (const long error = wait_for(guard, socket, nullptr, deadline, socket.sndtimeo == Duration::max(), may_write); error != 0) {
                return sent != 0 ? sent : error;
            }
            now = layer.now();
        }
    }
    layer.stack->flush(now);
    return sent;
}

// A send that opens the connection: the SYN takes what it may, the rest goes as soon as the connection is open (sendmsg(2), MSG_FASTOPEN).
long send_opening(Guard& guard, Socket& socket, const msghdr& message, int flags) noexcept {
    std::size_t taken = 0;
    const std::span vector(message.msg_iov, message.msg_iovlen);
    const long error = connect_with_data(guard, socket, message, is_nonblocking_call(socket, flags), taken);
    if (error != 0) {
        return error == -EINPROGRESS && taken != 0 ? static_cast<long>(taken) : error;
    }
    long rest = send_error(socket);
    if (rest == 0) {
        rest = send_stream(guard, socket, vector, flags, taken);
    }
    return taken == 0 ? rest : static_cast<long>(taken) + std::max(rest, 0L);
}

long receive_stream(Guard& guard, Socket& socket, std::span<const iovec> vector, int flags) noexcept {
    Layer& layer = guard.layer();
    if (socket.connection == nullptr) {
        return -ENOTCONN;
    }
    if ((flags & MSG_OOB) != 0) {
        return -EINVAL;
    }
    tcp::Tcp& tcp = layer.stack->tcp();
    Time now = layer.now();
    const bool nonblocking = is_nonblocking_call(socket, flags);
    const Time deadline = nonblocking ? now : saturating_add(now, socket.rcvtimeo);
    const bool peek = (flags & MSG_PEEK) != 0;
    long received = 0;
    for (const iovec& piece : vector) {
        std::size_t filled = 0;
        while (filled < piece.iov_len) {
            tcp::Connection& c = *socket.connection;
            auto* to = (flags & MSG_TRUNC) != 0 ? nullptr : static_cast<std::byte*>(piece.iov_base) + filled;
            const auto room = static_cast<std::uint32_t>(std::min<std::size_t>(piece.iov_len - filled, 0x7fff'ffff));
            const std::uint32_t n = c.rcv_queued != 0 ? tcp.receive(c, to, room, peek, static_cast<std::uint32_t>(peek ? received : 0), now) : 0;
            filled += n;
            received += n;
            if (n != 0) {
                continue;
            }
            const bool is_enough = nonblocking || peek || ((flags & MSG_WAITALL) == 0 && received >= static_cast<long>(socket.rcvlowat));
            if (received != 0 && is_enough) {
                return received;
            }
            if (c.error != 0) {
                return received != 0 ? received : -std::exchange(c.error, 0);
            }
            if (c.fin_received || c.rcv_shut || c.state == tcp::State::closed || c.state == tcp::State::time_wait) {
                return received;
            }
            if (c.is_opening() && nonblocking) {
                return -EAGAIN;
            }
            if (const long error = wait_for(guard, socket, nullptr, deadline, socket.rcvtimeo == Duration::max(), may_read); error != 0) {
                return received != 0 ? received : error;
            }
            now = layer.now();
        }
    }
    return received;
}

// ---------------------------------------------------------------- UDP

constexpr std::size_t few = 4;  // pieces of most datagrams: the array for all that may come costs time to clear

template <std::size_t N>
Result<std::uint32_t> send_pieces(Layer& layer, UdpEndpoint& udp, std::span<const iovec> vector, const UdpDestination* to, Time now) noexcept {
    std::array<std::span<const std::byte>, N> pieces;
    std::transform(vector.begin(), vector.end(), pieces.begin(), [](const iovec& piece) { return std::span(static_cast<const std::byte*>(piece.iov_base), piece.iov_len); });
    return layer.stack->udp().send(udp, std::span(pieces).first(vector.size()), to, now);
}

long send_datagram(Guard& guard, Socket& socket, const msghdr& message, int flags) noexcept {
    Layer& layer = guard.layer();
    UdpEndpoint& udp = *socket.udp;
    if (udp.error != 0) {
        return -std::exchange(udp.error, 0);
    }
    if ((flags & MSG_OOB) != 0) {
        return -EOPNOTSUPP;
    }
    UdpDestination destination;
    const UdpDestination* to = nullptr;
    if (message.msg_name != nullptr && message.msg_namelen != 0) {
        const auto address = read_address(static_cast<const sockaddr*>(message.msg_name), message.msg_namelen, socket.is_v6);
        if (!address) {
            return -code_of(address.error());
        }
        destination = {address->address, address->port};
        to = &destination;
    }
    const SendControl control(*layer.stack, udp, message);
    if (control.error() != 0) {
        return control.error();
    }
    const Time now = layer.now();
    const std::span vector(message.msg_iov, message.msg_iovlen);
    const auto sent = vector.size() <= few ? send_pieces<few>(layer, udp, vector, to, now) : send_pieces<vector_max>(layer, udp, vector, to, now);
    layer.stack->flush(now);
    if (!sent) {
        return -code_of(sent.error());
    }
    if (now - layer.stack->last_poll() > std::chrono::microseconds(50)) {  // a program that only sends must not starve what comes in
        layer.stack->poll(now);
    }
    return static_cast<long>(*sent);
}

long copy_datagram(Layer& layer, Socket& socket, Packet& packet, msghdr& message, int flags) noexcept {
    const std::uint32_t size = packet.size();
    std::uint32_t copied = 0;
    for (std::size_t i = 0; i < message.msg_iovlen && copied < size; ++i) {
        const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(message.msg_iov[i].iov_len, size - copied));
        packet.copy_out(copied, message.msg_iov[i].iov_base, n);
        copied += n;
    }
    const PacketMeta& meta = packet.meta();
    if (message.msg_name != nullptr) {
        write_address({meta.address, meta.port}, socket.is_v6, static_cast<sockaddr*>(message.msg_name), &message.msg_namelen);
    }
    message.msg_flags = copied < size ? MSG_TRUNC : 0;
    write_ancillary(layer, socket, packet, message);
    return static_cast<long>((flags & MSG_TRUNC) != 0 ? size : copied);
}

long receive_datagram(Guard& guard, Socket& socket, int fd, msghdr& message, int flags) noexcept {
    Layer& layer = guard.layer();
    UdpEndpoint& udp = *socket.udp;
    Time now = layer.now();
    const bool nonblocking = is_nonblocking_call(socket, flags);
    const Time deadline = nonblocking ? now : saturating_add(now, socket.rcvtimeo);
    while (true) {
        if (udp.error != 0) {
            return -std::exchange(udp.error, 0);
        }
        if (!udp.rcv_queue.is_empty()) {
            if ((flags & MSG_PEEK) != 0) {
                return copy_datagram(layer, socket, *udp.rcv_queue.front(), message, flags);
            }
            Packet* packet = layer.stack->udp().take(udp);
            const long result = copy_datagram(layer, socket, *packet, message, flags);
            packet->free();
            return result;
        }
        if (udp.is_shut_for_receive) {
            return 0;
        }
        if (socket.is_both) {
            const long result = sys::recvmsg(fd, &message, flags | MSG_DONTWAIT);
            if (result != -EAGAIN) {
                return result;
            }
        }
        pollfd kernel{fd, POLLIN, 0};
        if (const long error = wait_for(guard, socket, socket.is_both ? &kernel : nullptr, deadline, socket.rcvtimeo == Duration::max(), may_read); error != 0) {
            return error;
        }
    }
}

// Keeps a description alive through a call that may sleep; another thread may close its last descriptor meanwhile.
class Hold {
public:
    Hold(Guard& guard, Socket& socket) noexcept : guard_(guard), socket_(socket) { ++socket.references; }
    ~Hold() {
        if (socket_.references == 1) {
            drop_last_reference(guard_, socket_);
        } else {
            --socket_.references;
        }
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

private:
    Guard& guard_;
    Socket& socket_;
};

}  // namespace

long send_message(Socket& socket, const msghdr* message, int flags) noexcept {
    if (message->msg_iovlen > vector_max) {
        return -EMSGSIZE;
    }
    Guard guard(layer());
    const Hold hold(guard, socket);
    if (socket.udp != nullptr) {
        return send_datagram(guard, socket, *message, flags);
    }
    if ((flags & MSG_OOB) != 0) {
        return -EOPNOTSUPP;  // there is no urgent data, so none may pass for ordinary data
    }
    const bool is_first = socket.connection != nullptr && socket.connection->state == tcp::State::syn_sent && socket.connection->opening.is_deferred;
    if ((flags & MSG_FASTOPEN) != 0 || is_first) [[unlikely]] {
        return send_opening(guard, socket, *message, flags);
    }
    if (const long error = send_error(socket); error != 0) {
        return error;
    }
    return send_stream(guard, socket, std::span(message->msg_iov, message->msg_iovlen), flags);
}

long receive_message(Socket& socket, int fd, msghdr* message, int flags) noexcept {
    if (message->msg_iovlen > vector_max) {
        return -EMSGSIZE;
    }
    Guard guard(layer());
    const Hold hold(guard, socket);
    if ((flags & MSG_ERRQUEUE) != 0) {
        return -EAGAIN;
    }
    if (socket.udp != nullptr) {
        return receive_datagram(guard, socket, fd, *message, flags);
    }
    message->msg_controllen = 0;
    message->msg_flags = 0;
    message->msg_namelen = 0;
    return receive_stream(guard, socket, std::span(message->msg_iov, message->msg_iovlen), flags);
}

long send(Socket& socket, const void* data, std::size_t size, int flags) noexcept {
    iovec piece{const_cast<void*>(data), size};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    return send_message(socket, &message, flags);
}

long receive(Socket& socket, int fd, void* data, std::size_t size, int flags) noexcept {
    iovec piece{data, size};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    return receive_message(socket, fd, &message, flags);
}

}  // namespace shunt::socket
