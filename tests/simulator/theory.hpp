// What theory gives for one bulk transfer over a wire with random loss, to stand next to what was measured.
#pragma once

#include "base/tunables.hpp"
#include "simulator/wire.hpp"

namespace shunt::simulator {

inline constexpr double segment_bytes = 1448;  // with timestamps, at an MTU of 1500
inline constexpr double frame_bytes = 1514;

// Mbit/s of payload: the link's rate, or less where the average window for this loss is smaller than the path:
//   reno   W = sqrt(3 / 2p) segments (Mathis, Semke, Mahdavi, Ott 1997; every byte that is acknowledged counts, RFC 3465)
//   cubic  the larger of that and (C (3 + beta) / (4 (1 - beta)))^(1/4) RTT^(3/4) / p^(3/4) (RFC 9438, 5.1 and 5.2)
//   bbr    does not take a loss for congestion: what is left of the link's rate
// No time-outs and no slow start in it: at 5 and 10 % loss nobody reaches it.
double theory_mbps(CongestionControl algorithm, const WireSpec& wire);

}  // namespace shunt::simulator
