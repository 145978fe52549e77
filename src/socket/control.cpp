// ioctl and fcntl on a socket, and the small questions about one.
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/sys.hpp"
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

void follow_signals(Socket& socket, int fd) noexcept {
    f_owner_ex owner{};
    SignalOwner signals;
    const bool is_owned = sys::fcntl(fd, F_GETOWN_EX, sys::word(&owner)) == 0 && owner.pid != 0;
    signals.type = owner.type;
    signals.id = is_owned ? owner.pid : 0;
    signals.signal = static_cast<int>(sys::fcntl(fd, F_GETSIG));
    signals.fd = fd;
    signals.is_async = (sys::fcntl(fd, F_GETFL) & O_ASYNC) != 0;
    Guard guard(layer());
    socket.signals = signals;
}

namespace {

void send_signal(const SignalOwner& to, int signal, siginfo_t* info) noexcept {
    const long self = sys::getpid();
    if (to.type == F_OWNER_TID) {
        sys::call(SYS_rt_tgsigqueueinfo, self, to.id, signal, sys::word(info));
    } else if (to.type == F_OWNER_PID && to.id == self) {
        sys::call(SYS_rt_sigqueueinfo, self, signal, sys::word(info));
    } else {  // only the kernel may tell others why
        sys::call(SYS_kill, to.type == F_OWNER_PGRP ? -to.id : to.id, signal);
    }
}

}  // namespace

void send_signals(const Socket& socket, std::uint8_t news) noexcept {
    const SignalOwner& to = socket.signals;
    siginfo_t info{};
    info.si_code = SI_KERNEL;
    if ((news & ready::urgent) != 0) {
        send_signal(to, SIGURG, &info);
    }
    struct Reason {
        std::uint8_t news;
        int code;
        int band;
    };
    constexpr Reason reasons[] = {{ready::input | ready::peer_shut, POLL_IN, POLLIN | POLLRDNORM},
                                  {ready::output, POLL_OUT, POLLOUT | POLLWRNORM | POLLWRBAND},
                                  {ready::error, POLL_ERR, POLLERR},
                                  {ready::hangup, POLL_HUP, POLLHUP | POLLERR}};
    for (const Reason& reason : reasons) {
        if (!to.is_async || (news & reason.news) == 0) {
            continue;
        }
        if (to.signal != 0) {
            info.si_code = reason.code;
            info.si_band = reason.band;
            info.si_fd = to.fd;
        }
        send_signal(to, to.signal != 0 ? to.signal : SIGIO, &info);
    }
}

long control(Socket& socket, unsigned long request, void* argument) noexcept {
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    switch (request) {
        case FIONREAD:
            guard.layer().stack->poll(guard.layer().now());
            return give_int(argument, readable_bytes(socket));
        case SIOCOUTQ:
            return socket.listener != nullptr ? -EINVAL : give_int(argument, socket.connection != nullptr ? static_cast<int>(socket.connection->buffered()) : 0);
        case SIOCOUTQNSD:
            if (socket.udp != nullptr || socket.listener != nullptr) {
                return socket.udp != nullptr ? -ENOTTY : -EINVAL;
            }
            return give_int(argument, socket.connection != nullptr ? static_cast<int>(socket.connection->unsent()) : 0);
        case SIOCATMARK: {
            const tcp::Connection* c = socket.connection;
            return socket.udp != nullptr ? -ENOTTY : give_int(argument, c != nullptr && c->urgent != tcp::Urgent::none && c->rcv_up == c->copied_seq() ? 1 : 0);
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

bool has_corked(const Socket& socket) noexcept { return socket.udp != nullptr && socket.udp->has_corked; }
bool is_both(const Socket& socket) noexcept { return socket.is_both; }
void set_both(Socket& socket, bool both) noexcept { socket.is_both = both; }
bool is_listener(const Socket& socket) noexcept { return socket.listener != nullptr; }
bool is_v6(const Socket& socket) noexcept { return socket.is_v6; }
bool is_stream(const Socket& socket) noexcept { return socket.type == SOCK_STREAM; }
void set_nonblocking(Socket& socket, bool on) noexcept { socket.nonblocking = on; }
bool is_nonblocking(const Socket& socket) noexcept { return socket.nonblocking; }
void set_on_device(Socket& socket, bool on) noexcept { socket.is_on_device = on; }
bool is_on_device(const Socket& socket) noexcept { return socket.is_on_device; }

namespace {

int& error_of(Socket& socket) noexcept { return socket.connection != nullptr ? socket.connection->error : socket.udp != nullptr ? socket.udp->error : socket.error; }

}  // namespace

int take_error(Socket& socket) noexcept {
    int& error = error_of(socket);
    if (error == 0) [[likely]] {
        return 0;
    }
    const Guard guard(layer());
    return std::exchange(error, 0);
}

void leave_error(Socket& socket, int error) noexcept {
    constexpr int kernel_restart = 512;  // Linux leaves its own code (ERESTARTSYS) of a call that was interrupted, and tells it
    const Guard guard(layer());
    error_of(socket) = error == EINTR && socket.rcvtimeo == Duration::max() ? kernel_restart : error;
}

}  // namespace shunt::socket
