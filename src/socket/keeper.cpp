#include "socket/keeper.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>

#include "base/sys.hpp"
#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

// While the program polls we only look in now and then: every wake-up may hit the core it spins on.
constexpr Duration nap_beside_program = std::chrono::milliseconds(2);
constexpr Duration nap_beside_sleepers = std::chrono::milliseconds(20);  // they wake by themselves
constexpr Duration nap_without_interrupts = std::chrono::microseconds(200);
constexpr Duration longest_nap = std::chrono::milliseconds(100);
constexpr Duration shortest_nap = std::chrono::microseconds(50);
constexpr Duration quiet_after = std::chrono::milliseconds(1);  // the program has not polled for so long: it computes or sleeps

timespec to_timespec(Duration d) noexcept {
    return {static_cast<time_t>(d.count() / 1'000'000'000), static_cast<long>(d.count() % 1'000'000'000)};
}

// A program that spins in a call, or in a Session of the library, holds the lock while it polls: making it let go costs it microseconds, so we
// do that seldom. (Seldom, not never: the holder may have died.)
bool is_at_work(const Layer& layer) noexcept {
    static unsigned in_a_row = 0;
    constexpr unsigned most_in_a_row = 50;
    in_a_row = layer.stack->is_locked() && in_a_row < most_in_a_row ? in_a_row + 1 : 0;
    return in_a_row != 0;
}

struct Nap {
    Duration length{};
    bool listens = false;  // to the ports' interrupts
};

// One turn. `rang`: a port's interrupt has woken us, so what it announced is ours to fetch, whoever sleeps.
Nap keep(Layer& layer, bool rang) noexcept {
    static Time own_poll = never;
    static std::uint32_t known_rings = 0;
    Guard guard(layer);
    Stack& stack = *layer.stack;
    if (const std::uint32_t mapped = pmd::mapped_rings(); mapped != known_rings) [[unlikely]] {
        known_rings = mapped;
        wake_all(layer);  // among them are forked processes that have lost the port (Port::is_out_of_reach)
    }
    const Time now = layer.now();
    layer.keeper_listens = false;
    if (rang) {
        disarm_interrupts(layer);
    }
    const bool program_polls = stack.last_poll() != own_poll && now - stack.last_poll() < quiet_after;
    const bool program_watches = program_polls || layer.sleepers != 0;
    // Beside sleepers, too: a frame whose bell was missed would wait for the next timer, and they with it.
    if (rang || !program_polls || stack.next_deadline() <= now) {
        stack.poll(now);
        stack.counters().count(Event::keeper_polls);
        own_poll = now;
    }
    if (program_watches) {
        return {program_polls ? nap_beside_program : nap_beside_sleepers, false};
    }
    if (layer.has_interrupts) {
        arm_interrupts(layer);
        layer.keeper_listens = true;
        own_poll = layer.now();
        stack.poll(own_poll);
    }
    const Time next = stack.next_deadline();
    const Duration most = layer.has_interrupts ? longest_nap : nap_without_interrupts;
    return {next == never ? most : std::clamp<Duration>(next - now, shortest_nap, most), layer.has_interrupts};
}

// True when a port's interrupt ended it.
bool take(const Nap& nap, const Layer& layer) noexcept {
    const timespec length = to_timespec(nap.length);
    if (!nap.listens) {
        sys::call(SYS_nanosleep, sys::word(&length), 0);
        return false;
    }
    std::array<pollfd, 2> fds{pollfd{layer.rx_events, POLLIN, 0}, pollfd{layer.keeper_fd, POLLIN, 0}};
    if (sys::ppoll(fds.data(), fds.size(), &length, nullptr) <= 0) {
        return false;
    }
    if (fds[1].revents != 0) {
        std::uint64_t tokens;
        sys::read(layer.keeper_fd, &tokens, sizeof tokens);
    }
    if (fds[0].revents == 0) {
        return false;
    }
    clear_rx_events(layer);
    return true;
}

void* run(void* argument) {
    Layer& layer = *static_cast<Layer*>(argument);
    bool rang = false;
    while (true) {
        const Nap nap = !rang && is_at_work(layer) ? Nap{nap_beside_program} : keep(layer, rang);
        rang = take(nap, layer);
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
