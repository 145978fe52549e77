// The calls of a program on a connection or a listener (RFC 9293, 3.10.1-3.10.6).
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/rate.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {

Result<Listener*> Tcp::listen(std::uint32_t address, std::uint16_t port, std::uint32_t backlog, const ConnectionOptions& options, bool reuse_port) noexcept {
    if (port == 0) {
        const auto picked = pick_port(address, 0, 0, Time{});
        if (!picked) {
            return fail(EADDRINUSE);
        }
        port = *picked;
    } else if (has_listener_in_the_way(address, port, reuse_port)) {
        return fail(EADDRINUSE);
    }
    Listener* listener = listeners_.try_create();
    if (listener == nullptr) {
        return fail(ENOBUFS);
    }
    listener->local_address = address;
    listener->local_port = port;
    listener->backlog = backlog;
    listener->options = options;
    listener->reuse_port = reuse_port;
    constexpr std::int32_t needed = fast_open_bit::server | fast_open_bit::server_without_option;
    if (listener->options.fast_open_queue == 0 && (context_.tunables.tcp_fastopen & needed) == needed) {
        listener->options.fast_open_queue = static_cast<std::uint16_t>(std::min(backlog, 65535U));
    }
    listener->next = listeners_by_port_[port];
    listeners_by_port_[port] = listener;
    return listener;
}

void Tcp::close(Listener& listener, Time now) noexcept {
    Listener** link = &listeners_by_port_[listener.local_port];
    while (*link != &listener) {
        link = &(*link)->next;
    }
    *link = listener.next;
    while (Connection* c = accept(listener)) {
        send_reset(*c, now);
        finish(*c, 0);
    }
    if (listener.half_open + listener.fast_open_pending != 0) {
        for (std::uint32_t i = 0; i <= bucket_mask_ && listener.half_open + listener.fast_open_pending != 0; ++i) {
            for (Connection* c = buckets_[i]; c != nullptr;) {
                Connection* next = c->hash_next;
                if (c->listener == &listener && c->opening.is_early) {  // accepted already: it goes on alone
                    --listener.fast_open_pending;
                    c->listener = nullptr;
                } else if (c->listener == &listener) {  // as Linux: it goes without a word
                    finish(*c, 0);
                }
                c = next;
            }
        }
    }
    context_.changed.remove(listener);
    listeners_.destroy(&listener);
}

Connection* Tcp::accept(Listener& listener) noexcept {
    Connection* c = listener.accept_head;
    if (c == nullptr) {
        return nullptr;
    }
    listener.accept_head = c->list_next;
    if (listener.accept_head == nullptr) {
        listener.accept_tail = nullptr;
    }
    --listener.queued;
    c->list_next = nullptr;
    c->in_accept_queue = false;
    if (!c->opening.is_early) {
        c->listener = nullptr;
    }
    return c;
}

Result<Connection*> Tcp::prepare(std::uint32_t local_address, std::uint16_t local_port, std::uint32_t address, std::uint16_t port, const ConnectionOptions& options,
                                 Time now) noexcept {
    const auto path = context_.ipv4.route(address, local_address);
    if (!path) {
        return fail(code_of(path.error()));
    }
    if (context_.ipv4.is_broadcast(address) || wire::is_multicast(address)) {
        return fail(ENETUNREACH);
    }
    std::optional<Seq> used_before;
    if (local_port == 0) {
        const auto picked = pick_port(path->source, address, port, now);
        if (!picked) {
            return fail(EADDRNOTAVAIL);
        }
        local_port = *picked;
    } else if (Connection* holder = find(path->source, local_port, address, port); holder != nullptr) {
        if (!is_safe_time_wait(*holder)) {
            return fail(EADDRNOTAVAIL);
        }
        used_before = holder->snd_nxt;
        finish(*holder, 0);
    }
    Connection* c = create(now);
    if (c == nullptr) {
        return fail(ENOBUFS);
    }
    c->local_address = path->source;
    c->local_port = local_port;
    c->remote_address = address;
    c->remote_port = port;
    c->options = options;
    set_up_path(*c, *path);
    apply_options(*c, now);
    c->iss = initial_sequence_number(*c, now);
    start_sequence(*c);
    if (used_before) {
        start_sequence_after(*c, *used_before);
    }
    c->state = State::syn_sent;
    c->rto = std::chrono::seconds(1);
    insert(*c);
    return c;
}

void Tcp::open(Connection& c, Time now, const FastOpenCookie* cookie) noexcept {
    c.first_unanswered = now;
    context_.counters.count(Event::tcp_active_opens);
    send_syn(c, now, cookie);
    c.retransmit_kind = RetransmitKind::rto;
    c.retransmit_at = now + c.rto;
    arm(c);
}

Result<Connection*> Tcp::connect(std::uint32_t local_address, std::uint16_t local_port, std::uint32_t address, std::uint16_t port, const ConnectionOptions& options,
                                 Time now) noexcept {
    const auto c = prepare(local_address, local_port, address, port, options, now);
    if (c) {
        open(**c, now);
    }
    return c;
}

std::uint32_t Tcp::send(Connection& c, std::span<const std::byte> data, Write how, Time now) noexcept {
    auto left = static_cast<std::uint32_t>(std::min<std::size_t>(data.size(), 0x7fff'ffff));
    Seq chunk = c.write_seq;
    if (left > c.mss || c.buffered() != 0 || memory_pressure_) {  // else an empty buffer takes a segment
        const Room there = room(c);
        left = std::min(left, there.in_chunk + there.in_next);
        chunk += there.in_chunk;
    }
    rate_on_write(c);
    const std::byte* from = data.data();
    std::uint32_t taken = 0;
    while (left != 0) {
        Packet* packet = c.send_head != nullptr ? c.snd_queue.back() : nullptr;
        std::uint32_t room = 0;
        if (packet != nullptr && packet->is_contiguous() && (packet->meta().flags & segment_flag::eor) == 0) {
            const std::uint32_t filled = payload_size(*packet);
            room = filled < c.mss ? std::min<std::uint32_t>(c.mss - filled, packet->tailroom()) : 0;
        }
        if (room == 0) {
            packet = must_wait(c) ? nullptr : claim(c);
            if (packet == nullptr) {
                break;
            }
            append(c, packet);
            room = std::min<std::uint32_t>(c.mss, packet->tailroom());
        }
        PacketMeta& meta = packet->meta();
        meta.flags = static_cast<std::uint16_t>(meta.flags & ~segment_flag::psh);  // an earlier write's end is none any more
        const std::uint32_t n = std::min(left, room);
        put(c, *packet, from, n);
        c.write_seq += n;
        from += n;
        left -= n;
        taken += n;
    }
    constexpr std::uint32_t look_every_bytes = 128 * 1024;
    written_since_look_ += taken;
    if (written_since_look_ > look_every_bytes) [[unlikely]] {
        look_at_memory();
    }
    if (taken != 0) {
        c.tally.begin(SendLimit::busy, now);
        if (c.write_seq > chunk) {
            c.chunk_start = chunk;
        }
        if (!how.more && (taken == data.size() || send_room(c) == 0)) {  // what follows, if anything, is another write's
            c.snd_queue.back()->meta().flags |= segment_flag::psh;
        }
        if (how.end_of_record || how.is_urgent || how.stamps != 0) [[unlikely]] {
            mark_end(c, how, taken == data.size());
        }
        if (how.more) {
            output_corked(c, true, now, Flush::at_once);
        } else {
            output(c, now, Flush::at_once);
        }
    }
    return taken;
}

// `n` more bytes of payload. Small ones are added up on the way, so that the segment's checksum needs not read them back at once.
void Tcp::put(const Connection& c, Packet& packet, const std::byte* from, std::uint32_t n) noexcept {
    constexpr std::uint32_t small = 256;
    PacketMeta& meta = packet.meta();
    const bool is_summed = n <= small && meta.summed_bytes == payload_size(packet) && meta.summed_bytes % 2 == 0 && !Ipv4::offloads_tcp_checksum(c.path);
    std::byte* to = packet.append(n);
    if (!is_summed) {
        std::memcpy(to, from, n);
        return;
    }
    wire::Checksum sum;
    sum.add_raw(meta.summed_bytes != 0 ? meta.payload_sum : 0);
    sum.copy(to, from, n);
    meta.payload_sum = sum.sum();
    meta.summed_bytes = static_cast<std::uint16_t>(meta.summed_bytes + n);
}

// What MSG_EOR, MSG_OOB and SO_TIMESTAMPING say of a write's last byte.
void Tcp::mark_end(Connection& c, const Write& how, bool is_complete) noexcept {
    PacketMeta& meta = c.snd_queue.back()->meta();
    if (how.end_of_record && is_complete) {
        meta.flags |= segment_flag::eor;
    }
    if (how.is_urgent) {
        c.snd_up = c.write_seq;
        c.has_urgent = true;
    }
    if (how.stamps != 0 && (is_complete || (!how.may_wait && send_room(c) == 0))) {
        meta.flags |= how.stamps;
        meta.stamp_key = c.write_seq.raw() - 1;
        c.is_stamped = true;
    }
}

Packet* Tcp::claim(Connection& c) noexcept {
    Packet* packet = (c.path.link != nullptr ? c.path.link->port : *context_.ipv4.packet_source()).allocate();
    if (packet == nullptr) {
        context_.counters.count(DropReason::packet_pool_empty);
    }
    return packet;
}

// The packet becomes the last of the send queue; bytes put into it afterwards belong to it (write_seq is the caller's to move).
void Tcp::append(Connection& c, Packet* packet) noexcept {
    PacketMeta& meta = packet->meta();
    meta.seq = c.write_seq.raw();
    meta.flags = 0;
    meta.transmits = 0;
    meta.payload_offset = static_cast<std::uint16_t>(packet->headroom());
    meta.summed_bytes = 0;
    c.snd_queue.push_back(packet);
    if (c.send_head == nullptr) {
        c.send_head = packet;
    }
}

void Tcp::send_packet(Connection& c, Packet* packet, bool more, Time now) noexcept {
    rate_on_write(c);
    append(c, packet);
    c.chunk_start = c.write_seq;
    c.tally.begin(SendLimit::busy, now);
    c.write_seq += packet->size();
    if (!more) {
        packet->meta().flags = segment_flag::psh;
        output(c, now, Flush::at_once);
    } else {
        hold_back(c, now);
    }
}

std::uint32_t Tcp::receive(Connection& c, std::byte* to, std::uint32_t size, bool peek, std::uint32_t peek_offset, Time now) noexcept {
    std::uint32_t copied = 0;
    if (peek) {
        std::uint32_t skip = peek_offset;
        for (Packet* packet = c.rcv_queue.front(); packet != nullptr && copied < size; packet = packet->meta().next) {
            const std::uint32_t here = packet->size();
            if (skip >= here) {
                skip -= here;
                continue;
            }
            const std::uint32_t n = std::min(size - copied, here - skip);
            if (to != nullptr) {
                packet->copy_out(skip, to + copied, n);
            }
            copied += n;
            skip = 0;
        }
        return copied;
    }
    while (copied < size && !c.rcv_queue.is_empty()) {
        Packet* packet = c.rcv_queue.front();
        const std::uint32_t here = packet->size();
        const std::uint32_t n = std::min(size - copied, here);
        if (to != nullptr) {
            packet->copy_out(0, to + copied, n);
        }
        copied += n;
        if (n == here) {
            c.rcv_queue.pop_front()->free();
            --c.rcv_packets;
        } else {
            packet->skip_front(n);
        }
    }
    c.rcv_queued -= copied;
    if (c.urgent != Urgent::none && c.copied_seq() > c.rcv_up) [[unlikely]] {
        c.urgent = Urgent::none;  // read past it
    }
    if (copied != 0) {
        update_window_after_read(c, copied, now);
    }
    return copied;
}

Packet* Tcp::take(Connection& c, Time now) noexcept {
    if (c.rcv_queue.is_empty()) {
        return nullptr;
    }
    Packet* packet = c.rcv_queue.pop_front();
    --c.rcv_packets;
    c.rcv_queued -= packet->size();
    update_window_after_read(c, packet->size(), now);
    return packet;
}

void Tcp::shutdown_send(Connection& c, Time now) noexcept {
    switch (c.state) {
        case State::established:
        case State::syn_received:
            c.state = State::fin_wait_1;
            break;
        case State::close_wait:
            c.state = State::last_ack;
            break;
        case State::syn_sent:
            finish(c, 0);
            return;
        default:
            return;
    }
    if (queue_fin(c)) {
        note(c, ready::output);
        output(c, now);
    }
}

void Tcp::shutdown_receive(Connection& c) noexcept {
    c.rcv_shut = true;
    note(c, ready::input | ready::peer_shut);
}

// In FIN_WAIT_2, and the program has let go: the peer has a while for its end (TCP_LINGER2); below 0 none, as on Linux. False: it is over.
bool Tcp::linger_alone(Connection& c, Time now) noexcept {
    if (c.options.linger2_s < 0) {
        send_reset(c, now);
        finish(c, 0);
        return false;
    }
    c.keepalive_at = now + std::chrono::seconds(c.options.linger2_s > 0 ? c.options.linger2_s : context_.tunables.tcp_fin_timeout);
    return true;
}

void Tcp::release(Connection& c, bool linger0, Time now) noexcept {
    context_.changed.remove(c);
    c.owner = nullptr;
    const bool unread = c.rcv_queued != 0;
    c.rcv_queue.clear();
    c.rcv_queued = c.rcv_packets = 0;
    switch (c.state) {
        case State::closed:
            destroy(c);
            return;
        case State::syn_sent:
            finish(c, 0);
            return;
        case State::time_wait:
            return;
        case State::syn_received:
        case State::established:
        case State::close_wait:
            if (unread || linger0) {
                send_reset(c, now);
                finish(c, 0);
                return;
            }
            shutdown_send(c, now);
            return;
        case State::fin_wait_2:
            if (!linger_alone(c, now)) {
                return;
            }
            [[fallthrough]];
        case State::fin_wait_1:
        case State::closing:
        case State::last_ack:
            if (unread || linger0) {
                send_reset(c, now);
                finish(c, 0);
                return;
            }
            c.first_unanswered = c.outstanding() != 0 ? now : never;
            arm(c);
            return;
    }
}

void Tcp::apply_options(Connection& c, Time now) noexcept {
    const Tunables& t = context_.tunables;
    c.path.tos = c.options.tos;
    const CongestionControl wanted = congestion::available(c.options.congestion == CongestionControl::other ? t.tcp_congestion_control : c.options.congestion);
    if (wanted != c.cc.algorithm || c.state < State::established) {
        congestion::start(c, wanted);
    }
    if (!congestion::is_model_based(c)) {
        c.pacing_rate = c.options.max_pacing_rate;
    }
    constexpr std::uint8_t want = 1, always = 2;  // IP_PMTUDISC_WANT, IP_PMTUDISC_DO
    const bool discovers = c.options.mtu_discover == want || c.options.mtu_discover == always;
    c.path.fragment_field = discovers ? wire::Ipv4Header::dont_fragment : 0;
    if (c.options.ttl != 0) {
        c.path.ttl = c.options.ttl;
    }
    if (c.options.rcvbuf_locked) {
        c.rcvbuf = std::max(c.options.rcvbuf / 2, 2048U);
    } else if (c.rcvbuf == 0) {
        c.rcvbuf = static_cast<std::uint32_t>(t.tcp_rmem.default_bytes) / 2;
    }
    if (c.options.sndbuf_locked) {
        c.sndbuf = c.options.sndbuf;
    } else if (c.sndbuf == 0) {
        c.sndbuf = static_cast<std::uint32_t>(t.tcp_wmem.default_bytes);
    }
    if (c.options.quickack && c.delack_at != never) {
        c.ack_now = true;  // the ACK that waits goes with the next look at what may be sent
    }
    if (c.state >= State::established) {
        const bool wants_timer = c.options.keepalive && c.state != State::time_wait && c.owner != nullptr;
        if (wants_timer) {
            c.keepalive_at = std::max(now, c.last_heard + keepalive_idle(c));
        } else if (c.owner != nullptr && c.state != State::fin_wait_2) {
            c.keepalive_at = never;
        }
        arm(c);
    }
}

}  // namespace shunt::tcp
