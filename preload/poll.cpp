// poll, ppoll, select, pselect. Where none of the descriptors is ours they are libc's; else one list goes to the socket layer. While one of them may become
// ours by another thread's call, its bell is in the list.
#include <poll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/single_threaded.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "preload/cancel.hpp"
#include "preload/epoll_records.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/open_side.hpp"
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

// Room for a list: on the stack for the usual few, else pages of our own.
template <class T>
class Room {
public:
    explicit Room(std::size_t count) noexcept : count_(count) {
        if (count > few) {
            const long address = sys::call(SYS_mmap, 0, static_cast<long>(count * sizeof(T)), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            items_ = address < 0 ? nullptr : reinterpret_cast<T*>(address);
        }
    }
    ~Room() {
        if (count_ > few && items_ != nullptr) {
            sys::call(SYS_munmap, sys::word(items_), static_cast<long>(count_ * sizeof(T)));
        }
    }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;
    T* get() noexcept { return items_; }
    std::span<T> all() noexcept { return {items_, count_}; }

private:
    std::size_t count_;
    T few_[few];
    T* items_ = few_;
};

// Whose the descriptors of a list are.
struct Sides {
    bool has_ours = false;
    bool has_open = false;  // another thread may make one ours while we wait for it in the kernel

    void add(int fd) noexcept {
        const Word word = settled(fd);
        const bool is_set = word.kind() == Kind::epoll, is_filled = is_set && filled_set_of(fd) != nullptr;
        has_ours = has_ours || word.is_socket() || is_filled;
        has_open = has_open || (word.is_candidate() && !word.is_stream()) || (is_set && !is_filled);
    }
    bool are_kernels(bool only_asks) const noexcept { return !has_ours && (!has_open || only_asks || __libc_single_threaded != 0); }
};

long nanoseconds(const timespec& time) noexcept {
    return std::min(time.tv_sec, 1'000'000'000L) * 1'000'000'000 + time.tv_nsec;
}

timespec now_monotonic() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now;
}

// A time-out, and what is left of it.
class Countdown {
public:
    explicit Countdown(const timespec* whole) noexcept : whole_(whole), start_(is_bounded() ? now_monotonic() : timespec{}) {}
    bool is_bounded() const noexcept { return whole_ != nullptr && nanoseconds(*whole_) > 0; }
    // Null: for ever.
    const timespec* left() noexcept {
        if (is_bounded()) {
            const long left_ns = std::max(nanoseconds(*whole_) - (nanoseconds(now_monotonic()) - nanoseconds(start_)), 0L);
            left_ = {left_ns / 1'000'000'000, left_ns % 1'000'000'000};
        }
        return whole_ != nullptr ? &left_ : nullptr;
    }

private:
    const timespec* whole_;
    timespec start_;
    timespec left_{};
};

// What the numbers stand for now. True: something of ours.
bool look_up(std::span<PollItem> items) noexcept {
    bool has_ours = false;
    for (PollItem& item : items) {
        item.socket = fds.socket_of(item.fd);
        item.set = filled_set_of(item.fd);
        has_ours = has_ours || item.socket != nullptr || item.set != nullptr;
    }
    return has_ours;
}

// As socket::poll, where nothing is ours.
long poll_kernels(std::span<PollItem> items, const timespec* timeout, const sigset_t* mask) {
    Room<pollfd> room(items.size());
    if (room.get() == nullptr) {
        return -ENOMEM;
    }
    std::transform(items.begin(), items.end(), room.get(), [](const PollItem& item) { return pollfd{item.fd, item.events, 0}; });
    const int count = real.ppoll(room.get(), items.size(), timeout, mask);
    for (std::size_t i = 0; count >= 0 && i < items.size(); ++i) {
        items[i].revents = room.get()[i].revents;
    }
    return count >= 0 ? count : -errno;
}

// When one becomes ours, anew with what is left of the time. The last item is for the bell.
long poll_open(std::span<PollItem> items, const timespec* timeout, const sigset_t* mask) {
    Room<Word> words(items.size());
    if (words.get() == nullptr) {
        return -ENOMEM;
    }
    std::transform(items.begin(), items.end(), words.get(), [](const PollItem& item) { return fds.find(item.fd); });
    const Listening listening(words.all());
    PollItem& bell = items.back();
    bell.fd = listening.fd();
    bell.events = POLLIN;
    Countdown countdown(timeout);
    while (true) {
        const bool has_ours = look_up(items);  // after the bell hangs: tell_of_side() comes before, or rings
        const timespec* left = countdown.left();
        const long count = has_ours ? socket::poll(*started_stack(), items, left, mask) : poll_kernels(items, left, mask);
        if (count <= 0 || bell.revents == 0) {
            return count;
        }
        listening.silence();
        if (count > 1) {
            return count - 1;
        }
    }
}

// `items` has one more, for the bell.
long poll_items(std::span<PollItem> items, Sides sides, const timespec* timeout, const sigset_t* mask) {
    if (sides.has_open && __libc_single_threaded == 0 && (timeout == nullptr || nanoseconds(*timeout) > 0)) {
        return poll_open(items, timeout, mask);
    }
    const std::span list = items.first(items.size() - 1);
    look_up(list);
    return socket::poll(*started_stack(), list, timeout, mask);
}

// ---------------------------------------------------------------- poll

Sides sides_of(const pollfd* list, nfds_t count) noexcept {
    Sides sides;
    if (fds.end() != 0) {
        std::for_each(list, list + count, [&sides](const pollfd& each) { sides.add(each.fd); });
    }
    return sides;
}

long poll_mixed(pollfd* list, nfds_t count, Sides sides, const timespec* timeout, const sigset_t* mask) {
    Room<PollItem> items(count + 1);
    if (count > FdTable::size_max || items.get() == nullptr) {
        return count > FdTable::size_max ? -EINVAL : -ENOMEM;
    }
    for (nfds_t i = 0; i < count; ++i) {
        items.get()[i] = {nullptr, nullptr, list[i].fd, list[i].events, 0};
    }
    items.all().back() = {};
    const long result = poll_items(items.all(), sides, timeout, mask);
    if (result >= 0) {
        for (nfds_t i = 0; i < count; ++i) {
            list[i].revents = items.get()[i].revents;
        }
    }
    return result;
}

int poll_any(pollfd* list, nfds_t count, int timeout_ms) {
    const Sides sides = sides_of(list, count);
    if (sides.are_kernels(timeout_ms == 0)) {
        return real.poll(list, count, timeout_ms);
    }
    const timespec timeout{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000L};
    return answer(cancellable([&] { return poll_mixed(list, count, sides, timeout_ms < 0 ? nullptr : &timeout, nullptr); }));
}

int ppoll_any(pollfd* list, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    const Sides sides = sides_of(list, count);
    if (sides.are_kernels(false)) {
        return real.ppoll(list, count, timeout, mask);
    }
    if (timeout != nullptr && !is_valid(*timeout)) {
        return answer(-EINVAL);
    }
    return answer(cancellable([&] { return poll_mixed(list, count, sides, timeout, mask); }));
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

Sides sides_of(const Sets& sets) noexcept {
    Sides sides;
    if (sets.end > 0 && fds.end() != 0) {
        sets.for_each([&sides](int fd) { sides.add(fd); });
    }
    return sides;
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

long select_mixed(const Sets& sets, Sides sides, const timespec* timeout, const sigset_t* mask) {
    std::size_t count = 0;
    sets.for_each([&count](int) { ++count; });
    Room<PollItem> items(count + 1);
    if (items.get() == nullptr) {
        return -ENOMEM;
    }
    std::size_t next = 0;
    sets.for_each([&](int fd) {
        PollItem& item = items.get()[next++];
        item = {nullptr, nullptr, fd, 0, 0};
        for (int direction = 0; direction < directions; ++direction) {
            item.events = static_cast<short>(item.events | (sets.has(direction, fd) ? asked[direction] : 0));
        }
    });
    items.all().back() = {};
    const long result = poll_items(items.all(), sides, timeout, mask);
    return result < 0 ? result : tell(sets, items.all().first(count));
}

int select_any(int end, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
    const Sets sets = sets_of(end, read, write, except);
    const Sides sides = sides_of(sets);
    if (sides.are_kernels(false)) {
        return real.select(end, read, write, except, timeout);
    }
    if (timeout == nullptr) {
        return answer(cancellable([&] { return select_mixed(sets, sides, nullptr, nullptr); }));
    }
    if (timeout->tv_sec < 0 || timeout->tv_usec < 0) {
        return answer(-EINVAL);
    }
    // Linux takes microseconds beyond a second, and leaves in `timeout` what was not needed.
    const timespec limit{timeout->tv_sec + timeout->tv_usec / 1'000'000, timeout->tv_usec % 1'000'000 * 1000};
    Countdown countdown(&limit);
    const long result = cancellable([&] { return select_mixed(sets, sides, &limit, nullptr); });
    if (countdown.is_bounded()) {
        const timespec left = *countdown.left();
        *timeout = {left.tv_sec, left.tv_nsec / 1000};
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
    const Sides sides = sides_of(sets);
    if (sides.are_kernels(false)) {
        return real.pselect(end, read, write, except, timeout, mask);
    }
    if (timeout != nullptr && !is_valid(*timeout)) {
        return answer(-EINVAL);
    }
    return answer(cancellable([&] { return select_mixed(sets, sides, timeout, mask); }));
}
}
