// The script's inbound packets as bytes.
#include <fmt/core.h>

#include <array>

#include "packetdrill/flow.hpp"
#include "wire/ipv4.hpp"
#include "wire/tcp.hpp"

namespace shunt::packetdrill {
namespace {

template <class T>
Bytes bytes_of(const T& header) {
    return Bytes(reinterpret_cast<const char*>(&header), sizeof header);
}

Bytes big(std::uint32_t value, unsigned bytes) {
    Bytes result;
    for (unsigned i = bytes; i-- > 0;) {
        result += static_cast<char>(value >> (8 * i));
    }
    return result;
}

Bytes payload(std::uint32_t seq, std::uint32_t length) {
    Bytes bytes(length, '\0');
    for (std::uint32_t i = 0; i < length; ++i) {
        bytes[i] = static_cast<char>((seq + i) ^ (seq + i) >> 8);
    }
    return bytes;
}

Bytes unhexadecimal(const std::string& text, int line) {
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
        std::size_t used = 0;
        bytes += static_cast<char>(std::stoi(text.substr(i, 2), &used, 16));
        if (used != 2) {
            throw ScriptError(line, fmt::format("{} is no cookie", text));
        }
    }
    return bytes;
}

Bytes option_body(const TcpOption& option, const Flow& flow) {
    switch (option.kind) {
        case OptionKind::mss: return big(option.value, 2);
        case OptionKind::wscale: return big(option.value, 1);
        case OptionKind::timestamp: return big(option.value, 4) + big(option.echo == 0 ? 0 : flow.stamp_live(option.echo), 4);
        case OptionKind::sack: {
            Bytes body;
            for (const auto& [left, right] : option.blocks) {
                body += big(flow.local_live(left), 4) + big(flow.local_live(right), 4);
            }
            return body;
        }
        case OptionKind::fast_open:
        case OptionKind::fast_open_experimental: {
            const auto known = flow.cookies.find(option.cookie);
            return (option.kind == OptionKind::fast_open ? "" : big(0xF989, 2)) + unhexadecimal(known != flow.cookies.end() ? known->second : option.cookie, 0);
        }
        default: return {};
    }
}

Bytes write_options(const std::vector<TcpOption>& options, const Flow& flow) {
    Bytes bytes;
    for (const TcpOption& option : options) {
        bytes += static_cast<char>(option.kind);
        if (option.kind != OptionKind::nop && option.kind != OptionKind::eol) {
            const Bytes body = option_body(option, flow);
            bytes += static_cast<char>(body.size() + 2);
            bytes += body;
        }
    }
    if (bytes.size() % 4 != 0 || bytes.size() > 40) {
        throw ScriptError(0, fmt::format("the TCP options take {} bytes: fill them up to a multiple of 4, 40 at most", bytes.size()));
    }
    return bytes;
}

std::uint16_t transport_checksum(std::uint32_t source, std::uint32_t destination, std::uint8_t protocol, const Bytes& segment) {
    wire::Checksum sum;
    wire::add_pseudo_header(sum, __builtin_bswap32(source), __builtin_bswap32(destination), protocol, static_cast<std::uint32_t>(segment.size()));
    sum.add(segment.data(), segment.size());
    return sum.field();
}

Bytes write_tcp(const TcpSpec& spec, const Flow& flow) {
    const Bytes rest = write_options(spec.options, flow) + payload(spec.seq, spec.length);
    wire::TcpHeader header{};
    header.source_port = flow.remote_port;
    header.destination_port = flow.local_port;
    const bool is_syn = (spec.flags & wire::tcp_flag::syn) != 0;
    header.seq = flow.remote_live(spec.seq, is_syn);
    const bool has_ack = (spec.flags & wire::tcp_flag::ack) != 0;
    header.ack = has_ack ? flow.local_live(spec.ack.value_or(0), is_syn) : spec.ack.value_or(0);
    header.offset = static_cast<std::uint8_t>((sizeof header + rest.size() - spec.length) / 4 << 4);
    header.flags = spec.flags;
    header.window = static_cast<std::uint16_t>(spec.window.value_or(0));
    header.urgent = static_cast<std::uint16_t>(spec.urgent.value_or(0));
    header.checksum = transport_checksum(flow.remote, flow.local, wire::protocol_tcp, bytes_of(header) + rest);
    return bytes_of(header) + rest;
}

Bytes write_udp(std::uint32_t length, const Flow& flow) {
    const Bytes body = payload(0, length);
    wire::UdpHeader header{};
    header.source_port = flow.remote_port;
    header.destination_port = flow.local_port;
    header.length = static_cast<std::uint16_t>(sizeof header + length);
    const std::uint16_t sum = transport_checksum(flow.remote, flow.local, wire::protocol_udp, bytes_of(header) + body);
    header.checksum = sum != 0 ? sum : std::uint16_t{0xffff};
    return bytes_of(header) + body;
}

Bytes ipv4(std::uint32_t source, std::uint32_t destination, std::uint8_t protocol, std::uint8_t tos, std::uint8_t ttl, const Bytes& payload) {
    wire::Ipv4Header header{};
    header.version_ihl = 0x45;
    header.tos = tos;
    header.total_length = static_cast<std::uint16_t>(sizeof header + payload.size());
    header.fragment = wire::Ipv4Header::dont_fragment;
    header.ttl = ttl;
    header.protocol = protocol;
    header.source = source;
    header.destination = destination;
    header.fill_checksum();
    return bytes_of(header) + payload;
}

std::uint8_t icmp_code(const IcmpSpec& spec) {
    constexpr std::pair<std::string_view, std::uint8_t> codes[] = {{"net", 0}, {"net_unreachable", 0}, {"host", 1}, {"host_unreachable", 1}, {"proto", 2}, {"protocol_unreachable", 2},
        {"port", 3}, {"port_unreachable", 3}, {"frag_needed", 4}, {"source_route_failed", 5}, {"net_unknown", 6}, {"host_unknown", 7}, {"source_host_isolated", 8},
        {"net_prohibited", 9}, {"host_prohibited", 10}, {"packet_filtered", 13}, {"ttl_exceeded", 0}, {"", 0}};
    for (const auto& [name, code] : codes) {
        if (spec.code == name || spec.code + "_unreachable" == name) {
            return code;
        }
    }
    throw ScriptError(0, fmt::format("the ICMP code {} is not known", spec.code));
}

// The error quotes the first 8 bytes of what the stack had sent.
Bytes write_icmp(const IcmpSpec& spec, const Flow& flow) {
    if (spec.type != "unreachable" && spec.type != "time_exceeded") {
        throw ScriptError(0, fmt::format("the ICMP type {} is not known", spec.type));
    }
    Bytes quoted = big(flow.local_port, 2) + big(flow.remote_port, 2);
    quoted += flow.protocol == wire::protocol_udp ? big(spec.length + 8, 2) + big(0, 2) : big(flow.local_live(spec.seq), 4);
    wire::IcmpHeader header{};
    header.type = spec.type == "unreachable" ? wire::IcmpHeader::unreachable : wire::IcmpHeader::time_exceeded;
    header.code = icmp_code(spec);
    header.word2 = static_cast<std::uint16_t>(spec.mtu);
    Bytes original = ipv4(flow.local, flow.remote, flow.protocol, 0, 64, quoted + Bytes(spec.length + 12, '\0'));
    original.resize(sizeof(wire::Ipv4Header) + quoted.size());
    const Bytes draft = bytes_of(header) + original;
    wire::Checksum sum;
    sum.add(draft.data(), draft.size());
    header.checksum = sum.field();
    return bytes_of(header) + original;
}

}  // namespace

Bytes write_packet(const PacketSpec& spec, const Flow& flow) {
    constexpr std::array<std::uint8_t, 6> marks{0, 0, 1, 2, 3, 2};  // in the order of Ecn
    const auto tos = static_cast<std::uint8_t>(spec.tos.value_or(0) | marks[static_cast<std::size_t>(spec.ecn)]);
    const auto ttl = static_cast<std::uint8_t>(spec.ttl.value_or(255));
    if (const auto* tcp = std::get_if<TcpSpec>(&spec.content)) {
        return ipv4(flow.remote, flow.local, wire::protocol_tcp, tos, ttl, write_tcp(*tcp, flow));
    }
    if (const auto* udp = std::get_if<UdpSpec>(&spec.content)) {
        return ipv4(flow.remote, flow.local, wire::protocol_udp, tos, ttl, write_udp(udp->length, flow));
    }
    return ipv4(flow.remote, flow.local, wire::protocol_icmp, tos, ttl, write_icmp(std::get<IcmpSpec>(spec.content), flow));
}

}  // namespace shunt::packetdrill
