// A packet is an mbuf from the NIC to the program and back. This is the only header outside pmd/'s own sources that
// names an rte_ type: Packet is an rte_mbuf with our note (PacketMeta) in its private area.
//
// Ownership: a Packet* is owned by whoever holds it; pass it on or call free(). Queues take ownership.
// A packet may have several segments (a reassembled datagram, a jumbo frame); data() and room are those of the first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__GNUC__)
#pragma GCC system_header  // rte_mbuf.h raises -Wvolatile under C++20 and later
#endif
#include <rte_mbuf.h>

namespace shunt {

class Packet;

// Our note on a packet, in the mbuf's private area. Which members mean anything depends on where the packet is.
struct PacketMeta {
    Packet* next = nullptr;         // link of the one queue that holds the packet
    std::int64_t stamp_ns = 0;      // when it was received, or last sent (StackClock)
    std::uint32_t seq = 0;          // TCP: sequence number of the first byte in data()
    std::uint32_t address = 0;      // UDP receive: source address, host order
    std::uint32_t local_address = 0;  // UDP receive: destination address, host order
    std::uint16_t port = 0;         // UDP receive: source port, host order
    std::uint16_t flags = 0;        // TCP: see tcp/segment_flags
    std::uint32_t delivered = 0;    // TCP transmit: the connection's count when it was sent, for the delivery rate
    std::uint16_t transmits = 0;    // TCP transmit: how often sent
    std::uint16_t payload_offset = 0;  // TCP transmit: headroom at which the payload starts; headers of the last transmission may stand before it
    std::uint32_t delivered_at = 0;   // TCP transmit: the connection's, when it was sent
    std::uint32_t flight_began_at = 0;  // the same
    std::uint32_t stamp_key = 0;    // TCP transmit: sequence number of the byte whose way SO_TIMESTAMPING reports
    std::uint32_t drops = 0;        // UDP receive: datagrams that its queue had lost before
    std::uint8_t ttl = 0, tos = 0;  // UDP receive: of the IP header
    std::uint16_t summed_bytes = 0; // TCP transmit: so many bytes at the front of the payload, an even number or all of it, add up to ...
    std::uint16_t payload_sum = 0;  // ... this (wire::Checksum::sum()); 0 bytes: it means nothing
    std::uint16_t lent_to = 0;      // a program has it (native buffers): one more than its row in the socket layer's ledger; 0: the stack's
};
inline constexpr std::size_t packet_meta_bytes = 64;
static_assert(sizeof(PacketMeta) <= packet_meta_bytes);

// What the port said about a received packet's checksum.
enum class ChecksumState { unknown, good, bad };

class Packet : private rte_mbuf {
public:
    static Packet* from(rte_mbuf* mbuf) noexcept { return static_cast<Packet*>(mbuf); }
    rte_mbuf* mbuf() noexcept { return this; }
    const rte_mbuf* mbuf() const noexcept { return this; }

    PacketMeta& meta() noexcept { return *reinterpret_cast<PacketMeta*>(reinterpret_cast<char*>(this) + sizeof(rte_mbuf)); }
    const PacketMeta& meta() const noexcept { return *reinterpret_cast<const PacketMeta*>(reinterpret_cast<const char*>(this) + sizeof(rte_mbuf)); }

    std::byte* data() noexcept { return rte_pktmbuf_mtod(this, std::byte*); }
    const std::byte* data() const noexcept { return rte_pktmbuf_mtod(this, const std::byte*); }
    std::uint32_t size() const noexcept { return pkt_len; }           // bytes, all segments
    std::uint32_t first_size() const noexcept { return data_len; }    // bytes contiguous at data()
    bool is_contiguous() const noexcept { return nb_segs == 1; }
    std::uint32_t headroom() const noexcept { return data_off; }
    std::uint32_t tailroom() const noexcept { return static_cast<std::uint32_t>(buf_len) - data_off - data_len; }
    std::uint32_t buffer_bytes() const noexcept { return static_cast<std::uint32_t>(buf_len) * nb_segs; }  // memory it pins

    // The headroom must hold `n` (prepend), the first segment's tailroom (append, contiguous packets only).
    std::byte* prepend(std::uint32_t n) noexcept {
        data_off = static_cast<std::uint16_t>(data_off - n);
        data_len = static_cast<std::uint16_t>(data_len + n);
        pkt_len += n;
        return data();
    }
    std::byte* append(std::uint32_t n) noexcept {
        std::byte* tail = data() + data_len;
        data_len = static_cast<std::uint16_t>(data_len + n);
        pkt_len += n;
        return tail;
    }
    // Removes `n` <= first_size() bytes at the front.
    void trim_front(std::uint32_t n) noexcept {
        data_off = static_cast<std::uint16_t>(data_off + n);
        data_len = static_cast<std::uint16_t>(data_len - n);
        pkt_len -= n;
    }
    // Removes `n` <= size() bytes at the front, whatever the segments.
    void skip_front(std::uint32_t n) noexcept;
    // Removes `n` <= size() bytes at the end, whatever the segments.
    void trim_back(std::uint32_t n) noexcept;
    // Copies `n` bytes at `offset` to `to`; offset + n <= size().
    void copy_out(std::uint32_t offset, void* to, std::uint32_t n) const noexcept {
        if (offset + n <= data_len) {
            std::memcpy(to, data() + offset, n);
        } else {
            copy_out_segments(offset, to, n);
        }
    }

    // Calls f(data, bytes) for each segment in order.
    template <class F>
    void for_each_segment(F f) const noexcept {
        for (const rte_mbuf* segment = this; segment != nullptr; segment = segment->next) {
            f(rte_pktmbuf_mtod(segment, const std::byte*), std::uint32_t{segment->data_len});
        }
    }

    // Turns this new, empty packet into a view of `other`, which is contiguous: its bytes at data(), read only, and a reference that is given back with the view.
    void view(Packet& other) noexcept { rte_pktmbuf_attach(this, &other); }
    // Puts `piece`, which is contiguous, behind `last`, the last segment of this packet so far. Takes ownership of it.
    void chain(Packet& last, Packet* piece) noexcept {
        last.rte_mbuf::next = piece;
        pkt_len += piece->pkt_len;
        ++nb_segs;
    }

    bool wants_segmentation() const noexcept { return (ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0; }  // Port::request_segmentation()
    std::uint16_t input_port() const noexcept { return port; }  // Port::id of where it was received; no port's when the stack made it
    bool is_shared() const noexcept { return rte_mbuf_refcnt_read(this) > 1; }  // the NIC, or another queue, still holds it
    void add_reference() noexcept { rte_mbuf_refcnt_update(this, 1); }
    void free() noexcept { rte_pktmbuf_free(this); }

private:
    void copy_out_segments(std::uint32_t offset, void* to, std::uint32_t n) const noexcept;
};

// A singly linked queue of packets through PacketMeta::next; owns what it holds.
class PacketQueue {
public:
    bool is_empty() const noexcept { return head_ == nullptr; }
    Packet* front() const noexcept { return head_; }
    Packet* back() const noexcept { return tail_; }
    void push_back(Packet* packet) noexcept {
        packet->meta().next = nullptr;
        (head_ == nullptr ? head_ : tail_->meta().next) = packet;
        tail_ = packet;
    }
    Packet* pop_front() noexcept {
        Packet* packet = head_;
        head_ = packet->meta().next;
        if (head_ == nullptr) {
            tail_ = nullptr;
        }
        packet->meta().next = nullptr;
        return packet;
    }
    // Puts `packet` behind `after`, or in front when `after` is null.
    void insert_after(Packet* after, Packet* packet) noexcept {
        Packet*& link = after == nullptr ? head_ : after->meta().next;
        packet->meta().next = link;
        link = packet;
        if (packet->meta().next == nullptr) {
            tail_ = packet;
        }
    }
    // Takes out the packet behind `before` (the first when null).
    Packet* remove_after(Packet* before) noexcept {
        Packet*& link = before == nullptr ? head_ : before->meta().next;
        Packet* packet = link;
        link = packet->meta().next;
        if (tail_ == packet) {
            tail_ = before;
        }
        packet->meta().next = nullptr;
        return packet;
    }
    void clear() noexcept {
        while (head_ != nullptr) {
            pop_front()->free();
        }
    }
    template <class F>
    void for_each(F f) const noexcept {
        for (Packet* packet = head_; packet != nullptr; packet = packet->meta().next) {
            f(*packet);
        }
    }

private:
    Packet* head_ = nullptr;
    Packet* tail_ = nullptr;
};

}  // namespace shunt
