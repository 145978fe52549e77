// Impairment of a port: drop, duplicate, reorder, delay, corrupt, with probabilities and a seed, so that a run can be replayed.
// Plain data, to live beside the port. A frame that somebody else holds too (a retransmission queue) is never changed: it is copied.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/random.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "pmd/packet.hpp"

namespace shunt::pmd {

class Port;

struct FaultOptions {
    // Probabilities, of 2^32.
    std::uint64_t drop = 0;
    std::uint64_t duplicate = 0;
    std::uint64_t reorder = 0;
    std::uint64_t corrupt = 0;
    std::uint32_t delay_us = 0;          // each frame
    std::uint32_t jitter_us = 0;         // up to so much more, at random: may reorder as well
    std::uint32_t reorder_us = 100;      // how long a frame is held back for the ones behind it to overtake
    std::uint64_t seed = 1;
    bool on_rx = true;
    bool on_tx = true;
};

// "drop=0.01,duplicate=0.01,reorder=0.01,corrupt=0.001,delay_us=100,jitter_us=10,reorder_us=100,seed=7,on=rx|tx|both"
Outcome<FaultOptions> parse_fault_options(std::string_view text);

struct FaultCounters {
    std::uint64_t passed = 0, dropped = 0, duplicated = 0, reordered = 0, corrupted = 0, delayed = 0;
    std::uint64_t overflowed = 0;        // dropped because the queue of delayed frames, or the pool, was exhausted
};

// Frames on their way in one direction, in the order in which they are due.
class FaultQueue {
public:
    static constexpr std::size_t capacity = 1024;
    bool is_empty() const noexcept { return count_ == 0; }
    std::size_t room() const noexcept { return capacity - count_; }
    Time next_due() const noexcept { return count_ == 0 ? never : entries_[0].due; }
    bool push(Time due, Packet* packet) noexcept;
    // The frame that is due first, if it is due; else null.
    Packet* pop(Time now) noexcept;
    void clear() noexcept;

private:
    struct Entry {
        Time due;
        std::uint64_t number;            // keeps frames that are due at once in order
        Packet* packet;
        static bool is_later(const Entry& a, const Entry& b) noexcept { return a.due != b.due ? a.due > b.due : a.number > b.number; }
    };
    std::array<Entry, capacity> entries_{};
    std::size_t count_ = 0;
    std::uint64_t pushed_ = 0;
};

struct FaultInjector {
    FaultOptions options;
    FaultCounters counters;
    Random random;
    FaultQueue rx, tx;

    explicit FaultInjector(const FaultOptions& wanted = {}) noexcept : options(wanted), random(wanted.seed) {}
    Time next_deadline() const noexcept { return std::min(rx.next_due(), tx.next_due()); }
    // Takes a frame and its fate; what survives goes into `queue`. Copies come from `port`'s pool.
    void submit(Port& port, FaultQueue& queue, Time now, Packet* packet) noexcept;
    // Frees what is under way.
    void clear() noexcept;
};

// What Port::rx_burst and tx_burst do where there is an injector.
std::uint16_t fault_rx_burst(Port& port, Time now, std::span<Packet*> packets) noexcept;
std::uint16_t fault_tx_burst(Port& port, Time now, std::span<Packet*> packets) noexcept;

}  // namespace shunt::pmd
