// What an ACK means: what has arrived (cumulatively and by SACK), how long it took, how wide the window is now.
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {

// All that was under way has arrived, and nothing had gone wrong: what nearly every ACK of a conversation says.
bool Tcp::try_acknowledge_all(Connection& c, const Segment& seg, Time now) noexcept {
    if (seg.ack != c.snd_nxt || c.recovery != Recovery::open || c.sacked_out != 0 || c.lost_out != 0 || c.has_tlp || c.last_sent == nullptr || seg.options.sack_count != 0 ||
        c.reorder_at != never || seg.has(wire::tcp_flag::ece)) {
        return false;
    }
    const PacketMeta& newest = c.last_sent->meta();
    const bool is_ambiguous = (newest.flags & segment_flag::retransmitted) != 0;
    if (is_ambiguous) {
        return false;  // RACK has questions
    }
    const Time sent{Duration(newest.stamp_ns)};
    const std::uint32_t acked = c.outstanding();
    const std::uint32_t cwnd = c.cwnd;
    RateSample sample;
    sample.prior_in_flight = sample.acked = acked;
    sample.rtt = now - sent;
    rate_on_delivery(c, newest, sample);
    c.rack_xmit = sent;
    c.rack_end = seg.ack;
    c.rack_rtt = now - sent;
    do {
        c.snd_queue.pop_front()->free();
    } while (c.snd_queue.front() != c.send_head);
    c.last_sent = nullptr;
    c.delivered += acked;
    c.snd_una = seg.ack;
    c.dup_acks = 0;
    c.backoff = 0;
    c.probes = 0;
    c.first_unanswered = never;
    c.retransmit_kind = RetransmitKind::none;
    c.retransmit_at = never;
    sample_rtt(c, sample.rtt);
    rate_on_ack(c, sample, now);
    update_send_window(c, seg, now);
    congestion::on_ack(c, acked, now);
    congestion::on_sample(c, sample, cwnd, now);
    note(c, ready::output);
    return true;
}

void Tcp::acknowledge(Connection& c, const Segment& seg, Time now) noexcept {
    if (try_acknowledge_all(c, seg, now)) [[likely]] {
        return;
    }
    const bool was_outstanding = c.outstanding() != 0;
    const std::uint32_t window = seg.wnd << c.snd_wscale;
    const bool is_duplicate = was_outstanding && seg.ack == c.snd_una && seg.len == 0 && window == c.snd_wnd && !seg.has(wire::tcp_flag::fin);
    const std::uint64_t delivered_before = c.delivered;
    const std::uint32_t lost_before = c.bytes_lost;
    const std::uint32_t cwnd = c.cwnd;
    sample_ = RateSample{};
    sample_.prior_in_flight = c.pipe();
    const std::uint32_t sacked = c.has_sack && seg.options.sack_count != 0 ? mark_sacked(c, seg, now) : 0;
    const std::uint32_t acked = seg.ack > c.snd_una ? remove_acknowledged(c, seg.ack, seg, now) : 0;
    rate_on_ack(c, sample_, now);
    update_send_window(c, seg, now);
    if (was_outstanding) {
        if (c.has_ecn && seg.has(wire::tcp_flag::ece)) {
            ecn_reduce(c);
        }
        if (acked == 0 && sacked == 0 && !is_duplicate && !c.has_tlp && c.recovery == Recovery::open) {
            return;
        }
        on_tail_loss_ack(c, seg, acked != 0 || sacked != 0);
        after_ack(c, seg, acked, static_cast<std::uint32_t>(c.delivered - delivered_before), is_duplicate, now);
        sample_.acked = static_cast<std::uint32_t>(c.delivered - delivered_before);
        sample_.lost = c.bytes_lost - lost_before;
        congestion::on_sample(c, sample_, cwnd, now);
        if (acked != 0 || sacked != 0 || c.retransmit_at == never) {  // an ACK without news does not put the time-out off (RFC 6298, 5.3)
            set_retransmit(c, now);
        }
    }
}

// RFC 9293, 3.10.7.4: only newer segments may change it.
void Tcp::update_send_window(Connection& c, const Segment& seg, Time now) noexcept {
    const std::uint32_t window = seg.wnd << c.snd_wscale;
    if (seg.ack >= c.snd_una && (c.snd_wl1 < seg.seq || (c.snd_wl1 == seg.seq && c.snd_wl2 <= seg.ack))) {
        const bool opened = window > c.snd_wnd;
        c.snd_wnd = window;
        c.max_snd_wnd = std::max(c.max_snd_wnd, window);
        c.snd_wl1 = seg.seq;
        c.snd_wl2 = seg.ack;
        if (opened && c.retransmit_kind == RetransmitKind::persist && c.outstanding() == 0) {
            c.retransmit_at = never;
            c.retransmit_kind = RetransmitKind::none;
            c.backoff = 0;
            c.first_unanswered = never;
        } else if (c.retransmit_kind == RetransmitKind::persist) {
            c.first_unanswered = now;  // a closed window that answers is not a dead peer (RFC 9293, 3.8.6.1)
        }
    }
}

// RACK's view of a delivered segment (RFC 8985, 6.2, steps 1 and 2).
void Tcp::note_delivered(Connection& c, const Packet& packet, Time now) noexcept {
    const PacketMeta& meta = packet.meta();
    rate_on_delivery(c, meta, sample_);
    const Time sent{Duration(meta.stamp_ns)};
    const Duration rtt = now - sent;
    if ((meta.flags & segment_flag::retransmitted) != 0 && rtt < c.min_rtt) {
        return;  // acknowledged faster than possible: it was the first transmission that arrived
    }
    c.rack_rtt = rtt;
    const Seq end = end_of(packet);
    if (sent > c.rack_xmit || (sent == c.rack_xmit && end > c.rack_end)) {
        c.rack_xmit = sent;
        c.rack_end = end;
    }
}

std::uint32_t Tcp::remove_acknowledged(Connection& c, Seq ack, const Segment&, Time now) noexcept {
    const std::uint32_t acked = ack - c.snd_una;
    Duration rtt{-1};
    while (!c.snd_queue.is_empty() && c.snd_queue.front() != c.send_head) {
        Packet* packet = c.snd_queue.front();
        if (end_of(*packet) > ack) {
            break;
        }
        PacketMeta& meta = packet->meta();
        const std::uint32_t size = seq_size(*packet);
        if ((meta.flags & segment_flag::sacked) != 0) {
            c.sacked_out -= size;
        } else {
            c.delivered += size;
            note_delivered(c, *packet, now);
            if ((meta.flags & segment_flag::retransmitted) == 0) {
                rtt = now - Time{Duration(meta.stamp_ns)};
            }
            if (end_of(*packet) <= c.high_sacked && (meta.flags & segment_flag::retransmitted) == 0) {
                c.reordering_seen = true;  // RFC 8985, 6.2, step 3
            }
        }
        if ((meta.flags & segment_flag::lost) != 0) {
            c.lost_out -= size;
        }
        if ((meta.flags & segment_flag::resent) != 0) {
            c.retrans_out -= size;
        }
        c.snd_queue.pop_front();
        if (packet == c.last_sent) {
            c.last_sent = nullptr;
        }
        packet->free();
    }
    c.snd_una = ack;
    c.backoff = 0;
    c.probes = 0;
    c.first_unanswered = c.outstanding() != 0 ? now : never;
    if (rtt >= Duration{}) {
        sample_.rtt = rtt;
        sample_rtt(c, rtt);
    }
    note(c, ready::output);
    return acked;
}

std::uint32_t Tcp::mark_sacked(Connection& c, const Segment& seg, Time now) noexcept {
    std::uint32_t newly = 0;
    for (unsigned i = 0; i < seg.options.sack_count; ++i) {
        const auto [left, right] = seg.options.sack[i];
        if (right <= left || right > c.snd_nxt) {
            continue;
        }
        if (right <= seg.ack || left < c.snd_una) {  // a D-SACK: we sent something twice for nothing
            if (c.reordering_seen && c.rack_reo_mult < 16) {
                ++c.rack_reo_mult;
            }
            continue;
        }
        for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
            if (seq_of(*packet) >= right) {
                break;
            }
            PacketMeta& meta = packet->meta();
            if (seq_of(*packet) < left || end_of(*packet) > right || (meta.flags & segment_flag::sacked) != 0) {
                continue;
            }
            const std::uint32_t size = seq_size(*packet);
            if ((meta.flags & segment_flag::lost) != 0) {
                c.lost_out -= size;
            }
            if ((meta.flags & segment_flag::resent) != 0) {
                c.retrans_out -= size;
            }
            if (end_of(*packet) <= c.high_sacked && (meta.flags & segment_flag::retransmitted) == 0) {
                c.reordering_seen = true;
            }
            meta.flags = static_cast<std::uint16_t>((meta.flags & ~(segment_flag::lost | segment_flag::resent)) | segment_flag::sacked);
            c.sacked_out += size;
            c.delivered += size;
            newly += size;
            note_delivered(c, *packet, now);
            c.high_sacked = later(c.high_sacked, end_of(*packet));
        }
    }
    return newly;
}

// RFC 6298, section 2, with Linux's floor under the variance rather than under the sum.
void Tcp::sample_rtt(Connection& c, Duration rtt) noexcept {
    rtt = std::max<Duration>(rtt, std::chrono::microseconds(1));
    congestion::on_round_trip(c, rtt);
    c.min_rtt = c.min_rtt == Duration{} ? rtt : std::min(c.min_rtt, rtt);
    if (c.srtt == Duration{}) {
        c.srtt = rtt;
        c.rttvar = rtt / 2;
    } else {
        const Duration error = rtt > c.srtt ? rtt - c.srtt : c.srtt - rtt;
        c.rttvar += (error - c.rttvar) / 4;
        c.srtt += (rtt - c.srtt) / 8;
    }
    c.rto = std::min<Duration>(c.srtt + std::max<Duration>(4 * c.rttvar, context_.rto_min), std::chrono::seconds(120));
}

}  // namespace shunt::tcp
