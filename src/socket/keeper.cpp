#include "socket/keeper.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>

#include "base/sys.hpp"
#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

// While the program polls we only look in now and then: every wake-up may hit the core it spins on.
constexpr Duration nap_beside_program = std::chrono::milliseconds(2);
constexpr Duration nap_without_interrupts = std::chrono::microseconds(200);
constexpr Duration quiet_after = std::chrono::milliseconds(1);  // the program has not polled for so long: it computes or sleeps

void sleep_for(Duration d) noexcept {
    const timespec nap{static_cast<time_t>(d.count() / 1'000'000'000), static_cast<long>(d.count() % 1'000'000'000)};
    sys::call(SYS_nanosleep, sys::word(&nap), 0);
}

// A program that spins in a call, or in a Session of the library, holds the lock while it polls: making it let go costs it microseconds, so we
// do that seldom. (Seldom, not never: the holder may have died.)
bool is_at_work(const Layer& layer) noexcept {
    static unsigned in_a_row = 0;
    constexpr unsigned most_in_a_row = 50;
    in_a_row = layer.stack->is_locked() && in_a_row < most_in_a_row ? in_a_row + 1 : 0;
    return in_a_row != 0;
}

// One turn; returns how long to sleep, and whether on the ports' interrupts.
Duration keep(Layer& layer, bool& on_interrupts) noexcept {
    Guard guard(layer);
    Stack& stack = *layer.stack;
    const Time now = layer.now();
    const bool program_watches = layer.sleepers != 0 || now - stack.last_poll() < quiet_after;
    on_interrupts = false;
    if (program_watches) {
        return nap_beside_program;
    }
    stack.poll(now);
    stack.counters().count(Event::keeper_polls);
    if (layer.has_interrupts) {
        for (Link* link : stack.links()) {
            link->port.arm_rx_interrupt();
        }
        layer.is_armed = true;
        on_interrupts = true;
        stack.poll(layer.now());
    }
    const Time next = stack.next_deadline();
    const Duration most = layer.has_interrupts ? Duration(std::chrono::milliseconds(100)) : nap_without_interrupts;
    return next == never ? most : std::clamp<Duration>(next - now, std::chrono::microseconds(50), most);
}

void* run(void* argument) {
    Layer& layer = *static_cast<Layer*>(argument);
    while (true) {
        bool on_interrupts = false;
        const Duration nap = is_at_work(layer) ? nap_beside_program : keep(layer, on_interrupts);
        if (!on_interrupts) {
            sleep_for(nap);
            continue;
        }
        epoll_event events[4];
        const timespec timeout{static_cast<time_t>(nap.count() / 1'000'000'000), static_cast<long>(nap.count() % 1'000'000'000)};
        pollfd fd{layer.rx_events, POLLIN, 0};
        if (sys::ppoll(&fd, 1, &timeout, nullptr) > 0) {
            sys::epoll_pwait(layer.rx_events, events, 4, 0, nullptr);
        }
    }
    return nullptr;
}

}  // namespace

void start_keeper(Layer& layer) {
    sigset_t all, old;
    sigfillset(&all);
    sys::sigprocmask(SIG_SETMASK, &all, &old);
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    const int error = pthread_create(&thread, &attributes, run, &layer);
    if (error == 0) {
        pthread_setname_np(thread, "shunt-keeper");
    } else {
        log::warning("cannot start the keeper's thread (error {}): connections rest while the program does not call", error);
    }
    pthread_attr_destroy(&attributes);
    sys::sigprocmask(SIG_SETMASK, &old, nullptr);
}

}  // namespace shunt::socket
