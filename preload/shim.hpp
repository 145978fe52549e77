// What every file of the shim needs: how a name is let out, how a result becomes errno. No protocol, no state but one flag.
#pragma once

#include <signal.h>

#include <cerrno>

#include "base/sys.hpp"
#include "socket/socket.hpp"

// A name of libc's that this library answers instead.
#define SHUNT_EXPORT __attribute__((visibility("default")))

namespace shunt::preload {

// A link is configured. False: every name passes straight through, and nothing of the program's is changed.
extern bool active;

// libc's way of telling: -errno becomes -1 and errno.
template <class T = int>
inline T answer(long result) noexcept {
    if (__builtin_expect(result < 0, false)) {
        errno = static_cast<int>(-result);
        return static_cast<T>(-1);
    }
    return static_cast<T>(result);
}

// As answer, of a call that may have to begin anew.
template <class T = int, class Again>
inline T answer(long result, Again again) {
    if (__builtin_expect(result < 0, false)) {
        return result == -socket::call_again ? again() : answer<T>(result);
    }
    return static_cast<T>(result);
}

// For the calling thread, which has written to what nobody reads.
inline void raise_sigpipe() noexcept {
    sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), SIGPIPE);
}

// As the kernel judges a time-out.
inline bool is_valid(const timespec& time) noexcept {
    return time.tv_sec >= 0 && time.tv_nsec >= 0 && time.tv_nsec <= 999'999'999;
}

}  // namespace shunt::preload
