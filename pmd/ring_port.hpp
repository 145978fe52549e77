// A port whose wire is a test: what the stack sends can be taken, what it shall receive is given. Needs EAL (start_eal) but no device.
#pragma once

#include "base/result.hpp"
#include "pmd/port.hpp"

struct rte_ring;

namespace shunt::pmd {

struct RingPort {
    Port port;
    rte_ring* to_stack = nullptr;
    rte_ring* from_stack = nullptr;

    // A frame that the stack sent, now the caller's; null when there is none.
    Packet* take() noexcept;
    // Gives a frame to the stack; false when the ring is full, and the frame is still the caller's.
    bool give(Packet* packet) noexcept;
};

// `name` must be new in this process, at most 20 characters.
Outcome<RingPort> open_ring_port(const char* name, const PortOptions& options = {});
void close_ring_port(RingPort& ring_port) noexcept;

}  // namespace shunt::pmd
