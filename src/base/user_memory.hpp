// Pointers that a program gives us, where the kernel would say EFAULT. Payload is looked at for what costs nothing: null, and addresses that no program can
// have. Names and lengths, on calls that are rare, are copied by the kernel, which notices pages that are not there.
#pragma once

#include <sys/syscall.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "base/sys.hpp"

namespace shunt {

// Null, or beyond what user space can be (56 bits with five levels of page tables).
inline bool is_bad_pointer(const void* pointer) noexcept {
    constexpr std::uintptr_t end = std::uintptr_t{1} << 56;
    return reinterpret_cast<std::uintptr_t>(pointer) - 1 >= end - 1;
}

// `size` bytes from or to the program's memory. -EFAULT; where the kernel does not let us ask, a plain copy.
inline long copy_from_program(void* to, const void* from, std::size_t size) noexcept {
    iovec ours{to, size}, theirs{const_cast<void*>(from), size};
    const long copied = sys::call(SYS_process_vm_readv, sys::getpid(), sys::word(&ours), 1, sys::word(&theirs), 1, 0);
    if (copied >= 0 || copied == -EFAULT) {
        return copied == static_cast<long>(size) ? 0 : -EFAULT;
    }
    std::memcpy(to, from, size);
    return 0;
}

inline long copy_to_program(void* to, const void* from, std::size_t size) noexcept {
    iovec ours{const_cast<void*>(from), size}, theirs{to, size};
    const long copied = sys::call(SYS_process_vm_writev, sys::getpid(), sys::word(&ours), 1, sys::word(&theirs), 1, 0);
    if (copied >= 0 || copied == -EFAULT) {
        return copied == static_cast<long>(size) ? 0 : -EFAULT;
    }
    std::memcpy(to, from, size);
    return 0;
}

}  // namespace shunt
