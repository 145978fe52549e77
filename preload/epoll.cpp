// The epoll names. A set without a socket of ours is the kernel's alone; the bookkeeping is in epoll_records.cpp.
#include <sys/epoll.h>
#include <sys/single_threaded.h>

#include "preload/cancel.hpp"
#include "preload/epoll_records.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/process.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

int remember(int fd) noexcept {
    if (active && fd >= 0 && is_this_process()) {
        add_epoll(fd);
    }
    return fd;
}

// Nothing in the set is ours, and nothing can become so during the call: nobody else is there to add it, or there is no waiting.
bool is_kernels(int epfd, bool only_asks) noexcept {
    settled(epfd);
    return fds.epoll_of(epfd) == nullptr || ((only_asks || __libc_single_threaded != 0) && filled_set_of(epfd) == nullptr);
}

int wait_ms(int epfd, epoll_event* events, int max_events, int timeout_ms, const sigset_t* mask) {
    const timespec timeout{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000L};
    return answer(cancellable([&] { return wait(*fds.epoll_of(epfd), epfd, events, max_events, timeout_ms < 0 ? nullptr : &timeout, mask); }));
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT int epoll_create(int size) noexcept {
    return remember(real.epoll_create(size));
}
SHUNT_EXPORT int epoll_create1(int flags) noexcept {
    return remember(real.epoll_create1(flags));
}
SHUNT_EXPORT int epoll_ctl(int epfd, int operation, int fd, epoll_event* event) noexcept {
    EpollRecord* record = fds.epoll_of(epfd);
    const Word word = settled(fd);
    if (record != nullptr && word.is_socket()) {
        return answer(control_socket(*record, epfd, operation, fd, word, event));
    }
    if (record != nullptr && word.is_candidate()) {
        return answer(control_candidate(*record, epfd, operation, fd, event));
    }
    if (record != nullptr && word.kind() == Kind::epoll) {
        return answer(control_nested(*record, epfd, operation, fd, word.record(), event));
    }
    return real.epoll_ctl(epfd, operation, fd, event);
}
SHUNT_EXPORT int epoll_wait(int epfd, epoll_event* events, int max_events, int timeout_ms) {
    return is_kernels(epfd, timeout_ms == 0) ? real.epoll_wait(epfd, events, max_events, timeout_ms) : wait_ms(epfd, events, max_events, timeout_ms, nullptr);
}
SHUNT_EXPORT int epoll_pwait(int epfd, epoll_event* events, int max_events, int timeout_ms, const sigset_t* mask) {
    return is_kernels(epfd, timeout_ms == 0) ? real.epoll_pwait(epfd, events, max_events, timeout_ms, mask)
                                             : wait_ms(epfd, events, max_events, timeout_ms, mask);
}
SHUNT_EXPORT int epoll_pwait2(int epfd, epoll_event* events, int max_events, const timespec* timeout, const sigset_t* mask) {
    const bool only_asks = timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0;
    if (is_kernels(epfd, only_asks) || (timeout != nullptr && !is_valid(*timeout))) {
        return real.epoll_pwait2(epfd, events, max_events, timeout, mask);
    }
    return answer(cancellable([&] { return wait(*fds.epoll_of(epfd), epfd, events, max_events, timeout, mask); }));
}
}
