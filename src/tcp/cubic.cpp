#include "tcp/cubic.hpp"

#include <algorithm>
#include <cmath>

namespace shunt::tcp::cubic {
namespace {

// RFC 9438, section 5 and 4.1. Windows are counted in segments here, times in seconds.
constexpr double c_constant = 0.4;
constexpr double beta = 0.7;
constexpr double alpha_friendly = 3 * (1 - beta) / (1 + beta);
constexpr double growth_max = 1.5;  // in one round trip

double seconds(Duration d) noexcept {
    return static_cast<double>(d.count()) * 1e-9;
}

// RFC 9406, 4.3.
constexpr Duration rtt_thresh_min = std::chrono::milliseconds(4);
constexpr Duration rtt_thresh_max = std::chrono::milliseconds(16);
constexpr int min_rtt_divisor = 8;
constexpr unsigned samples_needed = 8;
constexpr unsigned css_growth_divisor = 4;
constexpr unsigned css_rounds = 5;

// A round ends when what was sent last at its beginning is acknowledged. True: slow start is over.
bool hystart_round(Connection& c) noexcept {
    HyStart& h = c.cc.loss_based.hystart;
    if (h.samples >= samples_needed && h.last_min != Duration{}) {
        if (!h.in_css) {
            const Duration threshold = std::clamp<Duration>(h.last_min / min_rtt_divisor, rtt_thresh_min, rtt_thresh_max);
            if (h.current_min >= h.last_min + threshold) {
                h.in_css = true;
                h.css_rounds = 0;
                h.css_baseline = h.current_min;
            }
        } else if (h.current_min < h.css_baseline) {
            h.in_css = false;  // the delay did not come from us
        }
    }
    if (c.snd_una < h.window_end) {
        return false;
    }
    h.window_end = c.snd_nxt;
    h.last_min = h.samples != 0 ? h.current_min : Duration{};
    h.samples = 0;
    return h.in_css && ++h.css_rounds >= css_rounds;
}

void slow_start(Connection& c, std::uint32_t acked) noexcept {
    const bool is_over = hystart_round(c);
    c.cwnd += c.cc.loss_based.hystart.in_css ? acked / css_growth_divisor : acked;
    if (is_over) {
        c.ssthresh = c.cwnd;
    }
}

void start_epoch(Connection& c, double cwnd, Time now) noexcept {
    Cubic& q = c.cc.loss_based.cubic;
    q.epoch = now;
    q.credit_bytes = 0;
    q.w_est = static_cast<float>(cwnd);
    if (cwnd < static_cast<double>(q.w_max)) {
        q.k_s = static_cast<float>(std::cbrt((static_cast<double>(q.w_max) - cwnd) / c_constant));
    } else {  // after a time-out, or a slow start that ended by itself: grow from here (RFC 9438, 4.8 and 4.10)
        q.k_s = 0;
        q.w_max = static_cast<float>(cwnd);
    }
}

}  // namespace

void grow(Connection& c, std::uint32_t acked, Time now) noexcept {
    if (c.cwnd < c.ssthresh) {
        slow_start(c, acked);
        return;
    }
    Cubic& q = c.cc.loss_based.cubic;
    const double cwnd = static_cast<double>(c.cwnd) / c.mss;
    if (q.epoch == never) {
        start_epoch(c, cwnd, now);
    }
    const auto w_cubic = [&q](double t) {
        const double from_k = t - static_cast<double>(q.k_s);
        return c_constant * from_k * from_k * from_k + static_cast<double>(q.w_max);
    };
    const double t = seconds(now - q.epoch);
    const double alpha = static_cast<double>(q.w_est) >= static_cast<double>(q.cwnd_prior) ? 1.0 : alpha_friendly;
    q.w_est = static_cast<float>(static_cast<double>(q.w_est) + alpha * acked / c.cwnd);
    if (w_cubic(t) < static_cast<double>(q.w_est)) {  // what Reno would have by now (RFC 9438, 4.3)
        c.cwnd = std::max(c.cwnd, static_cast<std::uint32_t>(static_cast<double>(q.w_est)) * c.mss);
        return;
    }
    const double target = std::clamp(w_cubic(t + seconds(c.srtt)), cwnd, growth_max * cwnd);
    q.credit_bytes += static_cast<float>((target - cwnd) / cwnd * acked);
    while (q.credit_bytes >= static_cast<float>(c.mss)) {
        q.credit_bytes -= static_cast<float>(c.mss);
        c.cwnd += c.mss;
    }
}

// RFC 9438, 4.6 and 4.7.
std::uint32_t ssthresh_after_loss(Connection& c) noexcept {
    Cubic& q = c.cc.loss_based.cubic;
    c.cc.loss_based.before_loss = q;
    const double cwnd = static_cast<double>(c.cwnd) / c.mss;
    q.cwnd_prior = static_cast<float>(cwnd);
    q.w_max = static_cast<float>(cwnd < static_cast<double>(q.w_max) ? cwnd * (1 + beta) / 2 : cwnd);  // smaller than last time: leave room to newcomers
    q.epoch = never;
    return std::max(static_cast<std::uint32_t>(cwnd * beta) * c.mss, c.mss * 2U);
}

}  // namespace shunt::tcp::cubic
