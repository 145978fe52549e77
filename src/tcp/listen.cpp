// A segment arrives where there is no connection: a listener answers, or RST (RFC 9293, 3.10.7.1-2). Set-up of both kinds of open.
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::uint16_t default_mss = 536;  // RFC 9293, 3.7.1: when the peer says nothing
constexpr std::uint16_t mss_min = 48;       // whatever it says; Linux: TCP_MIN_SND_MSS

std::uint8_t window_scale_for(const Tunables& t, const Connection& c) noexcept {  // as Linux's tcp_select_initial_window
    auto space = static_cast<std::uint32_t>(std::max(t.tcp_rmem.maximum_bytes, t.rmem_max));
    if (c.options.rcvbuf_locked) {
        space = c.options.rcvbuf;
    }
    std::uint8_t scale = 0;
    while (space > 65535 && scale < 14) {
        space >>= 1;
        ++scale;
    }
    return scale;
}

}  // namespace

// RFC 6528: a clock of 4 us and a keyed hash of who talks to whom.
Seq Tcp::initial_sequence_number(const Connection& c, Time now) const noexcept {
    const std::uint64_t words[] = {static_cast<std::uint64_t>(c.local_address) << 32 | c.remote_address, static_cast<std::uint64_t>(c.local_port) << 16 | c.remote_port};
    const auto clock = static_cast<std::uint32_t>(now.time_since_epoch().count() >> 6);  // 64 ns, as Linux: faster than any sender wraps it
    return Seq(static_cast<std::uint32_t>(siphash(context_.key, words)) + clock);
}

// Each pair of hosts has its own, so that nobody learns our uptime (RFC 7323, 5.4).
std::uint32_t Tcp::timestamp_offset(const Connection& c) const noexcept {
    const std::uint64_t words[] = {static_cast<std::uint64_t>(c.local_address) << 32 | c.remote_address, 0x7473};
    return context_.tunables.tcp_timestamps == 1 ? static_cast<std::uint32_t>(siphash(context_.key, words)) : 0;
}

void Tcp::start_sequence(Connection& c) noexcept {
    c.snd_una = c.iss;
    c.snd_nxt = c.write_seq = c.iss + 1;
    c.recover = c.tlp_high = c.high_sacked = c.iss;
}

void Tcp::start_sequence_after(Connection& c, Seq used_before) noexcept {
    if (c.iss <= used_before) {
        c.iss = used_before + 65537;
        start_sequence(c);
    }
}

void Tcp::set_up_path(Connection& c, const Path& path) noexcept {
    c.path = path;
    if (c.path.neighbour != nullptr) {
        ++c.path.neighbour->references;
        c.is_near = context_.lan_rto_min != Duration{} && c.path.neighbour->address == path.destination;
    }
    c.ts_offset = timestamp_offset(c);
    c.mss = c.path_mss();
    c.rcv_mss = default_mss;
    c.cwnd = congestion::initial_segments * c.mss;
    c.rcv_wscale = context_.tunables.tcp_window_scaling != 0 ? window_scale_for(context_.tunables, c) : 0;
    c.quick_acks = 16;
}

// What both sides have offered is on.
void Tcp::set_up_options(Connection& c, const wire::TcpOptions& offered) noexcept {
    const std::uint16_t theirs = offered.mss != 0 ? std::max(offered.mss, mss_min) : default_mss;
    c.peer_mss = theirs;
    c.has_timestamps = offered.has_timestamp && context_.tunables.tcp_timestamps != 0;
    c.has_sack = offered.sack_permitted && context_.tunables.tcp_sack != 0;
    c.has_wscale = offered.wscale >= 0 && context_.tunables.tcp_window_scaling != 0;
    if (c.has_wscale) {
        c.snd_wscale = static_cast<std::uint8_t>(offered.wscale);
    } else {
        c.snd_wscale = c.rcv_wscale = 0;
    }
    std::uint16_t mss = std::min<std::uint16_t>(theirs, c.path_mss());
    if (c.options.maxseg != 0) {
        mss = std::min(mss, c.options.maxseg);
    }
    c.mss = static_cast<std::uint16_t>(mss - (c.has_timestamps ? wire::timestamp_option_bytes : 0));
    c.rcv_mss = static_cast<std::uint16_t>(std::max<std::uint32_t>(default_mss, std::min<std::uint32_t>(c.mss, c.window_room(0) / 2)));
    c.cwnd = congestion::initial_segments * c.mss;
}

std::uint32_t Tcp::initial_rcv_window(const Connection& c) const noexcept {
    const std::uint32_t mss = c.path_mss();
    const std::uint32_t room = c.window_room(0);
    return std::min(room > mss ? room / mss * mss : room, 65535U);
}

void Tcp::in_listen(Listener& listener, const Segment& seg, Packet* packet, Time now, std::optional<Seq> used_before) noexcept {
    if (seg.has(wire::tcp_flag::rst)) {
        drop(packet, DropReason::tcp_bad_reset);
        return;
    }
    if (seg.has(wire::tcp_flag::ack)) {
        if (!seg.has(wire::tcp_flag::syn) && try_cookie(listener, seg, packet, now)) {
            return;
        }
        reset_unknown(seg, now);
        drop(packet, DropReason::tcp_no_connection);
        return;
    }
    if (!seg.has(wire::tcp_flag::syn) || seg.has(wire::tcp_flag::fin)) {
        drop(packet, DropReason::tcp_no_ack_bit);
        return;
    }
    const bool wants_cookie = !used_before && (context_.tunables.tcp_syncookies == 2 || is_half_open_full(listener));
    if (listener.queued > listener.backlog || (wants_cookie && context_.tunables.tcp_syncookies == 0)) {
        drop(packet, DropReason::tcp_backlog_full);
        return;
    }
    const auto path = context_.ipv4.route(seg.source, seg.destination);
    if (path && wants_cookie) {
        answer_with_cookie(listener, seg, *path, now);
        packet->free();
        return;
    }
    Connection* c = path ? create(now) : nullptr;
    if (c == nullptr) {
        drop(packet, path ? DropReason::tcp_no_memory : DropReason::no_route);
        return;
    }
    set_up_passive(*c, listener, seg, *path, now);
    c->listener = &listener;
    ++listener.half_open;
    if (used_before) {
        start_sequence_after(*c, *used_before);
    }
    insert(*c);
    FastOpenCookie cookie;
    if (admits_fast_open(listener, seg, cookie, now)) {
        open_early(*c, seg, packet, now);
    } else {
        packet->free();
    }
    c->first_unanswered = now;
    send_syn(*c, now, &cookie);
    c->delack_at = never;
    c->ack_now = false;
    c->retransmit_kind = RetransmitKind::rto;
    c->retransmit_at = now + c->rto;
    arm(*c);
}

// Half-open connections have a limit of their own, so that a flood of SYNs cannot use up memory (RFC 4987): the backlog, as Linux; without cookies
// three quarters of tcp_max_syn_backlog as well.
bool Tcp::is_half_open_full(const Listener& listener) const noexcept {
    const auto most = static_cast<std::uint32_t>(context_.tunables.tcp_max_syn_backlog);
    return listener.half_open > listener.backlog || (context_.tunables.tcp_syncookies == 0 && listener.half_open >= most - most / 4);
}

// All that a SYN says; in SYN_RECEIVED, its SYN-ACK not yet sent, not in the table.
void Tcp::set_up_passive(Connection& c, const Listener& listener, const Segment& seg, const Path& path, Time now) noexcept {
    c.local_address = seg.destination;
    c.local_port = seg.destination_port;
    c.remote_address = seg.source;
    c.remote_port = seg.source_port;
    c.options = listener.options;
    set_up_path(c, path);
    apply_options(c, now);
    set_up_options(c, seg.options);
    ecn_answer(c, seg);
    c.irs = seg.seq;
    c.rcv_nxt = c.last_ack_sent = seg.seq + 1;
    c.ts_recent = seg.options.tsval;
    c.ts_recent_at = now;
    c.iss = initial_sequence_number(c, now);
    start_sequence(c);
    c.snd_wnd = seg.wnd;  // the window of a SYN is not scaled (RFC 7323, 2.2)
    c.snd_wl1 = seg.seq;
    c.state = State::syn_received;
    c.rto = std::chrono::seconds(1);
}

void Tcp::queue_for_accept(Listener& listener, Connection& c) noexcept {
    ++listener.queued;
    c.in_accept_queue = true;
    c.list_next = nullptr;
    (listener.accept_tail != nullptr ? listener.accept_tail->list_next : listener.accept_head) = &c;
    listener.accept_tail = &c;
    context_.counters.count(Event::tcp_passive_opens);
    context_.changed.note(listener, ready::input);
}

// TCP_DEFER_ACCEPT: the program shall wake up for data, not for this ACK.
bool Tcp::defers_accept(Connection& c, const Segment& seg) noexcept {
    if (c.listener == nullptr || c.opening.is_early || c.backoff >= c.options.defer_accept || seg.end() != c.rcv_nxt) {
        return false;
    }
    c.opening.has_last_ack = true;
    context_.counters.count(Event::tcp_deferred_acks);
    return true;
}

// The final ACK: into the accept queue. False when the queue is full: the ACK is ignored, and our SYN-ACK's retransmission makes the peer
// try again; or, with tcp_abort_on_overflow, the connection is reset and gone.
bool Tcp::complete_handshake(Connection& c, const Segment& seg, Time now) noexcept {
    Listener* listener = c.listener;
    if (c.opening.is_early) {
        end_early(c);
    } else if (listener != nullptr) {
        if (listener->queued > listener->backlog) {
            context_.counters.count(DropReason::tcp_backlog_full);
            if (context_.tunables.tcp_abort_on_overflow != 0) {
                send_reset(c, now);
                finish(c, ECONNABORTED);
            }
            return false;
        }
        --listener->half_open;
        ++c.tally.segments_in;  // the SYN, which came before there was a connection
        queue_for_accept(*listener, c);
    }
    established(c, seg, now);
    if (listener == nullptr && c.opening.is_mute) [[unlikely]] {  // both opened at once: here Linux says with a FIN what was shut before
        shutdown_send(c, now);
    }
    return true;
}

void Tcp::detach_from_listener(Connection& c) noexcept {
    Listener* listener = c.listener;
    if (listener == nullptr) {
        return;
    }
    if (c.in_accept_queue) {
        Connection* before = nullptr;
        Connection* at = listener->accept_head;
        while (at != &c) {
            before = at;
            at = at->list_next;
        }
        (before != nullptr ? before->list_next : listener->accept_head) = c.list_next;
        if (listener->accept_tail == &c) {
            listener->accept_tail = before;
        }
        --listener->queued;
        c.in_accept_queue = false;
    } else if (!c.opening.is_early) {
        --listener->half_open;
    }
    if (c.opening.is_early) {
        end_early(c);
    }
    c.listener = nullptr;
}

// RFC 9293, 3.10.7.1: an answer the sender will believe, without any state of ours.
void Tcp::reset_unknown(const Segment& seg, Time now) noexcept {
    if (seg.has(wire::tcp_flag::rst)) {
        return;
    }
    const auto path = context_.ipv4.route(seg.source, seg.destination);
    const bool has_ack = seg.has(wire::tcp_flag::ack);
    const auto flags = static_cast<std::uint8_t>(has_ack ? wire::tcp_flag::rst : wire::tcp_flag::rst | wire::tcp_flag::ack);
    if (path && send_bare(*path, seg.destination_port, seg.source_port, has_ack ? seg.ack : Seq(), has_ack ? Seq() : seg.end(), flags, now)) {
        context_.counters.count(Event::tcp_resets_sent);
    }
}

// A header only, of a connection that is not there. False: no packet.
bool Tcp::send_bare(const Path& path, std::uint16_t from, std::uint16_t to, Seq seq, Seq ack, std::uint8_t flags, Time now) noexcept {
    Packet* packet = context_.ipv4.packet_source()->allocate();
    if (packet == nullptr) {
        return false;
    }
    auto* header = reinterpret_cast<wire::TcpHeader*>(packet->append(sizeof(wire::TcpHeader)));
    header->source_port = from;
    header->destination_port = to;
    header->seq = seq.raw();
    header->ack = ack.raw();
    header->offset = 5 << 4;
    header->flags = flags;
    header->window = 0;
    header->checksum = 0;
    header->urgent = 0;
    finish_checksum(*packet, path);
    context_.counters.count(Event::tcp_segments_sent);
    context_.ipv4.output(packet, path, wire::protocol_tcp, now);
    return true;
}

}  // namespace shunt::tcp
