// Explicit congestion notification (RFC 3168): agreed upon in the handshake; what the receiver hears from routers it tells the sender, who
// slows down once a window and says that it has.
#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {

namespace flag = wire::tcp_flag;

namespace {

constexpr std::uint8_t ecn_mask = 3, ect_0 = 2, ce = 3;  // of the IP header's TOS byte
constexpr std::uint8_t asks = flag::ece | flag::cwr;
constexpr std::int32_t when_asked = 2;                   // net.ipv4.tcp_ecn

}  // namespace

// A SYN has come (6.1.1). A SYN that is itself marked comes from somebody who does not know how.
void Tcp::ecn_answer(Connection& c, const Segment& seg) noexcept {
    c.has_ecn = context_.tunables.tcp_ecn != 0 && (seg.flags & asks) == asks && (seg.tos & ecn_mask) == 0;
}

// Our SYN was answered; only the first SYN asked, in case a router on the way throws away those that do.
void Tcp::ecn_agree(Connection& c, const Segment& seg) noexcept {
    c.has_ecn = ecn_asks(c) && (seg.flags & asks) == flag::ece;
}

bool Tcp::ecn_asks(const Connection& c) const noexcept {
    return context_.tunables.tcp_ecn != 0 && context_.tunables.tcp_ecn < when_asked && c.syn_tries <= 1;
}

// Receiver (6.1.3): from the mark on until the sender has said that it heard, every ACK tells.
void Tcp::ecn_receive(Connection& c, const Segment& seg) noexcept {
    if (seg.has(flag::cwr)) {
        c.ecn_echo = false;
        c.ack_now = c.ack_now || seg.len != 0;
    }
    if ((seg.tos & ecn_mask) == ce && seg.len != 0) {
        context_.counters.count(Event::tcp_ecn_marks);
        if (!c.ecn_echo) {
            c.ecn_echo = true;
            c.ack_now = true;
            enter_quick_ack(c, 2);
        }
    }
}

// Sender (6.1.2): as for a loss, but nothing is sent again. Not twice for one window.
void Tcp::ecn_reduce(Connection& c) noexcept {
    if (c.recovery != Recovery::open && c.recovery != Recovery::disorder) {
        return;
    }
    context_.counters.count(Event::tcp_ecn_reductions);
    begin_reduction(c);
    c.may_undo = false;
    c.recovery = Recovery::cwr;
}

// The TOS bits of a segment with new data, and the flag that says the window was reduced.
std::uint8_t Tcp::ecn_mark(Connection& c, std::uint8_t& flags) noexcept {
    if (c.ecn_tell_cwr) {
        c.ecn_tell_cwr = false;
        flags |= flag::cwr;
    }
    return ect_0;
}

}  // namespace shunt::tcp
