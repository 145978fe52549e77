// One turn after the other: poll if nobody else does, bury the dead, sleep until something is due. Where memif or a card's link events want EAL's interrupt
// loop, it runs here, and these turns are its way of waiting (pmd/control.hpp). No heap, no libc that needs one: see keeper_birth.cpp.
#include "socket/keeper.hpp"

#include <signal.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "pmd/claim.hpp"
#include "pmd/control.hpp"
#include "pmd/keeper_calls.hpp"
#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"
#include "socket/keeper_spare.hpp"

namespace shunt::socket {
namespace {

// While the program polls we only look in now and then: every wake-up may hit the core it spins on.
constexpr Duration nap_beside_program = std::chrono::milliseconds(2);
constexpr Duration nap_beside_sleepers = std::chrono::milliseconds(20);  // they wake by themselves
constexpr Duration nap_without_interrupts = std::chrono::microseconds(200);
constexpr Duration longest_nap = std::chrono::milliseconds(100);
constexpr Duration shortest_nap = std::chrono::microseconds(50);
constexpr Duration expected_for = std::chrono::seconds(60);  // a child that has not said by then that it lives
constexpr Duration newcomer_waits = std::chrono::seconds(2);  // for what was written; a service must be able to start again though its peer is gone
constexpr Duration farewell_to_newcomer = std::chrono::milliseconds(20);
constexpr Duration farewell = std::chrono::milliseconds(100);  // for the peer to take what is in the ring
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
    Guard guard(layer);
    Stack& stack = *layer.stack;
    const Time now = layer.now();
    layer.keeper_listens = false;
    for (Link* link : layer.guest_queues != nullptr ? stack.links() : std::span<Link* const>{}) {
        pmd::send_for_guests(*layer.guest_queues, link->port, now);
    }
    if (rang) {
        disarm_interrupts(layer);
    }
    const bool program_polls = stack.last_poll() != own_poll && now - stack.last_poll() < quiet_after;
    const bool program_watches = program_polls || layer.sleepers != layer.guest_sleepers;
    // Beside sleepers, too: a frame whose bell was missed would wait for the next timer, and they with it.
    if (rang || !program_polls || stack.next_deadline() <= now) {
        stack.rest();
        stack.poll(now);
        stack.change();
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

// Everything the keeper waits for besides: processes (their row as data), SIGTERM.
class Watch {
public:
    static constexpr std::uint64_t term = processes_max, asked = processes_max + 1;

    void open() noexcept {
        close();
        set_ = move_up(sys::epoll_create1(EPOLL_CLOEXEC));
        const std::uint64_t mask = std::uint64_t{1} << (SIGTERM - 1);
        signal_fd_ = move_up(sys::call(SYS_signalfd4, -1, sys::word(&mask), sizeof mask, SFD_NONBLOCK | SFD_CLOEXEC));
        add(signal_fd_, term);
        has_events_ = true;  // whoever has died meanwhile is found by a look at all
        std::ranges::for_each(pmd::kept_claims(), [this](const pmd::Claim& claim) { claim.fd >= 0 ? add(claim.fd, asked) : void(); });
    }
    int fd() const noexcept { return set_; }
    bool is_asked_to_leave() const noexcept { return is_asked_to_leave_; }

    // The processes that have come and gone since; the dead are buried. With the lock held.
    void look(Guard& guard) noexcept {
        take_events();
        Ledger& ledger = guard.layer().ledger;
        const Time now = guard.layer().now();
        for (unsigned row = 0; row < processes_max; ++row) {
            const Process& process = ledger.processes()[row];
            const bool lives = process.state == Process::State::alive || process.state == Process::State::departed;
            if (pidfds_[row] >= 0 && (!lives || process.pid != pids_[row])) {
                forget(row);  // it has left, or its row is another's
            }
            if (lives && pidfds_[row] < 0) {
                watch(row, process.pid);
            }
            const bool is_lost = process.state == Process::State::expected && now - process.since > expected_for;
            if (has_ended_[row] || is_lost) {
                forget(row);
                take_back_packets(guard.layer(), static_cast<int>(row));
                bury(guard, static_cast<int>(row));
            }
        }
        known_ = ledger.changes();
    }
    // Somebody wants a port of ours.
    void answer(const Layer& layer) noexcept {
        if (std::exchange(has_question_, false)) {
            const bool is_delivering = layer.stack->tcp().orphans_with_data() != 0;
            const pmd::Answer what = !layer.ledger.is_empty() ? pmd::Answer::busy : is_delivering ? pmd::Answer::delivering : pmd::Answer::leaving;
            for (const pmd::Claim& claim : pmd::kept_claims()) {
                const bool leaves = claim.fd >= 0 && pmd::answer(claim, what) && what != pmd::Answer::busy;
                newcomer_since_ = leaves ? std::min(newcomer_since_, layer.now()) : newcomer_since_;
            }
        }
    }
    Time newcomer_since() const noexcept { return newcomer_since_; }
    bool has_newcomer() const noexcept { return newcomer_since_ != never; }
    bool is_due(const Ledger& ledger) const noexcept { return has_events_ || ledger.changes() != known_; }
    void note_events() noexcept { has_events_ = true; }

private:
    // What a keeper had that was killed, and its spare has now.
    void close() noexcept {
        for (unsigned row = 0; row < processes_max; ++row) {
            forget(row);
        }
        for (const int fd : {set_, signal_fd_}) {
            fd >= 0 ? close_ours(fd) : void();
        }
    }
    void add(int fd, std::uint64_t data) noexcept {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = data;
        sys::epoll_ctl(set_, EPOLL_CTL_ADD, fd, &event);
    }
    void watch(unsigned row, std::int32_t pid) noexcept {
        pids_[row] = pid;
        pidfds_[row] = move_up(sys::call(SYS_pidfd_open, pid, 0));
        has_ended_[row] = pidfds_[row] < 0;   // it was gone already
        if (!has_ended_[row]) {
            add(pidfds_[row], row);
        }
    }
    void forget(unsigned row) noexcept {
        if (pidfds_[row] >= 0) {
            sys::epoll_ctl(set_, EPOLL_CTL_DEL, pidfds_[row], nullptr);  // our spare has it as well, so that closing does not do it
            close_ours(pidfds_[row]);
        }
        pidfds_[row] = -1;
        has_ended_[row] = false;
    }
    void take_events() noexcept {
        has_events_ = false;
        std::array<epoll_event, 64> events;
        const long count = sys::epoll_pwait(set_, events.data(), events.size(), 0, nullptr);
        for (long i = 0; i < count; ++i) {
            if (const std::uint64_t what = events[static_cast<std::size_t>(i)].data.u64; what < processes_max) {
                has_ended_[what] = true;
            } else if (what == asked) {
                has_question_ = true;
            } else {
                signalfd_siginfo taken;
                is_asked_to_leave_ = sys::read(signal_fd_, &taken, sizeof taken) > 0 || is_asked_to_leave_;
            }
        }
    }

    int set_ = -1, signal_fd_ = -1;
    std::array<int, processes_max> pidfds_ = [] {
        std::array<int, processes_max> none{};
        none.fill(-1);
        return none;
    }();
    std::array<std::int32_t, processes_max> pids_{};
    std::array<bool, processes_max> has_ended_{};
    std::uint32_t known_ = 0;
    bool has_events_ = true;
    bool is_asked_to_leave_ = false;
    bool has_question_ = false;
    Time newcomer_since_ = never;
};

Layer* kept = nullptr;
Watch watch;
Spare spare;
bool rang = false;  // a port's interrupt has ended the last nap
bool was_called = false;  // a program has something for us

// True when a port's interrupt ended it. `control_fd` is EAL's loop's; -1: there is none.
bool take(const Nap& nap, const Layer& layer, int control_fd, bool& has_control) noexcept {
    const timespec length = to_timespec(nap.length);
    const int listened = nap.listens ? layer.rx_events : -1;
    std::array<pollfd, 4> fds{pollfd{control_fd, POLLIN, 0}, pollfd{watch.fd(), POLLIN, 0}, pollfd{layer.keeper_fd, POLLIN, 0}, pollfd{listened, POLLIN, 0}};
    if (sys::ppoll(fds.data(), fds.size(), &length, nullptr) <= 0) {
        return false;
    }
    has_control = fds[0].revents != 0;
    if (fds[1].revents != 0) {
        watch.note_events();
    }
    if (fds[2].revents != 0) {
        std::uint64_t tokens;
        was_called = sys::read(layer.keeper_fd, &tokens, sizeof tokens) > 0;
    }
    if (fds[3].revents == 0) {
        return false;
    }
    clear_rx_events(layer);
    return true;
}

// Nobody is left, and nothing that a peer waits for; asked to go, TIME_WAIT is not worth waiting for either, nor a peer that does not answer.
bool is_over(const Layer& layer) noexcept {
    if (!layer.ledger.is_empty()) {
        return false;
    }
    const tcp::Tcp& tcp = layer.stack->tcp();
    if (!layer.stack->has_port() || tcp.connections_used() == 0) {
        return true;
    }
    if (!watch.is_asked_to_leave() && !watch.has_newcomer()) {
        return false;
    }
    const auto is_up = [](const Link* link) { return link->port.is_link_up(); };
    const bool is_delivered = tcp.orphans_with_data() == 0 || std::ranges::none_of(layer.stack->links(), is_up);
    return is_delivered || (watch.has_newcomer() && layer.now() - watch.newcomer_since() > newcomer_waits);
}

[[noreturn]] void leave() noexcept {
    spare.end();
    const Time begun = kept->now();
    while (kept->stack->has_port() && kept->now() < begun + (watch.has_newcomer() ? farewell_to_newcomer : farewell)) {
        {
            Guard guard(*kept);
            kept->stack->poll(kept->now());
            watch.look(guard);
            watch.answer(*kept);
        }
        constexpr timespec nap{0, 1'000'000};
        sys::call(SYS_nanosleep, sys::word(&nap), 0);
    }
    while (true) {
        sys::call(SYS_exit_group, 0);
    }
}

Nap bury_and_keep() noexcept {
    if (watch.is_due(kept->ledger) || kept->ledger.is_empty()) {
        bool ends;
        {
            Guard guard(*kept);
            watch.look(guard);
            watch.answer(*kept);
            ends = is_over(*kept);
            kept->is_closed = ends;
        }
        if (ends) {
            leave();
        }
    }
    return keep(*kept, rang);
}

// Turns, until EAL's loop has something to do.
void wait_with_turns(int control_fd) noexcept {
    pmd::look_at_links();
    for (bool has_control = false; !has_control;) {
        spare.tend(*kept, kept->now());
        const Nap nap = !rang && !std::exchange(was_called, false) && is_at_work(*kept) ? Nap{nap_beside_program} : bury_and_keep();
        rang = take(nap, *kept, control_fd, has_control);
    }
}

}  // namespace

void run_keeper(Layer& layer) noexcept {
    kept = &layer;
    spare = Spare();
    watch.open();
    pmd::take_over_links();
    if (pmd::has_control_loop()) {
        pmd::run_control_loop(wait_with_turns);
    }
    while (true) {
        wait_with_turns(-1);
    }
}

}  // namespace shunt::socket
