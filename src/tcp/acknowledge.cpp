// What an ACK means: what has arrived (cumulatively and by SACK), how long it took, how wide the window is now.
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

// The peer has taken part of a packet only. What it has is no longer lost or under way: the sums are over whole packets. The port may still hold the
// packet, so only our note on it changes.
void trim_acknowledged(Connection& c, Packet& packet, std::uint32_t bytes) noexcept {
    if (!packet.is_contiguous()) {
        return;
    }
    PacketMeta& meta = packet.meta();
    meta.payload_offset = static_cast<std::uint16_t>(meta.payload_offset + bytes);
    meta.seq += bytes;
    meta.summed_bytes = 0;
    c.sacked_out -= (meta.flags & segment_flag::sacked) != 0 ? bytes : 0;
    c.delivered += (meta.flags & segment_flag::sacked) != 0 ? 0 : bytes;
    c.lost_out -= (meta.flags & segment_flag::lost) != 0 ? bytes : 0;
    c.retrans_out -= (meta.flags & segment_flag::resent) != 0 ? bytes : 0;
}

}  // namespace

// All that was under way has arrived, and nothing had gone wrong: what nearly every ACK of a conversation says.
bool Tcp::try_acknowledge_all(Connection& c, const Segment& seg, Time now) noexcept {
    if (seg.ack != c.snd_nxt || c.recovery != Recovery::open || c.sacked_out != 0 || c.lost_out != 0 || c.has_tlp || c.last_sent == nullptr || seg.options.sack_count != 0 ||
        c.reorder_at != never || seg.has(wire::tcp_flag::ece) || c.is_stamped ||
        c.mtu_search.size != 0) {
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
        ++c.tally.delivered;
    } while (c.snd_queue.front() != c.send_head);
    c.last_sent = nullptr;
    c.delivered += acked;
    c.tally.bytes_acked += acked;
    if (c.send_head == nullptr) {
        c.tally.rest(now);
    }
    c.snd_una = seg.ack;
    c.dup_acks = 0;
    c.timeouts = 0;
    c.probes = 0;
    c.first_unanswered = never;
    c.retransmit_kind = RetransmitKind::none;
    c.retransmit_at = never;
    sample_rtt(c, sample.rtt);
    rate_on_ack(c, sample, now);
    update_send_window(c, seg, now);
    congestion::on_ack(c, acked, now);
    congestion::on_sample(c, sample, cwnd, now);
    return true;
}

void Tcp::acknowledge(Connection& c, const Segment& seg, Time now) noexcept {
    if (try_acknowledge_all(c, seg, now)) [[likely]] {
        return;
    }
    const bool was_outstanding = c.outstanding() != 0;
    const std::uint32_t window = seg.wnd << c.snd_wscale;
    const std::uint64_t delivered_before = c.delivered;
    const std::uint32_t lost_before = c.bytes_lost;
    const std::uint32_t cwnd = c.cwnd;
    sample_ = RateSample{};
    sample_.prior_in_flight = c.pipe();
    AckNews news;
    news.is_duplicate = was_outstanding && seg.ack == c.snd_una && seg.len == 0 && window == c.snd_wnd && !seg.has(wire::tcp_flag::fin);
    news.high_sacked = c.high_sacked;
    if (c.has_sack && seg.options.sack_count != 0) {
        news.sacked = mark_sacked(c, seg, news, now);
    }
    if (seg.ack > c.snd_una) {
        news.acked = remove_acknowledged(c, seg.ack, news, now);
    }
    news.delivered = static_cast<std::uint32_t>(c.delivered - delivered_before);
    rate_on_ack(c, sample_, now);
    measure(c, seg, news, now);
    update_send_window(c, seg, now);
    if (!was_outstanding && !news.has_dsack && !c.has_tlp) {
        return;
    }
    if (c.has_ecn && seg.has(wire::tcp_flag::ece) && was_outstanding) {
        ecn_reduce(c);
    }
    if (c.has_tlp) {
        on_tail_loss_ack(c, seg, news);
    }
    if (news.acked == 0 && news.sacked == 0 && !news.is_duplicate && !news.has_dsack && c.recovery == Recovery::open) {
        return;
    }
    if (c.has_sack && c.sacked_out != 0 && news.acked != 0 && (c.snd_queue.front()->meta().flags & segment_flag::sacked) != 0) {
        hold_repair(c, now);
        return;
    }
    after_ack(c, seg, news, now);
    sample_.acked = news.delivered;
    sample_.lost = c.bytes_lost - lost_before;
    congestion::on_sample(c, sample_, cwnd, now);
    // An ACK without news does not put the time-out off (RFC 6298, 5.3), nor one of something that left after the first segment.
    const bool is_news = news.acked != 0 || (news.sacked != 0 && news.rtt > now - Time(Duration(c.snd_queue.front()->meta().stamp_ns)));
    if (is_news || c.retransmit_at == never) {
        set_retransmit(c, now);
    } else if (c.retransmit_kind == RetransmitKind::tail_loss_probe && c.recovery != Recovery::open && c.recovery != Recovery::cwr) {
        set_retransmit(c, now, Time(Duration(c.snd_queue.front()->meta().stamp_ns)));  // RACK's timer is in its place
    }
}

// The round trip, by what was sent once and acknowledged, or by the timestamps when the ACK is ambiguous (RFC 7323, 4.1). The RTO stays doubled
// until there is one (RFC 6298, 5.7).
void Tcp::measure(Connection& c, const Segment& seg, const AckNews& news, Time now) noexcept {
    if (news.rtt >= Duration{} && !news.is_ambiguous) {
        sample_.rtt = news.rtt;
        sample_rtt(c, news.rtt);
    } else if (news.acked != 0 && c.has_timestamps && seg.options.has_timestamp && seg.options.tsecr != 0) {
        const auto ms = static_cast<std::int32_t>(timestamp_now(c, now) - seg.options.tsecr);
        update_rto(c, std::chrono::milliseconds(std::max(ms, 1)));
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

std::uint32_t Tcp::remove_acknowledged(Connection& c, Seq ack, AckNews& news, Time now) noexcept {
    const std::uint32_t acked = ack - c.snd_una;
    while (!c.snd_queue.is_empty() && c.snd_queue.front() != c.send_head) {
        Packet* packet = c.snd_queue.front();
        if (end_of(*packet) > ack) {
            if (seq_of(*packet) < ack) [[unlikely]] {
                trim_acknowledged(c, *packet, ack - seq_of(*packet));
            }
            break;
        }
        const PacketMeta& meta = packet->meta();
        const std::uint32_t size = seq_size(*packet);
        if ((meta.flags & segment_flag::stamp_acked) != 0) [[unlikely]] {
            report_acked(c, *packet, now);
        }
        if ((meta.flags & segment_flag::sacked) != 0) {
            c.sacked_out -= size;
        } else {
            ++c.tally.delivered;
            note_arrived(c, *packet, news, now);
        }
        news.is_ambiguous = news.is_ambiguous || (meta.flags & segment_flag::retransmitted) != 0;
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
    if (!c.has_sack && news.is_ambiguous) {
        news.saw_original = false;  // without SACK it may have arrived long ago
    }
    c.tally.bytes_acked += acked;
    if (c.snd_queue.is_empty()) {
        c.tally.rest(now);
    }
    c.snd_una = ack;
    if (c.mtu_search.size != 0 && c.mtu_search.end <= ack) [[unlikely]] {
        on_probe_arrived(c);
    }
    c.timeouts = 0;
    c.probes = 0;
    c.first_unanswered = c.outstanding() != 0 ? now : never;
    return acked;
}

// A segment is reported for the first time, cumulatively or by SACK.
void Tcp::note_arrived(Connection& c, const Packet& packet, AckNews& news, Time now) noexcept {
    c.delivered += seq_size(packet);
    note_delivered(c, packet, now);
    if ((packet.meta().flags & segment_flag::retransmitted) != 0) {
        return;
    }
    news.rtt = now - Time(Duration(packet.meta().stamp_ns));
    if (end_of(packet) <= news.high_sacked) {
        c.reordering_seen = true;  // RFC 8985, 6.2, step 3
        ++c.tally.reorderings;
        news.high_sacked = c.snd_una;  // counted once an ACK, as Linux
    }
    if (end_of(packet) <= c.recover) {
        news.saw_original = true;
    }
}

// RFC 2883, 4: the first block below the ACK, or within the second block, reports what came twice.
bool Tcp::note_dsack(Connection& c, const Segment& seg, AckNews& news) noexcept {
    const auto& [left, right] = seg.options.sack[0];
    const bool is_below = right <= seg.ack;
    if (right <= left || !(is_below || (seg.options.sack_count > 1 && left >= seg.options.sack[1].left && right <= seg.options.sack[1].right))) {
        return false;
    }
    if (c.retransmits == 0 || right > c.snd_nxt) {
        return is_below;  // not of our making
    }
    news.has_dsack = true;
    const std::uint32_t segments = (right - left + c.mss - 1) / c.mss;
    c.tally.dsack_duplicates += segments;
    if (c.may_undo && c.undo_retrans > 0 && right > c.undo_marker && right <= later(c.recover, c.undo_marker)) {
        c.undo_retrans = std::max(c.undo_retrans - static_cast<std::int32_t>(std::min(segments, 0xffffU)), 0);
    }
    if (c.has_tlp && right == c.tlp_high) {
        news.dsack_of_probe = true;
    } else if (c.reordering_seen) {
        widen_reorder_window(c);
    }
    return is_below;
}

std::uint32_t Tcp::mark_sacked(Connection& c, const Segment& seg, AckNews& news, Time now) noexcept {
    std::uint32_t newly = 0;
    for (unsigned i = note_dsack(c, seg, news) ? 1 : 0; i < seg.options.sack_count; ++i) {
        const auto [left, right] = seg.options.sack[i];
        if (right <= left || right > c.snd_nxt || right <= c.snd_una) {
            continue;
        }
        for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
            if (seq_of(*packet) >= right) {
                break;
            }
            PacketMeta& meta = packet->meta();
            if ((meta.flags & segment_flag::sacked) != 0 || seq_of(*packet) < left || end_of(*packet) > right) {
                continue;  // in this order: blocks are told again and again, and a packet's size lies on another cache line
            }
            const std::uint32_t size = seq_size(*packet);
            if ((meta.flags & segment_flag::lost) != 0) {
                c.lost_out -= size;
            }
            if ((meta.flags & segment_flag::resent) != 0) {
                c.retrans_out -= size;
            }
            note_arrived(c, *packet, news, now);
            meta.flags = static_cast<std::uint16_t>((meta.flags & ~(segment_flag::lost | segment_flag::resent)) | segment_flag::sacked);
            c.sacked_out += size;
            ++c.tally.delivered;
            newly += size;
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
    update_rto(c, rtt);
}

void Tcp::update_rto(Connection& c, Duration rtt) noexcept {
    c.backoff = 0;
    if (c.srtt == Duration{}) {
        c.srtt = rtt;
        c.rttvar = rtt / 2;
    } else {
        const Duration error = rtt > c.srtt ? rtt - c.srtt : c.srtt - rtt;
        c.rttvar += (error - c.rttvar) / 4;
        c.srtt += (rtt - c.srtt) / 8;
    }
    c.rto = std::min<Duration>(c.srtt + std::max<Duration>(4 * c.rttvar, rto_min(c)), std::chrono::seconds(120));
}

}  // namespace shunt::tcp
