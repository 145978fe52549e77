// One direction of a wire: how long a frame takes, and what becomes of it. Everything follows from the seed.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/random.hpp"
#include "base/time.hpp"

namespace shunt::simulator {

struct WireSpec {
    std::uint64_t rate_bps = 0;      // 0: a frame takes no time
    Duration delay{};
    Duration jitter{};               // up to so much more for a frame; frames keep their order
    std::uint32_t buffer_bytes = 0;  // what may wait for a rate_bps; what comes beyond it is dropped. 0: no bound
    double loss = 0;                 // shares of the frames, 0 to 1
    double burst = 0;                // after this share of frames, burst_frames on average are lost in a row (Gilbert's model)
    double burst_frames = 5;         // a burst also ends when nothing was sent for a while
    double duplicate = 0;
    double corrupt = 0;              // one bit is turned round
    double reorder = 0;
    Duration reorder_by{};           // how much later such a frame comes
    std::uint16_t mtu = 0;           // larger IP packets are answered with ICMP, fragmentation needed; 0: no bound
};

// Spreads a small number over all bits: neighbouring seeds must not give neighbouring dice.
constexpr std::uint64_t spread(std::uint64_t seed, std::uint64_t nth) noexcept {
    const std::array<std::uint64_t, 2> words{seed, nth};
    return siphash({0x73696d756c61746fU, 0x725f77697265U}, words);
}

class Wire {
public:
    struct Copy {
        Time arrives;
        bool is_corrupt = false;
    };
    // What a frame becomes: nothing, one copy, or two.
    struct Fate {
        std::array<Copy, 2> copies{};
        unsigned count = 0;
    };
    struct Counters {
        std::uint64_t frames = 0, bytes = 0, lost = 0, overflowed = 0, duplicated = 0, corrupted = 0, reordered = 0;
    };

    Wire(const WireSpec& wire_spec, std::uint64_t seed) noexcept : spec(wire_spec), random_(seed) {}
    Fate carry(std::size_t bytes, Time now) noexcept;
    Random& random() noexcept { return random_; }

    WireSpec spec;
    Counters counters;

private:
    bool happens(double share) noexcept;
    bool is_lost(Time now) noexcept;

    Random random_;
    Time free_at_{};       // when the last frame has left the buffer
    Time last_arrival_{};  // of those that keep their order
    Time burst_seen_{};
    bool in_burst_ = false;
};

}  // namespace shunt::simulator
