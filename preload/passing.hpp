// Descriptors that leave this process, or come to it: by exec, in messages (SCM_RIGHTS). Who receives one has the kernel's socket behind it, whose inode
// tells which of ours it was (src/socket/passing.cpp), if the receiver shares the stack.
#pragma once

#include <sys/socket.h>

#include <cstdint>

namespace shunt::preload {

// Of the kernel's socket; 0: it is none that could be ours.
std::uint64_t inode_of(int fd) noexcept;

// A message with control data is about to go out by the kernel, did not, or has come in.
void pass_on(const msghdr& message) noexcept;
void take_back(const msghdr& message) noexcept;
void take_in(const msghdr& message) noexcept;

// At the start of a program that has inherited sockets: joins the stack that they are of, where there is one.
void adopt_inherited() noexcept;

// Before exec, of a descriptor that the next program inherits: it can be found there.
bool is_inherited(int fd) noexcept;
void mark_for_exec(int fd) noexcept;
// The same in a child of vfork, whose descriptors are its own by now, and whose memory is the parent's.
void hand_on_from_vfork() noexcept;
// posix_spawn, which executes without our exec: what the child may inherit is marked before, and what it has got is its own afterwards.
void mark_for_spawn() noexcept;
void hand_on_to_spawned(int pid) noexcept;

}  // namespace shunt::preload
