// SYN cookies (RFC 4987, 3.6), as Linux makes them: a listener whose half-open connections are at their limit answers a SYN without remembering it. What
// is needed to go on comes back with the last ACK: the peer's MSS in our initial sequence number, scale, SACK and ECN in our time stamp.
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::array<std::uint16_t, 4> segment_sizes = {536, 1300, 1440, 1460};  // Linux: msstab
constexpr Duration period = std::chrono::seconds(60);
constexpr std::uint32_t age_max = 2;               // periods
constexpr Duration patience_when_full = std::chrono::seconds(3);  // several times the peer's RTO
constexpr std::uint32_t data_mask = 0x00ff'ffff;
constexpr std::uint32_t scale_mask = 0xf, no_scale = 0xf, sack_bit = 0x10, ecn_bit = 0x20, stamp_mask = 0x3f;

std::uint32_t count_of(Time now) noexcept { return static_cast<std::uint32_t>(now.time_since_epoch() / period); }

// `salt`: 0, or a count of periods + 1.
std::uint32_t hash_of(SecretKey key, const Segment& seg, std::uint64_t salt) noexcept {
    const std::uint64_t words[] = {static_cast<std::uint64_t>(seg.source) << 32 | seg.destination,
                                   static_cast<std::uint64_t>(seg.source_port) << 16 | seg.destination_port, 0x73796e00'00000000U | salt};
    return static_cast<std::uint32_t>(siphash(key, words));
}

Seq cookie_of(SecretKey key, const Segment& syn, std::uint32_t size_index, Time now) noexcept {
    const std::uint32_t count = count_of(now);
    return Seq(hash_of(key, syn, 0) + syn.seq.raw() + (count << 24) + ((hash_of(key, syn, std::uint64_t{count} + 1) + size_index) & data_mask));
}

// The peer's MSS; 0: not a cookie of ours, or too old a one. `irs` is what the SYN had.
std::uint16_t segment_size_of(SecretKey key, const Segment& ack, Seq irs, Time now) noexcept {
    const std::uint32_t cookie = (ack.ack - 1).raw() - hash_of(key, ack, 0) - irs.raw();
    const std::uint32_t count = count_of(now);
    const std::uint32_t age = (count - (cookie >> 24)) & 0xff;
    if (age >= age_max) {
        return 0;
    }
    const std::uint32_t index = (cookie - hash_of(key, ack, std::uint64_t{count - age} + 1)) & data_mask;
    return index < segment_sizes.size() ? segment_sizes.at(index) : std::uint16_t{0};
}

// The SYN that a last ACK and its cookie tell of. `ts_offset`: of our time stamps to that peer.
Segment syn_behind(const Segment& last, std::uint16_t mss, std::uint32_t ts_offset) noexcept {
    Segment syn;
    syn.seq = last.seq - 1;
    syn.source = last.source;
    syn.destination = last.destination;
    syn.source_port = last.source_port;
    syn.destination_port = last.destination_port;
    syn.options.mss = mss;
    syn.options.has_timestamp = last.options.has_timestamp;
    syn.options.tsval = last.options.tsval;
    syn.flags = wire::tcp_flag::syn;
    if (last.options.has_timestamp) {
        const std::uint32_t kept = (last.options.tsecr - ts_offset) & stamp_mask;
        syn.options.wscale = (kept & scale_mask) == no_scale ? std::int8_t{-1} : static_cast<std::int8_t>(kept & scale_mask);
        syn.options.sack_permitted = (kept & sack_bit) != 0;
        syn.flags |= (kept & ecn_bit) != 0 ? wire::tcp_flag::ece | wire::tcp_flag::cwr : 0;
    }
    return syn;
}

}  // namespace

// A connection that lives as long as this call makes the SYN-ACK.
void Tcp::answer_with_cookie(Listener& listener, const Segment& seg, const Path& path, Time now) noexcept {
    Segment syn = seg;
    if (!syn.options.has_timestamp || context_.tunables.tcp_timestamps == 0) {  // there is no place to keep them
        syn.options.wscale = -1;
        syn.options.sack_permitted = false;
        syn.flags = static_cast<std::uint8_t>(syn.flags & ~(wire::tcp_flag::ece | wire::tcp_flag::cwr));
    }
    Connection half;
    set_up_passive(half, listener, syn, path, now);
    const auto larger = std::upper_bound(segment_sizes.begin() + 1, segment_sizes.end(), std::min(half.peer_mss, half.path_mss()));
    half.iss = cookie_of(context_.key, syn, static_cast<std::uint32_t>(larger - segment_sizes.begin() - 1), now);
    if (half.has_timestamps) {
        const std::uint32_t stamp = timestamp_now(half, now) - half.ts_offset;
        const std::uint32_t kept = (half.has_wscale ? half.snd_wscale : no_scale) | (half.has_sack ? sack_bit : 0) | (half.has_ecn ? ecn_bit : 0);
        const std::uint32_t marked = (stamp & ~stamp_mask) | kept;
        half.ts_offset += (marked > stamp ? marked - (stamp_mask + 1) : marked) - stamp;  // never ahead of time
    }
    listener.cookies_sent_at = now;
    context_.counters.count(Event::tcp_syn_cookies_sent);
    send_syn(half, now);
    leave_path(half);
}

// True: the last ACK's cookie was ours, and the segment is dealt with, as if its SYN had been remembered.
bool Tcp::try_cookie(Listener& listener, const Segment& seg, Packet* packet, Time now) noexcept {
    const std::int32_t mode = context_.tunables.tcp_syncookies;
    if (mode == 0 || (mode != 2 && (listener.cookies_sent_at == Time{} || now - listener.cookies_sent_at > age_max * period))) {
        return false;
    }
    const std::uint16_t mss = segment_size_of(context_.key, seg, seg.seq - 1, now);
    const auto path = context_.ipv4.route(seg.source, seg.destination);
    const bool is_full = listener.queued > listener.backlog;
    if (mss == 0 || !path) {
        context_.counters.count(Event::tcp_syn_cookies_failed);
        // It may be a later segment of one whose last ACK found no room and comes again. Linux resets it, and so loses a connection that it has promised.
        const bool may_be_early = is_full || (listener.cookie_refused_at != Time{} && now - listener.cookie_refused_at < patience_when_full);
        if (may_be_early) {
            drop(packet, DropReason::tcp_backlog_full);
        }
        return may_be_early;
    }
    if (is_full) {
        listener.cookie_refused_at = now;
    }
    Connection* c = is_full ? nullptr : create(now);
    if (c == nullptr) {
        if (is_full && context_.tunables.tcp_abort_on_overflow != 0) {
            reset_unknown(seg, now);
        }
        drop(packet, is_full ? DropReason::tcp_backlog_full : DropReason::tcp_no_memory);
        return true;
    }
    c->local_address = seg.destination;
    c->remote_address = seg.source;
    set_up_passive(*c, listener, syn_behind(seg, mss, timestamp_offset(*c)), *path, now);
    c->options.defer_accept = 0;  // this ACK does not come again
    c->iss = seg.ack - 1;
    start_sequence(*c);
    c->rcv_adv = c->rcv_nxt + initial_rcv_window(*c);
    c->snd_wnd = seg.wnd << c->snd_wscale;
    c->listener = &listener;
    ++listener.half_open;
    insert(*c);
    c->retransmit_kind = RetransmitKind::rto;
    c->retransmit_at = now + c->rto;
    arm(*c);
    context_.counters.count(Event::tcp_syn_cookies_accepted);
    Segment last = seg;
    segment_arrives(*c, last, packet, now);
    return true;
}

}  // namespace shunt::tcp
