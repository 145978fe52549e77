// Descriptors of our own: high-numbered and close-on-exec, so that the program's next open() gets the number it expects; and known as ours, so that the
// program cannot close them by mistake and the keeper keeps them.
#pragma once

#include <vector>

namespace shunt {

// Descriptors of ours are moved to this number or above. Computed from RLIMIT_NOFILE at first use.
int internal_fd_base() noexcept;

// Moves a fresh descriptor (or -errno) up and makes it close-on-exec; gives the new one, or the old where there is no room above.
int move_up(long fd) noexcept;
// Closes what move_up gave.
void close_ours(int fd) noexcept;
// Somebody else has closed it.
void note_closed(int fd) noexcept;
// Whether move_up gave it and it has not been closed since: the keeper keeps these.
bool is_ours(int fd) noexcept;

// Closes all others. Without a heap.
void close_all_but_ours() noexcept;
// All descriptors in this folder of /proc, ascending. Empty where it cannot be read.
std::vector<int> open_descriptors(const char* folder = "/proc/self/fd");

// Who is told of each from now on: it must be kept from the program's loops over all numbers.
void set_descriptor_watcher(void (*tell)(int fd, bool is_ours)) noexcept;

}  // namespace shunt
