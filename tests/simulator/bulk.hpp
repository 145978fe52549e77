// Bulk transfers through one bottleneck: each flow has a sending station of its own, all share the wire to one receiver. Data meet rate, buffer, delay and
// loss on that wire; ACKs come back over a wire with delay only, as theory supposes.
#pragma once

#include <string>
#include <vector>

#include "simulator/network.hpp"

namespace shunt::simulator {

struct BulkFlow {
    CongestionControl algorithm = CongestionControl::cubic;
    Duration starts_after{};
    Duration extra_delay{};   // of its own, one way
    std::uint64_t bytes = 0;  // 0: as much as goes until the end
};

struct BulkSetup {
    WireSpec bottleneck;
    std::vector<BulkFlow> flows;
    Duration limit = 3600s;
    Duration counts_from{};   // bytes read before this are not counted
    Tunables tunables{};
    std::uint64_t seed = 1;
    bool detail = false;      // print a line now and then
    bool trace = false;       // print every frame
};

struct BulkResult {
    std::uint64_t bytes = 0;         // read by the receiver
    std::uint64_t counted_bytes = 0; // since counts_from
    Duration lasted{};               // from connect() to the last byte read; or to the end
    Duration half_lasted{};          // to the byte in the middle of a transfer
    bool is_complete = false;
    std::uint64_t retransmits = 0;
    std::uint64_t timeouts = 0, probes = 0, recoveries = 0, undone = 0;
    // Of the second half: without the handshake and the first slow start.
    double goodput_mbps() const noexcept { return static_cast<double>(bytes) / 2 * 8e3 / static_cast<double>((lasted - half_lasted).count()); }
};

std::vector<BulkResult> run_bulk(const BulkSetup& setup);

}  // namespace shunt::simulator
