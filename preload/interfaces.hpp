// Interfaces of ours among the kernel's, for the files of the shim that are asked about them.
#pragma once

#include <optional>

#include "preload/fd_table.hpp"

namespace shunt::preload {

// An ioctl about interfaces (SIOCGIF...): the kernel's answer, completed by ours. Nothing: it is none.
std::optional<int> control_interfaces(int fd, unsigned long request, void* argument) noexcept;

// SO_BINDTODEVICE and SO_BINDTOIFINDEX on a candidate or on ours. Nothing: the device is the kernel's alone.
bool binds_to_device(int level, int name) noexcept;
std::optional<int> bind_to_device(int fd, Word word, int name, const void* value, socklen_t length) noexcept;
// The device of a socket that is bound to one of ours; nothing: the kernel knows.
std::optional<int> tell_device(Word word, int name, void* value, socklen_t* length) noexcept;

}  // namespace shunt::preload
