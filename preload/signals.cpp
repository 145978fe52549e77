// sigaction and its relatives. A handler is installed behind a wrapper; the program is shown its own.
//
// While a thread is inside the stack, or holds the shim's lock, the wrapper only remembers the signal, and blocks all others until the
// handler has run at the first safe moment: so one place to remember is enough, and the kernel queues the rest as it would.
// Handlers of synchronous faults are not wrapped: they must run at once, or the fault comes back for ever.
#include "preload/signals.hpp"

#include <ucontext.h>

#include <atomic>
#include <cstring>

#include "preload/libc.hpp"
#include "preload/lock.hpp"
#include "preload/shim.hpp"
#include "socket/socket.hpp"

namespace shunt::preload {
namespace {

constexpr int signals_end = 65;

struct Action {
    struct sigaction action {};
};

// The latest setting of each signal. A handler may read while another thread writes: it writes the next of four places.
struct Saved {
    Action places[4];
    std::atomic<unsigned> current{0};
};
Saved saved[signals_end];
std::atomic<std::uint64_t> interrupting{0};  // siginterrupt(signal, 1): signal(2) does not set SA_RESTART

struct Deferred {
    volatile bool is_pending = false;
    int signal = 0;
    siginfo_t info;
    ucontext_t context;
    struct sigaction action;
    sigset_t mask;  // the thread's, before
};
constinit thread_local Deferred deferred{};

bool is_synchronous(int signal) noexcept {
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGTRAP || signal == SIGSYS;
}

const struct sigaction& action_of(int signal) noexcept {
    Saved& place = saved[signal];
    return place.places[place.current.load(std::memory_order_acquire) % 4].action;
}

// What may be blocked while a handler waits: neither faults nor the two signals that belong to libc.
void block_most(sigset_t& mask) noexcept {
    sigset_t most;
    sigfillset(&most);  // leaves libc's own out
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
        sigdelset(&most, signal);
    }
    sigorset(&mask, &mask, &most);
}

void call_handler(const struct sigaction& action, int signal, siginfo_t* info, void* context) {
    if ((action.sa_flags & SA_SIGINFO) != 0) {
        action.sa_sigaction(signal, info, context);
    } else {
        action.sa_handler(signal);
    }
    socket::note_handled_signal((action.sa_flags & SA_RESTART) != 0);
}

void on_signal(int signal, siginfo_t* info, void* context) {
    const struct sigaction action = action_of(signal);
    const bool must_wait = is_lock_held() || socket::defer_signal();
    if (!must_wait) {
        call_handler(action, signal, info, context);
        return;
    }
    auto* where = static_cast<ucontext_t*>(context);
    deferred.signal = signal;
    deferred.info = *info;
    deferred.context = *where;
    deferred.context.uc_mcontext.fpregs = nullptr;  // lies on a frame that is gone by then
    deferred.action = action;
    deferred.mask = where->uc_sigmask;
    block_most(where->uc_sigmask);
    deferred.is_pending = true;
}

bool is_handler(const struct sigaction& action) noexcept {
    return (action.sa_flags & SA_SIGINFO) != 0 || (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

int set_action(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
    if (!active || signal <= 0 || signal >= signals_end) {
        return real.sigaction(signal, action, old);
    }
    const struct sigaction previous = action_of(signal);
    struct sigaction wrapped {};
    const struct sigaction* installed = action;
    if (action != nullptr && is_handler(*action) && !is_synchronous(signal)) {
        Saved& place = saved[signal];
        const unsigned next = place.current.load(std::memory_order_relaxed) + 1;
        place.places[next % 4].action = *action;
        place.current.store(next, std::memory_order_release);
        wrapped = *action;
        wrapped.sa_flags |= SA_SIGINFO;
        wrapped.sa_sigaction = on_signal;
        installed = &wrapped;
    }
    struct sigaction kernel_old {};
    const int result = real.sigaction(signal, installed, &kernel_old);
    if (result == 0 && old != nullptr) {
        // Asking the kernel covers SA_RESETHAND: after it fired, our wrapper is not there any more.
        *old = (kernel_old.sa_flags & SA_SIGINFO) != 0 && kernel_old.sa_sigaction == on_signal ? previous : kernel_old;
    }
    return result;
}

__sighandler_t set_handler(int signal, __sighandler_t handler, int flags, bool blocks_itself) noexcept {
    if (handler == SIG_ERR || signal <= 0 || signal >= signals_end) {
        errno = EINVAL;
        return SIG_ERR;
    }
    struct sigaction action {}, old {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    if (blocks_itself) {
        sigaddset(&action.sa_mask, signal);
    }
    return set_action(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

__sighandler_t bsd_style(int signal, __sighandler_t handler) noexcept {
    const bool interrupts = signal > 0 && signal < signals_end && (interrupting.load() >> (signal - 1) & 1) != 0;
    return set_handler(signal, handler, interrupts ? 0 : SA_RESTART, true);
}

}  // namespace

void run_deferred_handler() noexcept {
    if (__builtin_expect(!deferred.is_pending, true) || is_lock_held()) {
        return;
    }
    if (socket::defer_signal()) {
        return;  // still inside the stack, which calls again
    }
    const int error = errno;
    const struct sigaction action = deferred.action;
    const int signal = deferred.signal;
    const sigset_t before = deferred.mask;
    siginfo_t info = deferred.info;
    ucontext_t context = deferred.context;
    deferred.is_pending = false;  // from here on the next one may wait
    sigset_t during = before;
    sigorset(&during, &during, &action.sa_mask);
    if ((action.sa_flags & SA_NODEFER) == 0) {
        sigaddset(&during, signal);
    }
    sys::sigprocmask(SIG_SETMASK, &during, nullptr);
    call_handler(action, signal, &info, &context);
    sys::sigprocmask(SIG_SETMASK, &before, nullptr);
    errno = error;
}

}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT int sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
    return set_action(signal, action, old);
}
SHUNT_EXPORT int __sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
    return set_action(signal, action, old);
}
SHUNT_EXPORT __sighandler_t signal(int number, __sighandler_t handler) noexcept {
    return bsd_style(number, handler);
}
SHUNT_EXPORT __sighandler_t bsd_signal(int number, __sighandler_t handler) noexcept {
    return bsd_style(number, handler);
}
SHUNT_EXPORT __sighandler_t ssignal(int number, __sighandler_t handler) noexcept {
    return bsd_style(number, handler);
}
SHUNT_EXPORT __sighandler_t sysv_signal(int number, __sighandler_t handler) noexcept {
    return set_handler(number, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER), false);
}
SHUNT_EXPORT __sighandler_t __sysv_signal(int number, __sighandler_t handler) noexcept {
    return set_handler(number, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER), false);
}
SHUNT_EXPORT __sighandler_t sigset(int number, __sighandler_t handler) noexcept {
    sigset_t only, before;
    sigemptyset(&only);
    if (sigaddset(&only, number) != 0) {
        return SIG_ERR;
    }
    if (handler == SIG_HOLD) {
        struct sigaction old {};
        if (sigprocmask(SIG_BLOCK, &only, &before) != 0 || set_action(number, nullptr, &old) != 0) {
            return SIG_ERR;
        }
        return sigismember(&before, number) != 0 ? SIG_HOLD : old.sa_handler;
    }
    const __sighandler_t old = set_handler(number, handler, 0, false);
    if (old == SIG_ERR || sigprocmask(SIG_UNBLOCK, &only, &before) != 0) {
        return SIG_ERR;
    }
    return sigismember(&before, number) != 0 ? SIG_HOLD : old;
}
SHUNT_EXPORT int siginterrupt(int number, int interrupt) noexcept {
    struct sigaction action {};
    if (set_action(number, nullptr, &action) != 0) {
        return -1;
    }
    const std::uint64_t bit = std::uint64_t{1} << (number - 1);
    if (interrupt != 0) {
        interrupting.fetch_or(bit);
        action.sa_flags &= ~SA_RESTART;
    } else {
        interrupting.fetch_and(~bit);
        action.sa_flags |= SA_RESTART;
    }
    return set_action(number, &action, nullptr);
}
}
