// Urgent data as Linux has them (RFC 9293, 3.8.5; RFC 6093 for why): one byte of the stream, marked. It is announced by the first segment whose pointer
// passes it, read out of line unless SO_OOBINLINE, and reads stop before it.
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {

namespace flag = wire::tcp_flag;

// The pointer names the byte behind the urgent one, or, with tcp_stdurg, that byte (RFC 1122, 4.2.2.4; RFC 6093, 3.2).
void Tcp::urgent_arrives(Connection& c, const Segment& seg, const Packet& packet, Time now) noexcept {
    if (!c.can_receive_data() || c.fin_received) {
        return;
    }
    const bool names_next = seg.urgent != 0 && context_.tunables.tcp_stdurg == 0;
    const Seq at = seg.seq + seg.urgent - (names_next ? 1 : 0);
    const bool is_news = at >= c.copied_seq() && at >= c.rcv_nxt && (c.urgent == Urgent::none || at > c.rcv_up);
    if (is_news) {
        if (c.urgent != Urgent::none && c.rcv_up == c.copied_seq() && !c.options.oob_inline && c.rcv_queued != 0) {
            receive(c, nullptr, 1, false, 0, now);  // the old mark stood here: its byte is lost to the stream
        }
        c.urgent = Urgent::not_yet;
        c.rcv_up = at;
        note(c, ready::urgent);
    }
    if (c.urgent == Urgent::not_yet && c.rcv_up >= seg.seq && c.rcv_up - seg.seq < packet.size()) {
        packet.copy_out(c.rcv_up - seg.seq, &c.urgent_byte, 1);
        c.urgent = Urgent::valid;
        note(c, ready::input);
    }
}

std::optional<std::byte> Tcp::urgent_byte(Connection& c, bool peek) noexcept {
    if (c.urgent == Urgent::not_yet && c.rcv_nxt > c.rcv_up && c.rcv_up >= c.copied_seq()) {  // it came without the flag
        receive(c, &c.urgent_byte, 1, true, c.rcv_up - c.copied_seq(), Time{});
        c.urgent = Urgent::valid;
    }
    if (c.urgent != Urgent::valid) {
        return std::nullopt;
    }
    c.urgent = peek ? c.urgent : Urgent::read;
    return c.urgent_byte;
}

bool Tcp::sends_urgent(const Connection& c) noexcept { return c.has_urgent && c.snd_up > c.snd_una; }

// The header's pointer for a segment at `seq`; sets the flag with it.
std::uint16_t Tcp::urgent_pointer(Connection& c, Seq seq, std::uint8_t& flags) noexcept {
    c.has_urgent = sends_urgent(c);
    if (!c.has_urgent || c.snd_up <= seq || (flags & flag::rst) != 0) {
        return 0;
    }
    flags |= flag::urg;
    return static_cast<std::uint16_t>(std::min<std::uint32_t>(c.snd_up - seq, 0xffff));
}

}  // namespace shunt::tcp
