// Many segments at once.
// Sent (TSO): consecutive full segments go as one frame to a port that cuts them apart. The send queue keeps a packet a segment, so that SACK, RACK and the delivery rate know
// each of them; the frame is a packet for the headers and views of the segments behind it. Where the port cannot do it each segment has its headers in front of its own
// bytes, which is all that segmentation in software (GSO) could come to, without its copies.
// Received (coalescing): a burst's segments of one flow are taken one by one and answered once.
#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {

namespace flag = wire::tcp_flag;

namespace {

constexpr std::uint32_t payload_max = 65'535 - sizeof(wire::Ipv4Header) - 60;

}  // namespace

// Whether the segment may leave in a frame with others. Identifications of what routers may cut apart must differ (RFC 6864): the port counts them on, we do not.
bool Tcp::may_share_frame(const Connection& c, const Packet& packet) noexcept {
    constexpr std::uint16_t alone = segment_flag::fin | segment_flag::stamp_sched | segment_flag::stamp_sent;
    const PacketMeta& meta = packet.meta();
    return meta.transmits == 0 && (meta.flags & alone) == 0 && packet.is_contiguous() && !packet.is_shared() && !c.has_urgent && !c.ecn_tell_cwr &&
           c.path.fragment_field == wire::Ipv4Header::dont_fragment;
}

// The segment goes with the large frame under construction, or begins one. False: it is to go alone, and what stood before it has gone.
bool Tcp::try_join(Connection& c, LargeFrame& large, Packet& packet, Time now) noexcept {
    const std::uint32_t size = payload_size(packet);
    if (large.packet != nullptr && (large.segments + 2U > c.path.link->port.offloads.tx_pieces_max || large.packet->size() + size > payload_max)) {
        send_large(c, large, now);
    }
    const bool is_first = large.packet == nullptr;
    const bool begins = size == c.mss && packet.meta().next != nullptr && c.pipe() + 2U * c.mss <= c.cwnd;
    if (!may_share_frame(c, packet) || (is_first && !begins)) {
        if (!is_first) {
            send_large(c, large, now);
        }
        return false;
    }
    Packet* view = claim(c);
    if (view != nullptr && is_first) {
        large.packet = large.last = claim(c);
        large.seq = packet.meta().seq;
        large.segments = 0;
    }
    if (view == nullptr || large.packet == nullptr) {
        if (view != nullptr) {
            view->free();
        }
        if (large.packet != nullptr) {
            send_large(c, large, now);
        }
        return false;
    }
    view->view(packet);
    view->trim_front(packet.meta().payload_offset - packet.headroom());
    large.packet->chain(*large.last, view);
    large.last = view;
    ++large.segments;
    large.ends_write = (packet.meta().flags & segment_flag::psh) != 0;
    std::uint8_t no_flags = 0;  // there is no CWR to tell
    large.ecn = c.has_ecn ? ecn_mark(c, no_flags) : std::uint8_t{0};
    note_transmission(c, packet, size, now);
    if (size < c.mss || large.ends_write) {
        send_large(c, large, now);
    }
    return true;
}

// With headers in front. There is one.
void Tcp::send_large(Connection& c, LargeFrame& large, Time now) noexcept {
    if (large.segments > 1) {
        const unsigned option_bytes = c.has_timestamps ? wire::timestamp_option_bytes : 0;
        pmd::Port::request_segmentation(*large.packet, sizeof(wire::EthernetHeader), sizeof(wire::Ipv4Header), static_cast<std::uint16_t>(sizeof(wire::TcpHeader) + option_bytes), c.mss);
        context_.counters.count(Event::tcp_large_frames);
    }
    write_header(c, *large.packet, Seq(large.seq), large.ends_write ? flag::ack | flag::psh : flag::ack, now);
    context_.ipv4.output(large.packet, c.path, wire::protocol_tcp, now, large.ecn);
    large.packet = nullptr;
}

// What one segment calls for, unless the next is at hand. Whatever tells of a loss is told of each segment (RFC 5681, 4.2).
void Tcp::output_after_segment(Connection& c, Time now) noexcept {
    if (held_ != nullptr && held_ != &c) [[unlikely]] {
        release_held(now);
    }
    if (more_follows_ && c.recovery == Recovery::open && c.ooo_queue.is_empty() && !c.has_dsack) {
        held_ = &c;
        context_.counters.count(Event::tcp_coalesced);
        return;
    }
    held_ = nullptr;
    output(c, now);
}

void Tcp::release_held(Time now) noexcept {
    Connection& c = *held_;
    held_ = nullptr;
    output(c, now);
}

}  // namespace shunt::tcp
