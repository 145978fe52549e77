// What poll and epoll_wait have in common: time-outs, and signal masks for the length of a call. Private to src/socket/.
#pragma once

#include "base/sys.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {

// Null: never.
inline Time deadline_of(const Layer& layer, const timespec* timeout) noexcept {
    if (timeout == nullptr) {
        return never;
    }
    const Duration d = timeout->tv_sec > 1'000'000'000 ? Duration::max() : Duration(std::chrono::seconds(timeout->tv_sec) + std::chrono::nanoseconds(timeout->tv_nsec));
    return saturating_add(layer.now(), d);
}

// The caller's signal mask, for the length of a call. A signal that was waiting for it is handled in the constructor: the call must end then.
class MaskScope {
public:
    explicit MaskScope(const sigset_t* mask) noexcept : is_set_(mask != nullptr) {
        if (is_set_) {
            this_thread().was_interrupted = false;
            sys::sigprocmask(SIG_SETMASK, mask, &old_);
        }
    }
    bool has_ended_the_call() const noexcept { return is_set_ && this_thread().was_interrupted; }
    ~MaskScope() {
        if (is_set_) {
            sys::sigprocmask(SIG_SETMASK, &old_, nullptr);
        }
    }
    MaskScope(const MaskScope&) = delete;
    MaskScope& operator=(const MaskScope&) = delete;

private:
    bool is_set_;
    sigset_t old_{};
};

}  // namespace shunt::socket
