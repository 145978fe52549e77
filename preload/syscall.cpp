// syscall(): a socket call by its number is the call of that name. All else is the system call, as libc makes it.
// io_uring would go past us, straight to the kernel's sockets: it is refused, so that a program takes its other way.
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>

#include "base/log.hpp"
#include "preload/shim.hpp"

extern "C" {
int __close(int fd);
ssize_t sendfile(int out, int in, off_t* offset, size_t size) noexcept;
int close_range(unsigned first, unsigned last, int flags) noexcept;
}

namespace shunt::preload {
namespace {

template <class T>
T as(long value) noexcept {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<T>(value);
    } else {
        return static_cast<T>(value);
    }
}

// The arguments of a system call, as the function of libc's takes them.
template <class Result, class... Arguments>
long pass(Result (*function)(Arguments...), const long* arguments) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) { return static_cast<long>(function(as<Arguments>(arguments[I])...)); }(std::index_sequence_for<Arguments...>{});
}
template <class Result, class... Arguments>
long pass(Result (*function)(Arguments...) noexcept, const long* arguments) {
    return pass(static_cast<Result (*)(Arguments...)>(function), arguments);
}

long refuse_io_uring() noexcept {
    static std::atomic<bool> is_told{false};
    if (!is_told.exchange(true)) {
        log::warning("io_uring is refused (ENOSYS), because it would use the kernel's sockets and not Shunt's");
    }
    return -ENOSYS;
}

template <class Last>
int open_ring(const char* name, unsigned entries, void* ring, Last last) noexcept {
    void* next = active ? nullptr : dlsym(RTLD_NEXT, name);
    return next != nullptr ? reinterpret_cast<int (*)(unsigned, void*, Last)>(next)(entries, ring, last) : static_cast<int>(refuse_io_uring());
}

// The mask of pselect6 comes in a structure.
long select_six(const long* a) {
    struct Mask {
        const sigset_t* mask;
        std::size_t size;
    };
    const auto* mask = as<const Mask*>(a[5]);
    return ::pselect(as<int>(a[0]), as<fd_set*>(a[1]), as<fd_set*>(a[2]), as<fd_set*>(a[3]), as<const timespec*>(a[4]), mask != nullptr ? mask->mask : nullptr);
}

long by_number(long number, const long* a) {
    switch (number) {
        case SYS_socket: return pass(::socket, a);
        case SYS_bind: return pass(::bind, a);
        case SYS_listen: return pass(::listen, a);
        case SYS_accept: return pass(::accept, a);
        case SYS_accept4: return pass(::accept4, a);
        case SYS_connect: return pass(::connect, a);
        case SYS_shutdown: return pass(::shutdown, a);
        case SYS_getsockname: return pass(::getsockname, a);
        case SYS_getpeername: return pass(::getpeername, a);
        case SYS_getsockopt: return pass(::getsockopt, a);
        case SYS_setsockopt: return pass(::setsockopt, a);
        case SYS_read: return pass(::read, a);
        case SYS_write: return pass(::write, a);
        case SYS_readv: return pass(::readv, a);
        case SYS_writev: return pass(::writev, a);
        case SYS_sendto: return pass(::sendto, a);
        case SYS_sendmsg: return pass(::sendmsg, a);
        case SYS_sendmmsg: return pass(::sendmmsg, a);
        case SYS_recvfrom: return pass(::recvfrom, a);
        case SYS_recvmsg: return pass(::recvmsg, a);
        case SYS_recvmmsg: return pass(::recvmmsg, a);
        case SYS_sendfile: return pass(::sendfile, a);
        case SYS_splice: return pass(::splice, a);
        case SYS_close: return pass(::__close, a);
        case SYS_close_range: return pass(::close_range, a);
        case SYS_dup: return pass(::dup, a);
        case SYS_dup2: return pass(::dup2, a);
        case SYS_dup3: return pass(::dup3, a);
        case SYS_fcntl: return ::fcntl(as<int>(a[0]), as<int>(a[1]), a[2]);
        case SYS_ioctl: return ::ioctl(as<int>(a[0]), as<unsigned long>(a[1]), a[2]);
        case SYS_poll: return pass(::poll, a);
        case SYS_ppoll: return pass(::ppoll, a);
        case SYS_select: return pass(::select, a);
        case SYS_pselect6: return select_six(a);
        case SYS_epoll_create: return pass(::epoll_create, a);
        case SYS_epoll_create1: return pass(::epoll_create1, a);
        case SYS_epoll_ctl: return pass(::epoll_ctl, a);
        case SYS_epoll_wait: return pass(::epoll_wait, a);
        case SYS_epoll_pwait: return pass(::epoll_pwait, a);
        case SYS_epoll_pwait2: return pass(::epoll_pwait2, a);
        case SYS_execve: return pass(::execve, a);
        case SYS_io_uring_setup: return active ? answer<long>(refuse_io_uring()) : answer<long>(sys::call(number, a[0], a[1]));
        default: return answer<long>(sys::call(number, a[0], a[1], a[2], a[3], a[4], a[5]));
    }
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
// Under a name of its own, since unistd.h declares it with dots. Whoever calls it gives as many arguments as the system call has; all six are where they
// would be.
SHUNT_EXPORT long call_by_number(long number, long a, long b, long c, long d, long e, long f) __asm__("syscall");
long call_by_number(long number, long a, long b, long c, long d, long e, long f) {
    const long arguments[] = {a, b, c, d, e, f};
    return by_number(number, arguments);
}
// liburing's own: its system calls are its own instructions.
SHUNT_EXPORT int io_uring_queue_init(unsigned entries, void* ring, unsigned flags) {
    return open_ring("io_uring_queue_init", entries, ring, flags);
}
SHUNT_EXPORT int io_uring_queue_init_params(unsigned entries, void* ring, void* parameters) {
    return open_ring("io_uring_queue_init_params", entries, ring, parameters);
}
}
