// What happens when nothing does: retransmission and window probes (RFC 6298; RFC 9293, 3.8.6.1), delayed ACK, keep-alive (RFC 9293, 3.8.4), FIN_WAIT_2
// and TIME_WAIT. A connection has one entry in the wheel, at the earliest of its deadlines; a deadline that moves away leaves the entry where
// it is, and the early wake-up puts it right: so the fast path never touches the wheel.
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr Duration rto_max = std::chrono::seconds(120);           // Linux: TCP_RTO_MAX
constexpr Duration timeout_min = std::chrono::milliseconds(2);           // Linux: TCP_TIMEOUT_MIN
constexpr Duration rto_base = std::chrono::milliseconds(200);            // what tcp_retries2 is counted in, whatever the RTO is

Duration backed_off(Duration base, unsigned doublings) noexcept {
    doublings = std::min(doublings, 20U);
    return base.count() > rto_max.count() >> doublings ? rto_max : Duration(base.count() << doublings);
}

// What a program hears when a connection is given up: why the last packets did not arrive, if some router said so (RFC 9293, 3.9.2.2).
int time_out_error(const Connection& c) noexcept {
    return c.soft_error != 0 && c.soft_error_una == c.snd_una ? c.soft_error : ETIMEDOUT;
}

Time earliest(const Connection& c) noexcept {
    const Time pace_at = c.is_paced_out ? c.pace_next : never;
    return std::min(std::min(std::min(c.retransmit_at, c.delack_at), std::min(c.keepalive_at, c.reorder_at)), pace_at);
}

}  // namespace

void Tcp::arm(Connection& c) noexcept {
    arm(c, earliest(c));
}

// The one deadline that has changed.
void Tcp::arm(Connection& c, Time at) noexcept {
    if (at != never && (!c.timer.is_armed || at < c.timer.deadline)) {
        context_.wheel.arm(c.timer, at);
    }
}

void Tcp::on_timer(Timer& timer, Time now) noexcept {
    auto& c = *static_cast<Connection*>(timer.owner);
    if (now >= c.delack_at) {
        on_delayed_ack_timer(c, now);
    }
    if (now >= c.reorder_at) {
        c.reorder_at = never;
        on_reorder_timer(c, now);
    }
    if (c.is_paced_out && now >= c.pace_next) {
        c.is_paced_out = false;
        output(c, now);
    }
    if (now >= c.keepalive_at) {
        if (!on_keepalive_timer(c, now)) {
            return;  // it is over, and may be gone
        }
    }
    if (now >= c.retransmit_at) {
        on_retransmit_timer(c, now);
        return;  // it may be gone; what is left to wait for is armed
    }
    arm(c);
}

Duration Tcp::rto_min(const Connection& c) const noexcept {
    return c.is_near ? context_.lan_rto_min : Duration(std::chrono::microseconds(context_.tunables.tcp_rto_min_us));
}

// RFC 8985, 7.2. One segment alone may be waiting for the peer's delayed ACK; to a near peer the probe, a frame too many then, goes all the same.
Duration Tcp::probe_timeout(const Connection& c) const noexcept {
    Duration timeout = c.srtt == Duration{} ? Duration(std::chrono::seconds(1)) : 2 * c.srtt;
    if (c.outstanding() <= c.mss) {
        return timeout + (c.is_near ? context_.lan_rto_min : delayed_ack_time_max);
    }
    return timeout + timeout_min;
}

// RFC 6298, 5.1-5.3, or a tail loss probe before it. The time-out counts from `since`: now after an ACK of something new, else when the first
// segment left.
void Tcp::set_retransmit(Connection& c, Time now, Time since) noexcept {
    if (c.outstanding() == 0) {
        if (c.retransmit_kind != RetransmitKind::persist) {
            c.retransmit_kind = RetransmitKind::none;
            c.retransmit_at = never;
        }
        return;
    }
    Duration rto = c.backoff == 0 ? c.rto : backed_off(c.rto, c.backoff);
    if (c.is_near && c.outstanding() <= c.mss) {
        rto = std::max(rto, delayed_ack_time_max);  // a late ACK is no loss, and a time-out closes the window
    }
    Time rto_at = std::max(since + rto, now);
    if (c.options.user_timeout_ms != 0) [[unlikely]] {
        rto_at = std::max(std::min(rto_at, c.first_unanswered + std::chrono::milliseconds(c.options.user_timeout_ms)), now);  // to be punctual
    }
    const bool is_whole = (c.recovery == Recovery::open || c.recovery == Recovery::cwr) && c.sacked_out == 0;
    const bool may_probe = is_whole && c.has_sack && !c.has_tlp && context_.tunables.tcp_early_retrans >= 3;
    const Time probe_at = may_probe ? now + probe_timeout(c) : never;
    c.retransmit_kind = may_probe ? RetransmitKind::tail_loss_probe : RetransmitKind::rto;  // instead of the time-out, if that comes first
    c.retransmit_at = std::min(probe_at, rto_at);
    arm(c, c.retransmit_at);
}

// The peer has thrown away what it had SACKed, or will tell in a moment: Linux waits that long before it believes so.
void Tcp::hold_repair(Connection& c, Time now) noexcept {
    c.reorder_at = never;
    c.retransmit_kind = RetransmitKind::rto;
    c.retransmit_at = now + std::max<Duration>(c.srtt / 2, std::chrono::milliseconds(10));
    arm(c, c.retransmit_at);
}

// tcp_retries2 and tcp_orphan_retries are counts, but what counts is the time that so many doublings of 200 ms take (Linux).
bool Tcp::gives_up(const Connection& c, Time now) const noexcept {
    if (c.options.user_timeout_ms != 0 && c.first_unanswered != never) {
        return now - c.first_unanswered >= std::chrono::milliseconds(c.options.user_timeout_ms);
    }
    // A window that was taken back from under data makes probes of them: a peer that answers is not given up (RFC 9293, 3.8.6).
    if (c.snd_wnd == 0 && c.owner != nullptr && c.retransmit_kind == RetransmitKind::rto && now - c.last_heard <= 2 * rto_max) {
        return false;
    }
    const bool is_orphan = c.owner == nullptr && c.listener == nullptr;
    const int orphan_retries = context_.tunables.tcp_orphan_retries != 0 ? context_.tunables.tcp_orphan_retries : 8;
    const int limit = is_orphan ? std::min(orphan_retries, context_.tunables.tcp_retries2) : context_.tunables.tcp_retries2;
    if (c.retransmit_kind == RetransmitKind::persist) {
        return c.probes >= limit;
    }
    Duration patience{};
    for (int i = 0; i <= limit; ++i) {
        patience += backed_off(rto_base, static_cast<unsigned>(i));
    }
    return c.timeouts != 0 && now - std::max(c.retrans_at, c.first_unanswered) >= patience;
}

void Tcp::on_retransmit_timer(Connection& c, Time now) noexcept {
    c.retransmit_at = never;
    if (!c.is_synchronized() || c.opening.is_early) {
        on_handshake_timeout(c, now);
        return;
    }
    switch (c.retransmit_kind) {
        case RetransmitKind::tail_loss_probe:
            send_tail_loss_probe(c, now);
            break;
        case RetransmitKind::persist:
            on_persist(c, now);
            return;
        case RetransmitKind::rto:
            if (gives_up(c, now)) {
                finish(c, time_out_error(c));
                return;
            }
            note_fast_open_timeout(c, false, now);
            on_retransmission_timeout(c, now);
            break;
        case RetransmitKind::none:
            break;
    }
    arm(c);
}

// As Linux: the peer holds an older connection, which our RST ends; the next SYN will find a listener, so it need not wait for its timeout.
void Tcp::resend_syn_soon(Connection& c, const Segment& seg, Time now) noexcept {
    if (c.backoff == 0 && (seg.ack <= c.iss || seg.ack > c.snd_nxt)) {
        c.retransmit_at = now + timeout_min;
        arm(c);
    }
}

// The SYN or the SYN-ACK was not answered.
void Tcp::on_handshake_timeout(Connection& c, Time now) noexcept {
    const bool is_active = c.listener == nullptr && !c.opening.is_early;
    const int asked = static_cast<int>(c.options.syn_retries);
    int limit = is_active ? context_.tunables.tcp_syn_retries : context_.tunables.tcp_synack_retries;
    const int linear = is_active ? context_.tunables.tcp_syn_linear_timeouts : 0;
    limit = (asked != 0 ? asked : limit) + (c.opening.is_early ? 1 : 0) + linear;
    const int deferral = static_cast<int>(c.options.defer_accept);
    const bool waits_for_data = c.opening.has_last_ack && c.backoff < deferral;
    const bool timed_out = c.options.user_timeout_ms != 0 && now - c.first_unanswered >= std::chrono::milliseconds(c.options.user_timeout_ms);
    const bool is_last = timed_out || (c.backoff >= limit && !waits_for_data);
    note_fast_open_timeout(c, is_last, now);
    if (is_last) {
        finish(c, time_out_error(c));
        return;
    }
    if (!c.opening.has_last_ack || c.backoff >= deferral - 1) {
        send_syn(c, now);
    }
    ++c.backoff;
    c.retransmit_at = now + backed_off(c.rto, static_cast<unsigned>(std::max(c.backoff - linear, 0)));
    arm(c);
}

void Tcp::on_persist(Connection& c, Time now) noexcept {
    const std::uint32_t usable = c.snd_una + c.snd_wnd > c.snd_nxt ? c.snd_una + c.snd_wnd - c.snd_nxt : 0;
    Packet* packet = c.send_head;
    if (packet != nullptr && usable != 0 && (payload_size(*packet) <= usable || split(c, *packet, usable) != nullptr)) {
        c.first_unanswered = now;
        packet->meta().flags |= segment_flag::psh;
        transmit(c, *packet, now);  // a small window, or held back by the program: long enough
        note_sent(c, *packet);
        c.retransmit_kind = RetransmitKind::none;
        set_retransmit(c, now);
        return;
    }
    if (gives_up(c, now)) {
        finish(c, time_out_error(c));
        return;
    }
    context_.counters.count(Event::tcp_zero_window_probes);
    ++c.probes;
    send_control(c, c.snd_una - 1, wire::tcp_flag::ack, now);
    if (c.backoff < 16) {
        ++c.backoff;
    }
    c.retransmit_at = now + backed_off(std::max<Duration>(c.rto, std::chrono::milliseconds(200)), c.backoff);
    arm(c);
}

Duration Tcp::keepalive_idle(const Connection& c) const noexcept {
    return std::chrono::seconds(c.options.keepidle_s != 0 ? c.options.keepidle_s : static_cast<std::uint32_t>(context_.tunables.tcp_keepalive_time));
}

Duration Tcp::keepalive_interval(const Connection& c) const noexcept {
    return std::chrono::seconds(c.options.keepintvl_s != 0 ? c.options.keepintvl_s : static_cast<std::uint32_t>(context_.tunables.tcp_keepalive_intvl));
}

bool Tcp::on_keepalive_timer(Connection& c, Time now) noexcept {
    c.keepalive_at = never;
    if (c.state == State::time_wait) {
        finish(c, 0);
        return false;
    }
    if (c.state == State::fin_wait_2 && c.owner == nullptr) {  // as Linux: the peer has had its time to close
        finish(c, 0);
        return false;
    }
    if (!c.options.keepalive || !c.is_synchronized() || (c.owner == nullptr && !c.in_accept_queue)) {
        return true;
    }
    if (c.outstanding() != 0 || c.send_head != nullptr) {  // the retransmission timer watches the peer
        c.keepalive_at = now + keepalive_idle(c);
        return true;
    }
    const Duration silent = now - c.last_heard;
    if (silent < keepalive_idle(c)) {
        c.keepalive_at = c.last_heard + keepalive_idle(c);
        return true;
    }
    const std::uint32_t limit = c.options.keepcnt != 0 ? c.options.keepcnt : static_cast<std::uint32_t>(context_.tunables.tcp_keepalive_probes);
    const bool timed_out = c.options.user_timeout_ms != 0 && c.probes != 0 && silent >= std::chrono::milliseconds(c.options.user_timeout_ms);
    if (timed_out || (c.options.user_timeout_ms == 0 && c.probes >= limit)) {
        send_reset(c, now);
        finish(c, time_out_error(c));
        return false;
    }
    context_.counters.count(Event::tcp_keepalives);
    ++c.probes;
    send_control(c, c.snd_una - 1, wire::tcp_flag::ack, now);
    c.keepalive_at = now + keepalive_interval(c);
    return true;
}

// RFC 5461 and RFC 9293, 3.9.2.2: hard errors end a connection that is still opening; afterwards they are only remembered. RFC 1191: a smaller MTU.
void Tcp::icmp_error(std::uint32_t source, std::uint16_t source_port, std::uint32_t destination, std::uint16_t destination_port, Seq seq, int error, bool is_hard,
                     std::uint16_t mtu, Time now) noexcept {
    Connection* c = find(source, source_port, destination, destination_port);
    if (c == nullptr || seq < (c->opening.is_early ? c->iss : c->snd_una) || seq > c->snd_nxt) {  // RFC 5927: believe only what quotes data in flight
        return;
    }
    context_.counters.count(Event::icmp_errors_received);
    if (mtu != 0) {
        on_smaller_mtu(*c, mtu, now);
        return;
    }
    if (!c->is_synchronized() && (!c->opening.is_early || c->in_accept_queue)) {
        if (is_hard || c->state == State::syn_sent || c->opening.is_early) {
            finish(*c, error);
        }
        return;
    }
    if (c->options.recverr) {  // IP_RECVERR: told at once
        c->error = error;
        note(*c, ready::error);
        return;
    }
    c->soft_error = static_cast<std::uint8_t>(error);
    c->soft_error_una = c->snd_una;
}

}  // namespace shunt::tcp
