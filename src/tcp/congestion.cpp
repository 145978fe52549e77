#include "tcp/congestion.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "tcp/cubic.hpp"

namespace shunt::tcp::congestion {
namespace {

constexpr std::array<std::pair<std::string_view, CongestionControl>, 3> names{
    {{"reno", CongestionControl::reno}, {"cubic", CongestionControl::cubic}, {"bbr", CongestionControl::bbr}}};

// A segment for each window that was acknowledged, with appropriate byte counting (RFC 3465).
void grow_newreno(Connection& c, std::uint32_t acked) noexcept {
    if (c.cwnd < c.ssthresh) {
        c.cwnd += acked;
        return;
    }
    c.acked_in_avoidance += acked;
    if (c.acked_in_avoidance >= c.cwnd) {
        c.acked_in_avoidance -= c.cwnd;
        c.cwnd += c.mss;
    }
}

}  // namespace

std::string_view name_of(CongestionControl algorithm) noexcept {
    const auto at = std::find_if(names.begin(), names.end(), [&](const auto& each) { return each.second == algorithm; });
    return at == names.end() ? std::string_view() : at->first;
}

std::optional<CongestionControl> find(std::string_view name) noexcept {
    const auto at = std::find_if(names.begin(), names.end(), [&](const auto& each) { return each.first == name; });
    return at == names.end() ? std::nullopt : std::optional(at->second);
}

CongestionControl available(CongestionControl wanted) noexcept {
    return name_of(wanted).empty() ? CongestionControl::cubic : wanted;
}

void start(Connection& c, CongestionControl algorithm) noexcept {
    c.cc = CongestionState{};
    c.cc.algorithm = algorithm;
    c.pacing_rate = 0;
    if (is_model_based(c)) {
        bbr::start(c);
        return;
    }
    c.cc.loss_based.hystart.window_end = c.snd_nxt;
}

void grow(Connection& c, std::uint32_t acked, Time now) noexcept {
    if (c.cc.algorithm == CongestionControl::cubic) {
        cubic::grow(c, acked, now);
    } else if (!is_model_based(c)) {
        grow_newreno(c, acked);
    }
}

std::uint32_t ssthresh_after_loss(Connection& c) noexcept {
    if (c.cc.algorithm == CongestionControl::cubic) {
        return cubic::ssthresh_after_loss(c);
    }
    if (is_model_based(c)) {
        bbr::on_loss(c);
        return c.ssthresh;
    }
    const std::uint32_t flight = std::min(c.cwnd, std::max(c.outstanding(), c.mss * 2U));
    return std::max(flight / c.mss / 2, 2U) * c.mss;  // RFC 5681, equation 4; half a segment would only slow the growth down
}

void on_timeout(Connection& c) noexcept {
    if (is_model_based(c)) {
        bbr::on_timeout(c);
        return;
    }
    c.acked_in_avoidance = 0;
    c.cc.loss_based.cubic = Cubic{};
    c.cc.loss_based.hystart = HyStart{};
    c.cc.loss_based.hystart.window_end = c.snd_nxt;
}

void on_undo(Connection& c) noexcept {
    if (is_model_based(c)) {
        bbr::on_undo(c);
        return;
    }
    c.cwnd = std::max(c.cwnd, c.prior_cwnd);
    c.ssthresh = std::max(c.ssthresh, c.prior_ssthresh);
    c.cc.loss_based.cubic = c.cc.loss_based.before_loss;
}

void on_idle(Connection& c, Duration idle) noexcept {
    if (is_model_based(c)) {
        return;  // its pace, not its window, keeps the burst small
    }
    const std::uint32_t restart = std::min<std::uint32_t>(initial_segments * c.mss, c.cwnd);
    c.ssthresh = std::max(c.ssthresh, c.cwnd / 4 * 3);
    while (idle > c.rto && c.cwnd > restart) {
        idle -= c.rto;
        c.cwnd /= 2;
    }
    c.cwnd = std::max(c.cwnd, restart);
}

}  // namespace shunt::tcp::congestion
