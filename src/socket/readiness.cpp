// poll over our sockets, our epoll sets and the kernel's descriptors together.
#include <algorithm>
#include <array>
#include <memory>
#include <new>

#include "pmd/port_inline.hpp"
#include "socket/ancillary.hpp"
#include "socket/call_scope.hpp"

namespace shunt::socket {
namespace {

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

short ready_of(const Layer& layer, const PollItem& item) noexcept {
    int ready = 0;
    if (item.socket != nullptr) {
        ready = readiness_of(layer, *item.socket);
    } else if (item.set != nullptr) {
        ready = readiness_of(layer, *item.set);
    }
    return static_cast<short>(ready & (item.events | POLLERR | POLLHUP));
}

int fill_ours(const Layer& layer, std::span<PollItem> items) noexcept {
    int count = 0;
    for (PollItem& item : items) {
        item.revents = ready_of(layer, item);
        count += item.revents != 0;
    }
    return count;
}

// Keeps what is polled alive: another thread may close it meanwhile.
class HoldAll {
public:
    HoldAll(Guard& guard, std::span<Socket* const> sockets, std::span<EpollSet* const> sets) noexcept : guard_(guard), sockets_(sockets), sets_(sets) {
        std::for_each(sockets.begin(), sockets.end(), [&](Socket* each) { hold(guard.layer(), *each); });
        std::for_each(sets.begin(), sets.end(), [&](EpollSet* each) { hold(guard.layer(), *each); });
    }
    ~HoldAll() {
        for (Socket* each : sockets_) {
            drop_reference(guard_, *each);
        }
        for (EpollSet* each : sets_) {
            drop_reference(guard_.layer(), *each);
        }
    }
    HoldAll(const HoldAll&) = delete;
    HoldAll& operator=(const HoldAll&) = delete;

private:
    Guard& guard_;
    std::span<Socket* const> sockets_;
    std::span<EpollSet* const> sets_;
};

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
    Scratch<EpollSet*, 64> sets(items.size());
    if (!kernel.is_ok() || !kernel_of.is_ok() || !ours.is_ok() || !sets.is_ok()) {
        return -ENOMEM;
    }
    const MaskScope scope(mask);
    if (scope.has_ended_the_call()) {
        return -EINTR;
    }
    Guard guard(layer);
    std::size_t kernel_count = 0, our_count = 0, set_count = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (items[i].socket != nullptr ? is_gone(*items[i].socket) : items[i].set != nullptr && is_gone(*items[i].set)) [[unlikely]] {
            items[i].socket = nullptr;  // closed just now: what the number stands for is the kernel's to say
            items[i].set = nullptr;
        }
        if (items[i].socket != nullptr) {
            ours.data()[our_count++] = items[i].socket;
        } else if (items[i].set != nullptr) {
            sets.data()[set_count++] = items[i].set;
        }
        if (items[i].fd >= 0 && (items[i].socket == nullptr || is_both(*items[i].socket))) {
            kernel_of.data()[kernel_count] = i;
            constexpr short room = POLLOUT | POLLWRNORM | POLLWRBAND;  // of a socket on both sides ours to tell
            const int events = items[i].socket != nullptr ? items[i].events & ~room : items[i].events;
            kernel.data()[kernel_count++] = {items[i].fd, static_cast<short>(events), 0};
        }
    }
    WaitFor what;
    what.sockets = std::span(ours.data(), our_count);
    what.sets = std::span(sets.data(), set_count);
    what.kernel = std::span(kernel.data(), kernel_count);
    what.deadline = deadline_of(layer, timeout);
    what.restartable = false;
    const HoldAll hold(guard, what.sockets, what.sets);
    const Wake wake = wait_until(guard, what, [&] { return std::any_of(items.begin(), items.end(), [&](const PollItem& item) { return ready_of(layer, item) != 0; }); });
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

}  // namespace shunt::socket
