// Stand-ins first (a constant table, so that it is there before any code runs), libc's own functions from resolve() on.
#include "preload/libc.hpp"

#include <dlfcn.h>

#include <cstdarg>
#include <type_traits>

#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

template <class T>
long as_word(T value) noexcept {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<long>(value);
    } else {
        return static_cast<long>(value);
    }
}

// The system call of the same meaning and arguments.
template <long Number, class Function>
struct Raw;
template <long Number, class Result, class... Arguments>
struct Raw<Number, Result (*)(Arguments...)> {
    static Result call(Arguments... arguments) { return answer<Result>(sys::call(Number, as_word(arguments)...)); }
};

int early_fcntl(int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    const long argument = va_arg(list, long);
    va_end(list);
    return answer(sys::fcntl(fd, command, argument));
}

int early_ioctl(int fd, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    const long argument = va_arg(list, long);
    va_end(list);
    return answer(sys::call(SYS_ioctl, fd, static_cast<long>(request), argument));
}

template <class Function>
void look_up(Function& slot, const char* name) noexcept {
    if (void* found = dlsym(RTLD_NEXT, name); found != nullptr) {
        slot = reinterpret_cast<Function>(found);
    }
}

}  // namespace

#define RAW(name) .name = Raw<SYS_##name, decltype(Libc::name)>::call
// Looks the one name up at its first call: before constructors only another library's constructor can get here.
#define LATE(name)                       \
    .name = [](auto... arguments) {      \
        look_up(real.name, #name);       \
        return real.name(arguments...);  \
    }

// clang-format off
constinit Libc real = {
    RAW(socket), RAW(bind), RAW(listen), RAW(accept4), RAW(accept), RAW(connect), RAW(shutdown), RAW(getsockname), RAW(getpeername),
    RAW(getsockopt), RAW(setsockopt), RAW(read), RAW(write), RAW(readv), RAW(writev),
    LATE(preadv2), LATE(pwritev2),
    .send = [](int fd, const void* data, size_t size, int flags) {
        return answer<ssize_t>(sys::call(SYS_sendto, fd, as_word(data), as_word(size), flags));
    },
    RAW(sendto), RAW(sendmsg), RAW(sendmmsg),
    .recv = [](int fd, void* data, size_t size, int flags) {
        return answer<ssize_t>(sys::call(SYS_recvfrom, fd, as_word(data), as_word(size), flags));
    },
    RAW(recvfrom), RAW(recvmsg), RAW(recvmmsg), RAW(sendfile), RAW(splice), RAW(close), RAW(close_range), RAW(dup), RAW(dup2), RAW(dup3),
    .fcntl64 = early_fcntl,
    .ioctl = early_ioctl,
    RAW(poll), LATE(ppoll), RAW(select), LATE(pselect), RAW(epoll_create), RAW(epoll_create1), RAW(epoll_ctl), RAW(epoll_wait),
    LATE(epoll_pwait), LATE(epoll_pwait2), LATE(pthread_cancel), LATE(pthread_setcanceltype), LATE(aio_read), LATE(aio_write), LATE(lio_listio),
    LATE(sigaction), LATE(fork),
    .exit_now = [](int status) { sys::call(SYS_exit_group, status); },
    LATE(fdopen), LATE(freopen), LATE(fclose), LATE(vdprintf), LATE(__vdprintf_chk), RAW(execve), LATE(execv), LATE(execvp), LATE(execvpe),
    RAW(execveat), LATE(posix_spawn), LATE(posix_spawnp), LATE(getifaddrs), LATE(freeifaddrs), LATE(if_nametoindex), LATE(if_indextoname), LATE(if_nameindex), LATE(fexecve),
};
// clang-format on

void resolve() noexcept {
#define FIND(name) look_up(real.name, #name)
    FIND(socket), FIND(bind), FIND(listen), FIND(accept4), FIND(accept), FIND(connect), FIND(shutdown), FIND(getsockname);
    FIND(getpeername), FIND(getsockopt), FIND(setsockopt), FIND(read), FIND(write), FIND(readv), FIND(writev), FIND(preadv2), FIND(pwritev2), FIND(send);
    FIND(sendto), FIND(sendmsg), FIND(sendmmsg), FIND(recv), FIND(recvfrom), FIND(recvmsg), FIND(recvmmsg), FIND(sendfile), FIND(splice);
    FIND(close), FIND(close_range), FIND(dup), FIND(dup2), FIND(dup3), FIND(fcntl64), FIND(ioctl), FIND(poll), FIND(ppoll);
    FIND(select), FIND(pselect), FIND(epoll_create), FIND(epoll_create1), FIND(epoll_ctl), FIND(epoll_wait), FIND(epoll_pwait);
    FIND(epoll_pwait2), FIND(pthread_cancel), FIND(pthread_setcanceltype), FIND(aio_read), FIND(aio_write), FIND(lio_listio), FIND(sigaction), FIND(fork);
    FIND(fdopen), FIND(freopen), FIND(fclose);
    FIND(vdprintf), FIND(__vdprintf_chk), FIND(execve), FIND(execv), FIND(execvp), FIND(execvpe), FIND(execveat), FIND(fexecve);
    FIND(posix_spawn), FIND(posix_spawnp);
    FIND(getifaddrs), FIND(freeifaddrs), FIND(if_nametoindex), FIND(if_indextoname), FIND(if_nameindex);
    look_up(real.exit_now, "_exit");
#undef FIND
}

}  // namespace shunt::preload
