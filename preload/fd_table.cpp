#include "preload/fd_table.hpp"

#include <sys/mman.h>

#include <mutex>

#include "base/sys.hpp"
#include "preload/epoll_records.hpp"
#include "preload/lock.hpp"

namespace shunt::preload {

constinit FdTable fds;

bool FdTable::map() noexcept {
    const Locked lock;
    if (size_.load(std::memory_order_relaxed) != 0) {
        return true;
    }
    const long address = sys::call(SYS_mmap, 0, size_max * sizeof words_[0], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address < 0) {
        return false;
    }
    words_ = reinterpret_cast<std::atomic<std::uint64_t>*>(address);
    size_.store(size_max, std::memory_order_release);
    return true;
}

bool FdTable::try_set(int fd, Word word, Word& before) noexcept {
    before = {};
    if (static_cast<std::uint32_t>(fd) >= size_max || (size_.load(std::memory_order_acquire) == 0 && !map())) {
        return false;
    }
    int end = end_.load(std::memory_order_relaxed);
    while (fd >= end && !end_.compare_exchange_weak(end, fd + 1)) {
    }
    before = Word(words_[fd].exchange(word.bits()));
    return true;
}

Word FdTable::take(int fd) noexcept {
    return find(fd).is_none() ? Word{} : Word(words_[fd].exchange(0));
}

bool FdTable::try_replace(int fd, Word expected, Word word) noexcept {
    std::uint64_t bits = expected.bits();
    return words_[fd].compare_exchange_strong(bits, word.bits());
}

void FdTable::add_candidate(int fd, bool is_stream, bool is_v6) noexcept {
    const std::uint64_t number = (candidates_.fetch_add(1) + 1) << 3 & 0x00ff'ffff'ffff'fff8;
    Word before;
    try_set(fd, Word(Kind::candidate, (is_stream ? Word::stream_flag : 0) | (is_v6 ? Word::v6_flag : 0), number), before);
    release(before, fd);
}

void FdTable::look_for_forked() noexcept {
    bool has_one = false;
    for (int fd = 0; fd < end() && !has_one; ++fd) {
        has_one = find(fd).is_forked();
    }
    has_forked_.store(has_one);
}

void retain(Word word) noexcept {
    if (word.is_socket()) {
        socket::retain(word.socket());
    } else if (word.kind() == Kind::epoll) {
        retain(word.record());
    }
}

void release(Word word, int fd) noexcept {
    if (word.is_socket()) {
        socket::release(word.socket(), fd);
    } else if (word.kind() == Kind::epoll) {
        release(word.record(), fd);
    }
}

}  // namespace shunt::preload
