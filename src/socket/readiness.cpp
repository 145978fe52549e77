// poll and epoll over our sockets and the kernel's descriptors together.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "base/sys.hpp"
#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

constexpr Duration kernel_share = std::chrono::microseconds(20);
constexpr Duration stale_after = std::chrono::microseconds(1);

// -1 s and less mean for ever to the callers that pass null.
Time deadline_of(const Layer& layer, const timespec* timeout) noexcept {
    if (timeout == nullptr) {
        return never;
    }
    const Duration d = timeout->tv_sec > 1'000'000'000 ? Duration::max() : Duration(std::chrono::seconds(timeout->tv_sec) + std::chrono::nanoseconds(timeout->tv_nsec));
    return saturating_add(layer.now(), d);
}

// The caller's signal mask, for the length of a call. A signal that was waiting for it is handled in the constructor: the call must end then.
class MaskScope {
public:
    explicit MaskScope(const sigset_t* mask) noexcept : is_set_(mask != nullptr) {
        if (is_set_) {
            this_thread().was_interrupted = false;
            sys::sigprocmask(SIG_SETMASK, mask, &old_);
        }
    }
    bool has_ended_the_call() const noexcept { return is_set_ && this_thread().was_interrupted; }
    ~MaskScope() {
        if (is_set_) {
            sys::sigprocmask(SIG_SETMASK, &old_, nullptr);
        }
    }
    MaskScope(const MaskScope&) = delete;
    MaskScope& operator=(const MaskScope&) = delete;

private:
    bool is_set_;
    sigset_t old_{};
};

// Room for a poll's lists: on the stack for the usual few, from the heap for many.
template <class T, std::size_t N>
class Scratch {
public:
    explicit Scratch(std::size_t count) : many_(count > N ? new (std::nothrow) T[count] : nullptr), ok_(count <= N || many_ != nullptr) {}
    T* data() noexcept { return many_ ? many_.get() : few_.data(); }
    bool is_ok() const noexcept { return ok_; }

private:
    std::array<T, N> few_;
    std::unique_ptr<T[]> many_;
    bool ok_;
};

int fill_ours(const Layer& layer, std::span<PollItem> items) noexcept {
    int count = 0;
    for (PollItem& item : items) {
        item.revents = item.socket != nullptr ? static_cast<short>(readiness_of(layer, *item.socket) & (item.events | POLLERR | POLLHUP)) : short{0};
        count += item.revents != 0;
    }
    return count;
}

}  // namespace

short readiness(Socket& socket) noexcept {
    Guard guard(layer());
    guard.layer().stack->poll(guard.layer().now());
    return readiness_of(guard.layer(), socket);
}

long poll(Stack& stack, std::span<PollItem> items, const timespec* timeout, const sigset_t* mask) noexcept {
    Layer& layer = layer_of(stack);
    if (mask != nullptr) {  // what is ready goes before signals that wait
        const timespec zero{0, 0};
        if (const long count = poll(stack, items, &zero, nullptr); count != 0) {
            return count;
        }
    }
    Scratch<pollfd, 64> kernel(items.size());
    Scratch<std::size_t, 64> kernel_of(items.size());
    Scratch<Socket*, 64> ours(items.size());
    if (!kernel.is_ok() || !kernel_of.is_ok() || !ours.is_ok()) {
        return -ENOMEM;
    }
    std::size_t kernel_count = 0, our_count = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (items[i].socket != nullptr) {
            ours.data()[our_count++] = items[i].socket;
        }
        if (items[i].fd >= 0 && (items[i].socket == nullptr || is_both(*items[i].socket))) {
            kernel_of.data()[kernel_count] = i;
            kernel.data()[kernel_count++] = {items[i].fd, items[i].events, 0};
        }
    }
    const MaskScope scope(mask);
    if (scope.has_ended_the_call()) {
        return -EINTR;
    }
    Guard guard(layer);
    WaitFor what;
    what.sockets = std::span(ours.data(), our_count);
    what.kernel = std::span(kernel.data(), kernel_count);
    what.deadline = deadline_of(layer, timeout);
    what.restartable = false;
    const Wake wake = wait_until(guard, what, [&] {
        return std::any_of(items.begin(), items.end(), [&](const PollItem& item) {
            return item.socket != nullptr && (readiness_of(layer, *item.socket) & (item.events | POLLERR | POLLHUP)) != 0;
        });
    });
    if (wake == Wake::interrupted) {
        return -EINTR;
    }
    int count = fill_ours(layer, items);
    const timespec zero{0, 0};
    if (kernel_count != 0 && sys::ppoll(kernel.data(), kernel_count, &zero, nullptr) > 0) {
        for (std::size_t i = 0; i < kernel_count; ++i) {
            PollItem& item = items[kernel_of.data()[i]];
            count += item.revents == 0 && kernel.data()[i].revents != 0;
            item.revents = static_cast<short>(item.revents | kernel.data()[i].revents);
        }
    }
    return count;
}

// ---------------------------------------------------------------- epoll

namespace {

constexpr std::uint32_t epoll_flags = EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP;

void unready(EpollSet& set, Interest& interest) noexcept {
    if (!interest.is_ready) {
        return;
    }
    (interest.previous_ready != nullptr ? interest.previous_ready->next_ready : set.ready_head) = interest.next_ready;
    (interest.next_ready != nullptr ? interest.next_ready->previous_ready : set.ready_tail) = interest.previous_ready;
    interest.next_ready = interest.previous_ready = nullptr;
    interest.is_ready = false;
}

void remove_interest(Layer& layer, Interest& interest) noexcept {
    EpollSet& set = *interest.set;
    unready(set, interest);
    (interest.previous_of_set != nullptr ? interest.previous_of_set->next_of_set : set.interests) = interest.next_of_set;
    if (interest.next_of_set != nullptr) {
        interest.next_of_set->previous_of_set = interest.previous_of_set;
    }
    Interest** link = &interest.socket->interests;
    while (*link != &interest) {
        link = &(*link)->next_of_socket;
    }
    *link = interest.next_of_socket;
    --set.count;
    layer.interests.destroy(&interest);
}

Interest* find_interest(const EpollSet& set, int fd, const Socket& socket) noexcept {
    for (Interest* interest = socket.interests; interest != nullptr; interest = interest->next_of_socket) {
        if (interest->set == &set && interest->fd == fd) {
            return interest;
        }
    }
    return nullptr;
}

// Moves events from the ready list to the caller: level-triggered entries stay on the list while they are ready, edge-triggered ones leave it.
int harvest(Layer& layer, EpollSet& set, epoll_event* events, int max_events) noexcept {
    int count = 0;
    Interest* const last = set.ready_tail;
    for (Interest* interest = set.ready_head; interest != nullptr && count < max_events;) {
        Interest* next = interest == last ? nullptr : interest->next_ready;
        const std::uint32_t now_ready = events_of(layer, *interest);
        unready(set, *interest);
        if (now_ready != 0) {
            events[count].events = now_ready;
            events[count++].data = interest->data;
            if ((interest->events & EPOLLONESHOT) != 0) {
                interest->is_disabled = true;
            } else if ((interest->events & EPOLLET) == 0) {
                make_ready(set, *interest);
            }
        }
        interest = next;
    }
    return count;
}

bool has_ready(const Layer& layer, const EpollSet& set) noexcept {
    for (const Interest* interest = set.ready_head; interest != nullptr; interest = interest->next_ready) {
        if (events_of(layer, *interest) != 0) {
            return true;
        }
    }
    return false;
}

}  // namespace

std::uint32_t events_of(const Layer& layer, const Interest& interest) noexcept {
    if (interest.is_disabled) {
        return 0;
    }
    const auto ready = static_cast<std::uint32_t>(static_cast<unsigned short>(readiness_of(layer, *interest.socket)));
    return ready & ((interest.events & ~epoll_flags) | EPOLLERR | EPOLLHUP);  // poll's bits are epoll's
}

void detach_from_sets(Layer& layer, Socket& socket) noexcept {
    while (socket.interests != nullptr) {
        remove_interest(layer, *socket.interests);
    }
}

Result<EpollSet*> open_epoll(Stack& stack) {
    Guard guard(layer_of(stack));
    EpollSet* set = guard.layer().sets.try_create();
    return set != nullptr ? Result<EpollSet*>(set) : fail(ENFILE);
}

void retain(EpollSet& set) noexcept {
    Guard guard(layer());
    ++set.references;
}

void release(EpollSet& set) noexcept {
    Guard guard(layer());
    if (--set.references == 0) {
        while (set.interests != nullptr) {
            remove_interest(guard.layer(), *set.interests);
        }
        guard.layer().sets.destroy(&set);
    }
}

bool is_empty(const EpollSet& set) noexcept { return set.count == 0; }

long epoll_control(EpollSet& set, int operation, int fd, Socket& socket, const epoll_event* event) noexcept {
    Guard guard(layer());
    Layer& layer = guard.layer();
    Interest* interest = find_interest(set, fd, socket);
    if (operation == EPOLL_CTL_DEL) {
        if (interest == nullptr) {
            return -ENOENT;
        }
        remove_interest(layer, *interest);
        return 0;
    }
    if (event == nullptr) {
        return -EFAULT;
    }
    if (operation == EPOLL_CTL_ADD) {
        if (interest != nullptr) {
            return -EEXIST;
        }
        interest = layer.interests.try_create();
        if (interest == nullptr) {
            return -ENOSPC;
        }
        interest->socket = &socket;
        interest->set = &set;
        interest->fd = fd;
        interest->next_of_socket = socket.interests;
        socket.interests = interest;
        interest->next_of_set = set.interests;
        if (set.interests != nullptr) {
            set.interests->previous_of_set = interest;
        }
        set.interests = interest;
        ++set.count;
    } else if (operation != EPOLL_CTL_MOD) {
        return -EINVAL;
    } else if (interest == nullptr) {
        return -ENOENT;
    }
    interest->events = event->events;
    interest->data = event->data;
    interest->is_disabled = false;
    unready(set, *interest);
    if (events_of(layer, *interest) != 0) {
        make_ready(set, *interest);
        layer.pending_wakes |= set.sleepers;
    }
    return 0;
}

void epoll_forget(EpollSet& set, int fd, Socket& socket) noexcept {
    epoll_control(set, EPOLL_CTL_DEL, fd, socket, nullptr);
}

namespace {

long ask_kernel(EpollSet& set, int epfd, epoll_event* events, int max_events, Time now) noexcept {
    set.kernel_asked = now;
    const long count = sys::epoll_pwait(epfd, events, max_events, 0, nullptr);
    set.kernel_took_all = count == max_events;
    return count == -EBADF ? count : std::max(count, 0L);  // EBADF: closed by another thread
}

// One look at everything, without waiting. The kernel's part costs a system call: not at every event of ours, but when it is due it goes first, so that
// neither side starves the other.
long take_ready(Layer& layer, EpollSet& set, int epfd, epoll_event* events, int max_events) noexcept {
    const Time now = layer.now();
    const bool is_our_turn = std::exchange(set.kernel_took_all, false);
    long count = 0;
    if (now - set.kernel_asked > kernel_share && !is_our_turn) {
        count = ask_kernel(set, epfd, events, max_events, now);
    }
    if (count < 0 || count == max_events) {
        return count;
    }
    count += harvest(layer, set, events + count, max_events - static_cast<int>(count));
    return count == 0 && is_our_turn ? ask_kernel(set, epfd, events, max_events, now) : count;
}

}  // namespace

long epoll_wait(EpollSet& set, int epfd, epoll_event* events, int max_events, const timespec* timeout, const sigset_t* mask) noexcept {
    if (max_events <= 0) {
        return -EINVAL;
    }
    if (mask != nullptr) {  // what is ready goes before signals that wait
        const timespec zero{0, 0};
        if (const long count = epoll_wait(set, epfd, events, max_events, &zero, nullptr); count != 0) {
            return count;
        }
    }
    const MaskScope scope(mask);
    if (scope.has_ended_the_call()) {
        return -EINTR;
    }
    Guard guard(layer());
    Layer& layer = guard.layer();
    pollfd kernel{epfd, POLLIN, 0};
    WaitFor what;
    what.set = &set;
    what.kernel = std::span(&kernel, 1);
    what.deadline = deadline_of(layer, timeout);
    what.restartable = false;
    if (has_ready(layer, set) && layer.now() - layer.stack->last_poll() < stale_after) {
        if (const long count = take_ready(layer, set, epfd, events, max_events); count != 0) {
            return count;
        }
    }
    ++set.references;
    long count = 0;
    Wake wake;
    do {
        wake = wait_until(guard, what, [&] { return has_ready(layer, set); });
        if (wake == Wake::kernel_ready) {
            set.kernel_asked = Time{};  // its turn
        }
        count = take_ready(layer, set, epfd, events, max_events);
    } while (count == 0 && (wake == Wake::ready || wake == Wake::kernel_ready));
    if (--set.references == 0) {
        ++set.references;
        guard.leave(false);
        release(set);
        guard.enter();
    }
    return count == 0 && wake == Wake::interrupted ? -EINTR : count;
}

}  // namespace shunt::socket
