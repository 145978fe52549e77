// What a --fault option says. Knows no DPDK, so that the launcher can check options with it.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"

namespace shunt::pmd {

enum class FaultSide : std::uint8_t { rx = 1, tx = 2, both = 3 };

struct FaultOptions {
    double drop = 0;       // rates, 0 to 1, of the frames that pass
    double duplicate = 0;
    double reorder = 0;    // held back until one to four later frames have passed, or for one to two milliseconds
    double corrupt = 0;    // IPv4 frames only: others have no checksum that would tell
    Duration delay{};      // of every frame
    Duration jitter{};     // added to `delay`, 0 to this much; frames overtake each other by it
    std::uint64_t seed = 1;
    FaultSide side = FaultSide::tx;  // what this program sends, so that of two ends with the option each loses the rate in its direction
};

// "drop=0.01,duplicate=0.01,reorder=0.01,corrupt=0.001,delay_us=100,jitter_us=20,seed=7,side=both", blanks behind a comma allowed. Otherwise
// EINVAL and what to write instead; the caller says where it stood.
Outcome<FaultOptions> parse_fault_options(std::string_view text);

}  // namespace shunt::pmd
