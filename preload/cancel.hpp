// Cancellation points: a call of ours that blocks ends when its thread is cancelled, as libc's do, and with no lock held.
#pragma once

#include <pthread.h>

#include <cerrno>

#include "preload/fd_table.hpp"

namespace shunt::preload {

// This thread's wait was ended because it is to be cancelled; asks once.
bool take_cancel_mark() noexcept;

// In a forked process that has sockets of its parent's.
void be_careful_after_fork() noexcept;

// What is seldom: ends a thread that is cancelled; refuses, by -errno, what a forked process cannot do.
long look_twice();

// `call` gives a result or -errno. Does not return when the thread is cancelled; a wait that was ended in vain begins again.
template <class Call>
long cancellable(Call call) {
    while (true) {
        const long error = fds.is_careful() ? look_twice() : 0;
        const long result = error == 0 ? call() : error;
        if (result != -EINTR || !take_cancel_mark()) [[likely]] {
            return result;
        }
    }
}

}  // namespace shunt::preload
