// What DPDK's calls to libc become. The build renames them in DPDK's archives (driver_calls.syms), so that
//   - descriptors that EAL and the drivers open are high-numbered and close-on-exec, also those opened later, in EAL's thread;
//   - no call of DPDK's reaches the names that the shim defines: they are system calls here;
//   - no driver takes a signal;
//   - EAL does not take syslog from the program, and does not sleep 100 ms to calibrate a clock whose result it rounds to 10 MHz.
// Knows nothing of ports; memif_wire.cpp puts in what is memif's own.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <string_view>

namespace shunt::pmd {

// Descriptors of ours are moved to this number or above. Computed from RLIMIT_NOFILE at first use.
int internal_fd_base() noexcept;

// Moves a fresh descriptor (or -errno) up and makes it close-on-exec; gives the new one, or the old where there is no room above.
int move_up(long fd) noexcept;
// Closes what move_up gave.
void close_ours(int fd) noexcept;
// Whether move_up gave it and it has not been closed since: the keeper keeps these.
bool is_ours(int fd) noexcept;

// Who is told of each from now on: it must be kept from the program's loops over all numbers.
void set_descriptor_watcher(void (*tell)(int fd, bool is_ours)) noexcept;

// Who takes what DPDK logs; without anybody it is dropped. Called without a heap in the keeper.
void set_log_sink(void (*take)(std::string_view text)) noexcept;

}  // namespace shunt::pmd
