// Closing, names, and waiting for handles.
#include "native/core.hpp"

namespace shunt::inline v0 {
namespace {

bool is_opening(const tcp::Connection& c) noexcept {
    return c.state == tcp::State::syn_sent || c.state == tcp::State::syn_received;
}

// Is there something to take?
bool has_input(const socket::Socket& socket) noexcept {
    if (const tcp::Connection* c = socket.connection) {
        if (socket.was_connecting && !is_opening(*c)) {
            return true;
        }
        return c->rcv_queued != 0 || c->fin_received || c->rcv_shut || c->error != 0 || c->state == tcp::State::closed ||
               c->state == tcp::State::time_wait;
    }
    if (socket.listener != nullptr) {
        return socket.listener->accept_head != nullptr;
    }
    return socket.udp != nullptr && (!socket.udp->rcv_queue.is_empty() || socket.udp->error != 0);
}

}  // namespace

void Handle::close() noexcept {
    if (socket_ == nullptr) {
        return;
    }
    const Inside inside(*layer_);
    socket::drop_reference(inside.guard(), *std::exchange(socket_, nullptr));
}

bool Handle::wait(Instant deadline) const noexcept {
    if (socket_ == nullptr) {
        return false;
    }
    const Inside inside(*layer_);
    socket::Socket* const sockets[] = {socket_};
    return wait_until(inside, sockets, deadline, [this] { return has_input(*socket_); });
}

bool Handle::has_something() const noexcept {
    if (socket_ == nullptr) {
        return false;
    }
    const Inside inside(*layer_);
    return has_input(*socket_);
}

SocketAddress Handle::local_address() const noexcept {
    if (socket_ == nullptr) {
        return {};
    }
    const Inside inside(*layer_);
    const Endpoint* endpoint = socket_->connection;
    if (endpoint == nullptr) {
        endpoint = socket_->listener != nullptr ? static_cast<const Endpoint*>(socket_->listener) : socket_->udp;
    }
    return {endpoint->local_address, endpoint->local_port};
}

bool Stack::wait_for(std::span<socket::Socket* const> sockets, Instant deadline) noexcept {
    const Inside inside(*layer_);
    return wait_until(inside, sockets, deadline, [sockets] {
        return std::ranges::any_of(sockets, [](const socket::Socket* socket) { return socket != nullptr && has_input(*socket); });
    });
}

bool Stack::wait(Instant deadline, std::span<const Handle* const> handles) noexcept {
    std::array<socket::Socket*, wait_handles_max> sockets;
    const std::size_t count = std::min(handles.size(), sockets.size());
    for (std::size_t i = 0; i < count; ++i) {
        sockets[i] = handles[i] != nullptr ? handles[i]->socket_ : nullptr;
    }
    return wait_for(std::span(sockets.data(), count), deadline);
}

}  // namespace shunt::inline v0
