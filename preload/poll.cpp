// poll, ppoll, select, pselect. Where none of the descriptors is ours they are libc's; else one list goes to the socket layer.
#include <poll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "preload/cancel.hpp"
#include "preload/epoll_records.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/shim.hpp"

// g++ 12 sees an uninitialised `list` in the exported names below, which only forward their argument.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace shunt::preload {
namespace {

using socket::PollItem;
using std::uint64_t;

constexpr std::size_t few = 64;

// Room for the list: on the stack for the usual few, else pages of our own.
class Items {
public:
    explicit Items(std::size_t count) noexcept : count_(count) {
        if (count > few) {
            const long address = sys::call(SYS_mmap, 0, static_cast<long>(count * sizeof(PollItem)), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            items_ = address < 0 ? nullptr : reinterpret_cast<PollItem*>(address);
        }
    }
    ~Items() {
        if (count_ > few && items_ != nullptr) {
            sys::call(SYS_munmap, sys::word(items_), static_cast<long>(count_ * sizeof(PollItem)));
        }
    }
    Items(const Items&) = delete;
    Items& operator=(const Items&) = delete;
    PollItem* get() noexcept { return items_; }

private:
    std::size_t count_;
    PollItem few_[few];
    PollItem* items_ = few_;
};

bool is_ours(int fd) noexcept {
    const Word word = fds.find(fd);
    return word.is_socket() || (word.kind() == Kind::epoll && filled_set_of(fd) != nullptr);
}

// ---------------------------------------------------------------- poll

bool has_ours(const pollfd* list, nfds_t count) noexcept {
    return fds.end() != 0 && std::any_of(list, list + count, [](const pollfd& each) { return is_ours(each.fd); });
}

long poll_mixed(pollfd* list, nfds_t count, const timespec* timeout, const sigset_t* mask) noexcept {
    Items items(count);
    if (count > FdTable::size_max || items.get() == nullptr) {
        return count > FdTable::size_max ? -EINVAL : -ENOMEM;
    }
    for (nfds_t i = 0; i < count; ++i) {
        items.get()[i] = {fds.socket_of(list[i].fd), filled_set_of(list[i].fd), list[i].fd, list[i].events, 0};
    }
    const long result = socket::poll(*started_stack(), std::span(items.get(), count), timeout, mask);
    if (result >= 0) {
        for (nfds_t i = 0; i < count; ++i) {
            list[i].revents = items.get()[i].revents;
        }
    }
    return result;
}

int poll_any(pollfd* list, nfds_t count, int timeout_ms) {
    if (!has_ours(list, count)) {
        return real.poll(list, count, timeout_ms);
    }
    const timespec timeout{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000L};
    return answer(cancellable([&] { return poll_mixed(list, count, timeout_ms < 0 ? nullptr : &timeout, nullptr); }));
}

int ppoll_any(pollfd* list, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    if (!has_ours(list, count)) {
        return real.ppoll(list, count, timeout, mask);
    }
    if (timeout != nullptr && !is_valid(*timeout)) {
        return answer(-EINVAL);
    }
    return answer(cancellable([&] { return poll_mixed(list, count, timeout, mask); }));
}

// ---------------------------------------------------------------- select

constexpr int word_bits = 64;
enum Direction { reading, writing, exceptional, directions };
constexpr short asked[directions] = {POLLIN | POLLRDNORM | POLLRDBAND, POLLOUT | POLLWRNORM | POLLWRBAND, POLLPRI};
constexpr short counts[directions] = {POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR, POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR, POLLPRI};

// The three sets as words: a program may pass sets larger than FD_SETSIZE.
struct Sets {
    uint64_t* words[directions];
    int end;

    uint64_t word(int index) const noexcept {
        uint64_t all = 0;
        for (const uint64_t* set : words) {
            all |= set != nullptr ? set[index] : 0;
        }
        const int above = end - index * word_bits;
        return above >= word_bits ? all : all & ((uint64_t{1} << above) - 1);
    }
    bool has(int direction, int fd) const noexcept {
        return words[direction] != nullptr && (words[direction][fd / word_bits] >> (fd % word_bits) & 1) != 0;
    }
    void clear() const noexcept {
        for (uint64_t* set : words) {
            if (set != nullptr) {
                std::memset(set, 0, static_cast<std::size_t>((end + word_bits - 1) / word_bits) * sizeof *set);
            }
        }
    }
    void add(int direction, int fd) const noexcept { words[direction][fd / word_bits] |= uint64_t{1} << (fd % word_bits); }
    template <class F>
    void for_each(F f) const noexcept {
        for (int index = 0; index * word_bits < end; ++index) {
            for (uint64_t bits = word(index); bits != 0; bits &= bits - 1) {
                f(index * word_bits + std::countr_zero(bits));
            }
        }
    }
};

Sets sets_of(int end, fd_set* read, fd_set* write, fd_set* except) noexcept {
    return {{reinterpret_cast<uint64_t*>(read), reinterpret_cast<uint64_t*>(write), reinterpret_cast<uint64_t*>(except)}, end};
}

bool has_ours(const Sets& sets) noexcept {
    bool found = false;
    if (fds.end() != 0) {
        sets.for_each([&found](int fd) { found = found || is_ours(fd); });
    }
    return found;
}

// What poll found, as bits; the number of bits, or -EBADF.
long tell(const Sets& sets, std::span<const PollItem> items) noexcept {
    if (std::any_of(items.begin(), items.end(), [](const PollItem& item) { return (item.revents & POLLNVAL) != 0; })) {
        return -EBADF;
    }
    long bits = 0;
    sets.clear();
    for (const PollItem& item : items) {
        for (int direction = 0; direction < directions; ++direction) {
            if ((item.events & asked[direction]) != 0 && (item.revents & counts[direction]) != 0) {
                sets.add(direction, item.fd);
                ++bits;
            }
        }
    }
    return bits;
}

long select_mixed(const Sets& sets, const timespec* timeout, const sigset_t* mask) noexcept {
    std::size_t count = 0;
    sets.for_each([&count](int) { ++count; });
    Items items(count);
    if (items.get() == nullptr) {
        return -ENOMEM;
    }
    std::size_t next = 0;
    sets.for_each([&](int fd) {
        PollItem& item = items.get()[next++];
        item.fd = fd;
        item.socket = fds.socket_of(fd);
        item.set = filled_set_of(fd);
        item.events = 0;
        for (int direction = 0; direction < directions; ++direction) {
            item.events = static_cast<short>(item.events | (sets.has(direction, fd) ? asked[direction] : 0));
        }
    });
    const std::span list(items.get(), count);
    const long result = socket::poll(*started_stack(), list, timeout, mask);
    return result < 0 ? result : tell(sets, list);
}

long nanoseconds(const timespec& time) noexcept {
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

timespec now_monotonic() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now;
}

int select_any(int end, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
    const Sets sets = sets_of(end, read, write, except);
    if (end <= 0 || !has_ours(sets)) {
        return real.select(end, read, write, except, timeout);
    }
    if (timeout == nullptr) {
        return answer(cancellable([&] { return select_mixed(sets, nullptr, nullptr); }));
    }
    if (timeout->tv_sec < 0 || timeout->tv_usec < 0) {
        return answer(-EINVAL);
    }
    // Linux takes microseconds beyond a second, and leaves in `timeout` what was not needed.
    const timespec limit{timeout->tv_sec + timeout->tv_usec / 1'000'000, timeout->tv_usec % 1'000'000 * 1000};
    const bool is_bounded = nanoseconds(limit) > 0;
    const timespec start = is_bounded ? now_monotonic() : timespec{};
    const long result = cancellable([&] { return select_mixed(sets, &limit, nullptr); });
    if (is_bounded) {
        const long used = nanoseconds(now_monotonic()) - nanoseconds(start);
        const long left = limit.tv_sec > 1'000'000'000 ? nanoseconds({1'000'000'000, 0}) : std::max(nanoseconds(limit) - used, 0L);
        *timeout = {left / 1'000'000'000, left % 1'000'000'000 / 1000};
    }
    return answer(result);
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
[[noreturn]] void __chk_fail();

SHUNT_EXPORT int poll(pollfd* list, nfds_t count, int timeout_ms) {
    return poll_any(list, count, timeout_ms);
}
SHUNT_EXPORT int __poll(pollfd* list, nfds_t count, int timeout_ms) {
    return poll_any(list, count, timeout_ms);
}
SHUNT_EXPORT int __poll_chk(pollfd* list, nfds_t count, int timeout_ms, size_t room) {
    return room / sizeof *list < count ? (__chk_fail(), 0) : poll_any(list, count, timeout_ms);
}
SHUNT_EXPORT int ppoll(pollfd* list, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    return ppoll_any(list, count, timeout, mask);
}
SHUNT_EXPORT int __ppoll_chk(pollfd* list, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t room) {
    return room / sizeof *list < count ? (__chk_fail(), 0) : ppoll_any(list, count, timeout, mask);
}
SHUNT_EXPORT int select(int end, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
    return select_any(end, read, write, except, timeout);
}
SHUNT_EXPORT int __select(int end, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
    return select_any(end, read, write, except, timeout);
}
SHUNT_EXPORT int pselect(int end, fd_set* read, fd_set* write, fd_set* except, const timespec* timeout, const sigset_t* mask) {
    const Sets sets = sets_of(end, read, write, except);
    if (end <= 0 || !has_ours(sets)) {
        return real.pselect(end, read, write, except, timeout, mask);
    }
    if (timeout != nullptr && !is_valid(*timeout)) {
        return answer(-EINVAL);
    }
    return answer(cancellable([&] { return select_mixed(sets, timeout, mask); }));
}
}
