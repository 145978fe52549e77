// Holding the stack's lock, and waiting under it. Private to src/socket/.
#pragma once

#include <cerrno>
#include <span>

#include "socket/spin_habit.hpp"
#include "socket/state.hpp"

namespace shunt::socket {

// What a thread knows of itself.
struct ThreadState {
    std::uint32_t tid = 0;
    SpinHabit spin_habit;
    bool is_inside = false;                 // holds the lock: signal handlers must wait
    volatile bool has_deferred = false;     // a signal came meanwhile
    volatile bool was_interrupted = false;  // a handler ran; ...
    volatile bool must_return = false;      // ... and it was installed without SA_RESTART
    volatile std::uint32_t handled = 0;     // handlers that have run
};
ThreadState& this_thread() noexcept;

// The lock's last holder died (repair.cpp). With the lock held, which a guest lets go meanwhile.
void repair(Layer& layer, std::uint32_t tid) noexcept;

// The lock, from construction to destruction. Leaving tells everybody what has changed.
class Guard {
public:
    explicit Guard(Layer& layer) noexcept : layer_(layer), thread_(this_thread()) { enter(); }
    ~Guard() { leave(true); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

    Layer& layer() noexcept { return layer_; }
    ThreadState& thread() noexcept { return thread_; }
    // Lets others in, and signal handlers run.
    void yield() noexcept {
        leave(false);
        enter();
    }
    void enter() noexcept {
        thread_.is_inside = true;
        layer_.stack->lock(thread_.tid);
        if (layer_.stack->has_holder_died()) [[unlikely]] {
            repair(layer_, thread_.tid);
        }
    }
    void leave(bool for_good) noexcept;

private:
    Layer& layer_;
    ThreadState& thread_;
};

// Receive interrupts. With the lock held; after arming poll once more before sleeping.
void arm_interrupts(Layer& layer) noexcept;
void disarm_interrupts(Layer& layer) noexcept;
// Takes the event from rx_events; whoever does so disarms, polls, and so tells everybody.
void clear_rx_events(const Layer& layer) noexcept;
// The keeper need not listen any more, somebody else polls or listens: it goes back to looking in now and then.
void send_keeper_to_nap(Layer& layer) noexcept;

// A process is no more: its references and sleepers go, as if it had closed all it had, and its row in the ledger. With the lock held.
void bury(Guard& guard, int row) noexcept;
// What the library has lent to a process that is no more. With the lock held.
void take_back_packets(Layer& layer, int row) noexcept;
// This process gets its row. False: it comes too late.
bool enter_process(Layer& layer) noexcept;

// Whoever sleeps looks again. With the lock held.
void wake_all(Layer& layer) noexcept;

enum class Wake : std::uint8_t { ready, kernel_ready, timed_out, interrupted, restarts };

// What a wait gives a call: 0 when it is time to try again, else -errno.
constexpr long error_of(Wake wake) noexcept {
    switch (wake) {
        case Wake::ready:
        case Wake::kernel_ready: return 0;
        case Wake::timed_out: return -EAGAIN;
        case Wake::interrupted: return -EINTR;
        case Wake::restarts: return -call_again;
    }
    return -EINTR;
}

// Whether the number by which a call began still stands for its socket: another thread may have closed it, and the kernel's side is known by it alone.
bool stands_for(int fd, const Socket& socket) noexcept;

// What a wait waits for.
struct WaitFor {
    std::span<Socket* const> sockets;  // null entries are skipped
    std::span<EpollSet* const> sets;
    std::span<pollfd> kernel;          // kernel descriptors; revents are filled when Wake::kernel_ready
    Time deadline = never;
    bool restartable = true;           // the call begins anew after a SA_RESTART handler
};

// Polls, spins, sleeps until ready(context) says so. The lock is held on entry and on return, not in between.
Wake wait(Guard& guard, const WaitFor& what, bool (*ready)(void* context) noexcept, void* context) noexcept;

template <class Ready>
Wake wait_until(Guard& guard, const WaitFor& what, Ready ready) noexcept {
    return wait(guard, what, [](void* context) noexcept -> bool { return (*static_cast<Ready*>(context))(); }, &ready);
}

}  // namespace shunt::socket
