#include "preload/lock.hpp"

#include <mutex>

#include "preload/signals.hpp"

namespace shunt::preload {
namespace {

constinit std::mutex mutex;
constinit thread_local volatile bool is_held = false;

}  // namespace

// Marked before it is taken: a handler between the two would wait for nothing worse than us.
Locked::Locked() noexcept {
    is_held = true;
    mutex.lock();
}

Locked::~Locked() {
    mutex.unlock();
    is_held = false;
    run_deferred_handler();
}

void lock_for_fork() noexcept {
    is_held = true;
    mutex.lock();
}

void unlock_after_fork() noexcept {
    mutex.unlock();
    is_held = false;
    run_deferred_handler();
}

bool is_lock_held() noexcept {
    return is_held;
}

}  // namespace shunt::preload
