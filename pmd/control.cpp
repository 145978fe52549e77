// See control.hpp.
#include "pmd/control.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include <atomic>
#include <cstring>

#include "base/sys.hpp"
#include "pmd/driver_calls.hpp"

namespace shunt::pmd {
namespace {

using Loop = void* (*)(void*);
Loop loop = nullptr;
void* loop_argument = nullptr;
pthread_t* loop_thread = nullptr;   // EAL's own note of it
std::atomic<int> stop_fd{-1};
std::atomic<bool> has_stopped{false};
thread_local bool is_inside = false;
void (*keeper_wait)(int) noexcept = nullptr;

void* enter_loop(void* argument) {
    is_inside = true;
    return loop(argument);
}

// The thread ends here, in the middle of EAL's endless loop, where it holds nothing. What it leaves behind is a stack that nobody uses.
[[noreturn]] void end_thread() noexcept {
    has_stopped.store(true, std::memory_order_release);
    while (true) {
        sys::call(SYS_exit, 0);
    }
}

}  // namespace

bool has_control_loop() noexcept {
    return loop != nullptr;
}

bool stop_control_loop() noexcept {
    if (loop == nullptr || stop_fd.load() < 0) {
        return false;
    }
    const std::uint64_t one = 1;
    sys::write(stop_fd.load(), &one, sizeof one);
    constexpr timespec nap{0, 100'000};
    for (int tries = 0; tries < 50'000 && !has_stopped.load(std::memory_order_acquire); ++tries) {
        sys::call(SYS_nanosleep, sys::word(&nap), 0);
    }
    return has_stopped.load(std::memory_order_acquire);
}

void run_control_loop(void (*wait)(int) noexcept) noexcept {
    keeper_wait = wait;
    is_inside = true;
    *loop_thread = pthread_self();
    while (true) {
        loop(loop_argument);
    }
}

void wait_in_control_loop(int epfd) noexcept {
    if (!is_inside) {
        return;
    }
    if (keeper_wait != nullptr) {
        keeper_wait(epfd);
        return;
    }
    pollfd fds[]{{epfd, POLLIN, 0}, {stop_fd.load(), POLLIN, 0}};
    if (sys::ppoll(fds, 2, nullptr, nullptr) > 0 && fds[1].revents != 0) {
        end_thread();
    }
}

}  // namespace shunt::pmd

using namespace shunt::pmd;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
int __real_rte_ctrl_thread_create(pthread_t* thread, const char* name, const pthread_attr_t* attributes, void* (*start)(void*), void* argument);

int __wrap_rte_ctrl_thread_create(pthread_t* thread, const char* name, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
    if (std::strcmp(name, "eal-intr-thread") != 0) {
        return __real_rte_ctrl_thread_create(thread, name, attributes, start, argument);
    }
    loop = start;
    loop_argument = argument;
    loop_thread = thread;
    stop_fd.store(move_up(shunt::sys::eventfd(0, EFD_CLOEXEC)));
    return __real_rte_ctrl_thread_create(thread, name, attributes, enter_loop, argument);
}
}
