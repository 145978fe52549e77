// The life of the process: the library's start, fork, the end.
#pragma once

namespace shunt::preload {

// False in a child of vfork, which shares the parent's memory and may only exec: its close and dup2 must not touch the table.
bool is_this_process() noexcept;

}  // namespace shunt::preload
