// The program to be started and the shim that goes into it.
#pragma once

#include <string>

#include "base/result.hpp"

namespace shunt::launcher {

// Exit codes as a shell's.
inline constexpr int exit_usage = 2, exit_not_executable = 126, exit_not_found = 127;

// Where execvp() would find `name`; Error::code is one of the exit codes above.
Outcome<std::string> find_program(const std::string& name);

// Why LD_PRELOAD cannot work in the program at `path`; empty if nothing speaks against it.
std::string preload_obstacle(const std::string& path);

// libshunt_preload.so: beside this binary as built, or where it is installed.
Outcome<std::string> find_shim();

// LD_PRELOAD with the shim in front of what is there already.
std::string preload_value(const std::string& shim, const std::string& present);

}  // namespace shunt::launcher
