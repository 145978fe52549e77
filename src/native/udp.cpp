// UDP for programs that link the library.
#include "native/core.hpp"

namespace shunt::inline v0 {
namespace {

SocketAddress source_of(const Packet& packet) noexcept {
    return {packet.meta().address, packet.meta().port};
}

// Waiting datagrams, or one poll. Null: none; `error` says why.
Packet* take(const Inside& inside, UdpEndpoint& endpoint, int& error) noexcept {
    if (endpoint.rcv_queue.is_empty()) {
        inside.poll(inside.now());
    }
    if (endpoint.error != 0) [[unlikely]] {
        error = std::exchange(endpoint.error, 0);
        return nullptr;
    }
    error = EAGAIN;
    return inside.udp().take(endpoint);
}

void leave(const Inside& inside, More more, Time now) noexcept {
    if (more == More::no) {
        inside.stack().flush(now);
    }
    if (now - inside.stack().last_poll() > std::chrono::microseconds(50)) [[unlikely]] {  // what comes in must not starve
        inside.poll(now);
    }
}

Expected<void> send_packet(const Inside& inside, UdpEndpoint& endpoint, SendBuffer&& buffer, std::size_t bytes,
                           const UdpDestination* to, More more) noexcept {
    SendBuffer taken = std::move(buffer);
    const int error = std::exchange(endpoint.error, 0);
    Packet* packet = error == 0 ? Access::take(taken, bytes) : nullptr;
    if (packet == nullptr) [[unlikely]] {
        taken.release();
        return failure(error != 0 ? error : EINVAL);
    }
    const Time now = inside.now();
    const auto sent = inside.udp().send_packet(endpoint, packet, to, now);
    leave(inside, more, now);
    return sent ? Expected<void>() : Expected<void>(failure(sent.error()));
}

Expected<void> send_bytes(const Inside& inside, UdpEndpoint& endpoint, std::span<const std::byte> data, const UdpDestination* to,
                          More more) noexcept {
    if (endpoint.error != 0) [[unlikely]] {
        return failure(std::exchange(endpoint.error, 0));
    }
    const Time now = inside.now();
    const auto sent = inside.udp().send(endpoint, std::span(&data, 1), to, now);
    leave(inside, more, now);
    return sent ? Expected<void>() : Expected<void>(failure(sent.error()));
}

}  // namespace

Expected<UdpSocket> UdpSocket::open(Stack& stack, const Options& options) noexcept {
    const Inside inside(Access::layer(stack));
    socket::Socket* socket = create_description(inside.layer(), SOCK_DGRAM);
    if (socket == nullptr) {
        return failure(ENOBUFS);
    }
    const auto endpoint = inside.udp().open();
    if (!endpoint) {
        socket::drop_reference(inside.guard(), *socket);
        return failure(endpoint.error());
    }
    socket->udp = *endpoint;
    socket->udp->owner = socket;
    socket->udp->reuse_address = options.reuse_address;
    socket->udp->reuse_port = options.reuse_port;
    socket->udp->broadcast = options.broadcast;
    socket->udp->tos = options.tos;
    if (options.receive_buffer_bytes != 0) {
        socket->udp->rcvbuf = options.receive_buffer_bytes;
    }
    return Access::handle<UdpSocket>(inside.layer(), *socket);
}

Expected<void> UdpSocket::bind(SocketAddress at) noexcept {
    if (socket_ == nullptr) {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    const auto bound = inside.udp().bind(*socket_->udp, at.ipv4, at.port);
    return bound ? Expected<void>() : Expected<void>(failure(bound.error()));
}

Expected<void> UdpSocket::connect(SocketAddress to) noexcept {
    if (socket_ == nullptr) {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    const auto done = inside.udp().connect(*socket_->udp, {to.ipv4, to.port});
    return done ? Expected<void>() : Expected<void>(failure(done.error()));
}

SocketAddress UdpSocket::peer_address() const noexcept {
    if (socket_ == nullptr) {
        return {};
    }
    const Inside inside(*layer_);
    return {socket_->udp->remote_address, socket_->udp->remote_port};
}

Expected<Datagram> UdpSocket::receive() noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    int error = 0;
    Packet* packet = take(inside, *socket_->udp, error);
    if (packet == nullptr) {
        return failure(error);
    }
    const PacketMeta& meta = packet->meta();
    return Datagram{Access::received(inside.layer(), *packet),
                    source_of(*packet),
                    {meta.local_address, socket_->udp->local_port},
                    Instant(std::chrono::nanoseconds(meta.stamp_ns))};
}

Expected<std::size_t> UdpSocket::receive(std::span<std::byte> to, SocketAddress* source) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    int error = 0;
    Packet* packet = take(inside, *socket_->udp, error);
    if (packet == nullptr) {
        return failure(error);
    }
    const std::uint32_t size = packet->size();
    packet->copy_out(0, to.data(), static_cast<std::uint32_t>(std::min<std::size_t>(size, to.size())));
    if (source != nullptr) {
        *source = source_of(*packet);
    }
    packet->free();
    return size;
}

std::size_t UdpSocket::drops() const noexcept {
    if (socket_ == nullptr) {
        return 0;
    }
    const Inside inside(*layer_);
    return socket_->udp->drops;
}

std::size_t UdpSocket::claim_max() const noexcept {
    if (socket_ == nullptr) {
        return 0;
    }
    const Inside inside(*layer_);
    const auto& path = socket_->udp->path;
    const std::uint32_t mtu = path ? path->mtu : inside.stack().ipv4().usual_mtu();
    return mtu - sizeof(wire::Ipv4Header) - sizeof(wire::UdpHeader);
}

Expected<SendBuffer> UdpSocket::claim(std::size_t bytes) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    if (bytes > claim_max()) [[unlikely]] {
        return failure(EMSGSIZE);
    }
    Packet* packet = inside.udp().claim();
    if (packet == nullptr) [[unlikely]] {
        return failure(ENOBUFS);
    }
    if (bytes > packet->tailroom()) [[unlikely]] {
        packet->free();
        return failure(EMSGSIZE);
    }
    return Access::sending(inside.layer(), *packet, bytes);
}

Expected<void> UdpSocket::commit(SendBuffer&& buffer, std::size_t bytes, More more) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        buffer.release();
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    return send_packet(inside, *socket_->udp, std::move(buffer), bytes, nullptr, more);
}

Expected<void> UdpSocket::commit_to(SendBuffer&& buffer, std::size_t bytes, SocketAddress to, More more) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        buffer.release();
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    const UdpDestination destination{to.ipv4, to.port};
    return send_packet(inside, *socket_->udp, std::move(buffer), bytes, &destination, more);
}

Expected<void> UdpSocket::send(std::span<const std::byte> data, More more) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    return send_bytes(inside, *socket_->udp, data, nullptr, more);
}

Expected<void> UdpSocket::send_to(std::span<const std::byte> data, SocketAddress to, More more) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    const UdpDestination destination{to.ipv4, to.port};
    return send_bytes(inside, *socket_->udp, data, &destination, more);
}

}  // namespace shunt::inline v0
