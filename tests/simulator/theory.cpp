#include "simulator/theory.hpp"

#include <algorithm>
#include <cmath>

namespace shunt::simulator {

double theory_mbps(CongestionControl algorithm, const WireSpec& wire) {
    const double link = static_cast<double>(wire.rate_bps) * 1e-6 * segment_bytes / frame_bytes;
    const double p = wire.loss;
    if (p == 0 || algorithm == CongestionControl::bbr) {
        return link * (1 - p);
    }
    const double rtt_s = 2 * std::chrono::duration<double>(wire.delay).count() + frame_bytes * 8 / static_cast<double>(wire.rate_bps);
    double window = std::sqrt(3 / (2 * p));
    if (algorithm == CongestionControl::cubic) {
        constexpr double c = 0.4, beta = 0.7;
        window = std::max(window, std::pow(c * (3 + beta) / (4 * (1 - beta)), 0.25) * std::pow(rtt_s / p, 0.75));
    }
    return std::min(link * (1 - p), window * segment_bytes * 8e-6 / rtt_s);
}

}  // namespace shunt::simulator
