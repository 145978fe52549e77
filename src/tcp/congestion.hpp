// Congestion control behind a few events. Which algorithm is a value in the connection, not a pointer: connections live in memory that several
// processes share. NewReno (RFC 5681, RFC 6582) is in congestion.cpp, CUBIC (RFC 9438) with HyStart++ (RFC 9406) in cubic.cpp, BBR in bbr.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tcp/bbr.hpp"
#include "tcp/connection.hpp"
#include "tcp/rate.hpp"

namespace shunt::tcp::congestion {

inline constexpr std::uint32_t initial_segments = 10;  // RFC 6928

// What TCP_CONGESTION and net.ipv4.tcp_congestion_control call them; none for one that is not there.
std::string_view name_of(CongestionControl algorithm) noexcept;
std::optional<CongestionControl> find(std::string_view name) noexcept;
// The algorithm itself, or CUBIC for what this host's kernel may have and we have not.
CongestionControl available(CongestionControl wanted) noexcept;

// A connection begins to use an algorithm.
void start(Connection& c, CongestionControl algorithm) noexcept;
// It models the path and sets window and pace itself, at each ACK: what loss recovery does to the window does not count.
inline bool is_model_based(const Connection& c) noexcept { return c.cc.algorithm == CongestionControl::bbr; }
inline void on_established(Connection& c) noexcept {
    if (!is_model_based(c)) {
        c.cc.loss_based.hystart.window_end = c.snd_nxt;
    }
}

// New data were acknowledged outside recovery. Only a window that was the limit may grow (RFC 7661's idea, as Linux).
void grow(Connection& c, std::uint32_t acked, Time now) noexcept;
inline void on_ack(Connection& c, std::uint32_t acked, Time now) noexcept {
    if (c.cwnd_limited || (c.cwnd < c.ssthresh && c.cwnd / 2 < c.flight_size)) {
        grow(c, acked, now);
    }
}
// A round trip was measured.
inline void on_round_trip(Connection& c, Duration rtt) noexcept {
    if (c.cwnd < c.ssthresh && c.cc.algorithm == CongestionControl::cubic) {
        HyStart& h = c.cc.loss_based.hystart;
        h.current_min = h.samples == 0 ? rtt : rtt < h.current_min ? rtt : h.current_min;
        h.samples = h.samples == UINT8_MAX ? h.samples : static_cast<std::uint8_t>(h.samples + 1);
    }
}
// An ACK is through, and so is loss detection. `cwnd` is the window before it.
inline void on_sample(Connection& c, const RateSample& sample, std::uint32_t cwnd, Time now) noexcept {
    if (is_model_based(c)) [[unlikely]] {
        bbr::on_ack(c, sample, cwnd, now);
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
    if (is_model_based(c)) [[unlikely]] {
        bbr::on_restart(c, now);
    } else if (c.cc.loss_based.cubic.epoch != never && now > c.last_sent_at) {
        c.cc.loss_based.cubic.epoch += now - c.last_sent_at;
    }
}

}  // namespace shunt::tcp::congestion
