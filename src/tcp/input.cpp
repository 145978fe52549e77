// A segment arrives (RFC 9293, 3.10.7.3-4), in the RFC's order: sequence, RST, SYN, ACK, data, FIN. With RFC 5961's stricter checks and RFC 7323's
// timestamps. In front of it the fast path for what nearly every segment is: the next data, or a plain ACK.
#include <algorithm>

#include "ip/checksum.hpp"
#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/rate.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {

namespace flag = wire::tcp_flag;

namespace {
constexpr Duration paws_forgets = std::chrono::hours(24 * 24);  // RFC 7323, 5.5

// Window and ports are next to each other; the timestamp option nearly always stands alone behind two NOPs.
void read_options(const wire::TcpHeader& header, Segment& seg) noexcept {
    const unsigned bytes = header.header_bytes() - static_cast<unsigned>(sizeof(wire::TcpHeader));
    const auto* options = reinterpret_cast<const std::uint8_t*>(&header + 1);
    constexpr std::uint32_t nop_nop_timestamp = 0x0101080a;
    if (bytes == wire::timestamp_option_bytes && wire::load_big32(options) == nop_nop_timestamp) {
        seg.options.has_timestamp = true;
        seg.options.tsval = wire::load_big32(options + 4);
        seg.options.tsecr = wire::load_big32(options + 8);
    } else if (bytes != 0) {
        seg.options = wire::parse_tcp_options(options, bytes);
    }
}

bool has_good_checksum(const Packet& packet, const Ipv4Verdict& ip) noexcept {
    wire::Checksum sum;
    wire::add_pseudo_header(sum, __builtin_bswap32(ip.source), __builtin_bswap32(ip.destination), wire::protocol_tcp, packet.size());
    add_packet(sum, packet);
    return sum.is_good();
}

// Both opened at once, and both answered the other's SYN: its SYN-ACK counts as the ACK it carries (RFC 9293, 3.5, figure 7).
bool is_crossed_synack(const Connection& c, const Segment& seg) noexcept {
    return c.state == State::syn_received && c.listener == nullptr && seg.has(flag::syn) && seg.has(flag::ack) && seg.seq == c.irs && seg.len == 0 && seg.ack == c.snd_nxt;
}

// As Linux: the data that a program waits to write, or promises by its options, carry the last ACK of the handshake.
bool saves_last_ack(const Connection& c) noexcept { return c.opening.writer_waits || c.options.defer_accept != 0 || !c.options.quickack; }

}  // namespace

// Checks the header and strips it: data() becomes the payload.
std::optional<DropReason> Tcp::parse(Packet& packet, const Ipv4Verdict& ip, Segment& seg) const noexcept {
    if (packet.first_size() < sizeof(wire::TcpHeader)) {
        return DropReason::tcp_malformed;
    }
    const auto& header = *reinterpret_cast<const wire::TcpHeader*>(packet.data());
    const unsigned header_bytes = header.header_bytes();
    if (header_bytes < sizeof(wire::TcpHeader) || header_bytes > packet.first_size()) {
        return DropReason::tcp_malformed;
    }
    const ChecksumState checksum = context_.ipv4.packet_source()->rx_l4_checksum(packet);
    if (checksum == ChecksumState::bad || (checksum == ChecksumState::unknown && !has_good_checksum(packet, ip))) {
        return DropReason::tcp_bad_checksum;
    }
    seg.source = ip.source;
    seg.destination = ip.destination;
    seg.source_port = header.source_port;
    seg.destination_port = header.destination_port;
    seg.seq = Seq(header.seq);
    seg.ack = Seq(header.ack);
    seg.flags = header.flags;
    seg.wnd = header.window;
    seg.urgent = header.urgent;
    seg.tos = ip.tos;
    seg.len = packet.size() - header_bytes;
    read_options(header, seg);
    packet.trim_front(header_bytes);
    return std::nullopt;
}

void Tcp::input(Packet* packet, const Ipv4Verdict& ip, Time now) noexcept {
    context_.counters.count(Event::tcp_segments_received);
    if (ip.to_group) {  // RFC 9293, 3.9.2.3: never answered
        drop(packet, DropReason::tcp_malformed);
        return;
    }
    Segment seg;
    if (const auto reason = parse(*packet, ip, seg)) {
        drop(packet, *reason);
        return;
    }
    if (Connection* c = find(seg.destination, seg.destination_port, seg.source, seg.source_port)) {
        ++c->tally.segments_in;
        c->tally.data_segments_in += seg.len != 0;
        if (is_exhausted_ && seg.len != 0 && c->rcv_queued != 0) [[unlikely]] {
            shed_data(seg, *packet);
        }
        if (!try_fast_path(*c, seg, packet, now)) {
            segment_arrives(*c, seg, packet, now);
        }
        return;
    }
    if (Listener* listener = find_listener(seg)) {
        in_listen(*listener, seg, packet, now);
        return;
    }
    reset_unknown(seg, now);
    drop(packet, DropReason::tcp_no_connection);
}

// Header prediction: established, in order, nothing odd, and either data without news of ours, or with a plain acknowledgement.
bool Tcp::try_fast_path(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept {
    constexpr std::uint8_t odd = flag::syn | flag::fin | flag::rst | flag::urg | flag::ece | flag::cwr;
    if (c.state != State::established || (seg.flags & (odd | flag::ack)) != flag::ack || seg.seq != c.rcv_nxt || seg.len == 0 || c.recovery != Recovery::open ||
        seg.options.sack_count != 0 || !c.ooo_queue.is_empty() || c.rcv_shut || c.owner == nullptr) {
        return false;
    }
    if (c.has_ecn && (seg.tos & 1) != 0) {
        return false;  // a congestion mark
    }
    if (seg.options.has_timestamp != c.has_timestamps || (c.has_timestamps && static_cast<std::int32_t>(seg.options.tsval - c.ts_recent) < 0)) {
        return false;
    }
    if (seg.ack < c.snd_una || seg.ack > c.snd_nxt || seg.seq + seg.len > c.rcv_adv) {
        return false;
    }
    if (c.has_timestamps && seg.seq <= c.last_ack_sent) {
        c.ts_recent = seg.options.tsval;
        c.ts_recent_at = now;
    }
    c.last_heard = now;
    const bool has_news = seg.ack != c.snd_una || (seg.wnd << c.snd_wscale) != c.snd_wnd;
    if (has_news) {
        acknowledge(c, seg, now);
    }
    deliver(c, packet, now);
    acknowledge_later(c, now);
    note(c, ready::input);
    if (has_news || more_follows_ || held_ != nullptr) {
        output_after_segment(c, now);
    } else if (c.ack_now) {  // nothing of ours may go that could not before: what MSG_MORE holds back stays, as on Linux
        send_ack(c, now);
    }
    return true;
}

void Tcp::segment_arrives(Connection& c, Segment& seg, Packet* packet, Time now) noexcept {
    if (c.state == State::syn_sent) {
        in_syn_sent(c, seg, packet, now);
        return;
    }
    if (c.state == State::time_wait) {
        in_time_wait(c, seg, packet, now);
        return;
    }
    if (!check_timestamps(c, seg, now) || !check_sequence(c, seg, now)) {
        packet->free();
        return;
    }
    if (seg.has(flag::rst)) {
        packet->free();
        check_reset(c, seg, now);
        return;
    }
    if (is_crossed_synack(c, seg)) {
        seg = seg.behind_syn();
        seg.wnd >>= c.snd_wscale;  // the window of a SYN is not scaled (RFC 7323, 2.2)
    }
    if (seg.has(flag::syn)) {
        packet->free();
        answer_syn(c, seg, now);
        return;
    }
    if (!seg.has(flag::ack)) {
        drop(packet, DropReason::tcp_no_ack_bit);
        return;
    }
    if (c.has_timestamps && seg.options.has_timestamp && seg.seq <= c.last_ack_sent && seg.ack <= c.snd_nxt &&
        static_cast<std::int32_t>(seg.options.tsval - c.ts_recent) >= 0) {
        c.ts_recent = seg.options.tsval;
        c.ts_recent_at = now;
    }
    c.last_heard = now;
    c.probes = 0;
    if (!check_ack(c, seg, now)) {
        packet->free();
        return;
    }
    if (c.has_ecn) {
        ecn_receive(c, seg);
    }
    if (seg.has(flag::urg)) {
        urgent_arrives(c, seg, *packet, now);
    }
    if (process_data(c, seg, packet, now)) {
        process_close_states(c, now);
    }
}

// Our SYN-ACK was lost, or somebody pretends (RFC 5961, 4).
void Tcp::answer_syn(Connection& c, const Segment& seg, Time now) noexcept {
    if ((c.state == State::syn_received || c.opening.is_early) && seg.seq == c.irs) {
        send_syn(c, now);
    } else {
        challenge_ack(c, now);
    }
}

// RFC 9293, 3.10.7.3: its ACK is of what was sent; RFC 7323, 3.2, as Linux: its echo is of a time stamp that was sent.
bool Tcp::is_answer_to_syn(const Connection& c, const Segment& seg, Time now) const noexcept {
    if (seg.ack <= c.iss || seg.ack > c.snd_nxt) {
        return false;
    }
    const std::uint32_t first = timestamp_now(c, c.first_unanswered);
    const bool has_echo = seg.options.has_timestamp && seg.options.tsecr != 0 && context_.tunables.tcp_timestamps != 0;
    return !has_echo || seg.options.tsecr - first <= timestamp_now(c, now) - first;
}

void Tcp::in_syn_sent(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept {
    const bool has_ack = seg.has(flag::ack);
    if (c.opening.is_deferred) {  // nothing was sent that this could answer
        reset_unknown(seg, now);
        drop(packet, DropReason::tcp_no_connection);
        return;
    }
    if (has_ack && !is_answer_to_syn(c, seg, now)) {
        reset_unknown(seg, now);
        resend_syn_soon(c, seg, now);
        drop(packet, DropReason::tcp_bad_ack);
        return;
    }
    if (seg.has(flag::rst)) {
        packet->free();
        if (has_ack) {
            context_.counters.count(Event::tcp_resets_received);
            finish(c, ECONNREFUSED);
        }
        return;
    }
    if (!seg.has(flag::syn)) {
        packet->free();
        return;
    }
    set_up_options(c, seg.options);
    c.irs = seg.seq;
    c.rcv_nxt = c.last_ack_sent = seg.seq + 1;
    c.rcv_adv = c.rcv_nxt + initial_rcv_window(c);
    c.ts_recent = seg.options.tsval;
    c.ts_recent_at = now;
    c.last_heard = now;
    c.snd_wnd = seg.wnd;
    c.snd_wl1 = seg.seq;
    c.snd_wl2 = seg.ack;
    if (!has_ack) {  // both opened at once (RFC 9293, 3.5)
        packet->free();
        ecn_answer(c, seg);
        c.state = State::syn_received;
        send_syn(c, now);
        return;
    }
    take_syn_ack(c, seg, packet, now);
}

void Tcp::take_syn_ack(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept {
    if (c.syn_tries <= 1 && seg.options.has_timestamp == c.has_timestamps) {
        sample_rtt(c, now - c.last_sent_at);
    }
    ecn_agree(c, seg);
    c.tally.bytes_acked = 1;  // the SYN, as Linux
    established(c, seg, now);
    const bool is_fast = c.opening.asked || c.opening.sent_data;
    if (is_fast) {
        take_fast_open_answer(c, seg, now);
    }
    if (is_fast && (seg.len != 0 || seg.has(flag::fin))) {
        process_data(c, seg.behind_syn(), packet, now);
    } else {
        packet->free();
    }
    c.ack_now = !saves_last_ack(c);
    if (!c.ack_now) {
        enter_quick_ack(c, quick_acks_max);
        c.last_data_at = now;  // it answers: as Linux, that is a conversation
        c.delack_at = now + delayed_ack_time_max;
        arm(c, c.delack_at);
    }
    output(c, now);
}

void Tcp::established(Connection& c, const Segment& seg, Time now) noexcept {
    congestion::on_established(c);
    if (c.syn_tries > 2) {  // more than one SYN or SYN-ACK was lost (RFC 6928, 2)
        c.cwnd = c.mss;
    }
    if (!c.is_synchronized()) {
        c.state = State::established;
    }
    c.snd_una = later(c.snd_una, c.iss + 1);  // what the ACK says of data is another matter
    c.snd_wl1 = seg.seq;
    c.snd_wl2 = seg.ack;
    c.max_snd_wnd = c.snd_wnd;
    c.first_unanswered = never;
    c.retransmit_at = never;
    c.retransmit_kind = RetransmitKind::none;
    c.backoff = 0;
    c.tune_at = rate_ticks(now);
    c.tally.last_data_in = now;
    start_mtu_search(c, now);
    c.tune_space = std::min(initial_rcv_window(c), 10U * c.rcv_mss);
    expand_send_buffer(c);
    if (c.srtt == Duration{}) {
        c.rto = std::chrono::seconds(c.syn_tries > 1 ? 3 : 1);  // RFC 6298, 5.7
    }
    if (c.outstanding() != 0) {
        c.first_unanswered = now;
        set_retransmit(c, now);
    }
    if (c.options.keepalive) {
        c.keepalive_at = now + keepalive_idle(c);
    }
    if (c.listener != nullptr && (c.listener->rcv_shut || c.listener->snd_shut)) [[unlikely]] {  // as Linux: what was shut before it listened
        c.rcv_shut = c.listener->rcv_shut;
        if (c.listener->snd_shut) {
            shutdown_send(c, now);
        }
    }
    arm(c);
    note(c, ready::output);
}

// PAWS (RFC 7323, 5.3).
bool Tcp::check_timestamps(Connection& c, const Segment& seg, Time now) noexcept {
    if (!c.has_timestamps || !seg.options.has_timestamp || static_cast<std::int32_t>(seg.options.tsval - c.ts_recent) >= 0 || now - c.ts_recent_at > paws_forgets) {
        return true;
    }
    if (seg.has(flag::rst)) {
        return true;
    }
    context_.counters.count(DropReason::tcp_paws);
    answer_unacceptable(c, seg, now);
    return false;
}

// RFC 9293, 3.10.7.4, first. Like Linux we accept down to what we last acknowledged, so that a reordered plain ACK is still read.
bool Tcp::check_sequence(Connection& c, const Segment& seg, Time now) noexcept {
    if (seg.end() >= c.last_ack_sent && seg.seq <= later(c.rcv_adv, c.rcv_nxt)) {
        return true;
    }
    if (seg.has(flag::rst)) {
        context_.counters.count(DropReason::tcp_bad_reset);
        return false;
    }
    c.last_heard = now;
    if (seg.has(flag::syn)) {
        answer_syn(c, seg, now);
        return false;
    }
    const bool is_old = seg.end() <= c.rcv_nxt;
    context_.counters.count(is_old ? DropReason::tcp_duplicate : DropReason::tcp_out_of_window);
    answer_unacceptable(c, seg, now);
    return false;
}

// With an ACK and nothing more. Linux: without data it may be one of a storm of ACKs, which ends here.
void Tcp::answer_unacceptable(Connection& c, const Segment& seg, Time now) noexcept {
    if (seg.end() == seg.seq) {
        if (c.challenge_at != Time{} && now - c.challenge_at < std::chrono::milliseconds(context_.tunables.tcp_invalid_ratelimit)) {
            return;
        }
        c.challenge_at = now;
    } else if (seg.seq < c.rcv_nxt) {
        enter_quick_ack(c, quick_acks_max);
        if (seg.len != 0) {
            note_duplicate(c, seg.seq, earlier(seg.seq + seg.len, c.rcv_nxt));
        }
    }
    c.ack_now = true;
    output(c, now);
}

// RFC 5961, 3: only a RST exactly at rcv_nxt counts; another one in the window is challenged.
void Tcp::check_reset(Connection& c, const Segment& seg, Time now) noexcept {
    if (seg.seq != c.rcv_nxt) {
        context_.counters.count(DropReason::tcp_bad_reset);
        challenge_ack(c, now);
        return;
    }
    context_.counters.count(Event::tcp_resets_received);
    switch (c.state) {
        case State::syn_received:
            note_early_reset(c, now);
            finish(c, c.opening.is_early ? ECONNRESET : ECONNREFUSED);
            return;
        case State::close_wait:
            finish(c, EPIPE);
            return;
        default:
            finish(c, ECONNRESET);
            return;
    }
}

// RFC 9293, 3.10.7.4, fifth; RFC 5961, 5. False: the segment is done with.
bool Tcp::check_ack(Connection& c, const Segment& seg, Time now) noexcept {
    if (c.state == State::syn_received || c.opening.is_early) {
        if (seg.ack <= c.iss || seg.ack > c.snd_nxt) {
            context_.counters.count(DropReason::tcp_bad_ack);
            reset_unknown(seg, now);
            return false;
        }
        if (defers_accept(c, seg)) {
            return false;
        }
        if (c.syn_tries == 1 && !c.opening.has_last_ack) {
            sample_rtt(c, now - c.last_sent_at);
        }
        c.snd_wnd = seg.wnd << c.snd_wscale;
        if (!complete_handshake(c, seg, now)) {
            return false;
        }
    }
    if (seg.ack > c.snd_nxt || seg.ack < c.snd_una - c.max_snd_wnd) {
        context_.counters.count(DropReason::tcp_bad_ack);
        challenge_ack(c, now);
        return false;
    }
    acknowledge(c, seg, now);
    return true;
}

// RFC 9293, 3.10.7.4, seventh. False: the connection is gone, data after close were answered by RST.
bool Tcp::process_data(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept {
    if (seg.len == 0 && !seg.has(flag::fin)) {
        packet->free();
        return true;
    }
    const bool may_receive = c.can_receive_data() && !c.fin_received;
    const bool is_closed = c.owner == nullptr ? !c.in_accept_queue && c.listener == nullptr : c.rcv_shut && c.state != State::established;
    if (seg.len != 0 && may_receive && is_closed && seg.seq + seg.len > c.rcv_nxt) {
        drop(packet, DropReason::tcp_after_close);  // RFC 9293, 3.6.1: data that nobody will read
        reset_unknown(seg, now);
        finish(c, ECONNRESET);
        return false;
    }
    if (!may_receive) {
        packet->free();
        c.ack_now = true;
        return true;
    }
    Seq seq = seg.seq;
    bool with_fin = seg.has(flag::fin);
    if (const auto reason = cut_to_window(c, seg, *packet, seq, with_fin)) {
        drop(packet, *reason);
        enter_quick_ack(c, quick_acks_max);
        c.ack_now = true;
    } else if (seq != c.rcv_nxt) {
        queue_out_of_order(c, packet, seq, with_fin);
        make_room_behind_hole(c);
        c.ack_now = true;
    } else {
        take_in_order(c, packet, with_fin, now);
    }
    return true;
}

// Leaves in the packet what is new and within the window, and says where that starts. A reason: nothing is left.
std::optional<DropReason> Tcp::cut_to_window(Connection& c, const Segment& seg, Packet& packet, Seq& seq, bool& with_fin) noexcept {
    if (seq < c.rcv_nxt) {
        note_duplicate(c, seq, earlier(seq + seg.len, c.rcv_nxt));
        const std::uint32_t old = std::min(c.rcv_nxt - seq, packet.size());
        packet.skip_front(old);
        seq += old;
        if (seq != c.rcv_nxt) {  // all of it, FIN included, came before
            return DropReason::tcp_duplicate;
        }
    }
    const Seq edge = later(c.rcv_adv, c.rcv_nxt);
    if (seq + packet.size() > edge) {
        packet.trim_back(std::min(seq + packet.size() - edge, packet.size()));
        with_fin = false;
        c.ack_now = true;
    }
    if (packet.size() == 0 && !with_fin) {
        return seg.end() <= c.rcv_nxt ? DropReason::tcp_duplicate : DropReason::tcp_out_of_window;
    }
    return std::nullopt;
}

void Tcp::take_in_order(Connection& c, Packet* packet, bool with_fin, Time now) noexcept {
    if (packet->size() != 0) {
        deliver(c, packet, now);
    } else {
        packet->free();
    }
    if (with_fin) {
        process_fin(c, now);
    } else if (!c.ooo_queue.is_empty()) {
        take_contiguous(c, now);
        c.last_data_at = now;
        c.ack_now = true;  // RFC 5681, 4.2
    } else {
        acknowledge_later(c, now);
    }
    note(c, ready::input);
}

void Tcp::process_fin(Connection& c, Time now) noexcept {
    c.rcv_nxt += 1;
    c.fin_received = true;
    c.has_dsack = false;
    clear_out_of_order(c);
    if (c.state == State::syn_received || c.state == State::established) {
        c.state = State::close_wait;
        acknowledge_fin(c, now);
        note(c, ready::input | ready::peer_shut);
        return;
    }
    c.ack_now = true;
    switch (c.state) {
        case State::fin_wait_1:
            c.state = State::closing;  // process_close_states moves on if our FIN is acknowledged
            break;
        case State::fin_wait_2:
            send_ack(c, now);
            c.ack_now = false;
            enter_time_wait(c, now);
            break;
        default:
            break;
    }
    note(c, ready::input | ready::peer_shut);
}

void Tcp::process_close_states(Connection& c, Time now) noexcept {
    const bool fin_acknowledged = c.fin_queued && c.snd_una == c.write_seq && c.send_head == nullptr;
    if (fin_acknowledged) {
        switch (c.state) {
            case State::fin_wait_1:
                c.state = State::fin_wait_2;
                if (c.owner == nullptr && !c.in_accept_queue && !linger_alone(c, now)) {
                    return;
                }
                note(c, ready::output);
                break;
            case State::closing:
                if (c.ack_now) {
                    send_ack(c, now);
                    c.ack_now = false;
                }
                enter_time_wait(c, now);
                return;
            case State::last_ack:
                finish(c, 0);
                return;
            default:
                break;
        }
    }
    if (c.state != State::time_wait) {
        output_after_segment(c, now);
    }
}

// RFC 9293, 3.10.7.4 and RFC 6191; RFC 1337: a RST does not end TIME_WAIT when the tunable says so.
void Tcp::in_time_wait(Connection& c, const Segment& seg, Packet* packet, Time now) noexcept {
    if (seg.has(flag::rst)) {
        packet->free();
        if (seg.seq == c.rcv_nxt && context_.tunables.tcp_rfc1337 == 0) {
            finish(c, 0);
        }
        return;
    }
    const bool has_stamps = c.has_timestamps && seg.options.has_timestamp;
    const std::int32_t later_by = has_stamps ? static_cast<std::int32_t>(seg.options.tsval - c.ts_recent) : 0;
    const bool newer = later_by > 0 || (later_by == 0 && seg.seq > c.rcv_nxt);
    if (seg.has(flag::syn) && !seg.has(flag::ack) && newer) {
        if (Listener* listener = find_listener(seg)) {
            const Seq used_before = c.snd_nxt;
            finish(c, 0);
            in_listen(*listener, seg, packet, now, used_before);
            return;
        }
    }
    packet->free();
    if (seg.len != 0 || seg.has(flag::fin) || seg.has(flag::syn)) {
        if (seg.has(flag::fin)) {
            c.keepalive_at = std::max(c.keepalive_at, now + std::chrono::seconds(60));
        }
        send_ack(c, now);
        arm(c);
    } else if (seg.seq != c.rcv_nxt) {
        challenge_ack(c, now);
    }
}

}  // namespace shunt::tcp
