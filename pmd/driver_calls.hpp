// What DPDK's calls to libc become. The build renames them in DPDK's archives (driver_calls.syms), so that
//   - descriptors that EAL and the drivers open are high-numbered and close-on-exec, also those opened later, in EAL's thread;
//   - no call of DPDK's reaches the names that the shim defines: they are system calls here;
//   - no driver takes a signal;
//   - EAL does not take syslog from the program, and does not sleep 100 ms to calibrate a clock whose result it rounds to 10 MHz.
// Knows nothing of ports; memif_wire.cpp puts in what is memif's own.
#pragma once

#include <string_view>

#include "base/descriptors.hpp"

namespace shunt::pmd {

// Who takes what DPDK logs; without anybody it is dropped. Called without a heap in the keeper.
void set_log_sink(void (*take)(std::string_view text)) noexcept;

}  // namespace shunt::pmd
