// send and receive in all their forms. A received byte is copied once, into the caller's buffer; a sent one once, into a packet.
#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/sys.hpp"
#include "base/user_memory.hpp"
#include "pmd/port_inline.hpp"
#include "socket/ancillary.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

constexpr std::size_t vector_max = 1024;  // IOV_MAX

bool is_nonblocking_call(const Socket& socket, int flags) noexcept { return socket.nonblocking || (flags & MSG_DONTWAIT) != 0; }

// Waits for one socket. `kernel`: its other side. -EPIPE when another thread has dissolved the connection.
template <class IsReady>
long wait_for(Guard& guard, Socket& socket, pollfd* kernel, Time deadline, bool restartable, IsReady is_ready) noexcept {
    Socket* sockets[] = {&socket};
    WaitFor what;
    what.sockets = sockets;
    if (kernel != nullptr) {
        what.kernel = std::span(kernel, 1);
    }
    what.deadline = deadline;
    what.restartable = restartable;
    const Layer& layer = guard.layer();
    const tcp::Connection* const before = socket.connection;
    const Wake wake = wait_until(guard, what, [&] { return socket.connection != before || is_ready(layer, socket); });
    return socket.connection != before ? -EPIPE : error_of(wake);
}

bool has_ended(const tcp::Connection& c) noexcept {
    return c.fin_received || c.rcv_shut || c.error != 0 || c.state == tcp::State::closed || c.state == tcp::State::time_wait;
}

bool may_read(const Layer&, const Socket& socket) noexcept {
    if (socket.udp != nullptr) {
        return !socket.udp->rcv_queue.is_empty() || socket.udp->error != 0 || socket.udp->is_shut_for_receive;
    }
    const tcp::Connection& c = *socket.connection;
    return c.rcv_queued != 0 || has_ended(c);
}

bool may_write(const Layer& layer, const Socket& socket) noexcept {
    const tcp::Connection& c = *socket.connection;
    if (c.error != 0 || (!c.is_opening() && (!c.can_send() || (!c.wants_room && layer.stack->tcp().has_send_memory(c))))) {
        return true;  // who waits already, waits until a third is free: tell_of_room says
    }
    socket.connection->wants_room = true;
    return false;
}

// ---------------------------------------------------------------- TCP

// What a send on a connection that cannot send gives. A pending error is told once: not by a call that returns the count of what it has `sent`.
long send_error(Socket& socket, long sent = 0) noexcept {
    tcp::Connection* c = socket.connection;
    if (c == nullptr) {
        return socket.error != 0 ? -std::exchange(socket.error, 0) : -EPIPE;
    }
    if (c->error != 0) {
        return sent != 0 ? -c->error : -std::exchange(c->error, 0);
    }
    return c->can_send() || (!c->opening.is_mute && c->is_opening()) ? 0 : -EPIPE;
}

// What MSG_ZEROCOPY, MSG_OOB, MSG_EOR and SO_TIMESTAMPING ask of a write; `more` is each piece's own.
tcp::Write write_of(const Socket& socket, int flags, bool may_wait) noexcept {
    const std::uint32_t wanted = socket.options.timestamping;
    tcp::Write how;
    how.is_urgent = (flags & MSG_OOB) != 0;
    how.end_of_record = (flags & MSG_EOR) != 0;
    how.may_wait = may_wait;
    if ((wanted & tcp::timestamping::any_tx) != 0) [[unlikely]] {
        using namespace tcp::timestamping;
        how.stamps = static_cast<std::uint16_t>(((wanted & tx_sched) != 0 ? tcp::segment_flag::stamp_sched : 0) | ((wanted & tx_software) != 0 ? tcp::segment_flag::stamp_sent : 0) |
                                                ((wanted & tx_ack) != 0 ? tcp::segment_flag::stamp_acked : 0));
    }
    return how;
}

// `skip`: bytes of the vector that have gone already.
long write_stream(Guard& guard, Socket& socket, std::span<const iovec> vector, int flags, std::size_t skip) noexcept {
    Layer& layer = guard.layer();
    tcp::Tcp& tcp = layer.stack->tcp();
    const bool nonblocking = is_nonblocking_call(socket, flags);
    tcp::Write how = write_of(socket, flags, !nonblocking);
    Time now = layer.now();
    const Time deadline = saturating_add(now, socket.sndtimeo);
    while (!vector.empty() && vector.back().iov_len == 0) {
        vector = vector.first(vector.size() - 1);  // the last piece that has bytes ends the write
    }
    long sent = 0;
    if (vector.empty() && socket.connection->is_opening()) [[unlikely]] {  // nothing to send, and still it waits for its peer
        const long error = nonblocking ? -EAGAIN : wait_for(guard, socket, nullptr, deadline, socket.sndtimeo == Duration::max(), may_write);
        return error != 0 && error != -EPIPE ? error : send_error(socket);
    }
    for (std::size_t i = 0; i < vector.size(); ++i) {
        std::span<const std::byte> left(static_cast<const std::byte*>(vector[i].iov_base), vector[i].iov_len);
        if (skip != 0) [[unlikely]] {
            const std::size_t gone = std::min(skip, left.size());
            left = left.subspan(gone);
            skip -= gone;
        }
        const bool is_last = i + 1 == vector.size();
        while (!left.empty()) {
            if (const long error = send_error(socket, sent); error != 0) {
                return sent != 0 ? sent : error;
            }
            tcp::Connection& c = *socket.connection;
            if (is_bad_pointer(left.data())) {
                return sent != 0 ? sent : -EFAULT;
            }
            how.more = (flags & MSG_MORE) != 0 || !is_last;
            const std::uint32_t taken = c.can_transfer() ? tcp.send(c, left, is_last ? how : tcp::Write{.more = true}, now) : 0;
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
                c.wants_room = true;
                tcp.push(c, now);
                layer.stack->flush(now);
                return sent != 0 ? sent : -EAGAIN;
            }
            tcp.push(c, now);
            const bool restarts = sent == 0 && socket.sndtimeo == Duration::max();
            if (const long error = wait_for(guard, socket, nullptr, deadline, restarts, may_write); error != 0) {
                return sent != 0 ? sent : error != -EPIPE ? error : send_error(socket);
            }
            now = layer.now();
        }
    }
    layer.stack->flush(now);
    return sent;
}

// Of a send with MSG_ZEROCOPY that took something the error queue tells.
long note_zerocopy(Guard& guard, Socket& socket, int flags, long sent) noexcept {
    if (sent > 0 && (flags & MSG_ZEROCOPY) != 0 && socket.zerocopy && socket.connection != nullptr) {
        guard.layer().stack->tcp().complete_zerocopy(*socket.connection);
    }
    return sent;
}

long send_stream(Guard& guard, Socket& socket, std::span<const iovec> vector, int flags) noexcept {
    return note_zerocopy(guard, socket, flags, write_stream(guard, socket, vector, flags, 0));
}

// A send that opens the connection: the SYN takes what it may, the rest goes as soon as the connection is open (sendmsg(2), MSG_FASTOPEN).
long send_opening(Guard& guard, Socket& socket, const msghdr& message, int flags) noexcept {
    std::size_t taken = 0;
    const std::span vector(message.msg_iov, message.msg_iovlen);
    const long error = connect_with_data(guard, socket, message, is_nonblocking_call(socket, flags), taken);
    if (error != 0) {
        return error == -EINPROGRESS && taken != 0 ? note_zerocopy(guard, socket, flags, static_cast<long>(taken)) : error;
    }
    long rest = send_error(socket);
    if (rest == 0) {
        rest = write_stream(guard, socket, vector, flags, taken);
    }
    return note_zerocopy(guard, socket, flags, taken == 0 ? rest : static_cast<long>(taken) + std::max(rest, 0L));
}

// What a stream tells beside its data is nothing. Not before the call has succeeded: an error leaves the program's msghdr as it was.
void tell_nothing(msghdr& message, int flags) noexcept {
    message.msg_controllen = 0;
    message.msg_flags = flags & MSG_CMSG_CLOEXEC;
    message.msg_namelen = 0;
}

// recv with MSG_OOB: the urgent byte, which is not in the stream.
long receive_urgent(Layer& layer, Socket& socket, msghdr& message, int flags) noexcept {
    tcp::Connection& c = *socket.connection;
    if (c.options.oob_inline || c.urgent == tcp::Urgent::none || c.urgent == tcp::Urgent::read) {
        return -EINVAL;
    }
    if (c.state == tcp::State::closed && !c.fin_received) {
        return -ENOTCONN;
    }
    const auto byte = layer.stack->tcp().urgent_byte(c, (flags & MSG_PEEK) != 0);
    if (!byte && !c.fin_received && !c.rcv_shut) {
        return -EAGAIN;
    }
    tell_nothing(message, flags);
    if (!byte) {
        return 0;
    }
    message.msg_flags |= MSG_OOB;
    const auto piece = std::find_if(message.msg_iov, message.msg_iov + message.msg_iovlen, [](const iovec& each) { return each.iov_len != 0; });
    if (piece == message.msg_iov + message.msg_iovlen) {
        message.msg_flags |= MSG_TRUNC;
        return 0;
    }
    if ((flags & MSG_TRUNC) == 0) {
        if (is_bad_pointer(piece->iov_base)) {
            return -EFAULT;
        }
        std::memcpy(piece->iov_base, &*byte, 1);
    }
    return 1;
}

// How many of `room` bytes may be read before urgent data; at them, out of line, their byte is passed over, in the queue or in `peeked`. -1: stop here.
long limit_to_urgent(Layer& layer, tcp::Connection& c, long room, long received, long& peeked, int flags) noexcept {
    const bool peek = (flags & MSG_PEEK) != 0;
    const auto ahead = static_cast<std::int32_t>(c.rcv_up - (c.copied_seq() + static_cast<std::uint32_t>(peeked)));
    if (ahead != 0 || c.rcv_queued == static_cast<std::uint32_t>(peeked)) {
        return ahead > 0 ? std::min<long>(room, ahead) : room;
    }
    if (received != 0 || (flags & receive_up_to_urgent) != 0) {
        return -1;
    }
    if (!c.options.oob_inline && peek) {
        ++peeked;
    } else if (!c.options.oob_inline) {
        layer.stack->tcp().receive(c, nullptr, 1, false, 0, layer.now());
    }
    return room;
}

// The end of what there is to read, if it is reached: 0 or -errno.
std::optional<long> end_of_input(tcp::Connection& c) noexcept {
    if (c.error != 0 && !c.fin_received) {  // after a FIN the end of file is all there is to read, as on Linux
        return -std::exchange(c.error, 0);
    }
    return has_ended(c) ? std::optional<long>(0) : std::nullopt;
}

// No room: as Linux it waits for data once all the same, and gives 0 whatever ended the wait.
long read_nothing(Guard& guard, Socket& socket, int flags) noexcept {
    guard.layer().stack->poll(guard.layer().now());
    if (socket.connection->rcv_queued != 0) {
        return 0;
    }
    if (const auto end = end_of_input(*socket.connection)) {
        return *end;
    }
    if (is_nonblocking_call(socket, flags)) {
        return -EAGAIN;
    }
    const auto is_woken = [was_shut = socket.connection->fin_queued](const Layer& l, const Socket& s) { return may_read(l, s) || s.connection->fin_queued != was_shut; };
    const long ended = wait_for(guard, socket, nullptr, saturating_add(guard.layer().now(), socket.rcvtimeo), false, is_woken);
    return ended == -EPIPE ? ended : 0;
}

long read_stream(Guard& guard, Socket& socket, std::span<const iovec> vector, int flags, std::int64_t& stamp_ns) noexcept {
    Layer& layer = guard.layer();
    tcp::Tcp& tcp = layer.stack->tcp();
    Time now = layer.now();
    const bool nonblocking = is_nonblocking_call(socket, flags);
    const Time deadline = nonblocking ? now : saturating_add(now, socket.rcvtimeo);
    const bool peek = (flags & MSG_PEEK) != 0;
    long received = 0, peeked = 0;
    for (const iovec& piece : vector) {
        std::size_t filled = 0;
        while (filled < piece.iov_len) {
            tcp::Connection& c = *socket.connection;
            auto* to = (flags & MSG_TRUNC) != 0 ? nullptr : static_cast<std::byte*>(piece.iov_base) + filled;
            auto room = static_cast<long>(std::min<std::size_t>(piece.iov_len - filled, 0x7fff'ffff));
            if (c.urgent != tcp::Urgent::none) [[unlikely]] {
                room = limit_to_urgent(layer, c, room, received, peeked, flags);
                if (room < 0) {
                    return received != 0 ? received : end_of_input(c).value_or(nonblocking ? -EAGAIN : 0);
                }
            }
            if (c.rcv_queued != 0) {
                if (is_bad_pointer(piece.iov_base) && (flags & MSG_TRUNC) == 0) [[unlikely]] {
                    return received != 0 ? received : -EFAULT;
                }
                stamp_ns = c.rcv_queue.front()->meta().stamp_ns;
            }
            const std::uint32_t n = c.rcv_queued != 0 ? tcp.receive(c, to, static_cast<std::uint32_t>(room), peek, static_cast<std::uint32_t>(peeked), now) : 0;
            filled += n;
            received += n;
            peeked += peek ? n : 0;
            if (n != 0) {
                continue;
            }
            const bool is_enough = nonblocking || c.error != 0 || ((flags & MSG_WAITALL) == 0 && received >= static_cast<long>(socket.rcvlowat));
            if (received != 0 && is_enough) {
                return received;
            }
            if (c.rcv_shut && !c.fin_received) [[unlikely]] {  // SHUT_RD is the end of what has come, and the room just made may bring more
                layer.stack->poll(layer.now());
                if (c.rcv_queued > static_cast<std::uint32_t>(peeked)) {
                    continue;
                }
            }
            if (const auto end = end_of_input(c)) {
                return received != 0 ? received : *end;
            }
            if (c.is_opening() && nonblocking) {
                return -EAGAIN;
            }
            const auto has_more = [peeked](const Layer& l, const Socket& s) { return peeked == 0 ? may_read(l, s) : s.connection->rcv_queued > static_cast<std::uint32_t>(peeked) || has_ended(*s.connection); };
            const bool restarts = received == 0 && socket.rcvtimeo == Duration::max();
            if (const long error = wait_for(guard, socket, nullptr, deadline, restarts, has_more); error != 0) {
                return received != 0 ? received : error;
            }
            now = layer.now();
        }
    }
    return received;
}

long receive_stream(Guard& guard, Socket& socket, msghdr& message, int flags) noexcept {
    if (socket.connection == nullptr) {
        if ((flags & MSG_OOB) != 0 && socket.listener == nullptr) {
            return -EINVAL;
        }
        if (socket.error != 0 || (socket.shut & shut_for_receive) == 0 || socket.listener != nullptr) {
            return socket.error != 0 ? -std::exchange(socket.error, 0) : -ENOTCONN;
        }
        tell_nothing(message, flags);
        return 0;
    }
    if ((flags & MSG_OOB) != 0) [[unlikely]] {
        return receive_urgent(guard.layer(), socket, message, flags);
    }
    std::int64_t stamp_ns = 0;
    const std::span vector(message.msg_iov, message.msg_iovlen);
    const bool has_room = std::any_of(vector.begin(), vector.end(), [](const iovec& piece) { return piece.iov_len != 0; });
    const long received = has_room ? read_stream(guard, socket, vector, flags, stamp_ns) : read_nothing(guard, socket, flags);
    if (received < 0) {
        return received;
    }
    const std::size_t room = message.msg_controllen;
    tell_nothing(message, flags);
    if (socket.connection == nullptr) [[unlikely]] {  // dissolved after the first bytes
        return received;
    }
    if (room != 0 || socket.receives.timestamp || socket.receives.timestamp_ns || socket.inq) [[unlikely]] {  // without room, that there is none
        message.msg_controllen = room;
        write_stream_ancillary(guard.layer(), socket, stamp_ns, message);
    }
    return received;
}

// ---------------------------------------------------------------- UDP

constexpr std::size_t few = 4;  // pieces of most datagrams: the array for all that may come costs time to clear

using Pieces = std::span<const std::span<const std::byte>>;

// UDP_CORK and MSG_MORE: into the datagram that waits; the last part takes it along.
Result<std::uint32_t> send_part(Udp& transport, UdpEndpoint& udp, Pieces pieces, const UdpDestination* to, bool more, Time now) noexcept {
    const auto added = transport.append(udp, pieces, to);
    if (!added || more) {
        return added;
    }
    const auto sent = transport.push(udp, now);
    return sent ? added : sent;
}

// UDP_SEGMENT: one send, a datagram for each so many bytes.
Result<std::uint32_t> send_segments(Udp& transport, UdpEndpoint& udp, Pieces pieces, const UdpDestination* to, Time now) noexcept {
    constexpr std::size_t segments_max = 128;
    std::array<std::span<const std::byte>, vector_max> segment;
    std::size_t size = 0;
    std::for_each(pieces.begin(), pieces.end(), [&size](const auto& each) { size += each.size(); });
    if (size > std::min<std::size_t>(Udp::payload_max, segments_max * udp.segment_bytes)) {  // Linux cuts last of all
        const auto way = transport.admit(udp, pieces, to);
        return fail(way ? EINVAL : code_of(way.error()));
    }
    std::uint32_t total = 0;
    bool is_first = true;
    for (std::size_t i = 0, at = 0; i < pieces.size();) {
        std::size_t count = 0;
        for (std::size_t room = udp.segment_bytes; room != 0 && i < pieces.size();) {
            const std::size_t here = std::min(room, pieces[i].size() - at);
            segment[count] = pieces[i].subspan(at, here);
            count += here != 0 ? 1 : 0;
            room -= here;
            at += here;
            if (at == pieces[i].size()) {
                ++i;
                at = 0;
            }
        }
        if (count == 0 && !is_first) {
            break;
        }
        is_first = false;
        const auto sent = transport.send(udp, std::span(segment).first(count), to, now);
        if (!sent) {
            return total != 0 ? Result<std::uint32_t>(total) : sent;
        }
        total += *sent;
    }
    return total;
}

template <std::size_t N>
Result<std::uint32_t> send_pieces(Layer& layer, UdpEndpoint& udp, std::span<const iovec> vector, const UdpDestination* to, int flags, Time now) noexcept {
    std::array<std::span<const std::byte>, N> pieces;
    std::transform(vector.begin(), vector.end(), pieces.begin(), [](const iovec& piece) { return std::span(static_cast<const std::byte*>(piece.iov_base), piece.iov_len); });
    const Pieces all = std::span(pieces).first(vector.size());
    const bool more = udp.is_corked || (flags & MSG_MORE) != 0;
    if (more || udp.has_corked) [[unlikely]] {
        return send_part(layer.stack->udp(), udp, all, to, more, now);
    }
    if (udp.segment_bytes != 0) [[unlikely]] {
        return send_segments(layer.stack->udp(), udp, all, to, now);
    }
    return layer.stack->udp().send(udp, all, to, now);
}

// As Linux: no family at all is taken for IPv4.
Result<Address> read_destination(const msghdr& message, bool is_v6) noexcept {
    sockaddr_in v4;
    if (!is_v6 && message.msg_namelen >= sizeof v4 && static_cast<const sockaddr*>(message.msg_name)->sa_family == AF_UNSPEC) {
        std::memcpy(&v4, message.msg_name, sizeof v4);
        return Address{ntohl(v4.sin_addr.s_addr), ntohs(v4.sin_port)};
    }
    return read_address(static_cast<const sockaddr*>(message.msg_name), message.msg_namelen, is_v6);
}

long send_datagram(Guard& guard, Socket& socket, const msghdr& message, int flags) noexcept {
    Layer& layer = guard.layer();
    UdpEndpoint& udp = *socket.udp;
    if (!udp.is_bound) [[unlikely]] {  // as Linux: whatever comes of it
        if (const auto bound = layer.stack->udp().bind_at_need(udp); !bound) {
            return -code_of(bound.error());
        }
    }
    if ((flags & MSG_OOB) != 0) [[unlikely]] {
        return -EOPNOTSUPP;
    }
    UdpDestination destination;
    const UdpDestination* to = nullptr;
    if (message.msg_name != nullptr && message.msg_namelen != 0 && !has_corked(socket)) {  // else it has its address already
        const auto address = read_destination(message, socket.is_v6);
        if (!address) {
            return -code_of(address.error());
        }
        if (address->port == 0) {
            return -EINVAL;
        }
        destination = {address->address, address->port};
        to = &destination;
    }
    const SendControl control(*layer.stack, udp, message, flags);
    if (control.error() != 0) {
        return control.error();
    }
    const Time now = layer.now();
    const std::span vector(message.msg_iov, message.msg_iovlen);
    const auto sent = vector.size() <= few ? send_pieces<few>(layer, udp, vector, to, flags, now) : send_pieces<vector_max>(layer, udp, vector, to, flags, now);
    layer.stack->flush(now);
    if (socket.interests != nullptr && !udp.has_corked) [[unlikely]] {
        tell_sent(layer, socket);
    }
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
        if (is_bad_pointer(message.msg_iov[i].iov_base) && n != 0) [[unlikely]] {
            return -EFAULT;
        }
        packet.copy_out(copied, message.msg_iov[i].iov_base, n);
        copied += n;
    }
    const PacketMeta& meta = packet.meta();
    if (message.msg_name != nullptr) {
        if (const long error = write_address({meta.address, meta.port}, socket.is_v6, static_cast<sockaddr*>(message.msg_name), &message.msg_namelen); error != 0) {
            return error;  // the datagram is gone all the same
        }
    }
    message.msg_flags = (copied < size ? MSG_TRUNC : 0) | (flags & MSG_CMSG_CLOEXEC);
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
            message.msg_namelen = 0;
            message.msg_controllen = 0;
            message.msg_flags = flags & MSG_CMSG_CLOEXEC;
            return nonblocking ? -EAGAIN : 0;
        }
        const bool has_kernel_side = socket.is_both && stands_for(fd, socket);
        if (has_kernel_side) {
            const long result = sys::recvmsg(fd, &message, flags | MSG_DONTWAIT);
            if (result != -EAGAIN) {
                return result;
            }
        }
        pollfd kernel{fd, POLLIN, 0};
        if (const long error = wait_for(guard, socket, has_kernel_side && !nonblocking ? &kernel : nullptr, deadline, socket.rcvtimeo == Duration::max(), may_read); error != 0) {
            return error;
        }
    }
}

}  // namespace

long send_message(Socket& socket, const msghdr* message, int flags) noexcept {
    if (message->msg_iovlen > vector_max) {
        return -EMSGSIZE;
    }
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    const Hold hold(guard, socket);
    if (socket.udp != nullptr) {
        return send_datagram(guard, socket, *message, flags);
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
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    const Hold hold(guard, socket);
    if ((flags & MSG_ERRQUEUE) != 0) {
        return receive_report(guard.layer(), socket, *message);
    }
    if (socket.udp != nullptr) {
        return receive_datagram(guard, socket, fd, *message, flags);
    }
    return receive_stream(guard, socket, *message, flags);
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
