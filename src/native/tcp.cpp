// TCP for programs that link the library.
#include "native/core.hpp"

namespace shunt::inline v0 {
namespace {

tcp::ConnectionOptions to_internal(const TcpOptions& options) noexcept {
    tcp::ConnectionOptions internal;
    internal.nodelay = options.nodelay;
    internal.keepalive = options.keepalive;
    internal.tos = options.tos;
    internal.rcvbuf = options.receive_buffer_bytes * 2;  // as SO_RCVBUF: doubled, half is for payload
    internal.rcvbuf_locked = options.receive_buffer_bytes != 0;
    internal.sndbuf = options.send_buffer_bytes * 2;
    internal.sndbuf_locked = options.send_buffer_bytes != 0;
    return internal;
}

bool is_opening(const tcp::Connection& c) noexcept {
    return c.state == tcp::State::syn_sent || c.state == tcp::State::syn_received;
}

bool is_over(const tcp::Connection& c) noexcept {
    return c.state == tcp::State::closed || c.state == tcp::State::time_wait;
}

// Why nothing can be received; 0: the stream has ended.
int why_empty(tcp::Connection& c) noexcept {
    if (c.error != 0) {
        return std::exchange(c.error, 0);
    }
    return c.fin_received || c.rcv_shut || is_over(c) ? 0 : EAGAIN;
}

// Why nothing can be sent; 0: something can.
int why_not_send(tcp::Connection& c) noexcept {
    if (c.error != 0) {
        return std::exchange(c.error, 0);
    }
    if (c.can_send()) [[likely]] {
        return 0;
    }
    return is_opening(c) ? EAGAIN : EPIPE;
}

// As why_not_send, with room to be there; ACKs that wait at the port may make it.
int make_room(const Inside& inside, tcp::Connection& c) noexcept {
    if (const int error = why_not_send(c); error != 0) [[unlikely]] {
        return error;
    }
    if (inside.tcp().has_send_memory(c)) [[likely]] {
        return 0;
    }
    inside.poll(inside.now());
    if (const int error = why_not_send(c); error != 0) {
        return error;
    }
    if (inside.tcp().has_send_memory(c)) {
        return 0;
    }
    c.wants_room = true;
    return EAGAIN;
}

// A program that only sends must not starve what comes in.
void look_in(const Inside& inside, Time now) noexcept {
    if (now - inside.stack().last_poll() > std::chrono::microseconds(50)) [[unlikely]] {
        inside.poll(now);
    }
}

}  // namespace

Expected<TcpSocket> TcpSocket::connect(Stack& stack, SocketAddress to, const ConnectOptions& options) noexcept {
    const Inside inside(Access::layer(stack));
    socket::Socket* socket = create_description(inside.layer(), SOCK_STREAM);
    if (socket == nullptr) {
        return failure(ENOBUFS);
    }
    const Time now = inside.now();
    socket->options = to_internal(options.tcp);
    const auto made = inside.tcp().connect(options.local.ipv4, options.local.port, to.ipv4, to.port, socket->options, now);
    if (!made) {
        socket::drop_reference(inside.guard(), *socket);
        return failure(made.error());
    }
    socket->connection = *made;
    socket->connection->owner = socket;
    socket->was_connecting = true;
    inside.stack().flush(now);
    return Access::handle<TcpSocket>(inside.layer(), *socket);
}

Expected<void> TcpSocket::wait_connected(Instant deadline) noexcept {
    if (socket_ == nullptr) {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    socket::Socket* const sockets[] = {socket_};
    if (is_opening(c) && !wait_until(inside, sockets, deadline, [&c] { return !is_opening(c); })) {
        return failure(EAGAIN);
    }
    socket_->was_connecting = false;
    if (c.error != 0) {
        return failure(std::exchange(c.error, 0));
    }
    return c.state == tcp::State::closed ? Expected<void>(failure(ENOTCONN)) : Expected<void>();
}

bool TcpSocket::is_connected() const noexcept {
    if (socket_ == nullptr) {
        return false;
    }
    const Inside inside(*layer_);
    const tcp::Connection& c = *socket_->connection;
    return c.is_synchronized() && !is_over(c);
}

SocketAddress TcpSocket::peer_address() const noexcept {
    return socket_ == nullptr ? SocketAddress{}
                              : SocketAddress{socket_->connection->remote_address, socket_->connection->remote_port};
}

Expected<ReceivedBuffer> TcpSocket::receive() noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    const Time now = inside.now();
    if (c.rcv_queue.is_empty()) {
        inside.poll(now);
        if (c.rcv_queue.is_empty()) {
            if (const int error = why_empty(c); error != 0) [[likely]] {
                return failure(error);
            }
            return ReceivedBuffer();
        }
    }
    return Access::received(inside.layer(), *inside.tcp().take(c, now));
}

Expected<std::size_t> TcpSocket::receive(std::span<std::byte> to) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    const Time now = inside.now();
    if (c.rcv_queue.is_empty()) {
        inside.poll(now);
        if (c.rcv_queue.is_empty()) {
            const int error = why_empty(c);
            return error != 0 ? Expected<std::size_t>(failure(error)) : Expected<std::size_t>(0);
        }
    }
    const auto room = static_cast<std::uint32_t>(std::min<std::size_t>(to.size(), 0x7fff'ffff));
    return inside.tcp().receive(c, to.data(), room, false, 0, now);
}

std::size_t TcpSocket::claim_max() const noexcept {
    return socket_ == nullptr ? 0 : socket_->connection->mss;
}

Expected<SendBuffer> TcpSocket::claim(std::size_t bytes) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    if (bytes > c.mss) [[unlikely]] {
        return failure(is_opening(c) ? EAGAIN : EMSGSIZE);
    }
    if (const int error = make_room(inside, c); error != 0) [[unlikely]] {
        return failure(error);
    }
    Packet* packet = inside.tcp().claim(c);
    if (packet == nullptr) [[unlikely]] {
        return failure(ENOBUFS);
    }
    if (bytes > packet->tailroom()) [[unlikely]] {
        packet->free();
        return failure(EMSGSIZE);
    }
    return Access::sending(inside.layer(), *packet, bytes);
}

Expected<void> TcpSocket::commit(SendBuffer&& buffer, std::size_t bytes, More more) noexcept {
    SendBuffer taken = std::move(buffer);
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    const int error = why_not_send(c);
    Packet* packet = error == 0 && bytes != 0 ? Access::take(taken, bytes) : nullptr;
    if (packet == nullptr) [[unlikely]] {
        taken.release();
        return error != 0 ? failure(error) : bytes != 0 ? Expected<void>(failure(EINVAL)) : Expected<void>();
    }
    const Time now = inside.now();
    inside.tcp().send_packet(c, packet, more == More::yes, now);
    inside.stack().flush(now);
    look_in(inside, now);
    return {};
}

Expected<std::size_t> TcpSocket::send(std::span<const std::byte> data, More more) noexcept {
    if (socket_ == nullptr) [[unlikely]] {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    if (const int error = make_room(inside, c); error != 0) [[unlikely]] {
        return failure(error);
    }
    const Time now = inside.now();
    const std::uint32_t taken = inside.tcp().send(c, data, more == More::yes, now);
    inside.stack().flush(now);
    look_in(inside, now);
    if (taken == 0 && !data.empty()) [[unlikely]] {
        return failure(ENOBUFS);
    }
    return taken;
}

bool TcpSocket::wait_writable(Instant deadline) const noexcept {
    if (socket_ == nullptr) {
        return false;
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    tcp::Tcp& tcp = inside.tcp();
    socket::Socket* const sockets[] = {socket_};
    return wait_until(inside, sockets, deadline, [&c, &tcp] {
        c.wants_room = true;
        return !is_opening(c) && (c.error != 0 || !c.can_send() || tcp.has_send_memory(c));
    });
}

std::size_t TcpSocket::unacknowledged() const noexcept {
    if (socket_ == nullptr) {
        return 0;
    }
    const Inside inside(*layer_);
    return socket_->connection->buffered();
}

Expected<void> TcpSocket::shutdown() noexcept {
    if (socket_ == nullptr) {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    if (is_over(c)) {
        return failure(ENOTCONN);
    }
    const Time now = inside.now();
    inside.tcp().shutdown_send(c, now);
    inside.stack().flush(now);
    return {};
}

void TcpSocket::abort() noexcept {
    if (socket_ != nullptr) {
        const Inside inside(*layer_);
        socket_->linger_s = 0;
        close();
    }
}

Expected<void> TcpSocket::set_nodelay(bool on) noexcept {
    if (socket_ == nullptr) {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Connection& c = *socket_->connection;
    socket_->options.nodelay = c.options.nodelay = on;
    if (on) {
        const Time now = inside.now();
        inside.tcp().push(c, now);
        inside.stack().flush(now);
    }
    return {};
}

Error TcpSocket::take_error() noexcept {
    if (socket_ == nullptr) {
        return Error{EBADF};
    }
    const Inside inside(*layer_);
    return Error{std::exchange(socket_->connection->error, 0)};
}

Expected<TcpListener> TcpListener::listen(Stack& stack, SocketAddress at, const Options& options) noexcept {
    const Inside inside(Access::layer(stack));
    if (at.ipv4 != 0 && !inside.stack().ipv4().owns(at.ipv4)) {
        return failure(EADDRNOTAVAIL);
    }
    socket::Socket* socket = create_description(inside.layer(), SOCK_STREAM);
    if (socket == nullptr) {
        return failure(ENOBUFS);
    }
    socket->options = to_internal(options.tcp);
    socket->options.reuse_address = options.reuse_address;
    socket->reuse_port = options.reuse_port;
    socket->options.reuse_port = options.reuse_port;
    const auto most = static_cast<std::uint32_t>(inside.stack().tunables().somaxconn);
    const auto listener =
        inside.tcp().listen(at.ipv4, at.port, std::min(options.backlog, most), socket->options, options.reuse_port);
    if (!listener) {
        socket::drop_reference(inside.guard(), *socket);
        return failure(listener.error());
    }
    socket->listener = *listener;
    socket->listener->owner = socket;
    return Access::handle<TcpListener>(inside.layer(), *socket);
}

Expected<TcpSocket> TcpListener::accept() noexcept {
    if (socket_ == nullptr) {
        return failure(EBADF);
    }
    const Inside inside(*layer_);
    tcp::Listener& listener = *socket_->listener;
    if (listener.accept_head == nullptr) {
        inside.poll(inside.now());
        if (listener.accept_head == nullptr) {
            return failure(EAGAIN);
        }
    }
    tcp::Connection* c = inside.tcp().accept(listener);
    socket::Socket* made = create_description(inside.layer(), SOCK_STREAM);
    if (made == nullptr) {
        inside.tcp().release(*c, true, inside.now());
        return failure(ENFILE);
    }
    made->options = c->options;
    made->connection = c;
    c->owner = made;
    return Access::handle<TcpSocket>(inside.layer(), *made);
}

}  // namespace shunt::inline v0
