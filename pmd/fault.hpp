// The fault injector: spoils the wire for tests (--fault). It stands between a port and its driver and drops, duplicates, reorders, corrupts
// and delays frames at random, the same for the same seed and the same frames. Plain data of a fixed size, so that it may live in the
// shared arena; the caller holds the stack's lock.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/random.hpp"
#include "base/time.hpp"
#include "pmd/fault_spec.hpp"
#include "pmd/packet.hpp"

namespace shunt::pmd {

class Port;

struct FaultCounters {
    std::uint64_t dropped = 0;
    std::uint64_t duplicated = 0;
    std::uint64_t reordered = 0;
    std::uint64_t corrupted = 0;
    std::uint64_t delayed = 0;
    std::uint64_t overflowed = 0;  // dropped since delayed_max frames were waiting
};

// What one direction has in hand. Every frame held is ours alone: nobody else refers to it.
struct FaultDirection {
    static constexpr std::uint32_t delayed_max = 4096, held_back_max = 64;

    struct Delayed {
        Packet* packet;
        Time release;
        std::uint64_t order;  // among frames of the same release time
    };
    struct HeldBack {
        Packet* packet;
        Time release;               // at the latest
        std::uint32_t to_pass;      // how many frames must still overtake it
    };

    explicit FaultDirection(Random seeded) noexcept : random(seeded) {}

    Random random;
    std::uint64_t order = 0;
    std::uint32_t delayed_count = 0;
    std::uint32_t held_back_count = 0;
    std::array<Delayed, delayed_max> delayed{};       // a heap, the earliest first
    std::array<HeldBack, held_back_max> held_back{};  // in the order of arrival
};

inline constexpr std::uint16_t filter_rx_max = 1024;

struct FaultInjector {
    explicit FaultInjector(const FaultOptions& fault_options) noexcept;

    FaultOptions options;
    FaultCounters counters;
    FaultDirection rx;
    FaultDirection tx;
};

// Filters the first `count` <= filter_rx_max packets in place, all owned by the caller before and after; adds what was held and is due as
// far as packets.size() has room for it. Returns the new count. Call it with 0 as well, at each poll.
std::uint16_t filter_rx(FaultInjector& faults, Port& port, Time now, std::span<Packet*> packets, std::uint16_t count) noexcept;

// Takes ownership of all of `in` and fills `out` with what goes to the wire now; returns how many. `out` has room for `in` at least; what
// else there is to send (duplicates, frames that are due) goes only as far as there is room: give it twice as much and a burst. Call it with
// an empty `in` as well, at each poll.
std::uint16_t filter_tx(FaultInjector& faults, Port& port, Time now, std::span<Packet*> in, std::span<Packet*> out) noexcept;

// When a held frame is to be let go; never when none is held. May be in the past, when there was no room.
Time next_deadline(const FaultInjector& faults) noexcept;

// Frees what is held.
void discard_held(FaultInjector& faults) noexcept;

}  // namespace shunt::pmd
