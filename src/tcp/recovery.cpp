// What is lost, and how it is repaired: RACK-TLP (RFC 8985) with SACK, NewReno (RFC 6582) without; PRR (RFC 6937) meters the repair; time-outs (RFC 6298,
// 5); undo by timestamps (RFC 3522).
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::uint32_t dup_threshold = 3;  // RFC 5681

bool is_repairing(const Connection& c) noexcept {
    return c.recovery == Recovery::recovery || c.recovery == Recovery::loss;
}

// The window is on its way down, by proportional rate reduction.
bool is_reducing(const Connection& c) noexcept {
    return c.recovery == Recovery::recovery || c.recovery == Recovery::cwr;
}

}  // namespace

void Tcp::after_ack(Connection& c, const Segment& seg, std::uint32_t acked, std::uint32_t delivered, bool is_duplicate, Time now) noexcept {
    if (!c.has_sack) {  // what a duplicate ACK says without SACK: some segment has left the network
        if (acked != 0) {
            c.sacked_out = 0;
            c.dup_acks = 0;
        } else if (is_duplicate) {
            ++c.dup_acks;
            delivered = c.mss;
            c.sacked_out = std::min<std::uint32_t>(c.sacked_out + c.mss, c.outstanding() - c.lost_out - std::min(c.outstanding() - c.lost_out, std::uint32_t{c.mss}));
        }
    }
    if (c.may_undo && acked != 0 && is_repairing(c) && try_undo(c, seg)) {
        return;
    }
    if (c.has_sack) {
        detect_losses(c, now);
    } else if (c.dup_acks == dup_threshold && !is_repairing(c) && c.snd_una > c.recover && c.last_sent != nullptr) {
        mark_lost(c, *c.snd_queue.front());
    }
    if (is_repairing(c) || (c.recovery == Recovery::cwr && c.lost_out == 0)) {
        after_ack_recovering(c, acked, delivered, now);
        return;
    }
    if (c.lost_out != 0) {
        enter_recovery(c, now);
        reduce_proportionally(c, delivered);  // the ACK that shows the loss counts as well
        c.cwnd = std::max(c.cwnd, c.pipe() + c.mss);
        return;
    }
    c.recovery = c.sacked_out != 0 ? Recovery::disorder : Recovery::open;
    if (acked != 0) {
        congestion::on_ack(c, acked, now);
    }
}

void Tcp::after_ack_recovering(Connection& c, std::uint32_t acked, std::uint32_t delivered, Time now) noexcept {
    if (c.snd_una >= c.recover) {
        leave_recovery(c);
        if (c.lost_out != 0) {
            enter_recovery(c, now);
        }
        return;
    }
    if (!c.has_sack && acked != 0 && c.recovery == Recovery::recovery && c.last_sent != nullptr) {
        mark_lost(c, *c.snd_queue.front());  // a partial ACK: the next hole (RFC 6582, 3.2, step 3)
    }
    if (c.recovery == Recovery::loss) {
        if (acked != 0) {
            c.cwnd += c.cwnd < c.ssthresh ? acked : static_cast<std::uint32_t>(std::uint64_t{c.mss} * acked / c.cwnd);
        }
        return;
    }
    reduce_proportionally(c, delivered);
}

// PRR-SSRB (RFC 6937, section 3).
void Tcp::reduce_proportionally(Connection& c, std::uint32_t delivered) noexcept {
    c.prr_delivered += delivered;
    const std::uint32_t pipe = c.pipe();
    std::int64_t send_count;
    if (pipe > c.ssthresh) {
        const std::uint64_t fs = std::max(c.recover_fs, 1U);
        send_count = static_cast<std::int64_t>((std::uint64_t{c.prr_delivered} * c.ssthresh + fs - 1) / fs) - c.prr_out;
    } else {
        const std::int64_t limit = std::max<std::int64_t>(static_cast<std::int64_t>(c.prr_delivered) - c.prr_out, delivered) + c.mss;
        send_count = std::min<std::int64_t>(static_cast<std::int64_t>(c.ssthresh) - pipe, limit);
    }
    c.cwnd = pipe + static_cast<std::uint32_t>(std::max<std::int64_t>(send_count, 0));
    c.cwnd = std::max<std::uint32_t>(c.cwnd, c.mss);
}

void Tcp::mark_lost(Connection& c, Packet& packet) noexcept {
    PacketMeta& meta = packet.meta();
    const std::uint32_t size = seq_size(packet);
    if ((meta.flags & segment_flag::resent) != 0) {
        meta.flags = static_cast<std::uint16_t>(meta.flags & ~segment_flag::resent);
        c.retrans_out -= size;
        c.bytes_lost += size;
    }
    if ((meta.flags & segment_flag::lost) == 0) {
        meta.flags |= segment_flag::lost;
        c.lost_out += size;
        c.bytes_lost += size;
    }
}

// RFC 8985, 6.2, step 4.
Duration Tcp::reorder_window(const Connection& c) const noexcept {
    if (!c.reordering_seen && (is_repairing(c) || c.sacked_out >= dup_threshold * c.mss)) {
        return Duration{};
    }
    return std::min<Duration>(c.min_rtt / 4 * c.rack_reo_mult, c.srtt);
}

// RFC 8985, 6.2, step 5: lost is what was sent well before something that has arrived.
void Tcp::detect_losses(Connection& c, Time now) noexcept {
    if (c.rack_xmit == Time{} || c.outstanding() == 0 || (c.sacked_out == 0 && c.retrans_out == 0 && c.recovery == Recovery::open && !c.reordering_seen)) {
        c.reorder_at = never;
        return;
    }
    const Duration window = reorder_window(c);
    Time wake = never;
    for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
        const PacketMeta& meta = packet->meta();
        if ((meta.flags & segment_flag::sacked) != 0 || (meta.flags & (segment_flag::lost | segment_flag::resent)) == segment_flag::lost) {
            continue;
        }
        const Time sent{Duration(meta.stamp_ns)};
        if (sent > c.rack_xmit || (sent == c.rack_xmit && end_of(*packet) >= c.rack_end)) {
            continue;
        }
        const Time deadline = sent + c.rack_rtt + window;
        if (deadline <= now) {
            mark_lost(c, *packet);
        } else {
            wake = std::min(wake, deadline);
        }
    }
    c.reorder_at = wake;
    if (wake != never) {
        arm(c);
    }
}

// The window shall go down to ssthresh in the course of one round trip.
void Tcp::begin_reduction(Connection& c) noexcept {
    c.prior_cwnd = c.cwnd;
    c.prior_ssthresh = c.ssthresh;
    c.recover_fs = c.outstanding();
    c.ssthresh = congestion::ssthresh_after_loss(c);
    c.prr_delivered = c.prr_out = 0;
    c.recover = c.snd_nxt;
}

void Tcp::enter_recovery(Connection& c, Time now) noexcept {
    context_.counters.count(Event::tcp_fast_recoveries);
    if (!is_reducing(c)) {  // an ECN mark has reduced it for this window
        begin_reduction(c);
    }
    c.recover = c.snd_nxt;
    c.recovery = Recovery::recovery;
    c.undo_tsval = timestamp_now(c, now);
    c.may_undo = c.has_timestamps;
    if (!congestion::is_model_based(c)) {
        c.cwnd = c.pipe() + c.mss;  // the first repair goes out at once
    }
}

void Tcp::leave_recovery(Connection& c) noexcept {
    if (c.recovery == Recovery::cwr) {
        c.cwnd = c.ssthresh;
    } else if (c.recovery == Recovery::recovery) {
        c.cwnd = std::min(c.cwnd, c.ssthresh);
        c.cwnd = std::max<std::uint32_t>(std::min(c.ssthresh, std::max(c.pipe(), std::uint32_t{c.mss}) + c.mss * 3U), c.mss * 2U);
    }
    c.recovery = c.sacked_out != 0 ? Recovery::disorder : Recovery::open;
    c.dup_acks = 0;
    c.may_undo = false;
    c.acked_in_avoidance = 0;
    if (c.rack_reo_mult > 1) {
        --c.rack_reo_mult;
    }
}

// The ACK echoes a timestamp from before our first retransmission: the original had arrived, nothing was lost (RFC 3522).
bool Tcp::try_undo(Connection& c, const Segment& seg) noexcept {
    if (!seg.options.has_timestamp || seg.options.tsecr == 0 || static_cast<std::int32_t>(seg.options.tsecr - c.undo_tsval) >= 0) {
        return false;
    }
    context_.counters.count(Event::tcp_undo);
    for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
        PacketMeta& meta = packet->meta();
        if ((meta.flags & segment_flag::lost) != 0 && (meta.flags & segment_flag::resent) == 0) {
            meta.flags = static_cast<std::uint16_t>(meta.flags & ~segment_flag::lost);
            c.lost_out -= seq_size(*packet);
        }
    }
    congestion::on_undo(c);
    c.may_undo = false;
    c.reordering_seen = true;
    c.recovery = c.sacked_out != 0 || c.lost_out != 0 ? Recovery::disorder : Recovery::open;
    return true;
}

// RFC 8985, 7.4.2: the probe's ACK says whether it repaired a loss, which congestion control must hear of.
void Tcp::on_tail_loss_ack(Connection& c, const Segment& seg, bool has_news) noexcept {
    if (!c.has_tlp || seg.ack < c.tlp_high) {
        return;
    }
    c.has_tlp = false;
    const bool was_needless = seg.options.sack_count != 0 && seg.options.sack[0].right <= seg.ack;  // D-SACK
    if (c.tlp_is_retransmission && has_news && !was_needless && !is_repairing(c) && c.reordering_seen == false && seg.ack == c.tlp_high) {
        c.ssthresh = congestion::ssthresh_after_loss(c);
        c.cwnd = std::min(c.cwnd, c.ssthresh);
    }
}

void Tcp::send_tail_loss_probe(Connection& c, Time now) noexcept {
    context_.counters.count(Event::tcp_tail_loss_probes);
    Packet* packet = c.send_head;
    const bool may_send_new = packet != nullptr && end_of(*packet) <= c.snd_una + c.snd_wnd && payload_size(*packet) <= c.mss;
    if (may_send_new) {
        transmit(c, *packet, now);
        note_sent(c, *packet, now);
    } else if (c.last_sent != nullptr) {
        transmit(c, *c.last_sent, now);
    }
    c.tlp_is_retransmission = !may_send_new;
    c.has_tlp = true;
    c.tlp_high = c.snd_nxt;
    set_retransmit(c, now);
}

void Tcp::on_retransmission_timeout(Connection& c, Time now) noexcept {
    context_.counters.count(Event::tcp_timeouts);
    if (c.recovery != Recovery::loss) {
        if (!is_reducing(c)) {
            c.prior_cwnd = c.cwnd;
            c.prior_ssthresh = c.ssthresh;
            c.ssthresh = congestion::ssthresh_after_loss(c);
        }
        c.undo_tsval = timestamp_now(c, now);
        c.may_undo = c.has_timestamps;
    }
    congestion::on_timeout(c);
    c.cwnd = c.mss;
    c.recovery = Recovery::loss;
    c.recover = c.snd_nxt;
    c.has_tlp = false;
    c.dup_acks = 0;
    if (!c.has_sack) {
        c.sacked_out = 0;
    }
    for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
        if ((packet->meta().flags & segment_flag::sacked) == 0) {
            mark_lost(c, *packet);
        }
    }
    if (c.backoff < 16) {
        ++c.backoff;
    }
    if (c.path.neighbour != nullptr && c.backoff >= context_.tunables.tcp_retries1) {  // RFC 9293, 3.8.3: R1
        c.path.link->doubt(*c.path.neighbour, now);
    }
    retransmit_lost(c, now);
    set_retransmit(c, now);
}

void Tcp::retransmit_lost(Connection& c, Time now) noexcept {
    for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
        if ((packet->meta().flags & (segment_flag::lost | segment_flag::resent)) != segment_flag::lost) {
            continue;
        }
        if (payload_size(*packet) > c.mss && split(c, *packet, c.mss) == nullptr) {
            return;
        }
        const std::uint32_t size = seq_size(*packet);
        if (c.pipe() + size > c.cwnd && c.retrans_out != 0) {
            return;
        }
        if (is_paced_out(c, now)) {
            return;
        }
        transmit(c, *packet, now);
        packet->meta().flags |= segment_flag::resent;
        c.retrans_out += size;
        c.prr_out += size;
    }
}

}  // namespace shunt::tcp
