// The real libc behind the names that we take. Usable at any time, also before constructors have run: until resolve() the plain
// system call (or, where there is none that does the same, a look-up at the first call) stands in. Nothing here allocates.
// Calls go to libc's functions, not to system calls, once it is known: so cancellation points stay libc's own.
#pragma once

#include <aio.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdarg>
#include <cstdio>

namespace shunt::preload {

struct Libc {
    int (*socket)(int, int, int);
    int (*bind)(int, const sockaddr*, socklen_t);
    int (*listen)(int, int);
    int (*accept4)(int, sockaddr*, socklen_t*, int);
    int (*accept)(int, sockaddr*, socklen_t*);
    int (*connect)(int, const sockaddr*, socklen_t);
    int (*shutdown)(int, int);
    int (*getsockname)(int, sockaddr*, socklen_t*);
    int (*getpeername)(int, sockaddr*, socklen_t*);
    int (*getsockopt)(int, int, int, void*, socklen_t*);
    int (*setsockopt)(int, int, int, const void*, socklen_t);
    ssize_t (*read)(int, void*, size_t);
    ssize_t (*write)(int, const void*, size_t);
    ssize_t (*readv)(int, const iovec*, int);
    ssize_t (*writev)(int, const iovec*, int);
    ssize_t (*preadv2)(int, const iovec*, int, off_t, int);
    ssize_t (*pwritev2)(int, const iovec*, int, off_t, int);
    ssize_t (*send)(int, const void*, size_t, int);
    ssize_t (*sendto)(int, const void*, size_t, int, const sockaddr*, socklen_t);
    ssize_t (*sendmsg)(int, const msghdr*, int);
    int (*sendmmsg)(int, mmsghdr*, unsigned, int);
    ssize_t (*recv)(int, void*, size_t, int);
    ssize_t (*recvfrom)(int, void*, size_t, int, sockaddr*, socklen_t*);
    ssize_t (*recvmsg)(int, msghdr*, int);
    int (*recvmmsg)(int, mmsghdr*, unsigned, int, timespec*);
    ssize_t (*sendfile)(int, int, off_t*, size_t);
    ssize_t (*splice)(int, off64_t*, int, off64_t*, size_t, unsigned);
    int (*close)(int);
    int (*close_range)(unsigned, unsigned, int);
    int (*dup)(int);
    int (*dup2)(int, int);
    int (*dup3)(int, int, int);
    int (*fcntl64)(int, int, ...);
    int (*ioctl)(int, unsigned long, ...);
    int (*poll)(pollfd*, nfds_t, int);
    int (*ppoll)(pollfd*, nfds_t, const timespec*, const sigset_t*);
    int (*select)(int, fd_set*, fd_set*, fd_set*, timeval*);
    int (*pselect)(int, fd_set*, fd_set*, fd_set*, const timespec*, const sigset_t*);
    int (*epoll_create)(int);
    int (*epoll_create1)(int);
    int (*epoll_ctl)(int, int, int, epoll_event*);
    int (*epoll_wait)(int, epoll_event*, int, int);
    int (*epoll_pwait)(int, epoll_event*, int, int, const sigset_t*);
    int (*epoll_pwait2)(int, epoll_event*, int, const timespec*, const sigset_t*);
    int (*pthread_cancel)(pthread_t);
    int (*pthread_setcanceltype)(int, int*);
    int (*aio_read)(aiocb*);
    int (*aio_write)(aiocb*);
    int (*lio_listio)(int, aiocb* const*, int, sigevent*);
    int (*sigaction)(int, const struct sigaction*, struct sigaction*);
    pid_t (*fork)();
    void (*exit_now)(int);  // _exit
    FILE* (*fdopen)(int, const char*);
    FILE* (*freopen)(const char*, const char*, FILE*);
    int (*fclose)(FILE*);
    int (*vdprintf)(int, const char*, va_list);
    int (*__vdprintf_chk)(int, int, const char*, va_list);
    int (*execve)(const char*, char* const*, char* const*);
    int (*execv)(const char*, char* const*);
    int (*execvp)(const char*, char* const*);
    int (*execvpe)(const char*, char* const*, char* const*);
    int (*execveat)(int, const char*, char* const*, char* const*, int);
    int (*posix_spawn)(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*, char* const*, char* const*);
    int (*posix_spawnp)(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*, char* const*, char* const*);
    int (*getifaddrs)(struct ifaddrs**);
    void (*freeifaddrs)(struct ifaddrs*);
    unsigned (*if_nametoindex)(const char*);
    char* (*if_indextoname)(unsigned, char*);
    struct if_nameindex* (*if_nameindex)();
    int (*fexecve)(int, char* const*, char* const*);
};

extern Libc real;

// Looks all names up; called by the constructor. Calls of this thread that come in meanwhile take the stand-ins.
void resolve() noexcept;

}  // namespace shunt::preload
