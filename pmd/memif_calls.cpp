// See memif_calls.hpp.
#include "pmd/memif_calls.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/sys.hpp"
#include "pmd/driver_calls.hpp"

namespace shunt::pmd::memif {
namespace {

std::array<std::atomic<int>, ports_max * 4> connected_fds;   // fd + 1; 0: free
thread_local int last_connected_fd = -1;
std::atomic<void (*)(int)> before_close{nullptr};
std::atomic<void (*)()> after_close{nullptr};

void note_connected(int fd) noexcept {
    for (auto& each : connected_fds) {
        int free_slot = 0;
        if (each.compare_exchange_strong(free_slot, fd + 1)) {
            return;
        }
    }
}

template <class T>
T outcome(long result) noexcept {
    if (result < 0) {
        errno = static_cast<int>(-result);
        return static_cast<T>(-1);
    }
    return static_cast<T>(result);
}

}  // namespace

int last_connected() noexcept {
    return last_connected_fd;
}

bool is_still_open(int fd) noexcept {
    return std::any_of(connected_fds.begin(), connected_fds.end(), [&](const auto& each) { return each.load() == fd + 1; });
}

std::size_t connected(std::span<int> to) noexcept {
    std::size_t count = 0;
    for (const auto& each : connected_fds) {
        if (const int slot = each.load(); slot != 0 && count < to.size()) {
            to[count++] = slot - 1;
        }
    }
    return count;
}

void set_on_close(void (*before)(int fd), void (*after)()) noexcept {
    before_close.store(before);
    after_close.store(after);
}

}  // namespace shunt::pmd::memif

using namespace shunt::pmd::memif;
namespace sys = shunt::sys;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
int shunt_memif_connect(int fd, const sockaddr* address, socklen_t length) {
    const long result = sys::call(SYS_connect, fd, sys::word(address), length);
    if (result == 0) {
        last_connected_fd = fd;
        note_connected(fd);
    }
    return outcome<int>(result);
}
int shunt_memif_accept(int fd, sockaddr* address, socklen_t* length) {
    const int made = shunt::pmd::move_up(sys::accept4(fd, address, length, SOCK_CLOEXEC));
    if (made >= 0) {
        note_connected(made);
    }
    return outcome<int>(made);
}
int shunt_memif_close(int fd) {
    wait_for_bursts();
    for (auto& each : connected_fds) {
        int slot = fd + 1;
        if (each.compare_exchange_strong(slot, 0)) {
            sys::call(SYS_shutdown, fd, SHUT_RDWR);   // other processes hold it as well
        }
    }
    if (auto* callback = before_close.load()) {
        callback(fd);
    }
    shunt::pmd::close_ours(fd);
    if (auto* callback = after_close.load()) {
        callback();
    }
    return 0;
}
// Bells only. A process that has not got them yet rings none: who sleeps at the other end looks every now and then.
ssize_t shunt_memif_write(int fd, const void* buffer, std::size_t size) {
    const int here = bell_here(fd);
    return here < 0 ? static_cast<ssize_t>(size) : outcome<ssize_t>(sys::write(here, buffer, size));
}
ssize_t shunt_memif_read(int fd, void* buffer, std::size_t size) {
    const int here = bell_here(fd);
    return here < 0 ? static_cast<ssize_t>(size) : outcome<ssize_t>(sys::read(here, buffer, size));
}
void* shunt_memif_mmap(void*, std::size_t size, int protection, int flags, int fd, long offset) {
    const long result = map_rings(size, protection, flags, fd, offset);
    if (result < 0 && result > -4096) {
        errno = static_cast<int>(-result);
        return MAP_FAILED;
    }
    return reinterpret_cast<void*>(result);
}
int shunt_memif_munmap(void* address, std::size_t size) {
    return outcome<int>(unmap_rings(address, size));
}
}
