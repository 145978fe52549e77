// Congestion control behind three events. NewReno (RFC 5681, RFC 6582) with appropriate byte counting (RFC 3465, L = 2 as Linux in slow start).
#pragma once

#include <algorithm>
#include <cstdint>

#include "tcp/connection.hpp"

namespace shunt::tcp::congestion {

inline constexpr std::uint32_t initial_segments = 10;  // RFC 6928

// New data were acknowledged outside recovery. Only a window that was the limit may grow (RFC 7661's idea, as Linux).
inline void on_ack(Connection& c, std::uint32_t acked) noexcept {
    if (!c.cwnd_limited) {
        return;
    }
    if (c.cwnd < c.ssthresh) {
        c.cwnd += acked;  // slow start
        return;
    }
    c.acked_in_avoidance += acked;
    if (c.acked_in_avoidance >= c.cwnd) {
        c.acked_in_avoidance -= c.cwnd;
        c.cwnd += c.mss;
    }
}

// RFC 5681, equation 4.
inline std::uint32_t ssthresh_after_loss(const Connection& c) noexcept {
    return std::max(std::min(c.cwnd, std::max(c.outstanding(), c.mss * 2U)) / 2, c.mss * 2U);
}

// Nothing was sent for longer than an RTO (RFC 5681, 4.1; RFC 2861 as Linux: halve once per RTO).
inline void on_idle(Connection& c, Duration idle) noexcept {
    const std::uint32_t restart = std::min<std::uint32_t>(initial_segments * c.mss, c.cwnd);
    c.ssthresh = std::max(c.ssthresh, c.cwnd / 4 * 3);
    while (idle > c.rto && c.cwnd > restart) {
        idle -= c.rto;
        c.cwnd /= 2;
    }
    c.cwnd = std::max(c.cwnd, restart);
}

}  // namespace shunt::tcp::congestion
