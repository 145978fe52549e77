// What a program does to bring a socket about: bind, listen, accept, connect, shutdown.
#include <algorithm>
#include <cstring>
#include <utility>

#include "pmd/port_inline.hpp"
#include "socket/ancillary.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

Socket* wrap_accepted(Layer& layer, const Socket& from, tcp::Connection& c) noexcept {
    Socket* socket = create_socket(layer);
    if (socket == nullptr) {
        return nullptr;
    }
    socket->is_v6 = from.is_v6;
    socket->options = from.listener->options;
    socket->options.fast_open_queue = 0;
    socket->broadcast = from.broadcast;
    socket->reuse_port = from.reuse_port;
    socket->linger_s = from.linger_s;
    socket->rcvlowat = from.rcvlowat;
    socket->inq = from.inq;
    socket->zerocopy = from.zerocopy;
    socket->receives = from.receives;
    socket->rcvtimeo = from.rcvtimeo;
    socket->sndtimeo = from.sndtimeo;
    socket->connection = &c;
    socket->is_bound = true;
    socket->bound_address = from.bound_address;
    c.owner = socket;
    ++layer.accelerated;
    return socket;
}

bool may_bind(const tcp::Tcp& tcp, const Socket& socket, Address where, PortFrom origin) noexcept {
    return origin == PortFrom::kernel ? !tcp.has_listener_in_the_way(where.address, where.port, socket.reuse_port)
                                      : tcp.is_port_free(where.address, where.port, socket.options);
}

// As Linux reads a name, before anything else.
long check_name(const sockaddr* address, socklen_t length) noexcept {
    const bool is_too_long = length > sizeof(sockaddr_storage);
    if (!is_too_long && address == nullptr && length != 0) {
        return -EFAULT;
    }
    return is_too_long || length < sizeof(sa_family_t) ? -EINVAL : 0;
}

}  // namespace

long bind(Socket& socket, const sockaddr* address, socklen_t length, PortFrom origin) noexcept {
    if (const long error = check_name(address, length); error != 0) {
        return error;
    }
    const auto where = read_address(address, length, socket.is_v6);
    if (!where) {
        return -(code_of(where.error()) == ENETUNREACH ? EADDRNOTAVAIL : code_of(where.error()));
    }
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    Stack& stack = *guard.layer().stack;
    if (where->address != 0 && !stack.ipv4().owns(where->address) && !(socket.udp != nullptr && stack.ipv4().is_broadcast(where->address))) {
        return -EADDRNOTAVAIL;
    }
    if (socket.udp != nullptr) {
        const auto bound = stack.udp().bind(*socket.udp, where->address, where->port);
        if (!bound) {
            return -code_of(bound.error());
        }
        socket.is_bound = true;
        return 0;
    }
    tcp::Connection* const old = socket.connection;  // one that is over has given up its port
    const bool is_over = old != nullptr && (old->state == tcp::State::closed || old->state == tcp::State::time_wait);
    if (is_over ? socket.has_own_port || socket.is_bound_anew : socket.is_bound || old != nullptr) {
        return -EINVAL;
    }
    std::uint16_t port = where->port;
    if (port == 0) {
        const auto picked = stack.tcp().pick_port(where->address, 0, 0, guard.layer().now());
        if (!picked) {
            return -EADDRINUSE;
        }
        port = *picked;
    } else if (!may_bind(stack.tcp(), socket, *where, origin)) {
        return -EADDRINUSE;
    }
    socket.is_bound = true;
    socket.has_own_port = where->port != 0;
    socket.is_bound_anew = is_over;
    socket.bound_address = where->address;
    socket.bound_port = port;
    give_up_port(stack, socket);
    socket.held_port = {.address = where->address, .port = port, .options = &socket.options};
    stack.tcp().hold(socket.held_port);
    if (old != nullptr && old->state == tcp::State::closed) {
        old->local_address = where->address;
        old->local_port = port;
    }
    return 0;
}

void note_chosen_port(Socket& socket) noexcept {
    const Guard guard(layer());
    (socket.udp != nullptr ? socket.udp->has_own_port : socket.has_own_port) = false;
}

long listen(Socket& socket, int backlog) noexcept {
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    Stack& stack = *guard.layer().stack;
    if (socket.udp != nullptr) {
        return -EOPNOTSUPP;
    }
    if (socket.connection != nullptr) {
        return -EINVAL;
    }
    const auto most = static_cast<std::uint32_t>(stack.tunables().somaxconn);
    const std::uint32_t wanted = std::min(backlog < 0 ? most : static_cast<std::uint32_t>(backlog), most);
    if (socket.listener != nullptr) {
        socket.listener->backlog = wanted;
        return 0;
    }
    socket.options.quickack = true;  // as Linux: what was said before does not reach the connections
    const auto listener = stack.tcp().listen(socket.bound_address, socket.is_bound ? socket.bound_port : std::uint16_t{0}, wanted, socket.options, socket.reuse_port);
    if (!listener) {
        return -code_of(listener.error());
    }
    socket.listener = *listener;
    socket.listener->owner = &socket;
    socket.listener->fast_open_keys = socket.fast_open_keys;
    socket.listener->rcv_shut = (socket.shut & shut_for_receive) != 0;
    socket.listener->snd_shut = (socket.shut & shut_for_send) != 0;
    socket.is_bound = true;
    socket.bound_port = (*listener)->local_port;
    return 0;
}

long accept(Socket& socket, int fd, Socket** accepted, sockaddr* address, socklen_t* length) noexcept {
    *accepted = nullptr;
    Guard guard(layer());
    Layer& layer = guard.layer();
    if (socket.udp != nullptr) {
        return -EOPNOTSUPP;
    }
    if (socket.listener == nullptr) {
        return is_gone(socket) ? -EBADF : -EINVAL;
    }
    const Hold hold(guard, socket);
    pollfd kernel{fd, POLLIN, 0};
    Socket* sockets[] = {&socket};
    WaitFor what;
    what.sockets = sockets;
    if (socket.is_both) {
        what.kernel = std::span(&kernel, 1);
    }
    const Time now = layer.now();
    what.deadline = socket.nonblocking ? now : saturating_add(now, socket.rcvtimeo);
    what.restartable = socket.rcvtimeo == Duration::max();
    if (socket.listener->accept_head == nullptr) {
        const auto is_ready = [&socket] { return socket.listener == nullptr || socket.listener->accept_head != nullptr; };
        Wake wake = wait_until(guard, what, is_ready);
        if (wake == Wake::kernel_ready && !stands_for(fd, socket)) {
            what.kernel = {};
            wake = wait_until(guard, what, is_ready);
        }
        if (socket.listener == nullptr) {  // another thread has shut it down
            return -EINVAL;
        }
        if (wake != Wake::ready) {
            return error_of(wake);
        }
    }
    tcp::Connection* c = layer.stack->tcp().accept(*socket.listener);
    Socket* made = wrap_accepted(layer, socket, *c);
    if (made == nullptr) {
        layer.stack->tcp().release(*c, true, now);
        return -ENFILE;
    }
    if (const long error = write_address({c->remote_address, c->remote_port}, made->is_v6, address, length); error != 0) {
        drop_reference(guard, *made);  // as Linux: it is lost
        return error;
    }
    *accepted = made;
    return 0;
}

namespace {

long connect_udp(Guard& guard, Socket& socket, Address to, bool dissolve) noexcept {
    Udp& udp = guard.layer().stack->udp();
    if (dissolve) {
        udp.disconnect(*socket.udp);
        return 0;
    }
    const auto done = udp.connect(*socket.udp, {to.address, to.port});
    return done ? 0 : -code_of(done.error());
}

bool is_opening(const Socket& socket) noexcept { return socket.connection != nullptr && socket.connection->is_opening(); }

// As Linux's disconnect: no farewell; back to what bind had made of it. `error` is left to be told.
void disconnect(Guard& guard, Socket& socket, int error) noexcept {
    Layer& layer = guard.layer();
    const bool has_begun = socket.connection != nullptr || socket.listener != nullptr;
    if (tcp::Connection* old = std::exchange(socket.connection, nullptr)) {
        socket.bound_port = old->local_port;
        socket.unsent_gap = old->unsent();
        socket.last_window = old->max_snd_wnd;
        layer.stack->tcp().release(*old, true, layer.now());
        layer.stack->flush(layer.now());
    }
    if (tcp::Listener* old = std::exchange(socket.listener, nullptr)) {
        layer.stack->tcp().close(*old, layer.now());
        layer.stack->flush(layer.now());
    }
    if (!socket.has_own_port && has_begun && !socket.is_bound_anew) {  // what it got since its end is not the attempt's
        give_up_port(*layer.stack, socket);
        socket.is_bound = false;  // Linux goes on telling the port that it has given up
    }
    socket.unsent_gap += socket.last_window + 2;
    socket.was_connecting = false;
    socket.is_disconnecting = false;
    socket.is_bound_anew = false;
    socket.shut = 0;
    socket.error = error;
    tell(layer, socket);
}

// A connection that has not sent its SYN.
long prepare_connect(Guard& guard, Socket& socket, Address to) noexcept {
    Layer& layer = guard.layer();
    tcp::Tcp& tcp = layer.stack->tcp();
    const std::uint32_t destination = layer.stack->ipv4().named(to.address, socket.bound_address);
    const auto c = tcp.prepare(socket.bound_address, socket.is_bound ? socket.bound_port : std::uint16_t{0}, destination, to.port, socket.options, layer.now());
    if (!c) {
        return -code_of(c.error());
    }
    socket.connection = *c;
    socket.connection->owner = &socket;
    socket.connection->rcv_shut = (socket.shut & shut_for_receive) != 0;  // Linux: whatever was shut before stays so
    socket.connection->opening.is_mute = (socket.shut & shut_for_send) != 0;
    socket.was_connecting = true;
    socket.error = 0;
    return 0;
}

bool opens_fast(const Layer& layer) noexcept { return (layer.stack->tunables().tcp_fastopen & tcp::fast_open_bit::client) != 0; }

// Sends the SYN; with TCP_FASTOPEN_CONNECT and a cookie, leaves it to the first write.
long start_connect(Guard& guard, Socket& socket, Address to) noexcept {
    if (const long error = prepare_connect(guard, socket, to); error != 0) {
        return error;
    }
    Layer& layer = guard.layer();
    tcp::Tcp& tcp = layer.stack->tcp();
    tcp::Connection& c = *socket.connection;
    if (!c.options.fast_open_connect) {
        tcp.open(c, layer.now());
    } else if (tcp.may_defer_connect(c, layer.now())) {
        socket.was_connecting = false;  // Linux: it counts as connected
    } else {
        tcp.open_fast(c, nullptr, layer.now());
    }
    layer.stack->flush(layer.now());
    return 0;
}

// Waits for the attempt's end and tells it, once.
long finish_connect(Guard& guard, Socket& socket) noexcept {
    Socket* sockets[] = {&socket};
    WaitFor what;
    what.sockets = sockets;
    what.deadline = saturating_add(guard.layer().now(), socket.sndtimeo);
    what.restartable = socket.sndtimeo == Duration::max();
    hold(guard.layer(), socket);  // another thread may close it meanwhile
    const tcp::Connection* const before = socket.connection;
    const Wake wake = wait_until(guard, what, [&socket] { return !is_opening(socket); });
    if (socket.connection != before) {  // dissolved by another thread
        drop_reference(guard, socket);
        return -EPIPE;
    }
    const bool is_over = !is_opening(socket);
    int error = 0;
    if (is_over && (socket.connection->state == tcp::State::closed || socket.connection->state == tcp::State::time_wait)) {
        error = socket.connection->error != 0 ? socket.connection->error : ECONNABORTED;  // it was told already, by SO_ERROR
        disconnect(guard, socket, 0);
    }
    socket.was_connecting = socket.was_connecting && !is_over;
    drop_reference(guard, socket);
    return is_over ? -error : wake == Wake::timed_out ? -EINPROGRESS : error_of(wake);
}

}  // namespace

long connect(Socket& socket, const sockaddr* address, socklen_t length) noexcept {
    if (const long error = check_name(address, length); error != 0) {
        return error;
    }
    const bool dissolve = address->sa_family == AF_UNSPEC;
    const auto to = dissolve ? Result<Address>(Address{}) : read_address(address, length, socket.is_v6);
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    if (socket.udp != nullptr) {
        if (!socket.udp->is_bound && !dissolve) {  // as Linux: whatever comes of it
            if (const auto bound = guard.layer().stack->udp().bind_at_need(*socket.udp); !bound) {
                return -code_of(bound.error());
            }
        }
        return to ? connect_udp(guard, socket, *to, dissolve) : -code_of(to.error());
    }
    if (dissolve) {
        const tcp::Connection* c = socket.connection;
        const bool was_open = c != nullptr && c->state != tcp::State::closed && c->state != tcp::State::time_wait;
        disconnect(guard, socket, was_open ? ECONNRESET : c != nullptr ? c->error : socket.error);
        return 0;
    }
    if (socket.listener != nullptr) {
        return -EISCONN;
    }
    if (socket.is_disconnecting) {
        return -EINVAL;
    }
    if (socket.connection == nullptr) {
        if (!to) {
            return -code_of(to.error());
        }
        if (const long error = start_connect(guard, socket, *to); error != 0) {
            return error;
        }
        if (socket.connection->opening.is_deferred) {
            return 0;
        }
        if (socket.nonblocking) {  // also when it is over already, on an address of ours: poll and SO_ERROR tell
            return -EINPROGRESS;
        }
    } else if (!socket.was_connecting) {
        return -EISCONN;
    } else if (socket.nonblocking && is_opening(socket)) {
        return -EALREADY;
    }
    return finish_connect(guard, socket);
}

namespace {

// As much as the SYN may carry, in a packet; null: nothing.
Packet* gather(tcp::Tcp& tcp, tcp::Connection& c, const msghdr& message, Time now) noexcept {
    std::size_t room = tcp.fast_open_room(c, now);
    Packet* packet = room != 0 ? tcp.claim(c) : nullptr;
    if (packet == nullptr) {
        return nullptr;
    }
    room = std::min<std::size_t>(room, packet->tailroom());
    for (std::size_t i = 0; i < message.msg_iovlen && room != 0; ++i) {
        const std::size_t n = std::min(room, message.msg_iov[i].iov_len);
        if (n != 0) {
            std::memcpy(packet->append(static_cast<std::uint32_t>(n)), message.msg_iov[i].iov_base, n);
        }
        room -= n;
    }
    if (packet->size() == 0) {
        packet->free();
        return nullptr;
    }
    return packet;
}

std::size_t size_of(const msghdr& message) noexcept {
    std::size_t size = 0;
    for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
        size += message.msg_iov[i].iov_len;
    }
    return size;
}

}  // namespace

long connect_with_data(Guard& guard, Socket& socket, const msghdr& message, bool nonblocking, std::size_t& taken) noexcept {
    const auto* address = static_cast<const sockaddr*>(message.msg_name);
    Layer& layer = guard.layer();
    if (socket.listener != nullptr) {
        return -EISCONN;
    }
    if (!opens_fast(layer) || (address != nullptr && message.msg_namelen >= sizeof(sa_family_t) && address->sa_family == AF_UNSPEC)) {
        return -EOPNOTSUPP;
    }
    if (socket.connection == nullptr) {
        const auto to = read_address(address, message.msg_namelen, socket.is_v6);
        if (!to) {
            return -code_of(to.error());
        }
        if (const long error = prepare_connect(guard, socket, *to); error != 0) {
            return error;
        }
    } else if (!socket.connection->opening.is_deferred) {
        if (!socket.was_connecting) {
            return -EISCONN;
        }
        return nonblocking && is_opening(socket) ? -EALREADY : finish_connect(guard, socket);
    }
    for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
        if (message.msg_iov[i].iov_base == nullptr && message.msg_iov[i].iov_len != 0) {
            return -EFAULT;
        }
    }
    tcp::Tcp& tcp = layer.stack->tcp();
    tcp::Connection& c = *socket.connection;
    Packet* data = gather(tcp, c, message, layer.now());
    taken = data != nullptr ? data->size() : 0;
    c.opening.writer_waits = !nonblocking && taken < size_of(message);
    socket.was_connecting = true;
    tcp.open_fast(c, data, layer.now());
    layer.stack->flush(layer.now());
    long result = -EINPROGRESS;
    while (!nonblocking && (result = finish_connect(guard, socket)) == -call_again) {  // from the beginning, it would send `taken` twice
    }
    return result;
}

long shutdown(Socket& socket, int how) noexcept {
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) {
        return -EINVAL;
    }
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    Layer& layer = guard.layer();
    if (socket.udp != nullptr) {
        socket.udp->is_shut_for_receive |= how != SHUT_WR;
        socket.udp->is_shut_for_send |= how != SHUT_RD;
        layer.stack->changed().note(*socket.udp, ready::input | ready::output);
        return socket.udp->is_connected() ? 0 : -ENOTCONN;  // Linux says so, and wakes readers all the same
    }
    if (socket.listener != nullptr) {  // Linux: one that hears no more listens no more
        if (how != SHUT_WR) {
            disconnect(guard, socket, 0);
        }
        tell(layer, socket);
        return 0;
    }
    tcp::Connection* c = socket.connection;
    if (c != nullptr && c->state == tcp::State::syn_sent) {
        disconnect(guard, socket, ECONNRESET);
        return 0;
    }
    if (socket.was_connecting && c != nullptr) {  // Linux: the attempt is over, whatever became of it
        socket.was_connecting = false;
        socket.is_disconnecting = c->state == tcp::State::closed || c->state == tcp::State::syn_received;
    }
    if (c == nullptr || c->state == tcp::State::closed || c->state == tcp::State::time_wait) {
        socket.shut = static_cast<std::uint8_t>(socket.shut | (how + 1));
        tell(layer, socket);
        return -ENOTCONN;
    }
    if (how != SHUT_WR) {
        layer.stack->tcp().shutdown_receive(*c);
    }
    if (how != SHUT_RD) {
        layer.stack->tcp().shutdown_send(*c, layer.now());
    }
    layer.stack->flush(layer.now());
    tell(layer, socket);  // also when it says nothing new, as Linux
    return 0;
}

}  // namespace shunt::socket
