// The path's MTU: what routers say of it (RFC 1191, with RFC 5927's care), and, when they say nothing, what probes of our own find out (RFC 4821, as
// Linux: net.ipv4.tcp_mtu_probing 1 after a black hole, 2 always).
#include <algorithm>

#include "pmd/port_inline.hpp"
#include "tcp/congestion.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::uint32_t fixed_headers = sizeof(wire::Ipv4Header) + sizeof(wire::TcpHeader);
constexpr std::uint16_t mtu_min = 552;          // Linux: net.ipv4.route.min_pmtu
constexpr std::uint16_t segment_min = 48;       // Linux: net.ipv4.tcp_min_snd_mss
constexpr std::uint32_t probe_cwnd_min = 11;    // segments: a lost probe must be noticed by what follows it
constexpr std::uint32_t segments_behind = 4;    // that follow a probe

std::uint16_t headers_of(const Connection& c) noexcept {
    return static_cast<std::uint16_t>(fixed_headers + (c.has_timestamps ? wire::timestamp_option_bytes : 0));
}

std::uint16_t payload_of(const Connection& c, std::uint32_t mtu) noexcept {
    const auto headers = headers_of(c);
    const std::uint32_t clamped = std::min<std::uint32_t>(mtu, c.peer_mss + fixed_headers);
    const auto payload = static_cast<std::uint16_t>(std::max<std::uint32_t>(clamped, headers + segment_min) - headers);
    return c.options.maxseg != 0 ? std::min(payload, c.options.maxseg) : payload;
}

// IP_MTU_DISCOVER: whether routers are believed.
bool believes_routers(const Connection& c) noexcept {
    constexpr std::uint8_t never_do = 0, interface = 4, omit = 5;  // IP_PMTUDISC_*
    return c.options.mtu_discover != never_do && c.options.mtu_discover != interface && c.options.mtu_discover != omit;
}

}  // namespace

// Segments as large as the path takes, or as large as probes have shown that it does.
void Tcp::fit_segments(Connection& c) noexcept {
    const std::uint32_t mtu = c.mtu_search.is_on ? std::min<std::uint32_t>(c.path.mtu, c.mtu_search.low) : c.path.mtu;
    c.mss = payload_of(c, mtu);
}

// What was sent in larger segments is lost; it goes again without a smaller window (Linux: tcp_simple_retransmit).
void Tcp::resend_too_large(Connection& c, Time now) noexcept {
    for (Packet* packet = c.snd_queue.front(); packet != nullptr && packet != c.send_head; packet = packet->meta().next) {
        if ((packet->meta().flags & segment_flag::sacked) == 0 && payload_size(*packet) > c.mss) {
            mark_lost(c, *packet);
        }
    }
    output(c, now);
}

// A router says that a segment was too large for the link behind it. Below Linux's least MTU it is not believed in full: such segments may be fragmented.
void Tcp::on_smaller_mtu(Connection& c, std::uint16_t mtu, Time now) noexcept {
    if (!believes_routers(c) || c.path.link == nullptr) {
        return;
    }
    if (mtu < mtu_min) {
        c.path.fragment_field = 0;
    }
    const std::uint16_t believed = std::max(mtu, mtu_min);
    if (believed >= c.path.mtu) {
        return;
    }
    context_.ipv4.learn_mtu(c.remote_address, believed, now);
    c.path.mtu = believed;
    c.mtu_search.high = std::min(c.mtu_search.high, believed);
    fit_segments(c);
    if (c.state == State::syn_sent && c.opening.sent_data) {
        send_syn(c, now);  // with data it was too large
    }
    resend_too_large(c, now);
}

// The search begins: between what every path is thought to take and what both ends can.
void Tcp::start_mtu_search(Connection& c, Time now) noexcept {
    const Tunables& t = context_.tunables;
    MtuSearch& search = c.mtu_search;
    search = {};
    search.high = static_cast<std::uint16_t>(std::min<std::uint32_t>(c.path.mtu, c.peer_mss + fixed_headers));
    search.low = static_cast<std::uint16_t>(std::min<std::uint32_t>(search.high, static_cast<std::uint32_t>(t.tcp_base_mss) + headers_of(c)));
    search.begun_at = now;
    search.is_on = t.tcp_mtu_probing > 1 && c.path.link != nullptr;
    if (search.is_on) {
        fit_segments(c);
        c.cwnd = std::min<std::uint32_t>(c.cwnd, congestion::initial_segments * c.mss);
    }
}

// Segments vanish, again and again: perhaps because of their size (RFC 4821, 7.6.1; RFC 2923, 2.1).
void Tcp::suspect_black_hole(Connection& c, Time now) noexcept {
    const Tunables& t = context_.tunables;
    if (t.tcp_mtu_probing == 0 || c.path.link == nullptr) {
        return;
    }
    MtuSearch& search = c.mtu_search;
    if (!search.is_on) {
        search.is_on = true;
        search.begun_at = now;
    } else {
        const auto half = static_cast<std::int32_t>(payload_of(c, search.low) / 2);
        const std::int32_t smaller = std::max({std::min(half, t.tcp_base_mss), t.tcp_mtu_probe_floor, std::int32_t{segment_min}});
        search.low = static_cast<std::uint16_t>(smaller + headers_of(c));
    }
    fit_segments(c);
}

void Tcp::on_probe_arrived(Connection& c) noexcept {
    c.mtu_search.low = c.mtu_search.size;
    c.mtu_search.size = 0;
    fit_segments(c);
}

// Nothing but the probe is lost: that is an answer, and no congestion (RFC 4821, 7.6.2). True when it was one.
bool Tcp::try_probe_lost(Connection& c, Time now) noexcept {
    MtuSearch& search = c.mtu_search;
    if (search.size == 0 || c.snd_una != search.start || c.recovery >= Recovery::cwr) {
        return false;
    }
    search.high = static_cast<std::uint16_t>(search.size - 1);
    search.size = 0;
    c.cwnd += c.mss;
    c.recovery = Recovery::loss;  // what is lost goes again, with the window as it is
    c.recover = c.snd_nxt;
    c.may_undo = false;
    resend_too_large(c, now);
    return true;
}

// The next size to try, in the middle; 0: the search has come to its end, and begins anew after tcp_probe_interval.
std::uint16_t Tcp::next_probe_size(Connection& c, Time now) noexcept {
    const Tunables& t = context_.tunables;
    MtuSearch& search = c.mtu_search;
    if (search.high >= search.low && search.high - search.low >= t.tcp_probe_threshold) {
        return static_cast<std::uint16_t>((search.high + search.low) / 2);
    }
    if (now - search.begun_at >= std::chrono::seconds(t.tcp_probe_interval)) {
        search.low = static_cast<std::uint16_t>(c.mss + headers_of(c));
        search.high = static_cast<std::uint16_t>(std::min<std::uint32_t>(c.path.mtu, c.peer_mss + fixed_headers));
        search.begun_at = now;
    }
    return 0;
}

// Whether a probe may go now (Linux: tcp_mtu_probe). `wait`: it may soon, if nothing else is sent meanwhile.
Tcp::Probe Tcp::may_probe(const Connection& c, std::uint32_t payload) const noexcept {
    const std::uint32_t needed = payload + segments_behind * c.mss;
    if (c.unsent() < needed || c.snd_wnd < needed || payload <= c.mss) {
        return Probe::no;
    }
    if (c.snd_nxt + needed > c.snd_una + c.snd_wnd) {
        return Probe::wait;
    }
    if (c.pipe() + 2U * c.mss > c.cwnd) {
        return c.pipe() == 0 ? Probe::no : Probe::wait;
    }
    return Probe::go;
}

// One segment of `payload` bytes made of those at the head of what is unsent. Null without memory, or where writes must stay apart.
Packet* Tcp::build_probe(Connection& c, std::uint32_t payload) noexcept {
    constexpr std::uint16_t apart = segment_flag::eor | segment_flag::stamps | segment_flag::fin;
    std::uint32_t there = 0;
    for (Packet* each = c.send_head; each != nullptr && there < payload; each = each->meta().next) {
        if ((each->meta().flags & apart) != 0) {
            return nullptr;
        }
        there += payload_size(*each);
    }
    Packet* probe = there >= payload ? claim(c) : nullptr;
    if (probe == nullptr || probe->tailroom() < payload) {
        if (probe != nullptr) {
            probe->free();
        }
        return nullptr;
    }
    PacketMeta& meta = probe->meta();
    meta.seq = c.snd_nxt.raw();
    meta.flags = 0;
    meta.transmits = 0;
    meta.payload_offset = static_cast<std::uint16_t>(probe->headroom());
    meta.summed_bytes = 0;
    while (probe->size() < payload) {
        Packet& head = *c.send_head;
        const std::uint32_t size = payload_size(head), n = std::min(payload - probe->size(), size);
        head.copy_out(head.meta().payload_offset - head.headroom(), probe->append(n), n);
        if (n == size) {
            meta.flags = static_cast<std::uint16_t>(meta.flags | (head.meta().flags & segment_flag::psh));
            c.send_head = head.meta().next;
            c.snd_queue.remove_after(c.last_sent)->free();
        } else {
            head.skip_front(head.meta().payload_offset - head.headroom() + n);
            head.meta().seq += n;
            head.meta().summed_bytes = 0;
            head.meta().payload_offset = static_cast<std::uint16_t>(head.headroom());
        }
    }
    c.snd_queue.insert_after(c.last_sent, probe);
    c.send_head = probe;
    return probe;
}

// False: nothing else may be sent before the probe.
bool Tcp::probe_mtu(Connection& c, Time now) noexcept {
    MtuSearch& search = c.mtu_search;
    const bool is_quiet = search.size == 0 && c.recovery == Recovery::open && c.cwnd >= probe_cwnd_min * c.mss && c.ooo_queue.is_empty() && !c.has_dsack;
    const std::uint16_t size = is_quiet ? next_probe_size(c, now) : std::uint16_t{0};
    const std::uint32_t payload = size != 0 ? payload_of(c, size) : 0U;
    const Probe verdict = size != 0 ? may_probe(c, payload) : Probe::no;
    Packet* probe = verdict == Probe::go ? build_probe(c, payload) : nullptr;
    if (probe == nullptr) {
        return verdict != Probe::wait;
    }
    if (c.outstanding() == 0) {
        c.first_unanswered = now;
    }
    search.size = size;
    search.start = c.snd_nxt;
    search.end = c.snd_nxt + payload;
    c.cwnd -= c.mss;  // it is worth two
    context_.counters.count(Event::tcp_mtu_probes);
    transmit(c, *probe, now);
    note_sent(c, *probe);
    set_retransmit(c, now);
    return true;
}

}  // namespace shunt::tcp
