// Datagram sockets whose side is still open: who waits in the kernel for one must hear that another thread's call has made it Shunt's.
#pragma once

#include "preload/fd_table.hpp"

namespace shunt::preload {

// Waits in place of a receive call with these flags until there is something for it: 1 when the socket is Shunt's by now, with its new `word`; 0 when the
// kernel's call may be made; or -errno. A cancellation point.
long wait_for_open_side(int fd, Word& word, int flags);

inline long side_of(int fd, Word& word, int flags) {
    return __builtin_expect(word.is_candidate() && !word.is_stream(), false) ? wait_for_open_side(fd, word, flags) : 0;
}

// What was this candidate has become Shunt's. With the shim's lock held.
void tell_of_side(Word candidate) noexcept;

}  // namespace shunt::preload
