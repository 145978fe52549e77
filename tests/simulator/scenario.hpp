// A random scenario: from the seed follow the wires, the hosts' settings, what the programs do and what goes wrong. run_scenario throws a Violation when
// a rule is broken, or when something that should have worked did not.
#pragma once

#include <cstdint>
#include <optional>

#include "simulator/wire.hpp"

namespace shunt::simulator {

// What the command line may say instead of the dice, to narrow a failure down.
struct Overrides {
    std::optional<double> loss, reorder, duplicate, corrupt;
    std::optional<std::uint64_t> bytes;
    bool trace = false;
};

// What a scenario was made of, for the summary: a run that never met a loss has proved little.
struct Tally {
    std::uint64_t scenarios = 0, flows = 0, resets = 0, restarts = 0, simultaneous = 0, frames = 0, lost = 0, corrupted = 0, reordered = 0, duplicated = 0, bytes = 0;
    std::uint64_t retransmits = 0, timeouts = 0, probes = 0, window_probes = 0;
};

void run_scenario(std::uint64_t seed, const Overrides& overrides, Tally& tally);

}  // namespace shunt::simulator
