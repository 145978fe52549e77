// What is lost, and how it is repaired: RACK-TLP (RFC 8985) with SACK, NewReno (RFC 6582) without; PRR (RFC 6937, and what Linux made of it) meters the
// repair; time-outs (RFC 6298, 5) and F-RTO (RFC 5682); undo by timestamps (RFC 3522) and D-SACK (RFC 3708). States and order are Linux's.
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::uint32_t dup_threshold = 3;      // RFC 5681
constexpr std::uint8_t reo_persist_max = 16;    // recoveries (RFC 8985, 6.2, step 4)
constexpr std::int32_t static_reorder_window = 2, no_dup_threshold = 4;  // bits of net.ipv4.tcp_recovery

bool is_repairing(const Connection& c) noexcept {
    return c.recovery == Recovery::recovery || c.recovery == Recovery::loss;
}

// The window is on its way down, by proportional rate reduction.
bool is_reducing(const Connection& c) noexcept {
    return c.recovery == Recovery::recovery || c.recovery == Recovery::cwr;
}

// A model does not reduce: its window is its own.
void end_reduction(Connection& c) noexcept {
    if (!congestion::is_model_based(c)) {
        c.cwnd = c.ssthresh;
    }
}

void keep_open(Connection& c) noexcept {
    c.recovery = c.sacked_out != 0 || c.lost_out != 0 || c.retrans_out != 0 ? Recovery::disorder : Recovery::open;
}

// Without SACK a duplicate ACK says only that some segment has left the network; what is acknowledged eats them up.
void count_duplicates(Connection& c, std::uint32_t acked, bool is_duplicate, std::uint32_t& delivered) noexcept {
    if (acked != 0) {
        delivered = acked > c.sacked_out ? acked - c.sacked_out : c.mss;
        c.sacked_out -= std::min(c.sacked_out, acked - std::min<std::uint32_t>(acked, c.mss));
        c.sacked_out = std::min(c.sacked_out, c.outstanding() - c.lost_out);
        c.dup_acks = 0;
    } else if (is_duplicate) {
        ++c.dup_acks;
        delivered = c.mss;
        const std::uint32_t may_have_left = c.outstanding() - c.lost_out;
        c.sacked_out = std::min<std::uint32_t>(c.sacked_out + c.mss, may_have_left - std::min<std::uint32_t>(may_have_left, c.mss));
    }
}

// One that counts the segments sent again from here on: when all are reported as duplicates, none was needed.
void begin_undo(Connection& c) noexcept {
    c.undo_marker = c.snd_una;
    c.undo_retrans = static_cast<std::int32_t>((c.retrans_out + c.mss - 1) / c.mss + (c.has_tlp && c.tlp_is_retransmission ? 1 : 0));
    if (c.undo_retrans == 0) {
        c.undo_retrans = -1;
    }
    c.may_undo = true;
}

}  // namespace

void Tcp::after_ack(Connection& c, const Segment& seg, AckNews& news, Time now) noexcept {
    if (!c.has_sack) {
        count_duplicates(c, news.acked, news.is_duplicate, news.delivered);
    }
    if (is_reducing(c) && c.snd_una >= c.recover) {
        leave_recovery(c, seg);
    } else if (c.recovery == Recovery::recovery && news.acked != 0 && is_needless(c, seg)) {
        c.reordering_seen = true;
        undo(c);
        return;
    }
    if (c.recovery == Recovery::loss) {
        in_loss(c, seg, news);
    } else if (c.may_undo && c.undo_retrans == 0) {
        undo(c);
    }
    const Losses losses = identify_losses(c, news, now);
    if (c.mtu_search.size != 0 && c.lost_out != 0 && try_probe_lost(c, now)) [[unlikely]] {
        return;
    }
    if ((c.lost_out != 0 && !is_repairing(c)) || (c.recovery == Recovery::loss && losses.of_retransmission)) {
        enter_recovery(c);
    }
    if (is_reducing(c)) {
        reduce_proportionally(c, news, losses.are_new);
        return;
    }
    if (c.recovery != Recovery::loss) {
        keep_open(c);
        const bool sent_twice = c.last_sent != nullptr && (c.snd_queue.front()->meta().flags & segment_flag::retransmitted) != 0;
        c.retrans_at = c.retrans_out != 0 || sent_twice ? c.retrans_at : never;
    }
    if (news.acked != 0) {
        congestion::on_ack(c, news.delivered, now);
    }
}

// After a time-out (Linux: tcp_process_loss).
void Tcp::in_loss(Connection& c, const Segment& seg, const AckNews& news) noexcept {
    if (news.acked != 0 && is_needless(c, seg)) {
        undo(c);
        return;
    }
    if (c.frto != FRto::off) {
        if (news.saw_original) {  // not all was lost (step 3b)
            context_.counters.count(Event::tcp_spurious_timeouts);
            undo(c);
            return;
        }
        if (c.snd_nxt > c.recover) {
            c.frto = news.sacked != 0 || news.is_duplicate ? FRto::off : c.frto;  // the loss was real (step 3a)
        } else if (news.acked != 0 && c.snd_una < c.recover) {
            const bool can_send_new = c.send_head != nullptr && c.snd_una + c.snd_wnd > c.snd_nxt;
            c.frto = can_send_new ? FRto::sending_new : FRto::off;  // step 2b
        }
    }
    if (c.snd_una >= c.recover) {
        leave_recovery(c, seg);
    }
}

// Step 2b of F-RTO: new data instead of repairs. There may have been no room for any.
void Tcp::finish_frto_step(Connection& c, Time now) noexcept {
    c.frto = c.snd_nxt > c.recover ? FRto::on : FRto::off;
    if (c.frto == FRto::off && c.lost_out > c.retrans_out) {
        retransmit_lost(c, now);
    }
}

// PRR as Linux does it (RFC 6937bis): conserves packets, and grows as in slow start only while ACKs make progress and no more losses show.
void Tcp::reduce_proportionally(Connection& c, const AckNews& news, bool has_new_losses) noexcept {
    if (news.delivered == 0) {
        return;
    }
    c.prr_delivered += news.delivered;
    const std::uint32_t pipe = c.pipe();
    std::int64_t count;
    if (pipe > c.ssthresh) {
        const std::uint64_t whole = std::max<std::uint64_t>(c.prior_cwnd, 1) * c.mss;
        const auto share = static_cast<std::int64_t>((std::uint64_t{c.prr_delivered} * c.ssthresh + whole - 1) / whole);  // segments
        count = share * c.mss - c.prr_out;
    } else {
        count = std::max<std::int64_t>(std::int64_t{c.prr_delivered} - c.prr_out, news.delivered);
        count += news.acked != 0 && !has_new_losses ? c.mss : 0;
        count = std::min<std::int64_t>(count, c.ssthresh - pipe);
    }
    count = std::max<std::int64_t>(count, c.prr_out == 0 ? c.mss : 0);  // the first repair goes out at once
    c.cwnd = std::max<std::uint32_t>(pipe + static_cast<std::uint32_t>(count), c.mss);
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
        if (!c.has_sack) {  // then sacked_out is a count of duplicate ACKs, which cannot be about what is lost
            c.sacked_out = std::min(c.sacked_out, c.outstanding() - c.lost_out);
        }
    }
}

// RFC 8985, 6.2, step 4.
Duration Tcp::reorder_window(const Connection& c) const noexcept {
    const bool has_enough = c.sacked_out >= dup_threshold * c.mss && (context_.tunables.tcp_recovery & no_dup_threshold) == 0;
    if (!c.reordering_seen && (is_repairing(c) || has_enough)) {
        return Duration{};
    }
    return std::min<Duration>(c.min_rtt / 4 * c.rack_reo_mult, c.srtt);
}

// A D-SACK: we were too quick, reordering takes longer. One step a round trip (RFC 8985, 6.2, step 4).
void Tcp::widen_reorder_window(Connection& c) noexcept {
    if ((context_.tunables.tcp_recovery & static_reorder_window) != 0 || (c.has_dsack_round && c.snd_una < c.rack_dsack_round)) {
        return;
    }
    c.has_dsack_round = true;
    c.rack_dsack_round = c.snd_nxt;
    c.rack_reo_mult = static_cast<std::uint8_t>(std::min(c.rack_reo_mult + 1, 255));
    c.rack_reo_persist = reo_persist_max;
}

Tcp::Losses Tcp::identify_losses(Connection& c, const AckNews& news, Time now) noexcept {
    Losses found;
    const std::uint32_t retrans_before = c.retrans_out;
    if (c.has_sack) {
        found.are_new = detect_losses(c, now);
    } else if (c.last_sent != nullptr) {
        const bool has_threshold = c.dup_acks >= dup_threshold && !is_repairing(c) && c.snd_una > c.recover;
        const bool is_partial = c.recovery == Recovery::recovery && news.acked != 0 && c.snd_una < c.recover;  // RFC 6582, 3.2, step 3
        Packet& first = *c.snd_queue.front();
        if ((has_threshold || is_partial) && (first.meta().flags & segment_flag::lost) == 0) {
            mark_lost(c, first);
            found.are_new = true;
        }
    }
    found.of_retransmission = c.retrans_out < retrans_before;
    return found;
}

// RFC 8985, 6.2, step 5: lost is what was sent well before something that has arrived. True: something is.
bool Tcp::detect_losses(Connection& c, Time now) noexcept {
    if (c.rack_xmit == Time{} || c.outstanding() == 0 || (c.sacked_out == 0 && c.retrans_out == 0 && c.recovery == Recovery::open && !c.reordering_seen)) {
        c.reorder_at = never;
        return false;
    }
    const Duration window = reorder_window(c);
    Time wake = never;
    bool found = false;
    for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
        const PacketMeta& meta = packet->meta();
        if ((meta.flags & segment_flag::sacked) != 0 || (meta.flags & (segment_flag::lost | segment_flag::resent)) == segment_flag::lost) {
            continue;
        }
        const Time sent{Duration(meta.stamp_ns)};
        if (sent > c.rack_xmit && (meta.flags & segment_flag::retransmitted) == 0) {
            break;  // and so is all that was written later, sent once or more often
        }
        if (sent > c.rack_xmit || (sent == c.rack_xmit && end_of(*packet) >= c.rack_end)) {
            continue;
        }
        const Time deadline = sent + c.rack_rtt + window;
        if (deadline <= now) {
            mark_lost(c, *packet);
            found = true;
        } else {
            wake = std::min(wake, deadline);
        }
    }
    c.reorder_at = wake;
    if (wake != never) {
        arm(c);
    }
    return found;
}

// RFC 8985, 6.3: the time for reordering is over.
void Tcp::on_reorder_timer(Connection& c, Time now) noexcept {
    c.reorder_at = never;
    if (detect_losses(c, now) && c.recovery != Recovery::recovery && !(c.mtu_search.size != 0 && try_probe_lost(c, now))) {
        enter_recovery(c);
        AckNews nothing;
        nothing.delivered = c.mss;
        if (!congestion::is_model_based(c)) {
            reduce_proportionally(c, nothing, true);
        }
    }
    output(c, now);
}

// The window shall go down to ssthresh in the course of one round trip.
void Tcp::begin_reduction(Connection& c) noexcept {
    c.prior_cwnd = c.cwnd;
    c.prior_ssthresh = c.ssthresh;
    c.ssthresh = congestion::ssthresh_after_loss(c);
    c.prr_delivered = c.prr_out = 0;
    c.recover = c.snd_nxt;
    c.has_tlp = false;
    c.ecn_tell_cwr = c.has_ecn;
}

void Tcp::enter_recovery(Connection& c) noexcept {
    context_.counters.count(Event::tcp_fast_recoveries);
    if (is_reducing(c)) {
        c.may_undo = false;  // an ECN mark has reduced it for this window, rightly
    } else {
        begin_undo(c);
        begin_reduction(c);
    }
    c.recovery = Recovery::recovery;
}

// All that was sent before the window was reduced has arrived.
void Tcp::leave_recovery(Connection& c, const Segment& seg) noexcept {
    if (c.recovery != Recovery::cwr) {
        if (is_needless(c, seg)) {
            undo(c);
            return;
        }
        if (c.rack_reo_persist != 0 && --c.rack_reo_persist == 0) {
            c.rack_reo_mult = 1;
        }
        if (!c.has_sack && c.snd_una == c.recover && c.outstanding() != 0) {
            return;  // duplicate ACKs may still come from this recovery (RFC 6582, 4)
        }
    }
    if (is_reducing(c)) {
        end_reduction(c);
    }
    c.frto = FRto::off;
    c.dup_acks = 0;
    c.acked_in_avoidance = 0;
    keep_open(c);
}

// Nothing had been lost: every segment sent again came twice, or the ACK is for something from before the first of them (its timestamp tells).
bool Tcp::is_needless(const Connection& c, const Segment& seg) const noexcept {
    if (!c.may_undo) {
        return false;
    }
    const bool is_old = c.retrans_at != never && seg.options.has_timestamp && seg.options.tsecr != 0 &&
                        static_cast<std::int32_t>(seg.options.tsecr - timestamp_now(c, c.retrans_at)) < 0;
    return c.undo_retrans == 0 || is_old;
}

void Tcp::undo(Connection& c) noexcept {
    context_.counters.count(Event::tcp_undo);
    for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
        packet->meta().flags = static_cast<std::uint16_t>(packet->meta().flags & ~(segment_flag::lost | segment_flag::resent));
    }
    c.lost_out = c.retrans_out = 0;
    congestion::on_undo(c);
    c.may_undo = false;
    c.ecn_tell_cwr = false;
    c.frto = FRto::off;
    keep_open(c);
}

// RFC 8985, 7.4.2: did the probe repair a loss? Congestion control must hear of that.
void Tcp::on_tail_loss_ack(Connection& c, const Segment& seg, const AckNews& news) noexcept {
    if (seg.ack < c.tlp_high) {
        return;
    }
    if (!c.tlp_is_retransmission || news.dsack_of_probe) {
        c.has_tlp = false;
    } else if (seg.ack > c.tlp_high) {
        context_.counters.count(Event::tcp_probe_recoveries);
        begin_reduction(c);
        end_reduction(c);
        keep_open(c);
    } else if (news.acked == 0 && news.sacked == 0 && seg.len == 0) {
        c.has_tlp = false;  // the original and the probe have arrived
    }
}

void Tcp::send_tail_loss_probe(Connection& c, Time now) noexcept {
    context_.counters.count(Event::tcp_tail_loss_probes);
    Packet* packet = c.send_head;
    const bool may_send_new = packet != nullptr && end_of(*packet) <= c.snd_una + c.snd_wnd && payload_size(*packet) <= c.mss;
    if (may_send_new) {
        transmit(c, *packet, now);
        note_sent(c, *packet);
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
    if (c.timeouts >= context_.tunables.tcp_retries1) {
        suspect_black_hole(c, now);
    }
    const bool is_new = !is_repairing(c);
    mark_lost_after_timeout(c, now);
    if (c.recovery <= Recovery::disorder || c.snd_una >= c.recover || (c.recovery == Recovery::loss && c.timeouts == 0)) {
        begin_undo(c);
        begin_reduction(c);
    }
    c.frto = context_.tunables.tcp_frto != 0 && (is_new || c.timeouts != 0) ? FRto::on : FRto::off;
    congestion::on_timeout(c);
    c.mtu_search.size = 0;  // whether the probe would have arrived, nobody knows
    c.cwnd = c.pipe() + c.mss;
    c.cwnd_limited = true;
    c.recovery = Recovery::loss;
    c.recover = c.snd_nxt;
    c.has_tlp = false;
    c.dup_acks = 0;
    c.reorder_at = never;
    c.backoff = static_cast<std::uint8_t>(std::min(c.backoff + 1, 16));
    c.timeouts = static_cast<std::uint8_t>(std::min(c.timeouts + 1, 255));
    if (c.path.neighbour != nullptr && c.timeouts >= context_.tunables.tcp_retries1) {
        c.path.link->doubt(*c.path.neighbour, now);
    }
    retransmit_lost(c, now);
    set_retransmit(c, now);
}

// The first segment, and what left long enough ago that its ACK should be here (RFC 8985, 6.3). All of it when the peer has thrown away what it had SACKed.
void Tcp::mark_lost_after_timeout(Connection& c, Time now) noexcept {
    const Packet* first = c.snd_queue.front();
    const bool has_reneged = (first->meta().flags & segment_flag::sacked) != 0;
    if (has_reneged) {
        context_.counters.count(Event::tcp_reneging);
    }
    if (has_reneged || !c.has_sack) {
        c.sacked_out = 0;
    }
    for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
        PacketMeta& meta = packet->meta();
        if (has_reneged) {
            meta.flags = static_cast<std::uint16_t>(meta.flags & ~segment_flag::sacked);
        } else if (packet != first && c.has_sack && Time(Duration(meta.stamp_ns)) + c.rack_rtt > now) {
            continue;
        }
        if ((meta.flags & segment_flag::sacked) == 0) {
            mark_lost(c, *packet);
        }
    }
}

void Tcp::retransmit_lost(Connection& c, Time now) noexcept {
    if (is_paced_out(c, now)) {
        return;
    }
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
        if (packet == c.snd_queue.front()) {
            set_retransmit(c, now);  // no probe now
        }
        packet->meta().flags |= segment_flag::resent;
        c.retrans_out += size;
        c.prr_out += size;
        c.undo_retrans = std::max(c.undo_retrans, 0) + 1;
    }
}

}  // namespace shunt::tcp
