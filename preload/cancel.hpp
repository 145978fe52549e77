// Cancellation points: a call of ours that blocks ends when its thread is cancelled, as libc's do, and with no lock held.
#pragma once

#include <pthread.h>

#include <cerrno>

#include "preload/fd_table.hpp"

namespace shunt::preload {

// This thread's wait was ended because it is to be cancelled; asks once.
bool take_cancel_mark() noexcept;

// `call` gives a result or -errno. Does not return when the thread is cancelled; a wait that was ended in vain begins again.
template <class Call>
long cancellable(Call call) {
    while (true) {
        if (fds.is_careful()) {
            pthread_testcancel();
        }
        const long result = call();
        if (result != -EINTR || !take_cancel_mark()) [[likely]] {
            return result;
        }
    }
}

}  // namespace shunt::preload
