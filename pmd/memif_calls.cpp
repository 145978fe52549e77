// See memif_calls.hpp.
#include "pmd/memif_calls.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/sys.hpp"

namespace shunt::pmd::memif {

Gates* gates = nullptr;
std::array<std::uint32_t, ports_max> seen{};

namespace {

struct Mapping {
    std::atomic<std::uintptr_t> begin{0};
    std::atomic<std::uintptr_t> end{0};
};
std::array<Mapping, 64> mappings;
std::array<std::atomic<int>, ports_max * 4> connected_fds;   // fd + 1; 0: free
thread_local int last_connected_fd = -1;
std::atomic<void (*)()> on_close{nullptr};

void sleep_us(long us) noexcept {
    const timespec time{0, us * 1000};
    sys::call(SYS_nanosleep, sys::word(&time), 0);
}

// memif has marked the port as not connected before it closes anything. After a millisecond every processor sees that; whoever went
// in before comes out. A process killed inside never does: hence the bound.
void wait_for_bursts() noexcept {
    if (gates == nullptr) {
        return;
    }
    sleep_us(1000);
    for (int tries = 0; tries < 200; ++tries) {
        if (std::none_of(gates->of.begin(), gates->of.end(), [](const Gate& g) { return g.busy.load(std::memory_order_acquire) != 0; })) {
            return;
        }
        sleep_us(50);   // a spinning poller is inside most of the time: look often
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

bool create_gates() noexcept {
    if (gates == nullptr) {
        const long address = sys::call(SYS_mmap, 0, sizeof(Gates), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (address < 0 && address > -4096) {
            return false;
        }
        gates = new (reinterpret_cast<void*>(address)) Gates;
    }
    return true;
}

bool is_mapped_here(const void* address) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return std::any_of(mappings.begin(), mappings.end(), [&](const Mapping& m) { return at >= m.begin.load() && at < m.end.load(); });
}

int last_connected() noexcept {
    return last_connected_fd;
}

bool is_still_open(int fd) noexcept {
    return std::any_of(connected_fds.begin(), connected_fds.end(), [&](const auto& each) { return each.load() == fd + 1; });
}

void set_on_close(void (*callback)()) noexcept {
    on_close.store(callback);
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
        for (auto& each : connected_fds) {
            int free_slot = 0;
            if (each.compare_exchange_strong(free_slot, fd + 1)) {
                break;
            }
        }
    }
    return outcome<int>(result);
}
int shunt_memif_close(int fd) {
    wait_for_bursts();
    for (auto& each : connected_fds) {
        int slot = fd + 1;
        each.compare_exchange_strong(slot, 0);
    }
    const long result = sys::close(fd);
    if (auto* callback = on_close.load()) {
        callback();
    }
    return outcome<int>(result);
}
void* shunt_memif_mmap(void* address, std::size_t size, int protection, int flags, int fd, long offset) {
    const long result = sys::call(SYS_mmap, sys::word(address), static_cast<long>(size), protection, flags, fd, offset);
    if (result < 0 && result > -4096) {
        errno = static_cast<int>(-result);
        return MAP_FAILED;
    }
    for (auto& each : mappings) {
        std::uintptr_t none = 0;
        if (each.begin.compare_exchange_strong(none, static_cast<std::uintptr_t>(result))) {
            each.end.store(static_cast<std::uintptr_t>(result) + size);
            break;
        }
    }
    if (gates != nullptr) {
        gates->generation.fetch_add(1);
    }
    return reinterpret_cast<void*>(result);
}
int shunt_memif_munmap(void* address, std::size_t size) {
    for (auto& each : mappings) {
        if (each.begin.load() == reinterpret_cast<std::uintptr_t>(address)) {
            each.end.store(0);
            each.begin.store(0);
        }
    }
    return outcome<int>(sys::call(SYS_munmap, sys::word(address), static_cast<long>(size)));
}
}
