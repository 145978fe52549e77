// Ports in a program that has joined a stack (invitation.hpp): it has not the driver, which is the keeper's and that of the programs that were forked from the
// first. What it sends goes into a queue, from which the keeper sends; what arrives the keeper takes in. Everything here is done with the stack's lock held.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "base/time.hpp"
#include "pmd/port.hpp"

namespace shunt::pmd {

// Frames that guests want sent, by DPDK's port number. In memory that is shared.
struct GuestQueues {
    static constexpr std::uint32_t frames_max = 1024, ports_max = 4;
    struct Queue {
        std::uint32_t count = 0;
        std::array<Packet*, frames_max> frames{};
    };
    std::array<Queue, ports_max> of{};
};

// In the process that starts the stack. Null: no memory; then nobody can join.
GuestQueues* create_guest_queues();

// In a program that has joined: its bursts go to the queues from now on.
void become_guest(GuestQueues& queues) noexcept;
extern GuestQueues* guest_queues_here;  // null: this is no guest
inline bool is_guest() noexcept { return guest_queues_here != nullptr; }
// A guest has something for the keeper to send.
inline bool has_guest_frames() noexcept {
    return is_guest() && std::ranges::any_of(guest_queues_here->of, [](const GuestQueues::Queue& each) { return each.count != 0; });
}

// What a guest's burst does; how many frames there was room for.
std::uint16_t queue_for_keeper(std::uint16_t port, std::span<Packet* const> packets) noexcept;

// In the keeper: sends for guests.
void send_for_guests(GuestQueues& queues, Port& port, Time now) noexcept;

// After a death in the middle of a change (pool_repair.hpp).
inline void empty(GuestQueues& queues) noexcept {
    std::ranges::for_each(queues.of, [](GuestQueues::Queue& each) { each.count = 0; });
}

}  // namespace shunt::pmd
