#include "tcp/bbr.hpp"

#include <algorithm>
#include <array>
#include <new>

namespace shunt::tcp::bbr {
namespace {

using Mode = Bbr::Mode;

// The draft, 4.2 to 4.3. Gains times the bandwidth are the pace, times the bandwidth-delay product the window.
constexpr float high_gain = 2.885F;  // 2 / ln 2: doubles in each round trip
constexpr float cwnd_gain = 2;
constexpr std::array<float, 8> cycle_gains{1.25F, 0.75F, 1, 1, 1, 1, 1, 1};
constexpr float pacing_margin = 0.99F;
constexpr float full_growth = 1.25F;
constexpr unsigned full_rounds = 3;
constexpr Duration min_rtt_expires = std::chrono::seconds(10);
constexpr Duration probe_rtt_lasts = std::chrono::milliseconds(200);
constexpr std::uint32_t cwnd_min_segments = 4;
constexpr std::uint32_t quantum_max = 64 * 1024;

float seconds(Duration d) noexcept { return static_cast<float>(d.count()) * 1e-9F; }

float pacing_gain(const Bbr& b) noexcept {
    switch (b.mode) {
        case Mode::startup:
            return high_gain;
        case Mode::drain:
            return 1 / high_gain;
        case Mode::probe_bw:
            return cycle_gains[b.cycle_phase];
        case Mode::probe_rtt:
            break;
    }
    return 1;
}

float window_gain(const Bbr& b) noexcept { return b.mode == Mode::startup || b.mode == Mode::drain ? high_gain : b.mode == Mode::probe_rtt ? 1 : cwnd_gain; }

// The bandwidth-delay product times `gain`; before there is a round trip, the initial window.
std::uint32_t target_inflight(const Connection& c, float gain) noexcept {
    const Bbr& b = c.cc.bbr;
    if (b.min_rtt_at == never) {
        return 10U * c.mss;
    }
    const float bytes = gain * b.bandwidth * seconds(b.min_rtt);
    return static_cast<std::uint32_t>(std::min(bytes, 1e9F));
}

// Room for what is in the hands of both ends: three bursts of a millisecond, and whole pairs of segments for delayed ACKs.
std::uint32_t with_quanta(const Connection& c, std::uint32_t bytes) noexcept {
    const Bbr& b = c.cc.bbr;
    const auto quantum = static_cast<std::uint32_t>(std::clamp(c.pacing_rate / 1000, static_cast<float>(c.mss * 2U), static_cast<float>(quantum_max)));
    const std::uint32_t pair = c.mss * 2U;
    bytes = (bytes + 3 * quantum + pair - 1) / pair * pair;
    return b.mode == Mode::probe_bw && b.cycle_phase == 0 ? bytes + pair : bytes;
}

void save_cwnd(Connection& c) noexcept {
    Bbr& b = c.cc.bbr;
    b.prior_cwnd = b.previous_recovery < Recovery::recovery && b.mode != Mode::probe_rtt ? c.cwnd : std::max(b.prior_cwnd, c.cwnd);
}

void update_round_and_bandwidth(Connection& c, const RateSample& sample) noexcept {
    Bbr& b = c.cc.bbr;
    b.round_began = false;
    if (!sample.exists || sample.ticks == 0) {
        return;
    }
    if (static_cast<std::int32_t>(sample.prior_delivered - b.next_round_delivered) >= 0) {
        b.next_round_delivered = static_cast<std::uint32_t>(c.delivered);
        ++b.round;
        b.round_began = true;
        b.conserves_packets = false;
        b.best_of_round[b.round % Bbr::bandwidth_rounds] = 0;
    }
    const float rate = sample.bytes_per_second();
    if (!sample.is_app_limited || rate >= b.bandwidth) {
        float& best = b.best_of_round[b.round % Bbr::bandwidth_rounds];
        best = std::max(best, rate);
    }
    const float maximum = *std::max_element(b.best_of_round.begin(), b.best_of_round.end());
    if (maximum > 0) {  // nothing but samples that do not count for ten rounds: the old estimate stands
        b.bandwidth = maximum;
    }
}

// 4.3.4.3: a phase lasts a round trip; more when it shall fill the pipe, less when it has drained it.
void update_cycle(Connection& c, const RateSample& sample, Time now) noexcept {
    Bbr& b = c.cc.bbr;
    if (b.mode != Mode::probe_bw) {
        return;
    }
    const float gain = cycle_gains[b.cycle_phase];
    bool is_over = now - b.cycle_at > b.min_rtt;
    if (gain > 1) {
        is_over = is_over && (sample.lost != 0 || sample.prior_in_flight >= with_quanta(c, target_inflight(c, gain)));
    } else if (gain < 1) {
        is_over = is_over || sample.prior_in_flight <= with_quanta(c, target_inflight(c, 1));
    }
    if (is_over) {
        b.cycle_phase = static_cast<std::uint8_t>((b.cycle_phase + 1) % cycle_gains.size());
        b.cycle_at = now;
    }
}

// Not all flows of a host shall probe at once, and none begins with the phase that drains.
void enter_probe_bw(Connection& c, Time now) noexcept {
    Bbr& b = c.cc.bbr;
    b.mode = Mode::probe_bw;
    const std::uint32_t random = (c.iss.raw() ^ static_cast<std::uint32_t>(now.time_since_epoch().count())) * 2654435761U >> 16;
    b.cycle_phase = static_cast<std::uint8_t>(random % (cycle_gains.size() - 1));
    b.cycle_phase = b.cycle_phase == 1 ? std::uint8_t{7} : b.cycle_phase;
    b.cycle_at = now;
}

void update_startup(Connection& c, const RateSample& sample, Time now) noexcept {
    Bbr& b = c.cc.bbr;
    if (!b.filled_pipe && b.round_began && !sample.is_app_limited) {
        if (b.bandwidth >= b.full_bandwidth * full_growth) {
            b.full_bandwidth = b.bandwidth;
            b.full_rounds = 0;
        } else {
            b.filled_pipe = ++b.full_rounds >= full_rounds;
        }
    }
    if (b.mode == Mode::startup && b.filled_pipe) {
        b.mode = Mode::drain;
    }
    if (b.mode == Mode::drain && c.pipe() <= with_quanta(c, target_inflight(c, 1))) {
        enter_probe_bw(c, now);
    }
}

void leave_probe_rtt(Connection& c, Time now) noexcept {
    Bbr& b = c.cc.bbr;
    b.min_rtt_at = now;
    c.cwnd = std::max(c.cwnd, b.prior_cwnd);
    if (b.filled_pipe) {
        enter_probe_bw(c, now);
    } else {
        b.mode = Mode::startup;
    }
}

bool is_min_rtt_old(const Bbr& b, Time now) noexcept { return b.min_rtt_at != never && now > b.min_rtt_at + min_rtt_expires; }

void note_round_trip(Bbr& b, Duration rtt, Time now) noexcept {
    if (rtt >= Duration{} && (b.min_rtt_at == never || rtt <= b.min_rtt || is_min_rtt_old(b, now))) {
        b.min_rtt = rtt;
        b.min_rtt_at = now;
    }
}

// 4.3.5: a round-trip time that has not been seen for ten seconds is looked for with an empty pipe.
void update_min_rtt(Connection& c, const RateSample& sample, Time now) noexcept {
    Bbr& b = c.cc.bbr;
    const bool has_expired = is_min_rtt_old(b, now);
    note_round_trip(b, sample.rtt, now);
    if (has_expired && !b.restarts_from_idle && b.mode != Mode::probe_rtt) {
        save_cwnd(c);
        b.mode = Mode::probe_rtt;
        b.probe_rtt_until = never;
    }
    if (b.mode == Mode::probe_rtt) {
        rate_on_app_limited(c);
        if (b.probe_rtt_until == never) {
            if (c.pipe() <= cwnd_min_segments * c.mss) {
                b.probe_rtt_until = now + probe_rtt_lasts;
                b.probe_rtt_round_done = false;
                b.next_round_delivered = static_cast<std::uint32_t>(c.delivered);
            }
        } else {
            b.probe_rtt_round_done = b.probe_rtt_round_done || b.round_began;
            if (b.probe_rtt_round_done && now > b.probe_rtt_until) {
                leave_probe_rtt(c, now);
            }
        }
    }
    if (sample.acked != 0) {
        b.restarts_from_idle = false;
    }
}

void bound_pacing_rate(Connection& c) noexcept {
    if (c.options.max_pacing_rate != 0) {
        c.pacing_rate = std::min(c.pacing_rate, c.options.max_pacing_rate);
    }
}

void set_pacing_rate(Connection& c, float gain) noexcept {
    const Bbr& b = c.cc.bbr;
    const float rate = b.bandwidth * gain * pacing_margin;
    if (b.filled_pipe || rate > c.pacing_rate) {
        c.pacing_rate = std::max(rate, static_cast<float>(c.mss));  // even the slowest path gets a segment a second
    }
    bound_pacing_rate(c);
}

// 4.2.3.4: in the first round of recovery as much goes in as came out; at its end the window is what it was. True: that is all.
bool conserve_or_restore(Connection& c, const RateSample& sample) noexcept {
    Bbr& b = c.cc.bbr;
    const std::uint32_t in_flight = c.pipe();
    if (sample.lost != 0) {
        c.cwnd = std::max<std::uint32_t>(c.cwnd - std::min(c.cwnd, sample.lost), c.mss);
    }
    if (c.recovery == Recovery::recovery && b.previous_recovery != Recovery::recovery) {
        b.conserves_packets = true;
        b.next_round_delivered = static_cast<std::uint32_t>(c.delivered);
        c.cwnd = std::max<std::uint32_t>(in_flight + sample.acked, c.mss);
    } else if (b.previous_recovery >= Recovery::recovery && c.recovery < Recovery::recovery) {
        c.cwnd = std::max(c.cwnd, b.prior_cwnd);
        b.conserves_packets = false;
    }
    b.previous_recovery = c.recovery;
    if (b.conserves_packets) {
        c.cwnd = std::max(c.cwnd, in_flight + sample.acked);
    }
    return b.conserves_packets;
}

void set_cwnd(Connection& c, const RateSample& sample) noexcept {
    const Bbr& b = c.cc.bbr;
    if (sample.acked != 0 && !conserve_or_restore(c, sample)) {
        const std::uint32_t target = with_quanta(c, target_inflight(c, window_gain(b)));
        if (b.filled_pipe) {
            c.cwnd = std::min(c.cwnd + sample.acked, target);
        } else if (c.cwnd < target || c.delivered < 10U * c.mss) {
            c.cwnd += sample.acked;
        }
        c.cwnd = std::max(c.cwnd, cwnd_min_segments * c.mss);
    }
    if (b.mode == Mode::probe_rtt) {
        c.cwnd = std::min(c.cwnd, cwnd_min_segments * c.mss);
    }
}

// A program that says little, question by question: of the network it tells the round-trip time at most.
bool is_small_talk(const Connection& c, const RateSample& sample) noexcept {
    const Bbr& b = c.cc.bbr;
    return b.restarts_from_idle && sample.is_app_limited && sample.rtt >= Duration{} && sample.lost == 0 && c.recovery == Recovery::open && b.previous_recovery == Recovery::open &&
           b.mode != Mode::probe_rtt &&
           static_cast<float>(sample.delivered) * rate_ticks_per_second <= b.bandwidth * static_cast<float>(sample.ticks);
}

}  // namespace

Gains gains_of(const Connection& c) noexcept { return {pacing_gain(c.cc.bbr), window_gain(c.cc.bbr)}; }

void start(Connection& c) noexcept {
    new (&c.cc.bbr) Bbr();
    c.cc.bbr.next_round_delivered = static_cast<std::uint32_t>(c.delivered);
    c.cc.bbr.previous_recovery = c.recovery;
}

void on_ack(Connection& c, const RateSample& sample, std::uint32_t cwnd, Time now) noexcept {
    c.cwnd = cwnd;
    if (is_small_talk(c, sample)) [[likely]] {
        c.cc.bbr.restarts_from_idle = false;
        note_round_trip(c.cc.bbr, sample.rtt, now);
        return;
    }
    update_round_and_bandwidth(c, sample);
    update_cycle(c, sample, now);
    update_startup(c, sample, now);
    update_min_rtt(c, sample, now);
    set_pacing_rate(c, pacing_gain(c.cc.bbr));
    set_cwnd(c, sample);
}

void on_restart(Connection& c, Time now) noexcept {
    Bbr& b = c.cc.bbr;
    if (b.bandwidth == 0) {  // the initial window in a round trip, or in a millisecond while none is known
        const Duration rtt = c.srtt != Duration{} ? c.srtt : Duration(std::chrono::milliseconds(1));
        c.pacing_rate = static_cast<float>(c.cwnd) / seconds(rtt) * high_gain;
        bound_pacing_rate(c);
        if (c.srtt != Duration{} && b.min_rtt_at == never) {
            b.min_rtt = c.srtt;
            b.min_rtt_at = now;
        }
        return;
    }
    if (!c.is_app_limited) {
        return;
    }
    b.restarts_from_idle = true;
    if (b.mode == Mode::probe_bw) {
        set_pacing_rate(c, 1);
    } else if (b.mode == Mode::probe_rtt && b.probe_rtt_until != never && now > b.probe_rtt_until) {
        leave_probe_rtt(c, now);
    }
}

void on_loss(Connection& c) noexcept { save_cwnd(c); }

void on_timeout(Connection& c) noexcept {
    Bbr& b = c.cc.bbr;
    b.previous_recovery = Recovery::loss;
    b.full_bandwidth = 0;
    b.round_began = true;
}

void on_undo(Connection& c) noexcept {
    Bbr& b = c.cc.bbr;
    b.full_bandwidth = 0;
    b.full_rounds = 0;
}

}  // namespace shunt::tcp::bbr
