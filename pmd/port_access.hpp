// What open_port.cpp, ring_port.cpp and memif_wire.cpp share behind Port's back.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.hpp"
#include "pmd/port.hpp"

namespace shunt::pmd {

struct PortAccess {
    // Configures and starts DPDK's port `id`; `text` is what the user called it. The port has its share of the packet pool afterwards.
    static Outcome<Port> start(std::uint16_t id, std::string_view text, const PortOptions& options);
    static void find_rx_event(Port& port, std::string_view driver) noexcept;
    // The descriptor that wakes; -1: none.
    static void set_rx_event(Port& port, int fd) noexcept;
};

}  // namespace shunt::pmd
