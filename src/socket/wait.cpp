// Waiting: spin as long as the profile says, then sleep until a port's interrupt, another thread, a kernel descriptor, a timer or a signal.
//
// No wake-up is lost because everything is decided under the lock: a sleeper marks what it waits for, arms the interrupts, polls once more, and only then
// lets go; whoever makes something ready sees the mark, and writes to the sleeper's eventfd after leaving the lock.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/sys.hpp"
#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

constexpr Duration kernel_check_interval = std::chrono::microseconds(20);  // a system call costs as much as some hundred polls
constexpr Duration nap_without_interrupts = std::chrono::microseconds(100);

thread_local ThreadState thread_state;
void (*run_deferred)() noexcept = nullptr;
bool (*is_cancelled)() noexcept = nullptr;
bool (*number_test)(int fd, const Socket& socket) noexcept = nullptr;
Layer* current_layer = nullptr;

timespec to_timespec(Duration d) noexcept {
    d = std::max(d, Duration{});
    return {static_cast<time_t>(d.count() / 1'000'000'000), static_cast<long>(d.count() % 1'000'000'000)};
}

void run_deferred_signals(ThreadState& thread) noexcept {
    if (thread.has_deferred && run_deferred != nullptr) {
        thread.has_deferred = false;
        run_deferred();
    }
}

// A handler has run since the call began.
Wake end_interrupted(ThreadState& thread, bool restartable) noexcept {
    const bool ends = thread.must_return || !restartable;
    thread.was_interrupted = false;
    thread.must_return = false;
    return ends ? Wake::interrupted : Wake::restarts;
}

void wake_sleepers(Layer& layer, SleeperMask mask) noexcept {
    while (mask != 0) {
        const auto slot = static_cast<unsigned>(std::countr_zero(mask));
        mask &= mask - 1;
        const std::uint64_t tokens = std::max<std::uint64_t>(layer.slot_sleepers[slot].load(std::memory_order_relaxed), 1);
        sys::write(layer.slot_fds[slot], &tokens, sizeof tokens);
    }
}

void mark(const WaitFor& what, SleeperMask bit, bool on) noexcept {
    const auto apply = [bit, on](SleeperMask& mask) { mask = on ? mask | bit : mask & ~bit; };
    for (Socket* socket : what.sockets) {
        if (socket != nullptr) {
            apply(socket->sleepers);
        }
    }
    for (EpollSet* set : what.sets) {
        apply(set->sleepers);
    }
}

void count_sleeper(Layer& layer, unsigned slot, bool sleeps) noexcept {
    const auto change = [sleeps](auto& count) { sleeps ? ++count : --count; };
    change(layer.slot_sleepers[slot]);
    change(layer.sleepers);
    if (pmd::is_guest()) {
        change(layer.guest_sleepers);
    }
    layer.ledger.note_sleeper(this_process, slot, sleeps);
}

// What another thread closes while we wait for it stays without news, as for Linux's poll, which keeps the file.
void forget_closed(std::span<pollfd> kernel) noexcept {
    for (pollfd& each : kernel) {
        if ((each.revents & POLLNVAL) != 0) {
            each.fd = -1;
            each.revents = 0;
        }
    }
}

// One sleep; true when a kernel descriptor is ready.
bool sleep(Guard& guard, const WaitFor& what, bool (*ready)(void*) noexcept, void* context) noexcept {
    Layer& layer = guard.layer();
    const unsigned slot = layer.next_slot++ % sleeper_slots;
    const SleeperMask bit = SleeperMask{1} << slot;
    count_sleeper(layer, slot, true);
    mark(what, bit, true);
    const bool is_guest = pmd::is_guest();
    if (!is_guest) {
        arm_interrupts(layer);
        send_keeper_to_nap(layer);  // one who listens is enough
    }
    layer.stack->poll(layer.now());
    dispatch(layer);
    bool kernel_ready = false;
    if (!ready(context) && !guard.thread().has_deferred) {
        constexpr std::size_t inline_fds = 66;
        pollfd storage[inline_fds];
        // With many kernel descriptors (a large poll) we sleep in slices instead of copying them all.
        const bool fits = what.kernel.size() + 2 <= inline_fds;
        const std::size_t copied = fits ? what.kernel.size() : 0;
        storage[0] = {layer.slot_fds[slot], POLLIN, 0};
        storage[1] = {is_guest ? -1 : layer.rx_events, POLLIN, 0};
        std::copy_n(what.kernel.begin(), copied, storage + 2);
        const Time now = layer.now();
        Time until = std::min(what.deadline, layer.stack->next_deadline());
        if (!layer.has_interrupts && !is_guest) {
            until = std::min(until, now + nap_without_interrupts);
        }
        if (!fits) {
            until = std::min(until, now + std::chrono::milliseconds(1));
        }
        const timespec timeout = to_timespec(until == never ? Duration{} : until - now);
        guard.leave(false);
        // A handler that ran on the way out must not be slept through.
        const long woken = guard.thread().was_interrupted ? 0 : sys::ppoll(storage, copied + 2, until == never ? nullptr : &timeout, nullptr);
        if (woken > 0 && storage[0].revents != 0) {
            std::uint64_t token;
            sys::read(layer.slot_fds[slot], &token, sizeof token);
        }
        const bool rang = woken > 0 && storage[1].revents != 0;
        if (rang) {
            clear_rx_events(layer);
        }
        for (std::size_t i = 0; i < copied; ++i) {
            what.kernel[i].revents = woken > 0 ? storage[2 + i].revents : short{0};
        }
        forget_closed(what.kernel);
        kernel_ready = std::any_of(what.kernel.begin(), what.kernel.begin() + static_cast<std::ptrdiff_t>(copied), [](const pollfd& each) { return each.revents != 0; });
        guard.enter();
        if (rang) {
            // Whether the port masks its interrupt when it fires or not, whoever sleeps next arms it anew.
            disarm_interrupts(layer);
        }
    }
    count_sleeper(layer, slot, false);
    if (layer.slot_sleepers[slot] == 0) {
        mark(what, bit, false);
    }
    return kernel_ready;
}

// We have just left the lock, for somebody who wants it: taken again at once, it would never seem free to him. Without a port, nothing comes from outside,
// and whoever is to work for us may wait for this processor.
void step_back(Stack& stack) noexcept {
    constexpr int patience = 100;
    const auto is_waited_for = [&stack] { return stack.is_wanted() && !stack.is_locked(); };
    for (int i = 0; i < patience && is_waited_for(); ++i) {
        __builtin_ia32_pause();
    }
    if (is_waited_for() || !stack.has_port()) {
        stack.forget_spinners();
        sys::call(SYS_sched_yield);  // he may need this processor
    }
}

// The spinning of one wait, from the first look that finds nothing.
class Spin {
public:
    Spin(SpinHabit& habit, const Layer& layer) noexcept : habit_(habit), longest_(pmd::is_guest() ? Duration{} : layer.spin) {}  // nothing comes while a guest holds the lock
    ~Spin() {
        if (is_on_) {
            habit_.hit();
        }
    }
    Spin(const Spin&) = delete;
    Spin& operator=(const Spin&) = delete;

    bool goes_on(Time now) noexcept {
        if (!has_begun_) {
            has_begun_ = true;
            is_on_ = longest_ > Duration{} && habit_.spins_now();
            until_ = saturating_add(now, longest_);
        } else if (is_on_ && now >= until_) {
            is_on_ = false;
            habit_.miss();
        }
        return is_on_;
    }

private:
    SpinHabit& habit_;
    Duration longest_;
    Time until_{};
    bool has_begun_ = false, is_on_ = false;
};

// Who waits leaves the stack as others may find it, and may die without harm.
class Resting {
public:
    explicit Resting(Stack& stack) noexcept : stack_(stack) { stack.rest(); }
    ~Resting() { stack_.change(); }
    Resting(const Resting&) = delete;
    Resting& operator=(const Resting&) = delete;

private:
    Stack& stack_;
};

bool check_kernel(const WaitFor& what, bool is_first) noexcept {
    const timespec zero{0, 0};
    if (sys::ppoll(what.kernel.data(), what.kernel.size(), &zero, nullptr) <= 0) {
        return false;
    }
    if (!is_first) {
        forget_closed(what.kernel);
    }
    return std::any_of(what.kernel.begin(), what.kernel.end(), [](const pollfd& each) { return each.revents != 0; });
}

}  // namespace

void arm_interrupts(Layer& layer) noexcept {
    if (!layer.is_armed && layer.has_interrupts) {
        for (Link* link : layer.stack->links()) {
            link->port.arm_rx_interrupt();
        }
        layer.is_armed = true;
    }
}

void disarm_interrupts(Layer& layer) noexcept {
    if (layer.is_armed && !pmd::is_guest()) {
        for (Link* link : layer.stack->links()) {
            link->port.disarm_rx_interrupt();
        }
        layer.is_armed = false;
        send_keeper_to_nap(layer);
    }
}

void send_keeper_to_nap(Layer& layer) noexcept {
    if (layer.keeper_listens) {
        layer.keeper_listens = false;
        const std::uint64_t token = 1;
        sys::write(layer.keeper_fd, &token, sizeof token);
    }
}

void clear_rx_events(const Layer& layer) noexcept {
    epoll_event ignored[4];
    sys::epoll_pwait(layer.rx_events, ignored, 4, 0, nullptr);
}

ThreadState& this_thread() noexcept {
    if (__builtin_expect(thread_state.tid == 0, false)) {
        thread_state.tid = static_cast<std::uint32_t>(sys::gettid());
    }
    return thread_state;
}

timespec wall_time(const Layer&) noexcept {
    timespec wall{};
    clock_gettime(CLOCK_REALTIME, &wall);
    return wall;
}

Layer& layer() noexcept {
    return *current_layer;
}
void set_layer(Layer* layer) noexcept {
    current_layer = layer;
}

bool defer_signal() noexcept {
    if (thread_state.is_inside) {
        thread_state.has_deferred = true;
        return true;
    }
    return false;
}
void note_handled_signal(bool restarts) noexcept {
    thread_state.handled = thread_state.handled + 1;
    thread_state.was_interrupted = true;
    if (!restarts) {
        thread_state.must_return = true;
    }
}
void begin_outer_wait() noexcept {
    thread_state.was_interrupted = false;
    thread_state.must_return = false;
}
bool ends_outer_wait(bool restartable) noexcept {
    return end_interrupted(thread_state, restartable) == Wake::interrupted;
}
std::uint32_t handled_signals() noexcept {
    return thread_state.handled;
}
void set_cancel_test(bool (*test)() noexcept) noexcept {
    is_cancelled = test;
}
void set_number_test(bool (*stands_for)(int fd, const Socket& socket) noexcept) noexcept {
    number_test = stands_for;
}
bool stands_for(int fd, const Socket& socket) noexcept {
    return number_test == nullptr || number_test(fd, socket);
}
void wake_all(Layer& layer) noexcept {
    for (unsigned slot = 0; slot < sleeper_slots; ++slot) {
        layer.pending_wakes |= layer.slot_sleepers[slot] != 0 ? SleeperMask{1} << slot : 0;
    }
}
void wake_all() noexcept {
    Guard guard(layer());
    wake_all(guard.layer());
}
void set_deferred_runner(void (*run)() noexcept) noexcept {
    run_deferred = run;
}

void Guard::leave(bool for_good) noexcept {
    dispatch(layer_);
    if (for_good && layer_.sleepers != layer_.guest_sleepers && !pmd::is_guest() && !layer_.is_armed && layer_.has_interrupts) {
        // Others sleep and we stop polling: what arrives from now on must wake them.
        arm_interrupts(layer_);
        layer_.stack->poll(layer_.now());
        dispatch(layer_);
    }
    const SleeperMask wakes = layer_.pending_wakes;
    layer_.pending_wakes = 0;
    const bool wants_keeper = pmd::has_guest_frames();
    layer_.stack->unlock();
    thread_.is_inside = false;
    if (__builtin_expect(wants_keeper, false)) {
        const std::uint64_t token = 1;
        sys::write(layer_.keeper_fd, &token, sizeof token);
    }
    if (__builtin_expect(wakes != 0, false)) {
        wake_sleepers(layer_, wakes);
    }
    if (__builtin_expect(thread_.has_deferred, false)) {
        run_deferred_signals(thread_);
    }
}

Wake wait(Guard& guard, const WaitFor& what, bool (*ready)(void*) noexcept, void* context) noexcept {
    Layer& layer = guard.layer();
    ThreadState& thread = guard.thread();
    thread.was_interrupted = false;
    thread.must_return = false;
    Time now = layer.now();
    Time kernel_check = now;
    bool is_first = true;
    Spin spin(thread.spin_habit, layer);
    const Resting resting(*layer.stack);
    while (true) {
        layer.stack->rest();
        layer.stack->poll(now);
        dispatch(layer);
        if (ready(context)) {
            return Wake::ready;
        }
        layer.stack->rest();
        if (!what.kernel.empty() && now >= kernel_check) {
            if (check_kernel(what, is_first)) {
                return Wake::kernel_ready;
            }
            is_first = false;
            kernel_check = now + kernel_check_interval;
        }
        if (now >= what.deadline) {
            return Wake::timed_out;
        }
        if (thread.has_deferred) {
            guard.yield();
        } else if (!spin.goes_on(now)) {
            if (sleep(guard, what, ready, context)) {
                return Wake::kernel_ready;
            }
            kernel_check = layer.now();
        } else {
            disarm_interrupts(layer);  // we poll for a while: a port that is armed costs system calls in each burst
            if (layer.stack->is_wanted() || !layer.stack->has_port()) {
                guard.leave(false);
                step_back(*layer.stack);
                guard.enter();
            }
        }
        if (thread.was_interrupted) {
            return end_interrupted(thread, what.restartable);
        }
        if (is_cancelled != nullptr && is_cancelled()) {
            return Wake::interrupted;
        }
        now = layer.now();
    }
}

}  // namespace shunt::socket
