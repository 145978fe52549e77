// Socket options: one table (options.cpp). Private to src/socket/.
#pragma once

#include "socket/state.hpp"

namespace shunt::socket {

// Takes over what the program has set on the kernel's socket so far.
void import_options(Socket& socket, int fd) noexcept;

}  // namespace shunt::socket
