// What is sent and when: new data within the windows (RFC 9293, 3.8.6; Nagle, RFC 1122 4.2.3.4), ACKs, SYN, RST; and how a segment is made.
#include <algorithm>

#include "ip/checksum.hpp"
#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {

namespace flag = wire::tcp_flag;

void Tcp::output_now(Connection& c, Time now, Flush flush) noexcept {
    if (!c.can_transfer()) {
        return;
    }
    if (c.lost_out > c.retrans_out && c.frto != FRto::sending_new) {
        retransmit_lost(c, now);
    }
    if (c.send_head != nullptr) {
        send_new(c, now, flush);
    }
    if (c.frto == FRto::sending_new) [[unlikely]] {
        finish_frto_step(c, now);
    }
    if (c.ack_now) {
        send_ack(c, now);
    }
    if (c.wants_room) [[unlikely]] {
        tell_of_room(c, now);
    }
}

// For once with another answer to whether partial segments wait.
void Tcp::output_corked(Connection& c, bool cork, Time now, Flush flush) noexcept {
    const bool before = c.options.cork;
    c.options.cork = cork;
    output(c, now, flush);
    c.options.cork = before;
}

void Tcp::push(Connection& c, Time now) noexcept {
    output_corked(c, c.options.cork && !c.options.nodelay, now, Flush::later);
}

// Nagle's question: full, or last before a FIN, or nothing under way, or told not to wait.
bool Tcp::may_send_now(const Connection& c, const Packet& packet) const noexcept {
    if (payload_size(packet) >= c.mss || packet.meta().next != nullptr || (packet.meta().flags & segment_flag::fin) != 0) {
        return true;
    }
    const bool small_under_way = c.snd_sml > c.snd_una && c.snd_sml <= c.snd_nxt;  // Minshall: full segments hold nothing back
    return (!c.options.cork && (c.options.nodelay || !small_under_way)) || sends_urgent(c);
}

void Tcp::send_new(Connection& c, Time now, Flush flush) noexcept {
    if (c.outstanding() == 0) {
        congestion::on_restart(c, now);
        if (now - c.last_sent_at > c.rto && context_.tunables.tcp_slow_start_after_idle != 0) {
            congestion::on_idle(c, now - c.last_sent_at);
        }
    }
    Round round;
    const bool port_segments = c.path.link != nullptr && c.path.link->port.offloads.tcp_segmentation;
    LargeFrame large;
    if (c.mtu_search.is_on && !probe_mtu(c, now)) [[unlikely]] {
        return;
    }
    while (Packet* packet = c.send_head) {
        if (!may_send_now(c, *packet)) {
            hold_back(c, now);
            break;
        }
        if (payload_size(*packet) > c.mss && split(c, *packet, c.mss) == nullptr) {
            break;
        }
        const std::uint32_t pipe = c.pipe();
        if (pipe != 0 && pipe + seq_size(*packet) > c.cwnd) {
            round.hit_cwnd = true;
            break;
        }
        if (seq_of(*packet) + payload_size(*packet) > c.snd_una + c.snd_wnd && !cut_to_send_window(c, *packet)) {
            round.hit_window = true;
            hold_back(c, now);
            break;
        }
        if (is_paced_out(c, now)) {
            break;
        }
        if (c.outstanding() == 0) {
            c.first_unanswered = now;
        }
        const bool is_out_alone = (!port_segments || !try_join(c, large, *packet, now)) && send_segment(c, *packet, now);
        if (flush == Flush::at_once && packet->meta().next == nullptr) {
            if (large.packet != nullptr) {
                send_large(c, large, now);
            }
            context_.ipv4.flush(now);  // on the wire first, into the books then
        }
        if (is_out_alone) {
            note_transmission(c, *packet, payload_size(*packet), now);
        }
        note_sent(c, *packet);
        round.has_sent = true;
    }
    if (large.packet != nullptr) [[unlikely]] {
        send_large(c, large, now);
    }
    note_round(c, round, now);
}

void Tcp::note_round(Connection& c, Round round, Time now) noexcept {
    if (round.has_sent) {
        note_window_use(c, round.hit_cwnd || c.pipe() + c.mss > c.cwnd);
        if (c.retransmit_kind != RetransmitKind::rto || c.retransmit_at == never) {
            set_retransmit(c, now, Time(Duration(c.snd_queue.front()->meta().stamp_ns)));
        }
    } else if (round.hit_cwnd) {
        c.cwnd_limited = true;
    }
    if (round.hit_window || c.tally.limit >= SendLimit::window || c.wants_room) [[unlikely]] {
        note_limit(c, round, now);
    }
}

// Leaves of the packet what the peer has room for. False: not worth a segment.
bool Tcp::cut_to_send_window(Connection& c, Packet& packet) noexcept {
    const Seq edge = c.snd_una + c.snd_wnd;
    const std::uint32_t usable = edge > c.snd_nxt ? edge - c.snd_nxt : 0;
    const bool is_worth_it = usable != 0 && usable >= std::min<std::uint32_t>(c.mss, c.max_snd_wnd / 2);
    return is_worth_it && split(c, packet, usable) != nullptr;
}

// What kept us from sending more: the peer's window, or a program that waits for room in a buffer that is too small.
void Tcp::note_limit(Connection& c, Round round, Time now) noexcept {
    if (round.hit_window) {
        c.tally.begin(SendLimit::window, now);
    } else {
        c.tally.end(SendLimit::window, now);
    }
    if (c.wants_room && round.has_sent && !c.cwnd_limited && c.send_head == nullptr) [[unlikely]] {
        c.tally.begin(SendLimit::buffer, now);
    }
}

// How much of the window this flight has used: the most, or all (RFC 7661's idea, as Linux).
void Tcp::note_window_use(Connection& c, bool is_limited) noexcept {
    const std::uint32_t out = c.outstanding();
    if (is_limited || c.snd_una >= c.flight_end || (!c.cwnd_limited && out > c.flight_size)) {
        c.cwnd_limited = is_limited;
        c.flight_size = out;
        c.flight_end = c.snd_nxt;
    }
}

// A new segment is on its way: it is no longer the first unsent.
void Tcp::note_sent(Connection& c, Packet& packet) noexcept {
    c.snd_nxt = end_of(packet);
    if (payload_size(packet) < c.mss) {
        c.snd_sml = c.snd_nxt;
    }
    c.last_sent = &packet;
    c.send_head = packet.meta().next;
    if (c.recovery == Recovery::recovery || c.recovery == Recovery::cwr) {
        c.prr_out += seq_size(packet);
    }
}

// The window is closed or too small to be worth a segment, or the program wants to write more first: not for ever (RFC 9293, 3.8.6.1).
void Tcp::hold_back(Connection& c, Time now) noexcept {
    if (c.outstanding() == 0 && c.retransmit_kind != RetransmitKind::persist && c.is_synchronized() && !c.opening.is_early) {
        c.retransmit_kind = RetransmitKind::persist;
        c.backoff = 0;
        c.first_unanswered = now;
        c.retransmit_at = now + std::max<Duration>(c.rto, std::chrono::milliseconds(200));
        arm(c);
    }
}

void Tcp::transmit(Connection& c, Packet& packet, Time now) noexcept {
    if (send_segment(c, packet, now)) {
        note_transmission(c, packet, payload_size(packet), now);
    }
}

// Headers in front of a queued packet, one reference to the port, one stays in the queue. While the port still holds an earlier transmission, a copy goes.
// False: there is no memory for one. As good as lost, the timer repeats it.
[[gnu::flatten]] bool Tcp::send_segment(Connection& c, Packet& packet, Time now) noexcept {
    PacketMeta& meta = packet.meta();
    Packet* out = &packet;
    const std::uint32_t old_headers = meta.payload_offset - packet.headroom();
    if (packet.is_shared()) {
        out = claim(c);
        const std::uint32_t size = packet.size() - old_headers;
        if (out == nullptr || out->tailroom() < size) {
            if (out != nullptr) {
                out->free();
            }
            return false;
        }
        packet.copy_out(old_headers, out->append(size), size);
    } else {
        packet.trim_front(old_headers);
        packet.add_reference();
    }
    std::uint8_t flags = flag::ack;
    if ((meta.flags & segment_flag::fin) != 0) {
        flags = static_cast<std::uint8_t>(flags | flag::fin | (out->size() != 0 ? flag::psh : 0));
    }
    if ((meta.flags & segment_flag::psh) != 0) {
        flags |= flag::psh;
    }
    if ((meta.flags & (segment_flag::stamp_sched | segment_flag::stamp_sent)) != 0) [[unlikely]] {
        report_sent(c, packet, now);
    }
    const std::uint8_t ecn = c.has_ecn && meta.transmits == 0 && out->size() != 0 ? ecn_mark(c, flags) : std::uint8_t{0};  // never what is sent again
    write_header(c, *out, seq_of(packet), flags, now, meta.summed_bytes != 0 && meta.summed_bytes == out->size() ? &meta : nullptr);
    context_.ipv4.output(out, c.path, wire::protocol_tcp, now, ecn);
    return true;
}

// The books of a segment that leaves: `size` bytes of payload.
void Tcp::note_transmission(Connection& c, Packet& packet, std::uint32_t size, Time now) noexcept {
    PacketMeta& meta = packet.meta();
    if (meta.transmits != 0) {
        meta.flags |= segment_flag::retransmitted;
        ++c.retransmits;
        c.retrans_at = std::min(c.retrans_at, now);
        c.tally.bytes_retransmitted += size;
        context_.counters.count(Event::tcp_retransmits);
    }
    ++meta.transmits;
    meta.stamp_ns = now.time_since_epoch().count();
    rate_on_send(c, meta, c.outstanding() == 0, now);
    if (c.pacing_rate != 0) [[unlikely]] {
        c.pace_next = std::max(c.pace_next, now - pacing_burst) + pacing_time(c, size);
    }
    c.last_sent_at = now;
    ++c.tally.segments_out;
    c.tally.data_segments_out += size != 0;
    context_.counters.count(Event::tcp_segments_sent);
}

// What stands behind the timestamps: a D-SACK and as many blocks as there is room for. Returns the option's bytes: 0 beside a full segment.
[[gnu::cold]] unsigned Tcp::prepend_sack(Connection& c, Packet& packet, unsigned other_option_bytes) noexcept {
    wire::TcpOptions sack;
    collect_sack_blocks(c, sack);
    const unsigned taken = 40 + other_option_bytes + packet.size();
    const unsigned limit = std::min<unsigned>(c.path.mtu, c.peer_mss + 40U);
    const unsigned room = std::min<unsigned>(40 - other_option_bytes, limit - std::min(limit, taken));
    const unsigned fits = room >= 12 ? (room - 4) / 8 : 0;
    sack.sack_count = static_cast<std::uint8_t>(std::min<unsigned>(sack.sack_count, fits));
    c.has_dsack = c.has_dsack && sack.sack_count == 0;
    std::uint8_t option[40];
    const unsigned bytes = wire::emit_tcp_options(sack, option);
    std::memcpy(packet.prepend(bytes), option, bytes);
    return bytes;
}

// The whole header. Whatever carries ACK settles what we owe.
void Tcp::write_header(Connection& c, Packet& packet, Seq seq, std::uint8_t flags, Time now, const PacketMeta* summed) noexcept {
    unsigned option_bytes = c.has_timestamps ? wire::timestamp_option_bytes : 0;
    const bool reports = c.has_sack && (c.has_dsack || c.sack_block_count != 0) && (flags & flag::rst) == 0;
    const std::uint32_t payload = packet.size();
    bool is_left_out = false;
    if (reports) [[unlikely]] {
        const unsigned sack_bytes = prepend_sack(c, packet, option_bytes);
        option_bytes += sack_bytes;
        is_left_out = sack_bytes == 0 && payload != 0;
    }
    if (c.ecn_echo && (flags & flag::rst) == 0) {
        flags |= flag::ece;
    }
    const std::uint32_t urgent = c.has_urgent ? urgent_pointer(c, seq, flags) : 0;
    const std::uint32_t offset = 5 + option_bytes / 4;
    const unsigned written = sizeof(wire::TcpHeader) + (c.has_timestamps ? wire::timestamp_option_bytes : 0);
    wire::Checksum sum;
    wire::HeaderWriter header(packet.prepend(written), sum);
    header.put(std::uint32_t{c.local_port} << 16 | c.remote_port, seq.raw());
    header.put(c.rcv_nxt.raw(), offset << 28 | std::uint32_t{flags} << 16 | receive_window(c));
    if (c.has_timestamps) {
        header.put(urgent, 0x0101080a);  // checksum and urgent pointer; two NOPs and the option's head
        header.put(timestamp_now(c, now), c.ts_recent);
    } else {
        header.put(urgent);
    }
    finish_checksum(packet, c.path, sum, written, summed);
    if (payload != 0 && now - c.last_data_at < c.ack_timeout) {
        c.options.quickack = false;  // the program answers: its data will carry the ACKs
    }
    if (c.last_ack_sent != c.rcv_nxt && c.quick_acks != 0) {
        --c.quick_acks;
    }
    c.last_ack_sent = c.rcv_nxt;
    c.unacked_segments = 0;
    c.ack_now = c.ack_now && is_left_out;  // then an ACK of its own tells what there was no room for (RFC 2018, 4)
    c.delack_at = never;
}

// `done` bytes at the front are in `sum` already. `summed` knows the payload's sum. The field itself is zero so far.
void Tcp::finish_checksum(Packet& packet, const Path& path, wire::Checksum sum, std::uint32_t done, const PacketMeta* summed) noexcept {
    auto* header = reinterpret_cast<wire::TcpHeader*>(packet.data());
    if (Ipv4::offloads_tcp_checksum(path)) {
        wire::Checksum pseudo;
        const std::uint32_t length = packet.wants_segmentation() ? 0 : packet.size();  // the port knows how long each is going to be
        wire::add_pseudo_header(pseudo, __builtin_bswap32(path.source), __builtin_bswap32(path.destination), wire::protocol_tcp, length);
        header->checksum = pseudo.sum();  // the port adds the rest
        return;
    }
    wire::add_pseudo_header(sum, __builtin_bswap32(path.source), __builtin_bswap32(path.destination), wire::protocol_tcp, packet.size());
    if (summed != nullptr) {
        sum.add_raw(summed->payload_sum);
        sum.add(packet.data() + done, packet.size() - done - summed->summed_bytes);
    } else {
        packet.for_each_segment([&sum, &done](const std::byte* data, std::uint32_t bytes) {
            sum.add(data + done, bytes - done);
            done = 0;
        });
    }
    header->checksum = sum.field();
}

void Tcp::send_control(Connection& c, Seq seq, std::uint8_t flags, Time now) noexcept {
    Packet* packet = claim(c);
    if (packet == nullptr) {
        c.delack_at = now + std::chrono::milliseconds(1);  // again when there is memory
        arm(c);
        return;
    }
    write_header(c, *packet, seq, flags, now);
    ++c.tally.segments_out;
    context_.counters.count(Event::tcp_segments_sent);
    context_.ipv4.output(packet, c.path, wire::protocol_tcp, now);
}

// SYN or SYN-ACK, with every option that we offer or, answering, that the peer has offered (RFC 7323, 1.3; RFC 2018, 2).
void Tcp::send_syn(Connection& c, Time now, const FastOpenCookie* cookie) noexcept {
    Packet* packet = claim(c);
    if (packet == nullptr) {
        return;
    }
    const bool answers = c.state != State::syn_sent;  // also in FIN-WAIT-1, where an early connection (Fast Open) has been shut down
    const Tunables& t = context_.tunables;
    wire::TcpOptions options;
    options.mss = c.path_mss();
    if (c.path.link != nullptr && !(c.opening.sent_data && c.syn_tries != 0)) {  // what we can receive, not what the way to the peer takes; Linux's second SYN says the latter
        options.mss = static_cast<std::uint16_t>(c.path.link->port.mtu - sizeof(wire::Ipv4Header) - sizeof(wire::TcpHeader));
    }
    if (c.options.maxseg != 0) {
        options.mss = std::min(options.mss, c.options.maxseg);
    }
    options.has_timestamp = answers ? c.has_timestamps : t.tcp_timestamps != 0;
    options.sack_permitted = answers ? c.has_sack : t.tcp_sack != 0;
    options.wscale = t.tcp_window_scaling != 0 && (!answers || c.has_wscale) ? static_cast<std::int8_t>(c.rcv_wscale) : std::int8_t{-1};
    options.tsval = timestamp_now(c, now);
    options.tsecr = answers ? c.ts_recent : 0;
    if (cookie != nullptr) {
        options.fast_open_bytes = cookie->size;
        options.fast_open_experimental = cookie->is_experimental;
        options.fast_open = cookie->bytes.data();
    }
    std::uint8_t bytes[40];
    const unsigned option_bytes = wire::emit_tcp_options(options, bytes);
    auto* header = reinterpret_cast<wire::TcpHeader*>(packet->append(sizeof(wire::TcpHeader) + option_bytes));
    header->source_port = c.local_port;
    header->destination_port = c.remote_port;
    header->seq = c.iss.raw();
    header->ack = answers ? c.rcv_nxt.raw() : 0;
    header->offset = static_cast<std::uint8_t>((5 + option_bytes / 4) << 4);
    header->flags = answers ? flag::syn | flag::ack : flag::syn;
    if (answers ? c.has_ecn : ecn_asks(c) && c.syn_tries == 0) {
        header->flags |= answers ? flag::ece : flag::ece | flag::cwr;
    }
    const std::uint32_t window = initial_rcv_window(c);
    header->window = static_cast<std::uint16_t>(window);
    header->checksum = 0;
    header->urgent = 0;
    std::memcpy(header + 1, bytes, option_bytes);
    if (c.opening.sent_data && c.syn_tries == 0) {  // what is sent again is a plain SYN (RFC 7413, 4.2.1)
        const Packet& data = *c.snd_queue.front();
        data.copy_out(0, packet->append(data.size()), data.size());
    }
    if (answers) {
        c.rcv_adv = c.rcv_nxt + window;
        c.last_ack_sent = c.rcv_nxt;
    }
    if (c.syn_tries < 255) {
        ++c.syn_tries;
    }
    c.last_sent_at = now;
    c.tally.segments_out += !answers;  // as Linux, where a SYN-ACK is no connection's yet
    finish_checksum(*packet, c.path);
    context_.counters.count(Event::tcp_segments_sent);
    context_.ipv4.output(packet, c.path, wire::protocol_tcp, now);
}

void Tcp::send_reset(Connection& c, Time now) noexcept {
    if (c.state == State::closed || c.state == State::syn_sent || c.state == State::time_wait) {
        return;
    }
    context_.counters.count(Event::tcp_resets_sent);
    send_control(c, c.snd_nxt, flag::rst | flag::ack, now);
}

// RFC 5961, 7: answers to suspicious segments, but not as many as an attacker likes; and not more than two a second for one connection.
void Tcp::challenge_ack(Connection& c, Time now) noexcept {
    if (now - challenge_second_ >= std::chrono::seconds(1)) {
        challenge_second_ = now;
        challenges_left_ = context_.tunables.tcp_challenge_ack_limit;
    }
    if (challenges_left_ <= 0 || (c.challenge_at != Time{} && now - c.challenge_at < std::chrono::milliseconds(500))) {
        return;
    }
    --challenges_left_;
    c.challenge_at = now;
    context_.counters.count(Event::tcp_challenge_acks);
    send_ack(c, now);
}

// Too early for the next segment; the timer goes on when it may leave.
bool Tcp::is_paced_out(Connection& c, Time now) noexcept {
    if (c.pacing_rate == 0 || c.pace_next <= now) [[likely]] {
        return false;
    }
    c.is_paced_out = true;
    arm(c, c.pace_next);
    return true;
}

// Cuts a queued packet: it keeps `first_bytes` of payload, the rest stands behind it. Null when the port holds it or memory is short.
Packet* Tcp::split(Connection& c, Packet& packet, std::uint32_t first_bytes) noexcept {
    Packet* rest = packet.is_shared() ? nullptr : claim(c);
    if (rest == nullptr) {
        return nullptr;
    }
    PacketMeta& meta = packet.meta();
    packet.trim_front(meta.payload_offset - packet.headroom());
    const std::uint32_t size = packet.size() - first_bytes;
    if (rest->tailroom() < size) {
        rest->free();
        return nullptr;
    }
    const std::uint32_t before = seq_size(packet);
    packet.copy_out(first_bytes, rest->append(size), size);
    meta.summed_bytes = 0;
    PacketMeta& rest_meta = rest->meta();
    rest_meta = meta;
    rest_meta.next = nullptr;
    rest_meta.seq = meta.seq + first_bytes;
    rest_meta.payload_offset = static_cast<std::uint16_t>(rest->headroom());
    packet.trim_back(size);
    meta.flags = static_cast<std::uint16_t>(meta.flags & ~(segment_flag::fin | segment_flag::psh | segment_flag::eor | segment_flag::stamps));
    SHUNT_CHECK(seq_size(packet) + seq_size(*rest) == before);
    c.snd_queue.insert_after(&packet, rest);
    if (c.last_sent == &packet) {
        c.last_sent = rest;
    }
    return rest;
}

// False: there was no packet for it, and the connection is over, perhaps gone.
bool Tcp::queue_fin(Connection& c) noexcept {
    Packet* packet = c.send_head != nullptr ? c.snd_queue.back() : nullptr;
    if (packet == nullptr) {
        packet = claim(c);
        if (packet == nullptr) {
            finish(c, ENOBUFS);
            return false;
        }
        append(c, packet);
    }
    packet->meta().flags |= segment_flag::fin;
    c.write_seq += 1;
    c.fin_queued = true;
    return true;
}

bool Connection::is_valid() const noexcept {
    std::uint32_t sacked = 0, lost = 0, resent = 0, queued = 0;
    Seq at = snd_queue.is_empty() ? write_seq : seq_of(*snd_queue.front());
    for (Packet* packet = snd_queue.front(); packet != nullptr; packet = packet->meta().next) {
        if (seq_of(*packet) != at) {
            return false;
        }
        at = end_of(*packet);
        sacked += (packet->meta().flags & segment_flag::sacked) != 0 ? seq_size(*packet) : 0;
        lost += (packet->meta().flags & segment_flag::lost) != 0 ? seq_size(*packet) : 0;
        resent += (packet->meta().flags & segment_flag::resent) != 0 ? seq_size(*packet) : 0;
    }
    for (Packet* packet = rcv_queue.front(); packet != nullptr; packet = packet->meta().next) {
        queued += packet->size();
    }
    return at == write_seq && (!has_sack || sacked == sacked_out) && lost == lost_out && resent == retrans_out && queued == rcv_queued && snd_una <= snd_nxt &&
           snd_nxt <= write_seq;
}

}  // namespace shunt::tcp
