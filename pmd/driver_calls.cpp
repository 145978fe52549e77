// See driver_calls.hpp. The functions have libc's contracts: -1 and errno on failure.
#include "pmd/driver_calls.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "base/sys.hpp"
#include "pmd/control.hpp"

namespace shunt::pmd {
namespace {

// 0: not yet known.
std::atomic<int> fd_base{0};

std::atomic<void (*)(std::string_view)> log_sink{nullptr};

std::atomic<void (*)(int, bool)> watcher{nullptr};

// Which descriptors are ours, a bit each; those above are not known, and nothing of ours gets there.
constexpr int known_max = 1 << 20;
std::array<std::atomic<std::uint64_t>, known_max / 64> ours{};

void note_ours(int fd, bool is) noexcept {
    if (fd >= 0 && fd < known_max) {
        const std::uint64_t bit = std::uint64_t{1} << (fd % 64);
        is ? ours[static_cast<std::size_t>(fd / 64)].fetch_or(bit) : ours[static_cast<std::size_t>(fd / 64)].fetch_and(~bit);
        if (auto* tell = watcher.load()) {
            tell(fd, is);
        }
    }
}

template <class T>
T outcome(long result) noexcept {
    if (result < 0) {
        errno = static_cast<int>(-result);
        return static_cast<T>(-1);
    }
    return static_cast<T>(result);
}

int fresh(long fd) noexcept {
    return outcome<int>(fd < 0 ? fd : move_up(fd));
}

}  // namespace

int internal_fd_base() noexcept {
    int base = fd_base.load(std::memory_order_relaxed);
    if (base == 0) {
        rlimit limit{};
        sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, sys::word(&limit));
        // Three quarters up, but no higher than needed: the kernel's table of descriptors grows with the highest one in use.
        base = static_cast<int>(std::clamp<rlim_t>(limit.rlim_cur / 4 * 3, 3, 16384));
        fd_base.store(base, std::memory_order_relaxed);
    }
    return base;
}

int move_up(long fd) noexcept {
    if (fd < 0) {
        return static_cast<int>(fd);
    }
    const long moved = fd >= internal_fd_base() ? -1 : sys::fcntl(static_cast<int>(fd), F_DUPFD_CLOEXEC, internal_fd_base());
    if (moved < 0) {
        sys::fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC);
    } else {
        sys::close(static_cast<int>(fd));
    }
    const int settled = static_cast<int>(moved < 0 ? fd : moved);
    note_ours(settled, true);
    return settled;
}

void close_ours(int fd) noexcept {
    note_ours(fd, false);
    sys::close(fd);
}

bool is_ours(int fd) noexcept {
    return fd >= 0 && fd < known_max && (ours[static_cast<std::size_t>(fd / 64)].load() >> (fd % 64) & 1) != 0;
}

void set_descriptor_watcher(void (*tell)(int fd, bool is_ours)) noexcept {
    watcher.store(tell);
}

void set_log_sink(void (*take)(std::string_view)) noexcept {
    log_sink.store(take);
}

}  // namespace shunt::pmd

using shunt::pmd::fresh;
using shunt::pmd::move_up;
using shunt::pmd::outcome;
namespace sys = shunt::sys;

// Each is called from DPDK's objects only, hence no declaration in a header.
#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
int __sigaction(int signal, const struct sigaction* action, struct sigaction* old);   // libc's own, whoever defines sigaction

int shunt_driver_open(const char* path, int flags, mode_t mode) {
    return fresh(sys::call(SYS_openat, AT_FDCWD, sys::word(path), flags, mode));
}
int shunt_driver_openat(int folder, const char* path, int flags, mode_t mode) {
    return fresh(sys::call(SYS_openat, folder, sys::word(path), flags, mode));
}
int shunt_driver_socket(int domain, int type, int protocol) {
    return fresh(sys::socket(domain, type, protocol));
}
int shunt_driver_accept(int fd, sockaddr* address, socklen_t* length) {
    return fresh(sys::accept4(fd, address, length, SOCK_CLOEXEC));
}
int shunt_driver_eventfd(unsigned initial, int flags) {
    return fresh(sys::eventfd(initial, flags));
}
int shunt_driver_epoll_create(int) {
    return fresh(sys::epoll_create1(0));
}
int shunt_driver_epoll_create1(int flags) {
    return fresh(sys::epoll_create1(flags));
}
int shunt_driver_pipe(int* ends) {
    const long result = sys::call(SYS_pipe2, sys::word(ends), 0);
    if (result == 0) {
        ends[0] = move_up(ends[0]);
        ends[1] = move_up(ends[1]);
    }
    return outcome<int>(result);
}
int shunt_driver_memfd_create(const char* name, unsigned flags) {
    return fresh(sys::call(SYS_memfd_create, sys::word(name), static_cast<long>(flags)));
}
int shunt_driver_timerfd_create(int clock, int flags) {
    return fresh(sys::call(SYS_timerfd_create, clock, flags));
}
int shunt_driver_dup(int fd) {
    return fresh(sys::call(SYS_dup, fd));
}
int shunt_driver_close(int fd) {
    shunt::pmd::note_ours(fd, false);
    return outcome<int>(sys::close(fd));
}
ssize_t shunt_driver_read(int fd, void* buffer, std::size_t size) {
    return outcome<ssize_t>(sys::read(fd, buffer, size));
}
ssize_t shunt_driver_read_checked(int fd, void* buffer, std::size_t size, std::size_t room) {
    return outcome<ssize_t>(sys::read(fd, buffer, std::min(size, room)));
}
ssize_t shunt_driver_write(int fd, const void* buffer, std::size_t size) {
    return outcome<ssize_t>(sys::write(fd, buffer, size));
}
ssize_t shunt_driver_readv(int fd, const iovec* parts, int count) {
    return outcome<ssize_t>(sys::call(SYS_readv, fd, sys::word(parts), count));
}
ssize_t shunt_driver_writev(int fd, const iovec* parts, int count) {
    return outcome<ssize_t>(sys::call(SYS_writev, fd, sys::word(parts), count));
}
int shunt_driver_bind(int fd, const sockaddr* address, socklen_t length) {
    return outcome<int>(sys::bind(fd, address, length));
}
int shunt_driver_connect(int fd, const sockaddr* address, socklen_t length) {
    return outcome<int>(sys::call(SYS_connect, fd, sys::word(address), length));
}
int shunt_driver_listen(int fd, int backlog) {
    return outcome<int>(sys::call(SYS_listen, fd, backlog));
}
ssize_t shunt_driver_sendmsg(int fd, const msghdr* message, int flags) {
    return outcome<ssize_t>(sys::sendmsg(fd, message, flags | MSG_NOSIGNAL));
}
ssize_t shunt_driver_recvmsg(int fd, msghdr* message, int flags) {
    // A descriptor that arrives this way (memif's) is close-on-exec and moved up as well.
    const long result = sys::recvmsg(fd, message, flags | MSG_CMSG_CLOEXEC);
    if (result >= 0) {
        for (cmsghdr* c = CMSG_FIRSTHDR(message); c != nullptr; c = CMSG_NXTHDR(message, c)) {
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                int* fds = reinterpret_cast<int*>(CMSG_DATA(c));
                std::for_each(fds, fds + (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), [](int& each) { each = move_up(each); });
            }
        }
    }
    return outcome<ssize_t>(result);
}
ssize_t shunt_driver_send(int fd, const void* buffer, std::size_t size, int flags) {
    return outcome<ssize_t>(sys::call(SYS_sendto, fd, sys::word(buffer), static_cast<long>(size), flags));
}
ssize_t shunt_driver_recv(int fd, void* buffer, std::size_t size, int flags) {
    return outcome<ssize_t>(sys::call(SYS_recvfrom, fd, sys::word(buffer), static_cast<long>(size), flags));
}
ssize_t shunt_driver_sendto(int fd, const void* buffer, std::size_t size, int flags, const sockaddr* address, socklen_t length) {
    return outcome<ssize_t>(sys::call(SYS_sendto, fd, sys::word(buffer), static_cast<long>(size), flags, sys::word(address), length));
}
ssize_t shunt_driver_recvfrom(int fd, void* buffer, std::size_t size, int flags, sockaddr* address, socklen_t* length) {
    return outcome<ssize_t>(sys::call(SYS_recvfrom, fd, sys::word(buffer), static_cast<long>(size), flags, sys::word(address), sys::word(length)));
}
int shunt_driver_getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
    return outcome<int>(sys::getsockopt(fd, level, name, value, length));
}
int shunt_driver_setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
    return outcome<int>(sys::setsockopt(fd, level, name, value, length));
}
int shunt_driver_poll(pollfd* fds, nfds_t count, int timeout_ms) {
    return outcome<int>(sys::call(SYS_poll, sys::word(fds), static_cast<long>(count), timeout_ms));
}
int shunt_driver_epoll_ctl(int epfd, int operation, int fd, epoll_event* event) {
    return outcome<int>(sys::epoll_ctl(epfd, operation, fd, event));
}
int shunt_driver_epoll_wait(int epfd, epoll_event* events, int max_events, int timeout_ms) {
    shunt::pmd::wait_in_control_loop(epfd);
    return outcome<int>(sys::epoll_pwait(epfd, events, max_events, timeout_ms, nullptr));
}
// Variadic in libc; on x86-64 the callers put the third argument where a fixed one would be.
int shunt_driver_fcntl(int fd, int command, long argument) {
    return outcome<int>(sys::fcntl(fd, command, argument));
}
int shunt_driver_ioctl(int fd, unsigned long request, long argument) {
    return outcome<int>(sys::call(SYS_ioctl, fd, static_cast<long>(request), argument));
}
// Signals are the program's: net_tap wants a real-time one that tells of frames (and breaks off the program's poll), finds all in use, and
// reads at each burst instead. EAL needs SIGBUS while it touches fresh hugepages, and puts back what was there.
int shunt_driver_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
    if (signal == SIGBUS) {
        return __sigaction(signal, action, old);
    }
    if (action != nullptr) {
        errno = EBUSY;
        return -1;
    }
    *old = {};
    old->sa_handler = SIG_IGN;
    return 0;
}
// EAL sleeps only to calibrate, once, 100 ms. 10 ms suffice for a result that it rounds to 10 MHz.
int shunt_driver_nanosleep(const timespec* wanted, timespec* left) {
    timespec time = *wanted;
    if (time.tv_sec == 0 && time.tv_nsec == 100'000'000) {
        time.tv_nsec = 10'000'000;
    }
    return outcome<int>(sys::call(SYS_nanosleep, sys::word(&time), sys::word(left)));
}
// All that DPDK logs. Its stream is a FILE of the program's heap, which is not looked at, nor flushed: the keeper has no such heap.
int shunt_driver_log(FILE*, int, const char* format, va_list arguments) {
    char text[512];
    const int length = std::vsnprintf(text, sizeof text, format, arguments);
    if (auto* take = shunt::pmd::log_sink.load(); take != nullptr && length > 0) {
        take({text, std::min(static_cast<std::size_t>(length), sizeof text - 1)});
    }
    return length;
}
int shunt_driver_flush(FILE*) {
    return 0;
}
void shunt_driver_openlog(const char*, int, int) {}
void shunt_driver_closelog() {}
void shunt_driver_syslog(int, int, const char*, ...) {}
}
