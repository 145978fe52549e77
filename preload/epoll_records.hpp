// What we know of the program's epoll descriptors: the set of ours behind each, and which sockets were added under which descriptor,
// so that a socket whose side is decided later can move from the kernel's set to ours, or back. Memory comes from pages of our own.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>

#include "preload/fd_table.hpp"

namespace shunt::preload {

struct EpollRecord {
    std::atomic<std::int32_t> references{0};  // descriptors of this process
    int fd = -1;                              // one of them, still open
    std::atomic<socket::EpollSet*> set{nullptr};
    std::atomic<int> kernel_waiters{0};       // threads in the kernel's epoll_wait: they would not hear of ours
    std::atomic<int> nudge_fd{-1};            // readable while they must come out
};

// For the result of epoll_create: remembers it. Without memory the descriptor stays the kernel's alone.
void add_epoll(int fd) noexcept;
void retain(EpollRecord& record) noexcept;
void release(EpollRecord& record, int fd) noexcept;

// epoll_ctl for a candidate (the kernel's answer is taken note of) and for one of ours. Results as sys calls.
long control_candidate(EpollRecord& record, int epfd, int operation, int fd, epoll_event* event) noexcept;
long control_socket(EpollRecord& record, int epfd, int operation, int fd, Word word, epoll_event* event) noexcept;
// For a set in a set.
long control_nested(EpollRecord& record, int epfd, int operation, int fd, EpollRecord& inner, epoll_event* event) noexcept;

// The set of ours behind an epoll descriptor, when something is in it.
inline socket::EpollSet* filled_set_of(int fd) noexcept {
    const EpollRecord* record = fds.epoll_of(fd);
    socket::EpollSet* set = record != nullptr ? record->set.load(std::memory_order_acquire) : nullptr;
    return set != nullptr && !socket::is_empty(*set) ? set : nullptr;
}

// ---- with the lock held
// `fd` has become `word`, one of ours (also when it was: from both sides to ours alone).
void move_to_ours(int fd, Word word) noexcept;
// `fd` is the kernel's from now on.
void move_to_kernel(int fd) noexcept;
// `fd` was closed, or stands for something else.
void forget(int fd) noexcept;
bool has_registrations() noexcept;

// ---- around fork: one more reference of every set, for the child; or one less.
void retain_all_sets() noexcept;
void retain_all_sets_for_child() noexcept;
void release_all_sets() noexcept;

// epoll_pwait2, over both sides. A cancellation point, as far as the kernel's side is concerned.
long wait(EpollRecord& record, int epfd, epoll_event* events, int max_events, const timespec* timeout, const sigset_t* mask);

}  // namespace shunt::preload
