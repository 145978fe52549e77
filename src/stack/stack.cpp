#include "stack/stack.hpp"

#include <algorithm>

#include "pmd/fragments.hpp"
#include "pmd/guest.hpp"
#include "pmd/port_inline.hpp"

namespace shunt {
namespace {

constexpr unsigned burst = 32;
constexpr unsigned bursts_max = 4;             // a poll is bounded: at most so many bursts from one port
constexpr unsigned looped_max = 256;           // and so many packets to ourselves
constexpr Duration house_interval = std::chrono::milliseconds(5);
constexpr std::uint32_t listeners_max = 4096;

std::size_t table_bytes(const StackOptions& options) noexcept {
    return sizeof(Stack) + options.ports.size() * (sizeof(Link) + 64) + Udp::arena_bytes(options.connections_max) +
           tcp::Tcp::arena_bytes(options.connections_max, listeners_max) + options.extra_bytes + 4096;
}

// The start of a frame of TCP over IPv4 without IP options.
struct TcpFrameStart {
    wire::EthernetHeader ethernet;
    wire::Ipv4Header ip;
    wire::TcpHeader tcp;
};

// Whether `next` is the next segment of the same flow, with data or an ACK and nothing more; a guess that costs little: whoever acts on it finds out.
bool goes_on(const Packet& packet, const Packet& next) noexcept {
    if (packet.first_size() < sizeof(TcpFrameStart) || next.first_size() < sizeof(TcpFrameStart)) {
        return false;
    }
    const auto& a = *reinterpret_cast<const TcpFrameStart*>(packet.data());
    const auto& b = *reinterpret_cast<const TcpFrameStart*>(next.data());
    constexpr std::uint8_t plain = wire::tcp_flag::ack | wire::tcp_flag::psh;
    constexpr std::uint8_t version_ihl = 0x45;
    return b.ethernet.type == wire::ethertype_ipv4 && b.ip.version_ihl == version_ihl && b.ip.protocol == wire::protocol_tcp && !b.ip.is_fragment() && (b.tcp.flags | plain) == plain &&
           a.ip.protocol == wire::protocol_tcp && a.ip.source == b.ip.source && a.ip.destination == b.ip.destination && a.tcp.source_port == b.tcp.source_port &&
           a.tcp.destination_port == b.tcp.destination_port;
}

}  // namespace

Stack::Stack(const StackOptions& options, Arena arena, std::span<Link* const> links, pmd::Fragments* fragments, Time now) noexcept
    : lcore_(options.lcore),
      arena_(arena),
      tunables_(options.tunables),
      wheel_(now),
      fragments_(fragments),
      ipv4_(links, options.packet_source != nullptr ? *options.packet_source : options.ports[0], counters_, fragments, static_cast<std::uint8_t>(options.tunables.ip_default_ttl)),
      icmp_(ipv4_, counters_),
      udp_(ipv4_, counters_, changed_, tunables_, options.key, arena_, options.connections_max),
      tcp_(tcp::Context{ipv4_, wheel_, counters_, changed_, tunables_, options.key, options.lan_rto_min}, arena_, options.connections_max, listeners_max) {}

struct StackBuilder {
    static Outcome<Stack*> build(const StackOptions& options, Time now) {
        auto arena = Arena::map(table_bytes(options));
        if (!arena) {
            return std::unexpected(arena.error());
        }
        void* place = arena->carve(sizeof(Stack), alignof(Stack));
        // The links' counters are the stack's, which is not built yet; their address is known.
        auto* stack = static_cast<Stack*>(place);
        std::array<Link*, Ipv4::links_max> links{};
        for (std::size_t i = 0; i < options.ports.size(); ++i) {
            links[i] = new (arena->carve(sizeof(Link), alignof(Link))) Link(options.ports[i], stack->counters_);
        }
        return new (place) Stack(options, *arena, std::span(links.data(), options.ports.size()), pmd::create_fragments(options.fragments_max, pmd::reassembly_timeout, options.key), now);
    }
};

Outcome<Stack*> Stack::create(const StackOptions& options, Time now) {
    const bool has_packets = options.packet_source != nullptr && options.owns_loopback;
    if ((options.ports.empty() && !has_packets) || options.ports.size() > Ipv4::links_max) {
        return explain(EINVAL, fmt::format("--link: between 1 and {} links are supported, {} given", Ipv4::links_max, options.ports.size()));
    }
    auto stack = StackBuilder::build(options, now);
    if (!stack) {
        return stack;
    }
    Ipv4& ipv4 = (*stack)->ipv4_;
    for (const Ipv4Address& address : options.addresses) {
        if (auto added = ipv4.add_address(address); !added) {
            destroy(*stack);
            return explain(code_of(added.error()), "--ip: the same address twice, or more than 32 addresses");
        }
    }
    ipv4.set_gateway(options.gateway);
    if (options.owns_loopback) {
        ipv4.own_loopback();
    }
    return stack;
}

void Stack::destroy(Stack* stack) noexcept {
    stack->tcp_.free_packets();
    stack->udp_.free_packets();
    while (Packet* packet = stack->ipv4_.take_looped()) {
        packet->free();
    }
    for (Link* link : stack->links()) {
        link->free_packets();
    }
    if (stack->fragments_ != nullptr) {
        pmd::destroy_fragments(stack->fragments_);
    }
    Arena arena = stack->arena_;
    arena.unmap();
}

void Stack::start_over(Time now) noexcept {
    wheel_ = TimerWheel(now);
    changed_ = ChangedList();
    ipv4_.start_over(now);
    udp_.start_over();
    tcp_.start_over(now);
    house_at_ = now;
    link_was_up_ = {};
}

bool Stack::poll(Time now) noexcept {
    const bool was_resting = doing_ == Doing::resting;
    if (was_resting) {
        set_doing(Doing::at_port);
    }
    last_poll_ = pmd::is_guest() ? last_poll_ : now;  // the port is not polled by a guest
    counters_.count(Event::polls);
    bool worked = false;
    for (Link* link : links()) {
        worked |= receive(*link, now);
    }
    if (now >= wheel_.next_deadline()) [[unlikely]] {
        change();
        worked |= run_timers(now);
    }
    if (now >= house_at_) [[unlikely]] {
        change();
        keep_house(now);
    }
    if (ipv4_.has_output()) {
        change();
        flush(now);
    }
    if (was_resting) {
        rest();
    }
    return worked;
}

bool Stack::receive(Link& link, Time now) noexcept {
    std::array<Packet*, burst> packets;
    for (unsigned round = 0; round < bursts_max; ++round) {
        const std::uint16_t count = link.port.rx_burst(now, packets);
        if (count == 0) {
            return round != 0;
        }
        change();
        for (std::uint16_t i = 0; i + 1 < count; ++i) {
            tcp_.announce(goes_on(*packets[i], *packets[i + 1]));
            input_frame(link, packets[i], now);
        }
        tcp_.announce(false);
        input_frame(link, packets[count - 1], now);
        tcp_.end_burst(now);
        counters_.count(Event::rx_packets, count);
        if (count < burst) {
            return true;
        }
    }
    udp_.set_memory_pressure(tcp_.look_at_memory());  // so many at once may be too many for those that are left
    return true;
}

void Stack::input_frame(Link& link, Packet* packet, Time now) noexcept {
    if (packet->first_size() < sizeof(wire::EthernetHeader)) {
        return drop(packet, DropReason::ethernet_short);
    }
    const auto& header = *reinterpret_cast<const wire::EthernetHeader*>(packet->data());
    if (header.destination != link.port.mac && !wire::is_group(header.destination)) {
        return drop(packet, DropReason::ethernet_not_for_us);
    }
    const std::uint16_t type = header.type;
    const bool to_group = wire::is_group(header.destination);
    packet->trim_front(sizeof(wire::EthernetHeader));
    if (type == wire::ethertype_ipv4) {
        return input_ip(packet, to_group ? Arrival::to_group : Arrival::to_us, now);
    }
    if (type == wire::ethertype_arp) {
        return input_arp(link, packet, now);
    }
    drop(packet, DropReason::ethernet_unknown_type);
}

void Stack::input_arp(Link& link, Packet* packet, Time now) noexcept {
    const auto reason = link.arp_input(*packet, now, [this](std::uint32_t address) { return ipv4_.owns(address); });
    if (reason) {
        counters_.count(*reason);
    }
    packet->free();
}

void Stack::input_ip(Packet* packet, Arrival arrival, Time now) noexcept {
    Ipv4Verdict ip = ipv4_.input(packet, now);
    if (ip.kind != Ipv4Verdict::Kind::consumed && ip.kind != Ipv4Verdict::Kind::drop && arrival != Arrival::looped &&
        (ipv4_.owns(ip.source) || wire::is_loopback(ip.source) || wire::is_loopback(ip.destination))) {
        return drop(packet, DropReason::ip_bad_source);
    }
    ip.to_group = ip.to_group || arrival == Arrival::to_group;  // whatever its IP destination, others may have it, too (RFC 1122, 3.3.6)
    switch (ip.kind) {
        case Ipv4Verdict::Kind::tcp:
            return tcp_.input(packet, ip, now);
        case Ipv4Verdict::Kind::udp: {
            bool no_socket = false;
            udp_.input(packet, ip, now, no_socket);
            if (no_socket) {
                icmp_.send_unreachable(*packet, ip, wire::IcmpHeader::port_unreachable, now);
                packet->free();
            }
            return;
        }
        case Ipv4Verdict::Kind::icmp:
            return input_icmp(packet, ip, now);
        case Ipv4Verdict::Kind::unknown_protocol:
            icmp_.send_unreachable(*packet, ip, wire::IcmpHeader::protocol_unreachable, now);
            return drop(packet, DropReason::ip_unknown_protocol);
        case Ipv4Verdict::Kind::consumed:
            return;
        case Ipv4Verdict::Kind::drop:
            return drop(packet, ip.reason);
    }
}

void Stack::input_looped(Time now) noexcept {
    for (unsigned i = 0; i < looped_max; ++i) {
        Packet* packet = ipv4_.take_looped();
        if (packet == nullptr) {
            return;
        }
        input_ip(packet, Arrival::looped, now);
    }
}

void Stack::input_icmp(Packet* packet, const Ipv4Verdict& ip, Time now) noexcept {
    if (const auto error = icmp_.input(packet, ip, now)) {
        report(*error, now);
    }
}

void Stack::report(const IcmpError& error, Time now) noexcept {
    if (error.protocol == wire::protocol_tcp) {
        tcp_.icmp_error(error.source, error.source_port, error.destination, error.destination_port, error.seq, error.error, error.is_hard, error.mtu, now);
    } else if (error.protocol == wire::protocol_udp) {
        udp_.icmp_error(error, now);
    }
    if (error.quote != nullptr) {
        error.quote->free();
    }
}

bool Stack::run_timers(Time now) noexcept {
    bool worked = false;
    while (Timer* timer = wheel_.pop_due(now)) {
        tcp_.on_timer(*timer, now);
        worked = true;
    }
    return worked;
}

// What need not happen on every poll: neighbours, links that come up, memory running short.
void Stack::keep_house(Time now) noexcept {
    house_at_ = now + house_interval;
    PacketQueue failed;
    std::size_t index = 0;
    for (Link* link : links()) {
        const bool is_up = link->port.is_link_up();
        if (is_up && !link_was_up_[index]) {
            link->on_link_up(now);
        }
        link_was_up_[index++] = is_up;
        link->port.was_up = is_up;
        if (now >= link->next_deadline()) {
            link->on_timer(now, failed);
        }
    }
    ipv4_.expire_fragments(now);
    ipv4_.forget_mtus(now);
    while (!failed.is_empty()) {
        Packet* packet = failed.pop_front();
        if (const auto error = Icmp::host_unreachable(*packet)) {
            report(*error, now);
        }
        packet->free();
    }
    udp_.set_memory_pressure(tcp_.look_at_memory());
}

Time Stack::next_deadline() const noexcept {
    if (ipv4_.has_looped()) {  // the last round was bounded
        return last_poll_;
    }
    Time next = wheel_.next_deadline();
    for (Link* link : links()) {
        next = std::min(next, std::min(link->next_deadline(), link->port.next_deadline()));
    }
    return next;
}

}  // namespace shunt
