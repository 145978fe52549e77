// Datagram sockets whose side is still open, and epoll sets without a socket of ours: who waits in the kernel for one must hear that another thread's call
// has changed that.
#pragma once

#include <span>

#include "preload/fd_table.hpp"

namespace shunt::preload {

struct Bell;

// Hears of `words`, which stay where they are: fd() is readable once one of them has become ours. -1 without memory: nothing is heard.
class Listening {
public:
    explicit Listening(std::span<const Word> words) noexcept;
    ~Listening();
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;
    int fd() const noexcept;
    void silence() const noexcept;

private:
    Bell* bell_ = nullptr;
};

// Waits in place of a receive call with these flags until there is something for it: 1 when the socket is Shunt's by now, with its new `word`; 0 when the
// kernel's call may be made; or -errno. A cancellation point.
long wait_for_open_side(int fd, Word& word, int flags);

inline long side_of(int fd, Word& word, int flags) {
    return __builtin_expect(word.is_candidate() && !word.is_stream(), false) ? wait_for_open_side(fd, word, flags) : 0;
}

// What was this candidate has become ours, or this set has got its first of ours. With the shim's lock held.
void tell_of_side(Word word) noexcept;

// In the child after fork: nobody waits here, and the parent's waiters hear of the parent only.
void forget_waiters() noexcept;

}  // namespace shunt::preload
