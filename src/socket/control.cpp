// ioctl and fcntl on a socket.
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "socket/guard.hpp"

namespace shunt::socket {

namespace {

long give_int(void* to, int value) noexcept {
    if (value >= 0) {
        std::memcpy(to, &value, sizeof value);
    }
    return std::min(value, 0);
}

// FIONREAD: up to urgent data, when there are. -EINVAL of what cannot be read.
int readable_bytes(const Socket& socket) noexcept {
    if (socket.udp != nullptr) {
        return socket.udp->rcv_queue.is_empty() ? 0 : static_cast<int>(socket.udp->rcv_queue.front()->size());
    }
    const tcp::Connection* c = socket.connection;
    if (c == nullptr) {
        return socket.listener != nullptr ? -EINVAL : 0;
    }
    const bool stops = c->urgent != tcp::Urgent::none && !c->options.oob_inline && c->rcv_up >= c->copied_seq() && c->rcv_up < c->rcv_nxt;
    return static_cast<int>(stops ? c->rcv_up - c->copied_seq() : c->rcv_queued);
}

}  // namespace

void set_signal_owner(Socket& socket, int owner) noexcept {
    Guard guard(layer());
    socket.signal_owner = owner;
}

long control(Socket& socket, unsigned long request, void* argument) noexcept {
    Guard guard(layer());
    switch (request) {
        case FIONREAD:
            guard.layer().stack->poll(guard.layer().now());
            return give_int(argument, readable_bytes(socket));
        case SIOCOUTQ:
            return give_int(argument, socket.connection != nullptr ? static_cast<int>(socket.connection->buffered()) : 0);
        case SIOCOUTQNSD:
            return give_int(argument, socket.connection != nullptr ? static_cast<int>(socket.connection->unsent()) : 0);
        case SIOCATMARK: {
            const tcp::Connection* c = socket.connection;
            return give_int(argument, c != nullptr && c->urgent != tcp::Urgent::none && c->rcv_up == c->copied_seq() ? 1 : 0);
        }
        case FIONBIO: {
            int on = 0;
            std::memcpy(&on, argument, sizeof on);
            socket.nonblocking = on != 0;
            return 0;
        }
        default:
            return -ENOTTY;
    }
}

}  // namespace shunt::socket
