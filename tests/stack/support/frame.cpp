#include "stack/support/frame.hpp"

#include <fmt/core.h>

#include <cstring>

namespace shunt::test {
namespace {

template <class T>
Bytes bytes_of(const T& header) {
    return Bytes(reinterpret_cast<const char*>(&header), sizeof header);
}

std::uint16_t transport_checksum(std::uint32_t source, std::uint32_t destination, std::uint8_t protocol, const Bytes& segment) {
    wire::Checksum sum;
    wire::add_pseudo_header(sum, __builtin_bswap32(source), __builtin_bswap32(destination), protocol, static_cast<std::uint32_t>(segment.size()));
    sum.add(segment.data(), segment.size());
    return sum.field();
}

std::string flags_of(const Frame& frame) {
    std::string text;
    const char* letters = "FSRPAUEC";
    for (unsigned i = 0; i < 8; ++i) {
        if ((frame.flags >> i & 1) != 0) {
            text += letters[i];
        }
    }
    return text;
}

void decode_tcp(const Bytes& segment, Frame& frame) {
    const auto& header = *reinterpret_cast<const wire::TcpHeader*>(segment.data());
    frame.source_port = header.source_port;
    frame.destination_port = header.destination_port;
    frame.seq = header.seq;
    frame.ack = header.ack;
    frame.flags = header.flags;
    frame.window = header.window;
    frame.option_bytes = segment.substr(sizeof header, header.header_bytes() - sizeof header);
    frame.options = wire::parse_tcp_options(reinterpret_cast<const std::uint8_t*>(frame.option_bytes.data()), static_cast<unsigned>(frame.option_bytes.size()));
    frame.payload = segment.substr(header.header_bytes());
    frame.has_good_checksums &= transport_checksum(frame.source, frame.destination, frame.protocol, segment) == 0;
}

void decode_udp(const Bytes& segment, Frame& frame) {
    const auto& header = *reinterpret_cast<const wire::UdpHeader*>(segment.data());
    frame.source_port = header.source_port;
    frame.destination_port = header.destination_port;
    frame.payload = segment.substr(sizeof header);
    frame.has_good_checksums &= transport_checksum(frame.source, frame.destination, frame.protocol, segment) == 0;
}

void decode_icmp(const Bytes& segment, Frame& frame) {
    wire::Checksum sum;
    sum.add(segment.data(), segment.size());
    frame.has_good_checksums &= sum.is_good();
    frame.icmp_type = static_cast<std::uint8_t>(segment[0]);
    frame.icmp_code = static_cast<std::uint8_t>(segment[1]);
    frame.payload = segment.substr(4);
}

}  // namespace

std::string name_of_address(std::uint32_t a) {
    return fmt::format("{}.{}.{}.{}", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

Bytes pattern(std::size_t size, std::size_t from) {
    Bytes bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        const std::size_t at = from + i;
        bytes[i] = static_cast<char>(at ^ (at >> 8) * 31 ^ (at >> 16) * 17);
    }
    return bytes;
}

std::ostream& operator<<(std::ostream& out, const Frame& f) {
    out << count_us(f.at.time_since_epoch()) << " us: ";
    if (f.is_arp()) {
        return out << "ARP " << f.arp_operation << " " << name_of_address(f.source) << " asks for " << name_of_address(f.destination);
    }
    out << name_of_address(f.source) << ":" << f.source_port << " > " << name_of_address(f.destination) << ":" << f.destination_port;
    if (f.is_tcp()) {
        out << " [" << flags_of(f) << "] seq " << f.seq << " ack " << f.ack << " win " << f.window << " len " << f.payload.size();
        for (unsigned i = 0; i < f.options.sack_count; ++i) {
            out << " sack " << f.options.sack[i].left.raw() << "-" << f.options.sack[i].right.raw();
        }
        return out;
    }
    return out << " protocol " << int{f.protocol} << " icmp " << int{f.icmp_type} << "/" << int{f.icmp_code} << " len " << f.payload.size();
}

Frame decode(const Bytes& bytes, Time at) {
    Frame frame;
    frame.at = at;
    const auto& header = *reinterpret_cast<const wire::EthernetHeader*>(bytes.data());
    frame.to = header.destination;
    frame.from = header.source;
    frame.type = header.type;
    if (frame.is_arp()) {
        const auto& packet = *reinterpret_cast<const wire::ArpPacket*>(bytes.data() + sizeof header);
        frame.arp_operation = packet.operation;
        frame.source = packet.sender_address;
        frame.destination = packet.target_address;
        return frame;
    }
    if (frame.type != wire::ethertype_ipv4) {
        return frame;
    }
    const auto& ip_header = *reinterpret_cast<const wire::Ipv4Header*>(bytes.data() + sizeof header);
    frame.source = ip_header.source;
    frame.destination = ip_header.destination;
    frame.protocol = ip_header.protocol;
    frame.ttl = ip_header.ttl;
    frame.tos = ip_header.tos;
    frame.identification = ip_header.identification;
    frame.fragment = ip_header.fragment;
    frame.has_good_checksums = ip_header.has_good_checksum();
    const Bytes segment = bytes.substr(sizeof header + ip_header.header_bytes(), ip_header.total_length - ip_header.header_bytes());
    if (ip_header.is_fragment()) {
        frame.payload = segment;
        return frame;
    }
    switch (frame.protocol) {
        case wire::protocol_tcp: decode_tcp(segment, frame); break;
        case wire::protocol_udp: decode_udp(segment, frame); break;
        case wire::protocol_icmp: decode_icmp(segment, frame); break;
        default: frame.payload = segment; break;
    }
    return frame;
}

Bytes ethernet(const wire::Mac& to, const wire::Mac& from, std::uint16_t type, const Bytes& payload) {
    wire::EthernetHeader header;
    header.destination = to;
    header.source = from;
    header.type = type;
    return bytes_of(header) + payload;
}

Bytes arp(std::uint16_t operation, const wire::Mac& sender_mac, std::uint32_t sender, const wire::Mac& target_mac, std::uint32_t target) {
    wire::ArpPacket packet;
    packet.hardware_type = 1;
    packet.protocol_type = wire::ethertype_ipv4;
    packet.hardware_length = 6;
    packet.protocol_length = 4;
    packet.operation = operation;
    packet.sender_mac = sender_mac;
    packet.sender_address = sender;
    packet.target_mac = target_mac;
    packet.target_address = target;
    return bytes_of(packet);
}

Bytes ipv4(const IpFields& fields, const Bytes& payload) {
    wire::Ipv4Header header{};
    header.version_ihl = fields.version_ihl;
    header.total_length = static_cast<std::uint16_t>(sizeof header + payload.size());
    header.identification = fields.identification;
    header.fragment = fields.fragment;
    header.tos = fields.tos;
    header.ttl = fields.ttl;
    header.protocol = fields.protocol;
    header.source = fields.source;
    header.destination = fields.destination;
    header.fill_checksum();
    header.checksum = static_cast<std::uint16_t>(header.checksum ^ (fields.bad_checksum ? 1 : 0));
    return bytes_of(header) + payload;
}

Bytes udp(std::uint32_t source, std::uint16_t source_port, std::uint32_t destination, std::uint16_t destination_port, const Bytes& payload) {
    wire::UdpHeader header{};
    header.source_port = source_port;
    header.destination_port = destination_port;
    header.length = static_cast<std::uint16_t>(sizeof header + payload.size());
    const std::uint16_t sum = transport_checksum(source, destination, wire::protocol_udp, bytes_of(header) + payload);
    header.checksum = sum != 0 ? sum : std::uint16_t{0xffff};
    return bytes_of(header) + payload;
}

Bytes tcp(std::uint32_t source, std::uint32_t destination, const TcpFields& fields, const Bytes& payload) {
    std::uint8_t options[40];
    const unsigned option_bytes = wire::emit_tcp_options(fields.options, options);
    wire::TcpHeader header{};
    header.source_port = fields.source_port;
    header.destination_port = fields.destination_port;
    header.seq = fields.seq;
    header.ack = fields.ack;
    header.offset = static_cast<std::uint8_t>((5 + option_bytes / 4) << 4);
    header.flags = fields.flags;
    header.window = fields.window;
    const Bytes rest = Bytes(reinterpret_cast<const char*>(options), option_bytes) + payload;
    header.checksum = transport_checksum(source, destination, wire::protocol_tcp, bytes_of(header) + rest);
    header.checksum = static_cast<std::uint16_t>(header.checksum ^ (fields.bad_checksum ? 1 : 0));
    return bytes_of(header) + rest;
}

Bytes icmp(std::uint8_t type, std::uint8_t code, std::uint32_t rest, const Bytes& payload) {
    wire::IcmpHeader header{};
    header.type = type;
    header.code = code;
    header.word1 = static_cast<std::uint16_t>(rest >> 16);
    header.word2 = static_cast<std::uint16_t>(rest);
    const Bytes draft = bytes_of(header) + payload;
    wire::Checksum sum;
    sum.add(draft.data(), draft.size());
    header.checksum = sum.field();
    return bytes_of(header) + payload;
}

}  // namespace shunt::test
