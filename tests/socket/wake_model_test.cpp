// The protocol of sleeping and waking (src/socket/wait.cpp, keeper.cpp) as a small model, run through every interleaving: two threads that sleep for a
// socket each, one that calls without blocking, the keeper, and a port whose frames may come between any two steps. A state in which nothing can
// happen any more although somebody sleeps whose data are there is a lost wake-up. Time-outs are left out: they would only hide it.
//
// A step is what happens without anybody else's doing in between: frames and the kernel's side go on while the lock is held. The model is believed because it
// finds the mistake when one is made: each of Mistake's breaks one line of the protocol.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>

namespace shunt::socket {
namespace {

enum class Mistake : std::uint8_t {
    none,
    no_poll_after_arming,     // what came before the interrupts were armed rings nobody
    marks_after_last_poll,    // whoever makes the socket ready in between sees no sleeper
    leaves_disarmed,          // a thread that has polled for the others goes without arming
    arms_without_poll_at_leave,
    ring_disarms_nothing,     // a card that masks its interrupt is not armed again
    ring_is_not_followed_by_poll,
    keeper_keeps_the_ring,    // the keeper clears the event and does not poll
    wakes_are_forgotten,      // nobody writes the eventfds
};

// A thread of the program: sleeps for its socket until it has read all frames, or only calls now and then.
enum class At : std::uint8_t {
    acquire, poll, spin, yield, yield_wake, mark, arm, poll_again, leave_to_sleep, wake_before_sleep, asleep, woken, acquire_again,
    leave, leave_poll, unlock, wake, done,
};
enum class KeeperAt : std::uint8_t { nap, acquire, arm, poll, leave, leave_poll, unlock, wake, listen, rung };

constexpr unsigned sleepers_count = 2, callers = 1, threads = sleepers_count + callers;
constexpr std::uint8_t keeper_id = threads + 1;

struct Thread {
    At at = At::acquire;
    std::uint8_t to_read = 0;  // frames of its socket, or calls to make
    std::uint8_t wakes = 0;    // slots to be written after unlocking
    bool rang = false, has_token = false;
};

// Plain bytes: compared and remembered as such.
struct State {
    std::array<std::uint8_t, sleepers_count> to_come{}, in_ring{}, ready{};
    std::array<bool, sleepers_count> is_marked{};    // socket i wants slot i woken
    std::array<std::uint8_t, sleepers_count> tokens{};
    std::array<Thread, threads> thread{};
    KeeperAt keeper = KeeperAt::nap;
    std::uint8_t keeper_wakes = 0;
    bool keeper_rang = false, keeper_listens = false, keeper_token = false;
    std::uint8_t holder = 0;      // of the lock; 0: nobody
    std::uint8_t asleep = 0;      // Layer::sleepers
    std::uint8_t pending = 0;     // Layer::pending_wakes
    bool is_armed = false;        // as the layer believes
    bool port_armed = false;      // as the port is
    bool rx_event = false;        // rx_events is readable
};
static_assert(std::has_unique_object_representations_v<State>);

struct Hash {
    std::size_t operator()(const std::array<char, sizeof(State)>& bytes) const noexcept { return std::hash<std::string_view>()({bytes.data(), bytes.size()}); }
};

class Model {
public:
    Model(Mistake mistake, bool port_masks) : mistake_(mistake), port_masks_(port_masks) {}

    // The number of states seen; empty when a wake-up was lost.
    std::optional<std::size_t> explore() {
        State start;
        start.to_come = {2, 1};
        start.thread[0].to_read = 2;
        start.thread[1].to_read = 1;
        start.thread[2].to_read = 1;
        visit(start);
        while (!todo_.empty()) {
            const State state = todo_.front();
            todo_.pop_front();
            has_moved_ = false;
            step_all(state);
            if (!has_moved_ && is_lost(state)) {
                return std::nullopt;
            }
        }
        return seen_.size();
    }

private:
    static bool is_lost(const State& s) {
        for (unsigned i = 0; i < sleepers_count; ++i) {
            if (s.thread[i].at != At::done && s.in_ring[i] + s.ready[i] + s.to_come[i] != 0) {
                return true;
            }
        }
        return false;
    }
    void visit(const State& state) {
        if (seen_.insert(std::bit_cast<std::array<char, sizeof(State)>>(state)).second) {
            todo_.push_back(state);
        }
    }
    template <class Change>
    void move(const State& from, Change change) {
        State next = from;
        change(next);
        has_moved_ = true;
        visit(next);
    }

    void step_all(const State& s) {
        for (unsigned i = 0; i < sleepers_count; ++i) {
            if (s.to_come[i] != 0) {
                move(s, [&](State& n) { arrive(n, i); });
            }
        }
        for (unsigned i = 0; i < threads; ++i) {
            step_thread(s, i);
        }
        step_keeper(s);
    }

    // ---- what the steps do
    void arrive(State& s, unsigned socket) const {
        --s.to_come[socket];
        ++s.in_ring[socket];
        if (s.port_armed) {
            s.rx_event = true;
            s.port_armed = !port_masks_;
        }
    }
    static void poll_and_dispatch(State& s) {
        for (unsigned i = 0; i < sleepers_count; ++i) {
            if (s.in_ring[i] != 0) {
                s.ready[i] = static_cast<std::uint8_t>(s.ready[i] + s.in_ring[i]);
                s.in_ring[i] = 0;
                s.pending = static_cast<std::uint8_t>(s.pending | (s.is_marked[i] ? 1U << i : 0U));
            }
        }
    }
    static void nap_keeper(State& s) {
        if (s.keeper_listens) {
            s.keeper_listens = false;
            s.keeper_token = true;
        }
    }
    static void arm(State& s) {
        if (!s.is_armed) {
            s.is_armed = s.port_armed = true;
        }
    }
    static void disarm(State& s) {
        if (s.is_armed) {
            s.is_armed = s.port_armed = false;
            nap_keeper(s);
        }
    }
    std::uint8_t take_wakes(State& s) const {
        const std::uint8_t wakes = mistake_ == Mistake::wakes_are_forgotten ? std::uint8_t{0} : s.pending;
        s.pending = 0;
        s.holder = 0;
        return wakes;
    }
    static void write_tokens(State& s, std::uint8_t wakes) {
        for (unsigned i = 0; i < sleepers_count; ++i) {
            if ((wakes >> i & 1) != 0 && s.tokens[i] < 2) {
                ++s.tokens[i];
            }
        }
    }
    // Guard::leave(true), up to the unlocking: true when it polls once more.
    bool must_arm_on_leave(const State& s) const { return s.asleep != 0 && !s.is_armed && mistake_ != Mistake::leaves_disarmed; }

    // ---- a thread of the program
    template <class Change>
    void go(const State& s, unsigned i, At to, Change change) {
        move(s, [&](State& n) {
            n.thread[i].at = to;
            change(n, n.thread[i]);
        });
    }
    void go(const State& s, unsigned i, At to) {
        go(s, i, to, [](State&, Thread&) {});
    }
    void take_lock(const State& s, unsigned i, At then) {
        if (s.holder == 0) {
            go(s, i, then, [i](State& n, Thread&) { n.holder = static_cast<std::uint8_t>(i + 1); });
        }
    }
    void unlock(const State& s, unsigned i, At then) {
        go(s, i, then, [this](State& n, Thread& mine) { mine.wakes = take_wakes(n); });
    }
    void write_wakes(const State& s, unsigned i, At then) {
        go(s, i, then, [](State& n, Thread& mine) { write_tokens(n, std::exchange(mine.wakes, std::uint8_t{0})); });
    }

    void step_thread(const State& s, unsigned i) {
        switch (s.thread[i].at) {
            case At::acquire: return take_lock(s, i, At::poll);
            case At::poll: return step_poll(s, i);
            case At::spin: return go(s, i, At::yield, [](State& n, Thread&) { disarm(n); });  // the profile says so, and others are let in now and then
            case At::yield: return unlock(s, i, At::yield_wake);
            case At::yield_wake: return write_wakes(s, i, At::acquire);
            case At::mark: return go(s, i, At::arm, [i](State& n, Thread&) { mark(n, i); });
            case At::arm: return step_arm(s, i);
            case At::poll_again: return go(s, i, At::leave_to_sleep, [](State& n, Thread&) { poll_and_dispatch(n); });
            case At::leave_to_sleep: return step_leave_to_sleep(s, i);
            case At::wake_before_sleep: return step_wake_before_sleep(s, i);
            case At::asleep: return step_asleep(s, i);
            case At::woken: return step_woken(s, i);
            case At::acquire_again: return step_acquire_again(s, i);
            case At::leave: return step_leave(s, i);
            case At::leave_poll: return go(s, i, At::unlock, [](State& n, Thread&) { poll_and_dispatch(n); });
            case At::unlock: return unlock(s, i, At::wake);
            case At::wake: return step_wake(s, i);
            case At::done: return;
        }
    }
    void step_poll(const State& s, unsigned i) {
        State after = s;
        poll_and_dispatch(after);
        const auto polled = [](State& n, Thread&) { poll_and_dispatch(n); };
        if (i >= sleepers_count) {
            go(s, i, At::leave, polled);
        } else if (after.ready[i] != 0) {
            go(s, i, At::leave, [i](State& n, Thread& mine) {  // and reads
                poll_and_dispatch(n);
                --n.ready[i];
                --mine.to_read;
            });
        } else {
            go(s, i, mistake_ == Mistake::marks_after_last_poll ? At::arm : At::mark, polled);
            go(s, i, At::spin, polled);
        }
    }
    void step_arm(const State& s, unsigned i) {
        go(s, i, mistake_ == Mistake::no_poll_after_arming ? At::leave_to_sleep : At::poll_again, [](State& n, Thread&) {
            arm(n);
            nap_keeper(n);
        });
    }
    void step_leave_to_sleep(const State& s, unsigned i) {
        if (s.ready[i] != 0) {
            go(s, i, At::poll, [i](State& n, Thread&) { unmark(n, i); });
        } else {
            unlock(s, i, At::wake_before_sleep);
        }
    }
    void step_wake_before_sleep(const State& s, unsigned i) {
        go(s, i, At::asleep, [&](State& n, Thread& mine) {
            write_tokens(n, std::exchange(mine.wakes, std::uint8_t{0}));
            if (mistake_ == Mistake::marks_after_last_poll) {
                mark(n, i);
            }
        });
    }
    void step_asleep(const State& s, unsigned i) {
        if (s.tokens[i] != 0 || s.rx_event) {
            go(s, i, At::woken, [i](State& n, Thread& mine) {
                mine.has_token = n.tokens[i] != 0;
                mine.rang = n.rx_event;
            });
        }
    }
    void step_woken(const State& s, unsigned i) {
        go(s, i, At::acquire_again, [i](State& n, Thread& mine) {
            if (std::exchange(mine.has_token, false) && n.tokens[i] != 0) {
                --n.tokens[i];
            }
            if (mine.rang) {
                n.rx_event = false;
            }
        });
    }
    void step_acquire_again(const State& s, unsigned i) {
        if (s.holder != 0) {
            return;
        }
        const bool sleeps_on = mistake_ == Mistake::ring_is_not_followed_by_poll && s.thread[i].rang && s.ready[i] == 0;
        go(s, i, sleeps_on ? At::leave_to_sleep : At::poll, [&](State& n, Thread& mine) {
            n.holder = static_cast<std::uint8_t>(i + 1);
            if (std::exchange(mine.rang, false) && mistake_ != Mistake::ring_disarms_nothing) {
                disarm(n);
            }
            if (!sleeps_on) {
                unmark(n, i);
            }
        });
    }
    void step_leave(const State& s, unsigned i) {
        if (must_arm_on_leave(s)) {
            go(s, i, mistake_ == Mistake::arms_without_poll_at_leave ? At::unlock : At::leave_poll, [](State& n, Thread&) { arm(n); });
        } else {
            go(s, i, At::unlock);
        }
    }
    void step_wake(const State& s, unsigned i) {
        go(s, i, At::acquire, [i](State& n, Thread& mine) {
            write_tokens(n, std::exchange(mine.wakes, std::uint8_t{0}));
            mine.to_read = static_cast<std::uint8_t>(mine.to_read - (i < sleepers_count ? 0 : 1));
            mine.at = mine.to_read == 0 ? At::done : At::acquire;
        });
    }
    static void mark(State& s, unsigned i) {
        s.is_marked[i] = true;
        ++s.asleep;
    }
    static void unmark(State& s, unsigned i) {
        s.is_marked[i] = false;
        --s.asleep;
    }

    // ---- the keeper; beside sleepers it only naps, which changes nothing
    template <class Change>
    void go(const State& s, KeeperAt to, Change change) {
        move(s, [&](State& n) {
            n.keeper = to;
            change(n);
        });
    }
    static void take_lock_for_keeper(State& s) {
        s.holder = keeper_id;
        s.keeper_listens = false;
    }
    void step_keeper(const State& s) {
        switch (s.keeper) {
            case KeeperAt::nap:
                if (s.asleep == 0 && s.holder == 0) {
                    go(s, KeeperAt::arm, take_lock_for_keeper);
                }
                return;
            case KeeperAt::arm:
                return go(s, KeeperAt::poll, [](State& n) {
                    arm(n);
                    n.keeper_listens = true;
                });
            case KeeperAt::poll: return go(s, KeeperAt::leave, poll_and_dispatch);
            case KeeperAt::leave:
                if (must_arm_on_leave(s)) {
                    return go(s, KeeperAt::leave_poll, arm);
                }
                return go(s, KeeperAt::unlock, [](State&) {});
            case KeeperAt::leave_poll: return go(s, KeeperAt::unlock, poll_and_dispatch);
            case KeeperAt::unlock: return go(s, KeeperAt::wake, [this](State& n) { n.keeper_wakes = take_wakes(n); });
            case KeeperAt::wake:
                return go(s, s.keeper_listens || s.keeper_token ? KeeperAt::listen : KeeperAt::nap,
                          [](State& n) { write_tokens(n, std::exchange(n.keeper_wakes, std::uint8_t{0})); });
            case KeeperAt::listen:
                if (s.rx_event || s.keeper_token) {
                    go(s, s.rx_event ? KeeperAt::rung : KeeperAt::nap, [](State& n) { n.keeper_token = n.rx_event = false; });
                }
                return;
            case KeeperAt::rung: return step_rung_keeper(s);
            case KeeperAt::acquire: return go(s, s.asleep != 0 ? KeeperAt::leave : KeeperAt::arm, [](State&) {});  // beside sleepers it leaves it to them
        }
    }
    void step_rung_keeper(const State& s) {
        if (mistake_ == Mistake::keeper_keeps_the_ring) {
            go(s, KeeperAt::nap, [](State&) {});
        } else if (s.holder == 0) {
            go(s, KeeperAt::acquire, [](State& n) {
                take_lock_for_keeper(n);
                disarm(n);
                poll_and_dispatch(n);
            });
        }
    }

    Mistake mistake_;
    bool port_masks_;
    bool has_moved_ = false;
    std::unordered_set<std::array<char, sizeof(State)>, Hash> seen_;
    std::deque<State> todo_;
};

class WakeModel : public testing::TestWithParam<bool> {};

TEST_P(WakeModel, NoInterleavingLosesAWakeUp) {
    const auto states = Model(Mistake::none, GetParam()).explore();
    ASSERT_TRUE(states);
    RecordProperty("states", static_cast<int>(*states));
    EXPECT_GT(*states, 10'000U);
}

TEST_P(WakeModel, EachMistakeLosesOne) {
    for (const Mistake mistake : {Mistake::no_poll_after_arming, Mistake::marks_after_last_poll, Mistake::leaves_disarmed, Mistake::arms_without_poll_at_leave,
                                  Mistake::ring_is_not_followed_by_poll, Mistake::keeper_keeps_the_ring, Mistake::wakes_are_forgotten}) {
        EXPECT_FALSE(Model(mistake, GetParam()).explore()) << static_cast<int>(mistake);
    }
}

INSTANTIATE_TEST_SUITE_P(Ports, WakeModel, testing::Bool(), [](const auto& each) { return each.param ? "ThatMaskTheirInterrupt" : "ThatGoOnRinging"; });

TEST(WakeModelOfAMaskingPort, MustBeDisarmedToBeArmedAgain) {
    EXPECT_FALSE(Model(Mistake::ring_disarms_nothing, true).explore());
}

}  // namespace
}  // namespace shunt::socket
