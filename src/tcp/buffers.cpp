// How much a program may write, and how much a peer may send: Linux's rules for both buffers (sk_stream_memory_free, tcp_sndbuf_expand, TCP_NOTSENT_LOWAT;
// tcp_rcv_space_adjust), so that a write takes as many bytes, poll says writable at the same moments, and windows grow alike.
#include <algorithm>
#include <bit>

#include "tcp/rate.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::uint32_t chunk_overhead = 896;     // what Linux counts for a buffer besides its payload
constexpr std::uint32_t chunk_max = 65536 - 321;  // 64 KiB less its headers
constexpr std::uint32_t segment_overhead = 640;   // headers and bookkeeping, before rounding up to a power of two
constexpr std::uint32_t buffer_overhead = 256;
constexpr std::uint32_t default_mss = 536;

// A write fills chunks of whole segments, up to half of the largest window that the peer ever offered.
std::uint32_t chunk_bytes(const Connection& c) noexcept {
    const std::uint32_t half = c.max_snd_wnd > default_mss ? c.max_snd_wnd / 2 : c.max_snd_wnd;
    const std::uint32_t limit = half != 0 ? std::min(chunk_max, half) : chunk_max;
    return std::max(limit / c.mss, 1U) * c.mss;
}

std::uint32_t memory_of(std::uint32_t chunk, std::uint32_t bytes) noexcept { return bytes + (bytes + chunk - 1) / chunk * chunk_overhead; }

// What is sent has its chunks, and what waits, with `more`, has others.
std::uint32_t memory_used(const Connection& c, std::uint32_t chunk, std::uint32_t more = 0) noexcept {
    return memory_of(chunk, c.buffered() - c.unsent()) + memory_of(chunk, c.unsent() + more);
}

}  // namespace

std::uint32_t Tcp::notsent_limit(const ConnectionOptions& options) const noexcept {
    return options.notsent_lowat != 0 ? options.notsent_lowat : static_cast<std::uint32_t>(context_.tunables.tcp_notsent_lowat);
}

std::uint32_t Tcp::sndbuf_now(const Connection& c) const noexcept {
    return memory_pressure_ ? std::min<std::uint32_t>(c.sndbuf, c.mss * 4U) : c.sndbuf;
}

// The last chunk is filled in any case; another may be begun while there is memory, and not too much that is not sent.
Tcp::Room Tcp::room(const Connection& c) const noexcept {
    if (must_wait(c)) [[unlikely]] {
        return {};
    }
    const std::uint32_t chunk = chunk_bytes(c);
    const std::uint32_t filled = c.unsent() != 0 ? c.write_seq - later(c.chunk_start, c.snd_nxt) : chunk;
    Room room;
    room.in_chunk = chunk > filled ? chunk - filled : 0;
    const bool has_memory = memory_used(c, chunk, room.in_chunk) < sndbuf_now(c);
    if (has_memory && c.unsent() + room.in_chunk < notsent_limit(c.options)) {
        room.in_next = chunk;
    }
    return room;
}

std::uint32_t Tcp::send_room(const Connection& c) const noexcept {
    const Room there = room(c);
    return there.in_chunk + there.in_next;
}

bool Tcp::has_send_memory(const Connection& c) const noexcept {
    return c.buffered() == 0 || (memory_used(c, chunk_bytes(c)) < sndbuf_now(c) && c.unsent() < notsent_limit(c.options) && !is_exhausted_);
}

// What poll asks: a third of the buffer is free, and less than half of what may wait unsent waits.
bool Tcp::is_writable(const Connection& c) const noexcept {
    if (c.buffered() == 0) {
        return true;
    }
    if (is_exhausted_) [[unlikely]] {
        return false;
    }
    const std::uint32_t used = memory_used(c, chunk_bytes(c));
    const std::uint32_t limit = sndbuf_now(c);
    return limit >= used && limit - used >= used / 2 && std::uint64_t{c.unsent()} * 2 < notsent_limit(c.options);
}

bool Tcp::look_at_memory() noexcept {
    const pmd::Port& port = *context_.ipv4.packet_source();
    const std::uint32_t left = port.pool_available(), all = port.pool_size();
    const bool was_short = memory_pressure_;
    memory_pressure_ = left < all / 8;
    is_exhausted_ = left < all / 16;
    written_since_look_ = 0;
    if (memory_pressure_ && !was_short) {
        context_.counters.count(Event::memory_shortages);
    }
    return memory_pressure_;
}

// Packets are exhausted: only the acknowledgement counts; the peer will send the data again.
void Tcp::shed_data(Segment& seg, Packet& packet) noexcept {
    context_.counters.count(DropReason::tcp_packets_exhausted);
    packet.trim_back(packet.size());
    seg.len = 0;
    seg.flags = static_cast<std::uint8_t>(seg.flags & ~(wire::tcp_flag::fin | wire::tcp_flag::urg));
}

// Twice the congestion window, counted as Linux counts memory.
void Tcp::expand_send_buffer(Connection& c) noexcept {
    if (c.options.sndbuf_locked || memory_pressure_) {
        return;
    }
    constexpr std::uint32_t segments_min = 10;
    const std::uint32_t segment = std::bit_ceil(std::max<std::uint32_t>(c.peer_mss, c.mss) + segment_overhead) + buffer_overhead;
    const std::uint64_t wanted = std::uint64_t{2} * std::max(segments_min, c.cwnd / c.mss) * segment;
    c.sndbuf = std::max(c.sndbuf, static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, static_cast<std::uint32_t>(context_.tunables.tcp_wmem.maximum_bytes))));
}

// A program waits for room, or for all to be acknowledged before it closes.
void Tcp::tell_of_room(Connection& c, Time now) noexcept {
    if (!c.fin_queued && c.pipe() < c.cwnd) {
        expand_send_buffer(c);
    }
    if (c.fin_queued ? c.buffered() == 0 : is_writable(c)) {
        c.wants_room = false;
        c.tally.end(SendLimit::buffer, now);
        note(c, ready::output);
    }
}

void Tcp::grow_receive_buffer(Connection& c, std::uint64_t wanted) noexcept {
    const bool may_grow = !c.options.rcvbuf_locked && c.options.window_clamp == 0 && context_.tunables.tcp_moderate_rcvbuf != 0 && !memory_pressure_ && c.rcv_wscale != 0;
    if (may_grow) {
        const auto limit = static_cast<std::uint32_t>(context_.tunables.tcp_rmem.maximum_bytes) / 2;
        c.rcvbuf = std::max(c.rcvbuf, static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, limit)));
    }
}

// What waits behind a hole takes room from what a program reads in a round trip (Linux's tcp_rcvbuf_grow): not before somebody has accepted the connection.
void Tcp::make_room_behind_hole(Connection& c) noexcept {
    if (const Packet* last = c.ooo_queue.back(); c.owner != nullptr && last != nullptr) {
        grow_receive_buffer(c, std::uint64_t{c.tune_space} * 2 + 16U * c.rcv_mss + (Seq(last->meta().seq) + last->size() - c.rcv_nxt));
    }
}

// A program that reads more in a round trip than in any before may get twice that, and more when it grows fast, in the next.
void Tcp::tune_receive_buffer(Connection& c, std::uint32_t copied, Time now) noexcept {
    c.tune_copied += copied;
    const Duration passed = rate_duration(rate_ticks(now) - c.tune_at);
    if (passed < std::max<Duration>(c.srtt, std::chrono::microseconds(100))) {
        return;
    }
    if (c.tune_copied > c.tune_space) {
        if (c.tune_copied >= c.rcvbuf / 2) {  // else the window is no hindrance yet
            const std::uint64_t space = std::max(c.tune_space, 1U);
            const std::uint64_t twice = std::uint64_t{c.tune_copied} * 2 + 16U * c.rcv_mss;
            grow_receive_buffer(c, twice + 2 * (twice * (c.tune_copied - space) / space));
        }
        c.tune_space = c.tune_copied;
    }
    c.tune_copied = 0;
    c.tune_at = rate_ticks(now);
}

}  // namespace shunt::tcp
