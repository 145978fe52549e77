// Received data on their way to the program: the queue in order, reassembly, and what we tell the peer about both: window, ACK, SACK.
#include <algorithm>
#include <array>

#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {

using wire::SackBlock;

namespace {

constexpr std::uint32_t collapse_from_packets = 16;                   // a shorter queue keeps its packets as they came
constexpr std::uint32_t collapse_bytes_max = 512;

// Many small segments would pin a whole packet buffer each: copy them together.
bool try_collapse(Packet& into, Packet& packet) noexcept {
    const std::uint32_t size = packet.size();
    if (size > collapse_bytes_max || !into.is_contiguous() || into.is_shared() || into.tailroom() < size) {
        return false;
    }
    packet.copy_out(0, into.append(size), size);
    packet.free();
    return true;
}

// Sequence numbers that a packet out of order takes.
std::uint32_t queued_size(const Packet& packet) noexcept {
    return packet.size() + ((packet.meta().flags & segment_flag::fin) != 0 ? 1 : 0);
}

Packet* next_of(const PacketQueue& queue, const Packet* before) noexcept {
    return before != nullptr ? before->meta().next : queue.front();
}

bool touches(const SackBlock& a, const SackBlock& b) noexcept {
    return a.left <= b.right && b.left <= a.right;
}

}  // namespace

// The packet is the next in order: it becomes the program's. Counts bytes, moves rcv_nxt.
void Tcp::deliver(Connection& c, Packet* packet, Time now) noexcept {
    const std::uint32_t size = packet->size();
    c.rcv_nxt += size;
    c.bytes_received += size;
    c.tally.last_data_in = now;
    c.rcv_mss = static_cast<std::uint16_t>(std::max<std::uint32_t>(c.rcv_mss, std::min<std::uint32_t>(size, 65535U)));
    c.rcv_queued += size;
    packet->meta().stamp_ns = now.time_since_epoch().count();
    if (c.rcv_packets >= collapse_from_packets && try_collapse(*c.rcv_queue.back(), *packet)) {
        context_.counters.count(Event::tcp_rx_collapsed);
        return;
    }
    c.rcv_queue.push_back(packet);
    ++c.rcv_packets;
}

// Every packet of the pool could end here: a connection has its receive buffer, all together a quarter of the packets.
std::optional<DropReason> Tcp::refuse_out_of_order(const Connection& c, std::uint32_t len) const noexcept {
    if (c.ooo_bytes + len > c.rcvbuf || c.ooo_packets >= c.rcvbuf / 256) {
        return DropReason::tcp_queue_full;
    }
    if (memory_pressure_ || ooo_packets_ >= context_.ipv4.packet_source()->pool_size() / 4) {
        return DropReason::tcp_out_of_order_full;
    }
    return std::nullopt;
}

// Takes the packet behind `before` (the first when null) off the queue.
Packet* Tcp::remove_out_of_order(Connection& c, Packet* before) noexcept {
    Packet* packet = c.ooo_queue.remove_after(before);
    c.ooo_bytes -= packet->size();
    --c.ooo_packets;
    --ooo_packets_;
    return packet;
}

void Tcp::clear_out_of_order(Connection& c) noexcept {
    while (!c.ooo_queue.is_empty()) {
        remove_out_of_order(c, nullptr)->free();
    }
    c.sack_block_count = 0;
}

// Keeps the queue sorted and free of overlap. A FIN is a flag on its packet, and takes a sequence number.
void Tcp::queue_out_of_order(Connection& c, Packet* packet, Seq seq, bool fin) noexcept {
    context_.counters.count(Event::tcp_out_of_order);
    ++c.tally.out_of_order;
    if (const auto reason = refuse_out_of_order(c, packet->size())) {
        drop(packet, *reason);
        return;
    }
    packet->meta().flags = fin ? segment_flag::fin : 0;
    Packet* before = nullptr;
    if (Packet* last = c.ooo_queue.back(); last != nullptr && Seq(last->meta().seq) < seq) {
        before = last;
    } else {
        for (Packet* at = c.ooo_queue.front(); at != nullptr && Seq(at->meta().seq) <= seq; at = at->meta().next) {
            before = at;
        }
    }
    Seq end = seq + queued_size(*packet);
    const SackBlock arrived{seq, end};
    if (before != nullptr) {
        const Seq before_end = Seq(before->meta().seq) + queued_size(*before);
        if (before_end >= end) {
            note_duplicate(c, seq, end);
            note_sack_block(c, arrived);
            drop(packet, DropReason::tcp_duplicate);
            return;
        }
        if (before_end > seq) {
            note_duplicate(c, seq, before_end);
            packet->skip_front(before_end - seq);
            seq = before_end;
        }
    }
    for (Packet* after = next_of(c.ooo_queue, before); after != nullptr; after = next_of(c.ooo_queue, before)) {
        const Seq after_seq = Seq(after->meta().seq);
        const Seq after_end = after_seq + queued_size(*after);
        if (after_seq >= end) {
            break;
        }
        note_duplicate(c, after_seq, earlier(after_end, end));
        if (after_end > end) {
            packet->trim_back(std::min(end - after_seq, packet->size()));
            packet->meta().flags = 0;
            break;
        }
        remove_out_of_order(c, before)->free();
    }
    if (queued_size(*packet) == 0) {  // its neighbours meet
        drop(packet, DropReason::tcp_duplicate);
        return;
    }
    packet->meta().seq = seq.raw();
    c.ooo_bytes += packet->size();
    ++c.ooo_packets;
    ++ooo_packets_;
    c.ooo_queue.insert_after(before, packet);
    note_sack_block(c, arrived);
}

void Tcp::take_contiguous(Connection& c, Time now) noexcept {
    while (Packet* packet = c.ooo_queue.front()) {
        const Seq seq(packet->meta().seq);
        if (seq > c.rcv_nxt) {
            break;
        }
        if (seq < c.rcv_nxt) {
            note_duplicate(c, seq, earlier(seq + queued_size(*packet), c.rcv_nxt));
        }
        remove_out_of_order(c, nullptr);
        const std::uint32_t size = packet->size();
        const bool fin = (packet->meta().flags & segment_flag::fin) != 0;
        const std::uint32_t old = c.rcv_nxt - seq;
        if (old < size) {
            packet->skip_front(old);
            deliver(c, packet, now);
        } else if (old == size && fin) {
            packet->free();
        } else {
            drop(packet, DropReason::tcp_duplicate);
        }
        if (fin) {
            process_fin(c, now);
            c.ack_now = true;  // a hole is filled
            return;
        }
    }
    const auto is_delivered = [&c](const SackBlock& block) { return block.left <= c.rcv_nxt; };
    const auto end = std::remove_if(c.sack_blocks.begin(), c.sack_blocks.begin() + c.sack_block_count, is_delivered);
    c.sack_block_count = static_cast<std::uint8_t>(end - c.sack_blocks.begin());
}

// The window to advertise now, in bytes. Never takes back what was promised; avoids silly windows (RFC 9293, 3.8.6.2.2).
std::uint32_t Tcp::receive_window(Connection& c) noexcept {
    const std::uint32_t promised = c.rcv_adv > c.rcv_nxt ? c.rcv_adv - c.rcv_nxt : 0;
    std::uint32_t free = c.window_room(c.rcv_queued);
    if (memory_pressure_) {
        free = std::min<std::uint32_t>(free, 2U * c.rcv_mss);
    }
    if (free < std::min(c.window_room(0) / 2, static_cast<std::uint32_t>(c.rcv_mss)) || free <= promised) {
        free = promised;
    }
    const std::uint32_t unit = (1U << c.rcv_wscale) - 1;  // rounded down where it grows, up where it must not shrink
    const std::uint32_t field = std::min(std::max(free, promised + unit) >> c.rcv_wscale, 65535U);
    c.rcv_adv = later(c.rcv_adv, c.rcv_nxt + (field << c.rcv_wscale));
    return field;
}

// RFC 9293, 3.8.6.3 and Linux's quick ACKs: at the start, after a pause or a loss, and every second full segment, at once; else a little later, hoping for
// data to ride on. A program that answers ends the quick ones (write_header).
void Tcp::acknowledge_later(Connection& c, Time now) noexcept {
    const Duration gap = now - c.last_data_at;
    c.last_data_at = now;
    if (gap > delayed_ack_time / 2 || c.ack_timeout != delayed_ack_time) [[unlikely]] {
        adapt_ack_timeout(c, gap);
    }
    const std::uint32_t unacknowledged = c.rcv_nxt - c.last_ack_sent;
    if (unacknowledged > c.rcv_mss || (c.quick_acks != 0 && c.options.quickack)) {
        c.ack_now = true;
        return;
    }
    if (unacknowledged < c.rcv_mss) {
        ++c.unacked_segments;
    }
    if (c.delack_at == never) {
        const Duration longest = std::min<Duration>(std::max<Duration>(c.srtt, delayed_ack_time), delayed_ack_time_max);
        c.delack_at = now + std::min(c.ack_timeout, longest);
        arm(c, c.delack_at);
    }
}

// Linux: the end of a conversation, which the program will answer with its own FIN or more: that carries the ACK. Not where nothing was said before.
void Tcp::acknowledge_fin(Connection& c, Time now) noexcept {
    c.options.quickack = false;
    if (c.last_data_at == Time{}) {
        c.ack_now = true;
    } else {
        acknowledge_later(c, now);
    }
}

// The time that ACKs wait follows the time between segments.
void Tcp::adapt_ack_timeout(Connection& c, Duration gap) noexcept {
    if (gap <= delayed_ack_time / 2) {
        c.ack_timeout = c.ack_timeout / 2 + delayed_ack_time / 2;
    } else if (gap < c.ack_timeout) {
        c.ack_timeout = std::min(c.ack_timeout / 2 + gap, std::max<Duration>(c.rto, delayed_ack_time));
    } else if (gap > c.rto) {
        c.quick_acks = quick_acks_max;  // the peer starts anew, with a small window
    }
}

// The peer needs to hear soon: it has sent something twice, or a router has marked it.
void Tcp::enter_quick_ack(Connection& c, std::uint8_t count) noexcept {
    c.quick_acks = std::max(c.quick_acks, count);
    c.options.quickack = true;
    c.ack_timeout = delayed_ack_time;
}

// Nobody has answered in time. A conversation has ended with that; else waiting longer may help.
void Tcp::on_delayed_ack_timer(Connection& c, Time now) noexcept {
    c.delack_at = never;
    if (c.options.quickack) {
        c.ack_timeout = std::min(c.ack_timeout * 2, std::max<Duration>(c.rto, delayed_ack_time));
    } else {
        c.options.quickack = true;
        c.ack_timeout = delayed_ack_time;
    }
    c.ack_now = true;
    output(c, now);
}

void Tcp::update_window_after_read(Connection& c, std::uint32_t copied, Time now) noexcept {
    if (!c.can_receive_data() || c.fin_received) {
        return;
    }
    // Linux: small segments that are read to the end are acknowledged, since the peer's Nagle may wait for that; the first one of a conversation is not.
    if (c.unacked_segments > (c.options.quickack ? 0 : 1) && c.rcv_queued == 0) {
        send_ack(c, now);
        context_.ipv4.flush(now);
        return;
    }
    tune_receive_buffer(c, copied, now);
    if (c.rcv_shut) {  // as Linux: who wants no more asks for none
        return;
    }
    const std::uint32_t promised = c.rcv_adv > c.rcv_nxt ? c.rcv_adv - c.rcv_nxt : 0;
    const std::uint32_t whole = std::min(c.window_room(0), 65535U << c.rcv_wscale);
    const std::uint32_t free = std::min(c.window_room(c.rcv_queued), whole);
    const bool has_opened = 2 * promised <= whole && free >= 2 * promised && free >= std::min<std::uint32_t>(c.rcv_mss, whole / 2);
    if (has_opened && initial_rcv_window(c) + 2 * c.bytes_received >= 2 * promised) {  // Linux's rcv_ssthresh: what has hardly begun needs no more
        send_ack(c, now);
        context_.ipv4.flush(now);
    }
}

// The next ACK says which data came twice (RFC 2883).
void Tcp::note_duplicate(Connection& c, Seq left, Seq right) noexcept {
    if (!c.has_sack || context_.tunables.tcp_dsack == 0) {
        return;
    }
    if (!c.has_dsack) {
        c.dsack = {left, right};
        c.has_dsack = true;
    } else if (touches(c.dsack, {left, right})) {
        c.dsack = {earlier(c.dsack.left, left), later(c.dsack.right, right)};
    }
}

// What has arrived out of order is reported before what changed earlier; a block that it touches becomes one with it.
void Tcp::note_sack_block(Connection& c, SackBlock block) noexcept {
    std::uint8_t kept = 0;
    std::array<SackBlock, 4> others;
    for (std::uint8_t i = 0; i < c.sack_block_count; ++i) {
        const SackBlock& old = c.sack_blocks[i];
        if (touches(old, block)) {
            block = {earlier(old.left, block.left), later(old.right, block.right)};
        } else {
            others[kept++] = old;
        }
    }
    kept = std::min<std::uint8_t>(kept, static_cast<std::uint8_t>(others.size() - 1));
    c.sack_blocks[0] = block;
    std::copy_n(others.begin(), kept, c.sack_blocks.begin() + 1);
    c.sack_block_count = static_cast<std::uint8_t>(kept + 1);
}

// RFC 2018, 4: the block with the newest arrival first; RFC 2883: a duplicate before all.
void Tcp::collect_sack_blocks(const Connection& c, wire::TcpOptions& options) const noexcept {
    if (c.has_dsack) {
        options.sack[options.sack_count++] = c.dsack;
    }
    for (std::uint8_t i = 0; i < c.sack_block_count && options.sack_count < options.sack.size(); ++i) {
        options.sack[options.sack_count++] = c.sack_blocks[i];
    }
}

}  // namespace shunt::tcp
