// System calls made directly, past libc's names. The shim defines those names itself (read, close, poll, ...), and our
// own use of them must never come back to us. Results are as the kernel gives them: >= 0, or -errno; errno is untouched.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

namespace shunt::sys {

inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) noexcept {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

template <class T>
long word(T* pointer) noexcept {
    return reinterpret_cast<long>(pointer);
}

inline long read(int fd, void* buffer, std::size_t size) noexcept {
    return call(SYS_read, fd, word(buffer), static_cast<long>(size));
}
inline long write(int fd, const void* buffer, std::size_t size) noexcept {
    return call(SYS_write, fd, word(buffer), static_cast<long>(size));
}
inline long close(int fd) noexcept {
    return call(SYS_close, fd);
}
inline long socket(int domain, int type, int protocol) noexcept {
    return call(SYS_socket, domain, type, protocol);
}
inline long getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
    return call(SYS_getsockopt, fd, level, name, word(value), word(length));
}
inline long setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
    return call(SYS_setsockopt, fd, level, name, word(value), length);
}
inline long getsockname(int fd, sockaddr* address, socklen_t* length) noexcept {
    return call(SYS_getsockname, fd, word(address), word(length));
}
inline long bind(int fd, const sockaddr* address, socklen_t length) noexcept {
    return call(SYS_bind, fd, word(address), length);
}
inline long accept4(int fd, sockaddr* address, socklen_t* length, int flags) noexcept {
    return call(SYS_accept4, fd, word(address), word(length), flags);
}
inline long sendmsg(int fd, const msghdr* message, int flags) noexcept {
    return call(SYS_sendmsg, fd, word(message), flags);
}
inline long recvmsg(int fd, msghdr* message, int flags) noexcept {
    return call(SYS_recvmsg, fd, word(message), flags);
}
inline long fcntl(int fd, int command, long argument = 0) noexcept {
    return call(SYS_fcntl, fd, command, argument);
}
// `timeout` is not modified (the kernel's remainder goes to a copy). Null: wait for ever.
inline long ppoll(pollfd* fds, std::size_t count, const timespec* timeout, const sigset_t* mask) noexcept {
    timespec copy{};
    if (timeout != nullptr) {
        copy = *timeout;
    }
    return call(SYS_ppoll, word(fds), static_cast<long>(count), timeout != nullptr ? word(&copy) : 0, word(mask), 8);
}
inline long epoll_create1(int flags) noexcept {
    return call(SYS_epoll_create1, flags);
}
inline long epoll_ctl(int epfd, int operation, int fd, epoll_event* event) noexcept {
    return call(SYS_epoll_ctl, epfd, operation, fd, word(event));
}
inline long epoll_pwait(int epfd, epoll_event* events, int max_events, int timeout_ms, const sigset_t* mask) noexcept {
    return call(SYS_epoll_pwait, epfd, word(events), max_events, timeout_ms, word(mask), 8);
}
inline long eventfd(unsigned initial, int flags) noexcept {
    return call(SYS_eventfd2, static_cast<long>(initial), flags);
}
inline long gettid() noexcept {
    return call(SYS_gettid);
}
inline long getpid() noexcept {
    return call(SYS_getpid);
}
inline long futex(std::uint32_t* address, int operation, std::uint32_t value, const timespec* timeout = nullptr) noexcept {
    return call(SYS_futex, word(address), operation, static_cast<long>(value), word(timeout));
}
inline long sigprocmask(int how, const sigset_t* set, sigset_t* old) noexcept {
    return call(SYS_rt_sigprocmask, how, word(set), word(old), 8);
}

}  // namespace shunt::sys
