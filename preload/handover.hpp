// The decision: a candidate becomes ours, or the kernel's, or both; and what follows for its duplicates, epoll sets and the log.
#pragma once

#include <sys/socket.h>

#include "preload/fd_table.hpp"
#include "socket/runtime.hpp"

namespace shunt::preload {

// The stack, started now if need be. Null when it cannot be: said once on standard error; calls that need it fail with ENETDOWN.
Stack* started_stack() noexcept;

// Makes one of ours for the candidate, not yet in the table. -errno in the error.
Result<socket::Socket*> open_for(int fd) noexcept;

// `socket` takes the place of the candidate under all its descriptors. False when another thread was first: `socket` is gone then, and the
// call should look again.
bool install(int fd, Word candidate, socket::Socket& socket, bool both) noexcept;

// A candidate that is about to connect to `address`, which is on our side, becomes ours; `word` is looked up again. -errno when it cannot.
long take_for_connect(int fd, Word& word, const sockaddr* address, socklen_t length) noexcept;

// A UDP candidate that is bound by another call than bind: on both sides to one port, so that what comes finds it from either. `word` is looked up again.
// -errno when it cannot.
long open_datagram_socket(int fd, Word& word) noexcept;

// A call of the kernel's has failed, on a candidate or one on both sides: a datagram socket may be bound by it all the same, and is on our side then, too.
void follow_kernel_port(int fd, Word& word) noexcept;

// A candidate that was there at a fork is one in several processes, and what one of them has made of it holds in all: those that have become ours elsewhere
// since the last look become ours here. settled(): as fds.find, of a call that is about to act.
void adopt_decided() noexcept;
inline Word settled(int fd) noexcept {
    if (__builtin_expect(fds.has_forked(), false)) {
        adopt_decided();
    }
    return fds.find(fd);
}

// From both sides to ours alone.
void leave_kernel_side(int fd, Word word) noexcept;

// Candidate or ours: from now on the kernel's.
void give_to_kernel(int fd, Word word) noexcept;

// A program has set one of the options that the kernel's descriptor keeps and accepted connections have of their listener: seldom, so accept() looks only then.
extern bool passes_on_options;

// The port that the kernel's socket is bound to, in host order; 0: none.
std::uint16_t kernel_port(int fd) noexcept;
// The address with another port.
struct AnyAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};
AnyAddress wildcard(bool is_v6, std::uint16_t port) noexcept;
void set_port(AnyAddress& address, std::uint16_t port) noexcept;
std::uint16_t port_of(const sockaddr* address) noexcept;

// Our side of a socket whose kernel side is, or is going to be, bound to every address at `port`. A port that the kernel chose may be taken on our
// side: then we choose another, where nobody can know the number yet.
long bind_our_side(socket::Socket& socket, bool is_v6, std::uint16_t port, bool was_chosen) noexcept;

// shutdown of a candidate for sending: it fails, and holds all the same. The kernel does not tell it again.
void note_shut(int fd, Word candidate) noexcept;

// May a socket of the program fall back to the kernel? With --require it may not.
bool must_be_ours() noexcept;

// ---- the log
void log_ours(int fd, Word word, const sockaddr* address, socklen_t length) noexcept;
void log_both(int fd, Word word, std::uint16_t port) noexcept;
void log_kernel(int fd, const char* reason, const sockaddr* address, socklen_t length) noexcept;

}  // namespace shunt::preload
