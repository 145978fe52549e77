// The constructor reads the configuration, and only where there is one; everything else starts at the first socket that needs it.
//
// fork: parent and child have the same descriptors, so each holds a reference of every socket and epoll set; taken before the fork, so that the
// parent's close cannot be first. Done in pthread_atfork handlers, since daemon() and forkpty() do not call fork() by its name.
// The end: descriptors are closed as the kernel closes them, and what was written is delivered (Runtime::finish).
#include "preload/process.hpp"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>

#include "base/log.hpp"
#include "config/config.hpp"
#include "preload/epoll_records.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/lock.hpp"
#include "preload/open_side.hpp"
#include "preload/passing.hpp"
#include "preload/shim.hpp"
#include "preload/signals.hpp"

namespace shunt::preload {

bool active = false;

namespace {

using socket::Runtime;

constexpr int exit_configuration = 2;

std::atomic<long> process_id{0};

template <class F>
void for_each_socket(F f) noexcept {
    for (int fd = 0; fd < fds.end(); ++fd) {
        if (socket::Socket* each = fds.socket_of(fd)) {
            f(*each, fd);
        }
    }
}

void before_fork() {
    lock_for_fork();
    for (int fd = 0; fd < fds.end(); ++fd) {
        if (const Word word = fds.find(fd); word.is_candidate()) {
            fds.try_replace(fd, word, word.forked());
        }
    }
    fds.look_for_forked();
    if (Runtime::instance().is_started()) {
        socket::expect_child();
        for_each_socket([](socket::Socket& each, int) { socket::retain_for_child(each); });
        retain_all_sets_for_child();
    }
}

void after_fork_in_parent() {
    unlock_after_fork();
}

void after_fork_in_child() {
    process_id.store(sys::getpid());
    Runtime::instance().after_fork_in_child();
    if (Runtime::instance().is_started()) {
        socket::become_child();
    }
    forget_waiters();
    unlock_after_fork();
}

pid_t fork_any() {
    const bool is_shared = active && Runtime::instance().is_started();
    const pid_t child = real.fork();
    if (child != 0 && is_shared) {
        const int error = errno;
        socket::name_child(child);
        errno = error;
    }
    return child;
}

// A process ends once, in whichever of the ways.
void finish() noexcept {
    static std::atomic<long> finished{0};
    const long id = process_id.load();
    if (!active || !is_this_process() || finished.exchange(id) == id || !Runtime::instance().is_started()) {
        return;
    }
    if (socket::defer_signal() || is_lock_held()) {
        return;  // called from a fault inside the stack: nothing can be done for the connections
    }
    for (int fd = 0; fd < fds.end(); ++fd) {
        const Word word = fds.find(fd);
        if (word.is_socket()) {
            fds.take(fd);
        }
    }
    socket::leave_process();  // all at once; a process that ends does not linger
    Runtime::instance().finish();
}

void start() {
    if (!config::variable("SHUNT_LINK") && !config::variable("SHUNT_CONFIG")) {
        return;
    }
    auto config = config::from_environment();
    if (!config) {
        log::error("{}", config.error().message);
        real.exit_now(exit_configuration);
    }
    if (config::variable(config::checked_variable)) {
        config->warnings.clear();  // the launcher has shown them
    }
    Runtime& runtime = Runtime::instance();
    runtime.configure(*config);
    if (!runtime.is_active()) {
        return;
    }
    process_id.store(sys::getpid());
    socket::set_deferred_runner(run_deferred_handler);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    at_quick_exit(finish);
    keep_settings();
    active = true;
    adopt_inherited();
}

__attribute__((constructor(101))) void construct() {
    resolve();
    start();
}

__attribute__((destructor(101))) void destruct() {
    finish();
}

[[noreturn]] void exit_any(int status) noexcept {
    finish();
    real.exit_now(status);
    __builtin_unreachable();
}

}  // namespace

bool is_this_process() noexcept {
    return !active || sys::getpid() == process_id.load(std::memory_order_relaxed);
}

}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT pid_t fork() noexcept {
    return fork_any();
}
SHUNT_EXPORT pid_t __fork() noexcept {
    return fork_any();
}
SHUNT_EXPORT void _exit(int status) {
    exit_any(status);
}
SHUNT_EXPORT void _Exit(int status) noexcept {
    exit_any(status);
}
}
