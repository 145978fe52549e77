// One received segment, in host order and RFC 9293's words.
#pragma once

#include "wire/tcp.hpp"

namespace shunt::tcp {

struct Segment {
    Seq seq, ack;
    std::uint32_t len = 0;   // payload bytes; SYN and FIN not counted
    std::uint32_t wnd = 0;   // as in the header, not scaled
    std::uint8_t flags = 0;
    std::uint8_t tos = 0;
    std::uint16_t urgent = 0;  // the pointer
    std::uint16_t source_port = 0, destination_port = 0;
    std::uint32_t source = 0, destination = 0;
    wire::TcpOptions options;

    // What follows a SYN in its segment.
    Segment behind_syn() const noexcept {
        Segment rest = *this;
        rest.seq += 1;
        rest.flags = static_cast<std::uint8_t>(flags & ~wire::tcp_flag::syn);
        return rest;
    }
    bool has(std::uint8_t flag) const noexcept { return (flags & flag) != 0; }
    Seq end() const noexcept { return seq + len + (has(wire::tcp_flag::syn) ? 1 : 0) + (has(wire::tcp_flag::fin) ? 1 : 0); }
};

}  // namespace shunt::tcp
