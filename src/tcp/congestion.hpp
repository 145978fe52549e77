// Congestion control behind a few events. Which algorithm is a value in the connection, not a pointer: connections live in memory that several
// processes share. NewReno (RFC 5681, RFC 6582) is in congestion.cpp, CUBIC (RFC 9438) with HyStart++ (RFC 9406) in cubic.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tcp/connection.hpp"

namespace shunt::tcp::congestion {

inline constexpr std::uint32_t initial_segments = 10;  // RFC 6928

// What TCP_CONGESTION and net.ipv4.tcp_congestion_control call them; none for one that is not there.
std::string_view name_of(CongestionControl algorithm) noexcept;
std::optional<CongestionControl> find(std::string_view name) noexcept;
// The algorithm itself, or CUBIC for what this host's kernel may have and we have not.
CongestionControl available(CongestionControl wanted) noexcept;

// A connection begins to use an algorithm.
void start(Connection& c, CongestionControl algorithm) noexcept;

// New data were acknowledged outside recovery. Only a window that was the limit may grow (RFC 7661's idea, as Linux).
void grow(Connection& c, std::uint32_t acked, Time now) noexcept;
inline void on_ack(Connection& c, std::uint32_t acked, Time now) noexcept {
    if (c.cwnd_limited) {
        grow(c, acked, now);
    }
}
// A round trip was measured.
inline void on_round_trip(Connection& c, Duration rtt) noexcept {
    if (c.cwnd < c.ssthresh && c.cc.algorithm == CongestionControl::cubic) {
        HyStart& h = c.cc.hystart;
        h.current_min = h.samples == 0 ? rtt : rtt < h.current_min ? rtt : h.current_min;
        h.samples = h.samples == UINT8_MAX ? h.samples : static_cast<std::uint8_t>(h.samples + 1);
    }
}
// A loss, or an ECN mark: remembers what must be remembered and gives the new ssthresh in bytes.
std::uint32_t ssthresh_after_loss(Connection& c) noexcept;
// A time-out followed: slow start begins anew.
void on_timeout(Connection& c) noexcept;
// The loss was none: back to what was before it.
void on_undo(Connection& c) noexcept;
// Nothing was sent for longer than an RTO (RFC 5681, 4.1; RFC 2861 as Linux: halve once per RTO).
void on_idle(Connection& c, Duration idle) noexcept;
// The first data after an idle time: CUBIC's clock stood still meanwhile.
inline void on_restart(Connection& c, Time now) noexcept {
    if (c.cc.cubic.epoch != never && now > c.last_sent_at) {
        c.cc.cubic.epoch += now - c.last_sent_at;
    }
}

}  // namespace shunt::tcp::congestion
