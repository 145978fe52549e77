// Descriptions: made, shared, let go.
#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/sys.hpp"
#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"
#include "socket/ancillary.hpp"
#include "socket/options.hpp"

namespace shunt::socket {
namespace {

int kernel_int(int fd, int level, int name, int otherwise) noexcept {
    int value = otherwise;
    socklen_t length = sizeof value;
    return sys::getsockopt(fd, level, name, &value, &length) == 0 ? value : otherwise;
}

// What shutdown has done to a socket that was not connected: it fails, and counts all the same.
void import_shutdown(Socket& socket, int fd) noexcept {
    pollfd asked{fd, POLLRDHUP, 0};
    const timespec zero{0, 0};
    if (sys::ppoll(&asked, 1, &zero, nullptr) <= 0 || (asked.revents & POLLRDHUP) == 0) {
        return;
    }
    if (socket.udp != nullptr) {
        socket.udp->is_shut_for_receive = true;
        socket.udp->is_shut_for_send = (asked.revents & POLLHUP) != 0;
    } else {
        socket.shut = shut_for_receive;
    }
}

// The last reference is gone. With the lock held.
void destroy(Layer& layer, Socket& socket, Time now) noexcept {
    detach_from_sets(layer, socket);
    if (socket.connection != nullptr) {
        layer.stack->tcp().release(*std::exchange(socket.connection, nullptr), socket.linger_s == 0, now);
    }
    if (socket.listener != nullptr) {
        layer.stack->tcp().close(*std::exchange(socket.listener, nullptr), now);
    }
    if (socket.udp != nullptr) {
        layer.stack->udp().close(*std::exchange(socket.udp, nullptr));
    }
    give_up_port(*layer.stack, socket);
    put_back(layer.sockets, socket);
}

// SO_LINGER with a time: close waits until all is acknowledged, or that long.
void linger(Guard& guard, Socket& socket) noexcept {
    tcp::Connection* c = socket.connection;
    if (c == nullptr || socket.linger_s <= 0 || socket.nonblocking || c->rcv_queued != 0) {
        return;
    }
    Layer& layer = guard.layer();
    layer.stack->tcp().shutdown_send(*c, layer.now());
    layer.stack->flush(layer.now());
    Socket* sockets[] = {&socket};
    WaitFor what;
    what.sockets = sockets;
    what.deadline = layer.now() + std::chrono::seconds(socket.linger_s);
    wait_until(guard, what, [c] {
        c->wants_room = true;
        return c->buffered() == 0 || c->state == tcp::State::closed || c->state == tcp::State::time_wait;
    });
}

}  // namespace

void give_up_port(Stack& stack, Socket& socket) noexcept {
    if (socket.held_port.port != 0) {
        stack.tcp().let_go(socket.held_port);
        socket.held_port = {};
    }
}

Result<Socket*> open(Stack& stack, int fd) {
    Layer& layer = layer_of(stack);
    const int type = kernel_int(fd, SOL_SOCKET, SO_TYPE, 0);
    const int domain = kernel_int(fd, SOL_SOCKET, SO_DOMAIN, 0);
    if ((type != SOCK_STREAM && type != SOCK_DGRAM) || (domain != AF_INET && domain != AF_INET6)) {
        return fail(EPROTONOSUPPORT);
    }
    const long flags = sys::fcntl(fd, F_GETFL);
    Socket* socket = nullptr;
    {
        Guard guard(layer);
        socket = create_socket(layer);
        if (socket == nullptr) {
            return fail(ENOBUFS);
        }
        if (type == SOCK_DGRAM) {
            const auto endpoint = layer.stack->udp().open();
            if (!endpoint) {
                drop_reference(guard, *socket);
                return fail(ENOBUFS);
            }
            socket->udp = *endpoint;
            socket->udp->owner = socket;
        }
        ++layer.accelerated;
    }
    socket->type = type;
    socket->is_v6 = domain == AF_INET6;
    socket->nonblocking = flags >= 0 && (flags & O_NONBLOCK) != 0;
    follow_signals(*socket, fd);
    import_shutdown(*socket, fd);
    import_options(*socket, fd);
    return socket;
}

void retain(Socket& socket) noexcept {
    Guard guard(layer());
    hold(guard.layer(), socket);
}

bool try_retain(Socket& socket) noexcept {
    Guard guard(layer());
    if (is_gone(socket)) {
        return false;
    }
    hold(guard.layer(), socket);
    return true;
}

void release(Socket& socket, int) noexcept {
    Guard guard(layer());
    if (socket.references == 1) {
        linger(guard, socket);
    }
    drop_reference(guard, socket);
}

bool abandon(Socket& socket) noexcept {
    Guard guard(layer());
    return drop_reference(guard, socket);
}

bool drop_reference(Guard& guard, Socket& socket) noexcept {
    guard.layer().ledger.remove_socket(this_process, guard.layer().sockets.index_of(&socket));
    if (socket.references == 1) {
        drop_last_reference(guard, socket);
        return true;
    }
    --socket.references;
    return false;
}

void drop_last_reference(Guard& guard, Socket& socket) noexcept {
    const Time now = guard.layer().now();
    destroy(guard.layer(), socket, now);
    guard.layer().stack->flush(now);
}

}  // namespace shunt::socket
