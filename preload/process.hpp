// The life of the process: the library's start, fork, the end.
#pragma once

namespace shunt::preload {

// At the start: what exec restores where the program has made its environment anew.
void keep_settings();

// False in a child of vfork, which shares the parent's memory and may only exec: its close and dup2 must not touch the table.
bool is_this_process() noexcept;

}  // namespace shunt::preload
