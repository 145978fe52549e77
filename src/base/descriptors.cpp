#include "base/descriptors.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/sys.hpp"

namespace shunt {
namespace {

// 0: not yet known.
std::atomic<int> fd_base{0};

std::atomic<void (*)(int, bool)> watcher{nullptr};

// Which descriptors are ours, a bit each; those above are not known, and nothing of ours gets there.
constexpr int known_max = 1 << 20;
std::array<std::atomic<std::uint64_t>, known_max / 64> ours{};

void note_ours(int fd, bool is) noexcept {
    if (fd >= 0 && fd < known_max) {
        const std::uint64_t bit = std::uint64_t{1} << (fd % 64);
        is ? ours[static_cast<std::size_t>(fd / 64)].fetch_or(bit) : ours[static_cast<std::size_t>(fd / 64)].fetch_and(~bit);
        if (auto* tell = watcher.load()) {
            tell(fd, is);
        }
    }
}

}  // namespace

int internal_fd_base() noexcept {
    int base = fd_base.load(std::memory_order_relaxed);
    if (base == 0) {
        rlimit limit{};
        sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, sys::word(&limit));
        // Three quarters up, but no higher than needed: the kernel's table of descriptors grows with the highest one in use.
        base = static_cast<int>(std::clamp<rlim_t>(limit.rlim_cur / 4 * 3, 3, 16384));
        fd_base.store(base, std::memory_order_relaxed);
    }
    return base;
}

int move_up(long fd) noexcept {
    if (fd < 0) {
        return static_cast<int>(fd);
    }
    const long moved = fd >= internal_fd_base() ? -1 : sys::fcntl(static_cast<int>(fd), F_DUPFD_CLOEXEC, internal_fd_base());
    if (moved < 0) {
        sys::fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC);
    } else {
        sys::close(static_cast<int>(fd));
    }
    const int settled = static_cast<int>(moved < 0 ? fd : moved);
    note_ours(settled, true);
    return settled;
}

void close_ours(int fd) noexcept {
    note_ours(fd, false);
    sys::close(fd);
}

void note_closed(int fd) noexcept {
    note_ours(fd, false);
}

bool is_ours(int fd) noexcept {
    return fd >= 0 && fd < known_max && (ours[static_cast<std::size_t>(fd / 64)].load() >> (fd % 64) & 1) != 0;
}

void close_all_but_ours() noexcept {
    const auto close_range = [](unsigned first, unsigned last) {
        if (first <= last) {
            sys::call(SYS_close_range, first, last, 0);
        }
    };
    unsigned first = 0;
    for (unsigned fd = 0; fd < known_max; ++fd) {
        if (is_ours(static_cast<int>(fd))) {
            if (fd > first) {
                close_range(first, fd - 1);
            }
            first = fd + 1;
        }
    }
    close_range(first, ~0U);
}

std::vector<int> open_descriptors(const char* path) {
    std::vector<int> found;
    if (DIR* folder = opendir(path)) {
        const int own = std::strcmp(path, "/proc/self/fd") == 0 ? dirfd(folder) : -1;
        while (const dirent* entry = readdir(folder)) {
            if (entry->d_name[0] != '.' && std::atoi(entry->d_name) != own) {
                found.push_back(std::atoi(entry->d_name));
            }
        }
        closedir(folder);
    }
    std::ranges::sort(found);
    return found;
}

void set_descriptor_watcher(void (*tell)(int fd, bool is_ours)) noexcept {
    watcher.store(tell);
}

}  // namespace shunt
