// pthread_cancel: libc notes it; then whoever sleeps in a call of ours looks whether it is meant (is_cancelled, asked by socket::wait). Acting is
// pthread_testcancel's, in the exported function, where nothing is held and no frame forbids to unwind.
#include "preload/cancel.hpp"

#include <algorithm>
#include <array>
#include <atomic>

#include "base/sys.hpp"
#include "preload/libc.hpp"
#include "preload/shim.hpp"
#include "socket/runtime.hpp"

namespace shunt::preload {
namespace {

// Threads that have been cancelled and have not shown up since. One that libc took care of stays until its number comes again, or its place is needed.
constinit std::array<std::atomic<pthread_t>, 64> targets{};
constinit std::atomic<unsigned> next_target{0};
constinit thread_local bool is_marked = false;

bool is_cancelled() noexcept {
    const pthread_t self = pthread_self();
    if (std::none_of(targets.begin(), targets.end(), [self](const auto& each) { return each.load(std::memory_order_relaxed) == self; })) {
        return false;
    }
    int state = 0;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_setcancelstate(state, nullptr);
    is_marked = state == PTHREAD_CANCEL_ENABLE;
    return is_marked;
}

int cancel(pthread_t thread) {
    const int result = real.pthread_cancel(thread);
    if (result == 0 && active) {
        targets.at(next_target.fetch_add(1) % targets.size()).store(thread);
        fds.set_careful();
        socket::set_cancel_test(is_cancelled);
        if (socket::Runtime::instance().is_started()) {
            socket::wake_all();
        }
    }
    return result;
}

// Inside the stack are locks, and frames that must not be unwound, and it may be anywhere in the program's call. So a thread that may be cancelled at any
// time is cancelled at its next cancellation point, which POSIX allows.
int set_cancel_type(int type, int* old) {
    static thread_local int wished = PTHREAD_CANCEL_DEFERRED;
    if (!active || (type != PTHREAD_CANCEL_ASYNCHRONOUS && type != PTHREAD_CANCEL_DEFERRED)) {
        return real.pthread_setcanceltype(type, old);
    }
    if (old != nullptr) {
        *old = wished;
    }
    wished = type;
    if (type == PTHREAD_CANCEL_ASYNCHRONOUS) {
        pthread_testcancel();
    }
    return 0;
}

}  // namespace

bool take_cancel_mark() noexcept {
    if (!is_marked) {
        return false;
    }
    is_marked = false;
    for (auto& each : targets) {
        pthread_t self = pthread_self();
        each.compare_exchange_strong(self, 0);
    }
    return true;
}

}  // namespace shunt::preload

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT int pthread_cancel(pthread_t thread) {
    return shunt::preload::cancel(thread);
}
SHUNT_EXPORT int pthread_setcanceltype(int type, int* old) {
    return shunt::preload::set_cancel_type(type, old);
}
}
