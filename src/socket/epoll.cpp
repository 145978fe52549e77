// Epoll sets over our sockets, over sets inside sets, and over the kernel's descriptors together.
//
// A set of ours stands beside the kernel's set under the same descriptor. What is on both sides, a socket bound to the wildcard or a set in a set, is
// registered in the kernel's with its Interest as data: so an event of the kernel's finds it again (take_from_kernel), and it is told once.
#include <algorithm>
#include <cstring>
#include <utility>

#include "pmd/port_inline.hpp"
#include "socket/call_scope.hpp"

namespace shunt::socket {
namespace {

constexpr Duration kernel_share = std::chrono::microseconds(20);
constexpr Duration stale_after = std::chrono::microseconds(1);
constexpr std::uint32_t epoll_flags = EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP;
constexpr std::uint32_t exclusive_allowed = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
constexpr int max_events_most = 0x7fff'ffff / static_cast<int>(sizeof(epoll_event));

void unready(Interest& interest) noexcept {
    if (!interest.is_ready) {
        return;
    }
    EpollSet& set = *interest.set;
    (interest.previous_ready != nullptr ? interest.previous_ready->next_ready : set.ready_head) = interest.next_ready;
    (interest.next_ready != nullptr ? interest.next_ready->previous_ready : set.ready_tail) = interest.previous_ready;
    interest.next_ready = interest.previous_ready = nullptr;
    interest.is_ready = false;
}

// The list of those who want to hear of a socket, or of a set that is in others.
Interest*& source_of(const Interest& interest) noexcept { return interest.inner != nullptr ? interest.inner->outer : interest.socket->interests; }

void remove_interest(Layer& layer, Interest& interest) noexcept {
    EpollSet& set = *interest.set;
    unready(interest);
    (interest.previous_of_set != nullptr ? interest.previous_of_set->next_of_set : set.interests) = interest.next_of_set;
    if (interest.next_of_set != nullptr) {
        interest.next_of_set->previous_of_set = interest.previous_of_set;
    }
    Interest** link = &source_of(interest);
    while (*link != &interest) {
        link = &(*link)->next_of_source;
    }
    *link = interest.next_of_source;
    --set.count;
    layer.interests.destroy(&interest);
    __atomic_store_n(&interest.set, nullptr, __ATOMIC_RELAXED);  // none of a set's: see repair.cpp; an atomic one is not left out as a store to what is dead
}

Interest* find_interest(Interest* list, const EpollSet& set, int fd) noexcept {
    while (list != nullptr && (list->set != &set || list->fd != fd)) {
        list = list->next_of_source;
    }
    return list;
}

// One that fired with EPOLLONESHOT is silent on both sides until it is set again.
void disable(Interest& interest, int epfd) noexcept {
    interest.is_disabled = true;
    unready(interest);
    if (interest.is_in_kernel) {
        epoll_event nothing{};
        nothing.events = EPOLLONESHOT;  // errors and hang-ups are reported whatever was asked for: once, then no more
        nothing.data.ptr = &interest;
        sys::epoll_ctl(epfd, EPOLL_CTL_MOD, interest.fd, &nothing);
    }
}

// Moves events from the ready list to the caller: level-triggered entries stay on the list while they are ready, edge-triggered ones leave it.
int harvest(Layer& layer, EpollSet& set, int epfd, epoll_event* events, int max_events) noexcept {
    int count = 0;
    Interest* const last = set.ready_tail;
    for (Interest* interest = set.ready_head; interest != nullptr && count < max_events;) {
        Interest* next = interest == last ? nullptr : interest->next_ready;
        const std::uint32_t now_ready = events_of(layer, *interest);
        unready(*interest);
        if (now_ready != 0) {
            events[count].events = now_ready;
            events[count++].data = interest->data;
            if ((interest->events & EPOLLONESHOT) != 0) {
                disable(*interest, epfd);
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

Interest* interest_of(Layer& layer, const EpollSet& set, const epoll_event& event) noexcept {
    auto* interest = static_cast<Interest*>(event.data.ptr);
    return layer.interests.contains(interest) && interest->set == &set && interest->is_in_kernel ? interest : nullptr;
}

// Events of the kernel's that belong to interests of ours: with the program's data, and with what is ready on our side, which is then told.
int take_from_kernel(Layer& layer, EpollSet& set, int epfd, epoll_event* events, int count) noexcept {
    int kept = 0;
    for (int i = 0; i < count; ++i) {
        epoll_event event;
        std::memcpy(&event, events + i, sizeof event);
        if (Interest* interest = interest_of(layer, set, event)) {
            if (interest->is_disabled) {
                continue;
            }
            event.events = event.events | events_of(layer, *interest);
            event.data = interest->data;
            if ((interest->events & EPOLLONESHOT) != 0) {
                disable(*interest, epfd);
            } else if ((interest->events & EPOLLET) != 0) {
                unready(*interest);
            }
        }
        std::memcpy(events + kept++, &event, sizeof event);
    }
    return kept;
}

// A level-triggered interest that the kernel's side has just told must not be told again by ours.
class Hidden {
public:
    Hidden(Layer& layer, EpollSet& set, const epoll_event* events, int count) noexcept : set_(set) {
        for (int i = 0; i < count && size_ < most; ++i) {
            if (Interest* interest = interest_of(layer, set, events[i]); interest != nullptr && interest->is_ready) {
                unready(*interest);
                hidden_[size_++] = interest;
            }
        }
    }
    ~Hidden() {
        for (int i = 0; i < size_; ++i) {
            if (!hidden_[i]->is_disabled && (hidden_[i]->events & EPOLLET) == 0) {
                make_ready(set_, *hidden_[i]);
            }
        }
    }
    Hidden(const Hidden&) = delete;
    Hidden& operator=(const Hidden&) = delete;

private:
    static constexpr int most = 16;
    EpollSet& set_;
    Interest* hidden_[most];
    int size_ = 0;
};

long check(int operation, const Interest* interest, const epoll_event* event, bool is_set) noexcept {
    if (operation == EPOLL_CTL_DEL) {
        return interest == nullptr ? -ENOENT : 0;
    }
    if (event == nullptr) {
        return -EFAULT;
    }
    const bool is_exclusive = (event->events & EPOLLEXCLUSIVE) != 0;
    if (operation == EPOLL_CTL_ADD) {
        const bool is_refused = is_exclusive && (is_set || (event->events & ~exclusive_allowed) != 0);
        return is_refused ? -EINVAL : interest != nullptr ? -EEXIST : 0;
    }
    if (operation != EPOLL_CTL_MOD || is_exclusive) {
        return -EINVAL;
    }
    return interest == nullptr ? -ENOENT : (interest->events & EPOLLEXCLUSIVE) != 0 ? -EINVAL : 0;
}

// `list` is the socket's, or the inner set's.
long control(Layer& layer, EpollSet& set, int operation, int fd, Interest*& list, Socket* socket, EpollSet* inner, const epoll_event* event) noexcept {
    Interest* interest = find_interest(list, set, fd);
    if (const long error = check(operation, interest, event, inner != nullptr); error != 0) {
        return error;
    }
    if (operation == EPOLL_CTL_DEL) {
        remove_interest(layer, *interest);
        return 0;
    }
    if (operation == EPOLL_CTL_ADD) {
        interest = layer.interests.try_create();
        if (interest == nullptr) {
            return -ENOSPC;
        }
        interest->socket = socket;
        interest->inner = inner;
        interest->fd = fd;
        interest->events = event->events;
        interest->data = event->data;
        __atomic_store_n(&interest->set, &set, __ATOMIC_RELEASE);  // from here on it is one, should we die over it
        interest->next_of_source = list;
        list = interest;
        interest->next_of_set = set.interests;
        if (set.interests != nullptr) {
            set.interests->previous_of_set = interest;
        }
        set.interests = interest;
        ++set.count;
    }
    interest->events = event->events;
    interest->data = event->data;
    interest->is_disabled = (event->events & epoll_fired) != 0;
    unready(*interest);
    if (events_of(layer, *interest) != 0) {
        tell(layer, *interest);
    }
    return 0;
}

}  // namespace

short readiness_of(const Layer& layer, const EpollSet& set) noexcept { return has_ready(layer, set) ? POLLIN | POLLRDNORM : 0; }

std::uint32_t events_of(const Layer& layer, const Interest& interest) noexcept {
    if (interest.is_disabled) {
        return 0;
    }
    const short all = interest.inner != nullptr ? readiness_of(layer, *interest.inner) : readiness_of(layer, *interest.socket);
    return static_cast<std::uint32_t>(static_cast<unsigned short>(all)) & ((interest.events & ~epoll_flags) | EPOLLERR | EPOLLHUP);  // poll's bits are epoll's
}

void detach_from_sets(Layer& layer, Socket& socket) noexcept {
    while (socket.interests != nullptr) {
        remove_interest(layer, *socket.interests);
    }
}

Result<EpollSet*> open_epoll(Stack& stack) {
    Guard guard(layer_of(stack));
    EpollSet* set = create_set(guard.layer());
    return set != nullptr ? Result<EpollSet*>(set) : fail(ENFILE);
}

void retain(EpollSet& set) noexcept {
    Guard guard(layer());
    hold(guard.layer(), set);
}

void drop_reference(Layer& layer, EpollSet& set) noexcept {
    layer.ledger.remove_set(this_process, layer.sets.index_of(&set));
    drop_reference_of(layer, set);
}

void drop_reference_of(Layer& layer, EpollSet& set) noexcept {
    if (--set.references != 0) {
        return;
    }
    while (set.interests != nullptr) {
        remove_interest(layer, *set.interests);
    }
    while (set.outer != nullptr) {
        remove_interest(layer, *set.outer);
    }
    put_back(layer.sets, set);
}

void release(EpollSet& set) noexcept {
    Guard guard(layer());
    drop_reference(guard.layer(), set);
}

bool is_empty(const EpollSet& set) noexcept { return set.count == 0; }

long epoll_control(EpollSet& set, int operation, int fd, Socket& socket, const epoll_event* event) noexcept {
    Guard guard(layer());
    if (is_gone(set) || is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    return control(guard.layer(), set, operation, fd, socket.interests, &socket, nullptr, event);
}

long epoll_control(EpollSet& set, int operation, int fd, EpollSet& inner, const epoll_event* event) noexcept {
    Guard guard(layer());
    if (is_gone(set) || is_gone(inner)) [[unlikely]] {
        return -EBADF;
    }
    return control(guard.layer(), set, operation, fd, inner.outer, nullptr, &inner, event);
}

namespace {

epoll_data_t mark_in_kernel(Interest* interest, bool is_in_kernel) noexcept {
    epoll_data_t data{};
    data.ptr = interest;
    if (interest != nullptr) {
        interest->is_in_kernel = is_in_kernel;
    }
    return data;
}

}  // namespace

epoll_data_t mark_in_kernel(EpollSet& set, int fd, Socket& socket, bool is_in_kernel) noexcept {
    const Guard guard(layer());
    return mark_in_kernel(find_interest(socket.interests, set, fd), is_in_kernel);
}

epoll_data_t mark_in_kernel(EpollSet& set, int fd, EpollSet& inner) noexcept {
    const Guard guard(layer());
    return mark_in_kernel(find_interest(inner.outer, set, fd), true);
}

int take_from_kernel(EpollSet& set, int epfd, epoll_event* events, int count) noexcept {
    Guard guard(layer());
    return take_from_kernel(guard.layer(), set, epfd, events, count);
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
        if (count < 0) {
            return count;
        }
    }
    const Hidden hidden(layer, set, events, static_cast<int>(count));
    count = take_from_kernel(layer, set, epfd, events, static_cast<int>(count));
    if (count < max_events) {
        count += harvest(layer, set, epfd, events + count, max_events - static_cast<int>(count));
    }
    if (count == 0 && is_our_turn) {
        count = ask_kernel(set, epfd, events, max_events, now);
        count = count < 0 ? count : take_from_kernel(layer, set, epfd, events, static_cast<int>(count));
    }
    return count;
}

}  // namespace

long epoll_wait(EpollSet& set, int epfd, epoll_event* events, int max_events, const timespec* timeout, const sigset_t* mask) noexcept {
    if (max_events <= 0 || max_events > max_events_most) {
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
    if (is_gone(set)) [[unlikely]] {
        return -EBADF;
    }
    pollfd kernel{epfd, POLLIN, 0};
    EpollSet* sets[] = {&set};
    WaitFor what;
    what.sets = sets;
    what.kernel = std::span(&kernel, 1);
    what.deadline = deadline_of(layer, timeout);
    what.restartable = false;
    if (has_ready(layer, set) && layer.now() - layer.stack->last_poll() < stale_after) {
        if (const long count = take_ready(layer, set, epfd, events, max_events); count != 0) {
            return count;
        }
    }
    hold(layer, set);
    long count = 0;
    Wake wake;
    do {
        wake = wait_until(guard, what, [&] { return has_ready(layer, set); });
        if (wake == Wake::kernel_ready) {
            set.kernel_asked = Time{};  // its turn
        }
        count = take_ready(layer, set, epfd, events, max_events);
    } while (count == 0 && (wake == Wake::ready || wake == Wake::kernel_ready));
    drop_reference(layer, set);
    return count == 0 && wake == Wake::interrupted ? -EINTR : count;
}

}  // namespace shunt::socket
