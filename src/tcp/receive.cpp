// Received data on their way to the program: the queue in order, reassembly, and what we tell the peer about both: window, ACK, SACK.
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr Duration delayed_ack_time = std::chrono::milliseconds(40);  // Linux: TCP_DELACK_MIN
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

}  // namespace

// The packet is the next in order: it becomes the program's. Counts bytes, moves rcv_nxt.
void Tcp::deliver(Connection& c, Packet* packet, Time now) noexcept {
    const std::uint32_t size = packet->size();
    c.rcv_nxt += size;
    c.bytes_received += size;
    c.rcv_mss = static_cast<std::uint16_t>(std::max<std::uint32_t>(c.rcv_mss, std::min<std::uint32_t>(size, 65535U)));
    if (c.rcv_shut) {  // read by nobody: taken and thrown away, as Linux does after SHUT_RD
        packet->free();
        return;
    }
    c.rcv_queued += size;
    packet->meta().stamp_ns = now.time_since_epoch().count();
    if (c.rcv_packets >= collapse_from_packets && try_collapse(*c.rcv_queue.back(), *packet)) {
        context_.counters.count(Event::tcp_rx_collapsed);
        return;
    }
    c.rcv_queue.push_back(packet);
    ++c.rcv_packets;
}

// Keeps the queue sorted and free of overlap. A FIN is remembered as a flag on its packet.
void Tcp::queue_out_of_order(Connection& c, Packet* packet, Seq seq, std::uint32_t len, bool fin) noexcept {
    context_.counters.count(Event::tcp_out_of_order);
    c.ooo_latest = seq;
    if (len == 0 || c.ooo_bytes + len > c.rcvbuf || c.ooo_packets >= c.rcvbuf / 256 || memory_pressure_) {
        drop(packet, DropReason::tcp_queue_full);  // a lone FIN is not kept either: the peer sends it again
        return;
    }
    Packet* before = nullptr;
    if (Packet* last = c.ooo_queue.back(); last != nullptr && Seq(last->meta().seq) < seq) {
        before = last;
    } else {
        for (Packet* at = c.ooo_queue.front(); at != nullptr && Seq(at->meta().seq) <= seq; at = at->meta().next) {
            before = at;
        }
    }
    Seq end = seq + len;
    if (before != nullptr) {
        const Seq before_end = Seq(before->meta().seq) + before->size();
        if (before_end >= end) {
            c.dsack = {seq, end};
            c.has_dsack = c.has_sack;
            drop(packet, DropReason::tcp_duplicate);
            return;
        }
        if (before_end > seq) {
            packet->skip_front(before_end - seq);
            seq = before_end;
        }
    }
    for (Packet* after = before != nullptr ? before->meta().next : c.ooo_queue.front(); after != nullptr;) {
        const Seq after_seq = Seq(after->meta().seq);
        if (after_seq >= end) {
            break;
        }
        if (after_seq + after->size() > end) {
            packet->trim_back(end - after_seq);
            end = after_seq;
            break;
        }
        Packet* covered = c.ooo_queue.remove_after(before);
        c.ooo_bytes -= covered->size();
        --c.ooo_packets;
        after = before != nullptr ? before->meta().next : c.ooo_queue.front();
        covered->free();
    }
    packet->meta().seq = seq.raw();
    packet->meta().flags = fin ? segment_flag::fin : 0;
    c.ooo_bytes += packet->size();
    ++c.ooo_packets;
    c.ooo_queue.insert_after(before, packet);
}

void Tcp::take_contiguous(Connection& c, Time now) noexcept {
    while (Packet* packet = c.ooo_queue.front()) {
        const Seq seq(packet->meta().seq);
        if (seq > c.rcv_nxt) {
            return;
        }
        c.ooo_queue.pop_front();
        const std::uint32_t size = packet->size();
        c.ooo_bytes -= size;
        --c.ooo_packets;
        const bool fin = (packet->meta().flags & segment_flag::fin) != 0;
        const std::uint32_t old = c.rcv_nxt - seq;
        if (old >= size) {
            drop(packet, DropReason::tcp_duplicate);
        } else {
            packet->skip_front(old);
            deliver(c, packet, now);
        }
        if (fin) {
            process_fin(c, now);
            return;
        }
    }
}

// The window to advertise now, in bytes. Never takes back what was promised; avoids silly windows (RFC 9293, 3.8.6.2.2).
std::uint32_t Tcp::receive_window(Connection& c) noexcept {
    const std::uint32_t promised = c.rcv_adv > c.rcv_nxt ? c.rcv_adv - c.rcv_nxt : 0;
    std::uint32_t free = c.rcvbuf > c.rcv_queued ? c.rcvbuf - c.rcv_queued : 0;
    if (memory_pressure_) {
        free = std::min<std::uint32_t>(free, 2U * c.rcv_mss);
    }
    if (free < std::min(c.rcvbuf / 2, static_cast<std::uint32_t>(c.rcv_mss)) || free <= promised) {
        free = promised;
    }
    const std::uint32_t unit = (1U << c.rcv_wscale) - 1;
    const std::uint32_t field = std::min((free == promised ? free + unit : free) >> c.rcv_wscale, 65535U);
    c.rcv_adv = later(c.rcv_adv, c.rcv_nxt + (field << c.rcv_wscale));
    return field;
}

// RFC 9293, 3.8.6.3 and Linux's quick ACKs: at the start, and every second full segment, at once; else a little later, hoping for data to ride on.
void Tcp::acknowledge_later(Connection& c, Time now) noexcept {
    const std::uint32_t unacknowledged = c.rcv_nxt - c.last_ack_sent;
    if (unacknowledged > c.rcv_mss || c.options.quickack || c.quick_acks != 0) {
        if (c.quick_acks != 0) {
            --c.quick_acks;
        }
        c.ack_now = true;
        return;
    }
    if (c.delack_at == never) {
        c.delack_at = now + delayed_ack_time;
        arm(c, c.delack_at);
    }
}

void Tcp::update_window_after_read(Connection& c, std::uint32_t copied, Time now) noexcept {
    if (!c.can_receive_data() || c.fin_received) {
        return;
    }
    // Auto-tuning: a program that reads more than half a buffer a round trip gets a larger one.
    c.tune_copied += copied;
    const Duration round_trip = std::max<Duration>(c.srtt, std::chrono::microseconds(100));
    if (now - c.tune_at >= round_trip) {
        const auto limit = static_cast<std::uint32_t>(context_.tunables.tcp_rmem.maximum_bytes) / 2;
        if (!c.options.rcvbuf_locked && context_.tunables.tcp_moderate_rcvbuf != 0 && c.tune_copied >= c.rcvbuf / 2 && !memory_pressure_ && c.rcv_wscale != 0) {
            c.rcvbuf = std::min(limit, std::max(c.rcvbuf, c.tune_copied * 2 + 16U * c.rcv_mss));
        }
        c.tune_copied = 0;
        c.tune_at = now;
    }
    const std::uint32_t promised = c.rcv_adv > c.rcv_nxt ? c.rcv_adv - c.rcv_nxt : 0;
    const std::uint32_t free = c.rcvbuf > c.rcv_queued ? c.rcvbuf - c.rcv_queued : 0;
    if (2 * promised <= c.rcvbuf && free >= 2 * promised && free >= std::min<std::uint32_t>(c.rcv_mss, c.rcvbuf / 2)) {
        send_ack(c, now);
        context_.ipv4.flush(now);
    }
}

// RFC 2018, 4: the block with the newest arrival first; RFC 2883: a duplicate before all.
void Tcp::collect_sack_blocks(const Connection& c, wire::TcpOptions& options) const noexcept {
    const auto add = [&options](Seq left, Seq right) {
        if (options.sack_count < options.sack.size()) {
            options.sack[options.sack_count++] = {left, right};
        }
    };
    if (c.has_dsack) {
        add(c.dsack.left, c.dsack.right);
    }
    struct Block {
        Seq left, right;
    };
    std::array<Block, 4> blocks;
    unsigned count = 0;
    for (Packet* packet = c.ooo_queue.front(); packet != nullptr;) {
        Block block{Seq(packet->meta().seq), Seq(packet->meta().seq) + packet->size()};
        for (packet = packet->meta().next; packet != nullptr && Seq(packet->meta().seq) == block.right; packet = packet->meta().next) {
            block.right += packet->size();
        }
        if (block.left <= c.ooo_latest && c.ooo_latest < block.right) {
            add(block.left, block.right);
        } else if (count < blocks.size()) {
            blocks[count++] = block;
        }
    }
    for (unsigned i = 0; i < count; ++i) {
        add(blocks[i].left, blocks[i].right);
    }
}

}  // namespace shunt::tcp
