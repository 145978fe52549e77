#include "packetdrill/flow.hpp"

#include <fmt/core.h>

#include "wire/ipv4.hpp"
#include "wire/tcp.hpp"

namespace shunt::packetdrill {
namespace {

namespace flag = wire::tcp_flag;

std::string name_of_flags(std::uint8_t flags) {
    std::string text;
    constexpr std::pair<char, std::uint8_t> letters[] = {{'S', flag::syn}, {'F', flag::fin}, {'R', flag::rst}, {'P', flag::psh}, {'U', flag::urg}, {'E', flag::ece}, {'W', flag::cwr}, {'.', flag::ack}};
    for (const auto& [letter, bit] : letters) {
        if ((flags & bit) != 0) {
            text += letter;
        }
    }
    return text.empty() ? "-" : text;
}

std::string name_of_option(const TcpOption& option) {
    switch (option.kind) {
        case OptionKind::eol: return "eol";
        case OptionKind::nop: return "nop";
        case OptionKind::mss: return fmt::format("mss {}", option.value);
        case OptionKind::wscale: return fmt::format("wscale {}", option.value);
        case OptionKind::sack_ok: return "sackOK";
        case OptionKind::timestamp: return fmt::format("TS val {} ecr {}", option.value, option.echo);
        case OptionKind::fast_open: return "FO " + option.cookie;
        case OptionKind::fast_open_experimental: return "FOEXP " + option.cookie;
        case OptionKind::sack: break;
    }
    std::string text = "sack";
    for (const auto& [left, right] : option.blocks) {
        text += fmt::format(" {}:{}", left, right);
    }
    return text;
}

std::string name_of_options(const std::vector<TcpOption>& options) {
    std::string text;
    for (const TcpOption& option : options) {
        text += (text.empty() ? "" : ",") + name_of_option(option);
    }
    return text.empty() ? "" : " <" + text + ">";
}

std::string name_of_tos(const LivePacket& live) {
    constexpr const char* names[] = {"", "[ect1] ", "[ect0] ", "[ce] "};
    return names[live.tos & 3];
}

std::string hexadecimal(const Bytes& bytes) {
    std::string text;
    for (const char c : bytes) {
        text += fmt::format("{:02x}", static_cast<unsigned char>(c));
    }
    return text;
}

std::uint32_t load(const Bytes& bytes, std::size_t at, unsigned count) {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < count; ++i) {
        value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    }
    return value;
}

TcpOption read_option(OptionKind kind, const Bytes& body) {
    TcpOption option;
    option.kind = kind;
    if (kind == OptionKind::mss && body.size() == 2) {
        option.value = load(body, 0, 2);
    } else if (kind == OptionKind::wscale && body.size() == 1) {
        option.value = load(body, 0, 1);
    } else if (kind == OptionKind::timestamp && body.size() == 8) {
        option.value = load(body, 0, 4);
        option.echo = load(body, 4, 4);
    } else if (kind == OptionKind::fast_open) {
        option.cookie = hexadecimal(body);
    } else if (kind == OptionKind::fast_open_experimental && body.size() >= 2) {
        option.cookie = hexadecimal(body.substr(2));
    } else if (kind == OptionKind::sack) {
        for (std::size_t at = 0; at + 8 <= body.size(); at += 8) {
            option.blocks.emplace_back(load(body, at, 4), load(body, at + 4, 4));
        }
    }
    return option;
}

std::vector<TcpOption> read_options(const Bytes& bytes) {
    std::vector<TcpOption> options;
    for (std::size_t at = 0; at < bytes.size();) {
        const auto kind = static_cast<OptionKind>(bytes[at]);
        if (kind == OptionKind::eol || kind == OptionKind::nop) {
            TcpOption single;
            single.kind = kind;
            options.push_back(single);
            ++at;
            continue;
        }
        const std::size_t size = at + 1 < bytes.size() ? static_cast<unsigned char>(bytes[at + 1]) : 0;
        if (size < 2 || at + size > bytes.size()) {
            break;
        }
        options.push_back(read_option(kind, bytes.substr(at + 2, size - 2)));
        at += size;
    }
    return options;
}

bool has_good_checksum(std::uint32_t source, std::uint32_t destination, std::uint8_t protocol, const Bytes& segment) {
    wire::Checksum sum;
    wire::add_pseudo_header(sum, __builtin_bswap32(source), __builtin_bswap32(destination), protocol, static_cast<std::uint32_t>(segment.size()));
    sum.add(segment.data(), segment.size());
    return sum.is_good();
}

void read_tcp(const Bytes& segment, LivePacket& live) {
    const auto& header = *reinterpret_cast<const wire::TcpHeader*>(segment.data());
    live.source_port = header.source_port;
    live.destination_port = header.destination_port;
    live.seq = header.seq;
    live.ack = header.ack;
    live.flags = header.flags;
    live.window = header.window;
    live.urgent = header.urgent;
    live.length = static_cast<std::uint32_t>(segment.size() - header.header_bytes());
    live.options = read_options(segment.substr(sizeof header, header.header_bytes() - sizeof header));
    live.has_good_checksums = has_good_checksum(live.source, live.destination, live.protocol, segment);
}

// Options in the script's numbers.
std::vector<TcpOption> in_script_numbers(std::vector<TcpOption> options, const Flow& flow) {
    for (TcpOption& option : options) {
        if (option.kind == OptionKind::timestamp) {
            option.value = flow.stamp_script(option.value);
        }
        for (auto& [left, right] : option.blocks) {
            left = flow.remote_script(left);
            right = flow.remote_script(right);
        }
        for (const auto& [name, cookie] : flow.cookies) {
            if (option.cookie == cookie && !cookie.empty()) {
                option.cookie = name;
            }
        }
    }
    return options;
}

bool is_cookie_name(const std::string& cookie) { return cookie.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos; }

// The stack's time stamps and cookies that stand at the places where the script has its own.
void learn(const TcpSpec& spec, const LivePacket& live, Flow& flow) {
    for (std::size_t i = 0; i < spec.options.size() && i < live.options.size(); ++i) {
        const TcpOption &script = spec.options[i], &real = live.options[i];
        if (script.kind != real.kind) {
            return;
        }
        if (script.kind == OptionKind::timestamp) {
            flow.stamps[script.value] = real.value;
        }
        if (is_cookie_name(script.cookie)) {
            flow.cookies[script.cookie] = real.cookie;
        }
    }
}

std::string compare_tcp(const TcpSpec& spec, const LivePacket& live, Flow& flow, std::uint32_t skip) {
    const bool is_syn = (live.flags & flag::syn) != 0;
    if (is_syn && (!flow.local_offset || live.ack != flow.syn_ack)) {
        flow.local_offset = live.seq;
        flow.local_isn = spec.seq;  // another ACK: another connection between the same ports
        flow.syn_ack = live.ack;
    }
    learn(spec, live, flow);
    std::string differs;
    const auto check = [&differs](const char* what, auto expected, auto actual) {
        if (expected != actual) {
            differs += fmt::format("{}{}: expected {}, actual {}", differs.empty() ? "" : "; ", what, expected, actual);
        }
    };
    const bool has_free_push = skip != 0 && (live.flags & flag::psh) == 0;  // Linux puts PSH on whatever it hands over in one piece
    check("flags", name_of_flags(has_free_push ? static_cast<std::uint8_t>(spec.flags & ~flag::psh) : spec.flags), name_of_flags(live.flags));
    check("sequence number", spec.seq + skip, flow.local_script(live.seq, is_syn));
    check("payload length", spec.length - skip, live.length);
    if (spec.ack) {
        check("acknowledgment", *spec.ack, flow.remote_script(live.ack, is_syn));
    }
    if (spec.window) {
        check("window", *spec.window, std::uint32_t{live.window});
    }
    if (spec.urgent) {
        check("urgent pointer", *spec.urgent, std::uint32_t{live.urgent});
    }
    if (!spec.any_options) {
        check("options", name_of_options(spec.options), name_of_options(in_script_numbers(live.options, flow)));
    }
    return differs;
}

std::string compare_ecn(Ecn expected, std::uint8_t tos) {
    const unsigned mark = tos & 3;
    const bool fits = expected == Ecn::any || (expected == Ecn::none && mark == 0) || (expected == Ecn::ect1 && mark == 1) || (expected == Ecn::ect0 && mark == 2) ||
                      (expected == Ecn::ce && mark == 3) || (expected == Ecn::ect01 && (mark == 1 || mark == 2));
    return fits ? "" : fmt::format("ECN bits: actual {}", mark);
}

}  // namespace

std::string name_of_address(std::uint32_t a) { return fmt::format("{}.{}.{}.{}", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255); }

std::uint32_t Flow::stamp_live(std::uint32_t stamp) const {
    if (const auto found = stamps.find(stamp); found != stamps.end() || stamps.empty()) {
        return stamps.empty() ? stamp : found->second;
    }
    return stamp - stamps.begin()->first + stamps.begin()->second;
}

std::uint32_t Flow::stamp_script(std::uint32_t stamp) const {
    for (auto it = stamps.rbegin(); it != stamps.rend(); ++it) {
        if (it->second == stamp) {
            return it->first;
        }
    }
    return stamps.empty() ? stamp : stamp - stamps.begin()->second + stamps.begin()->first;
}

std::optional<LivePacket> read_packet(const Bytes& packet) {
    if (packet.size() < sizeof(wire::Ipv4Header)) {
        return std::nullopt;
    }
    const auto& header = *reinterpret_cast<const wire::Ipv4Header*>(packet.data());
    LivePacket live;
    live.protocol = header.protocol;
    live.tos = header.tos;
    live.ttl = header.ttl;
    live.source = header.source;
    live.destination = header.destination;
    const Bytes segment = packet.substr(header.header_bytes(), header.total_length - header.header_bytes());
    if (live.protocol == wire::protocol_tcp && segment.size() >= sizeof(wire::TcpHeader)) {
        read_tcp(segment, live);
    } else if (live.protocol == wire::protocol_udp && segment.size() >= sizeof(wire::UdpHeader)) {
        const auto& udp = *reinterpret_cast<const wire::UdpHeader*>(segment.data());
        live.source_port = udp.source_port;
        live.destination_port = udp.destination_port;
        live.length = static_cast<std::uint32_t>(segment.size() - sizeof udp);
        live.has_good_checksums = has_good_checksum(live.source, live.destination, live.protocol, segment);
    } else if (live.protocol == wire::protocol_icmp && segment.size() >= sizeof(wire::IcmpHeader)) {
        live.icmp_type = static_cast<std::uint8_t>(segment[0]);
        live.icmp_code = static_cast<std::uint8_t>(segment[1]);
        wire::Checksum sum;
        sum.add(segment.data(), segment.size());
        live.has_good_checksums = sum.is_good();
    } else {
        return std::nullopt;
    }
    live.has_good_checksums &= header.has_good_checksum();
    return live;
}

std::string describe(const LivePacket& live, const Flow& flow) {
    if (live.protocol == wire::protocol_udp) {
        return fmt::format("{}udp ({})", name_of_tos(live), live.length);
    }
    if (live.protocol == wire::protocol_icmp) {
        return fmt::format("icmp type {} code {}", live.icmp_type, live.icmp_code);
    }
    const bool is_syn = (live.flags & flag::syn) != 0;
    const std::uint32_t seq = flow.local_script(live.seq, is_syn);
    std::string text = fmt::format("{}{} {}:{}({})", name_of_tos(live), name_of_flags(live.flags), seq, seq + live.length, live.length);
    if ((live.flags & flag::ack) != 0) {
        text += fmt::format(" ack {}", flow.remote_script(live.ack, is_syn));
    }
    text += fmt::format(" win {}", live.window);
    if (live.urgent != 0) {
        text += fmt::format(" urg {}", live.urgent);
    }
    return text + name_of_options(in_script_numbers(live.options, flow));
}

bool is_piece(const PacketSpec& spec, const LivePacket& live, const Flow& flow, std::uint32_t skip) {
    const auto* tcp = std::get_if<TcpSpec>(&spec.content);
    return tcp != nullptr && live.protocol == wire::protocol_tcp && live.length != 0 && skip + live.length < tcp->length && flow.local_script(live.seq) == tcp->seq + skip &&
           (live.flags & ~flag::psh) == (tcp->flags & ~(flag::psh | flag::fin));
}

std::string compare(const PacketSpec& spec, const LivePacket& live, Flow& flow, std::uint32_t skip) {
    std::string differs;
    if (const auto* tcp = std::get_if<TcpSpec>(&spec.content)) {
        differs = live.protocol == wire::protocol_tcp ? compare_tcp(*tcp, live, flow, skip) : "not TCP";
    } else if (const auto* udp = std::get_if<UdpSpec>(&spec.content)) {
        const bool is_same = live.protocol == wire::protocol_udp && udp->length == live.length;
        differs = is_same ? "" : fmt::format("expected UDP with {} bytes", udp->length);
    } else {
        const auto& icmp = std::get<IcmpSpec>(spec.content);
        const bool is_unreachable = icmp.type == "unreachable" && icmp.code == "port" && live.icmp_type == wire::IcmpHeader::unreachable && live.icmp_code == wire::IcmpHeader::port_unreachable;
        differs = live.protocol == wire::protocol_icmp && is_unreachable ? "" : "expected another ICMP message";
    }
    const auto add = [&differs](const std::string& text) { differs += (differs.empty() || text.empty() ? "" : "; ") + text; };
    if (!live.has_good_checksums) {
        add("a checksum is wrong");
    }
    add(compare_ecn(spec.ecn, live.tos));
    if (spec.tos && *spec.tos != live.tos) {
        add(fmt::format("TOS: expected {:#x}, actual {:#x}", *spec.tos, live.tos));
    }
    if (spec.ttl && *spec.ttl != live.ttl) {
        add(fmt::format("TTL: expected {}, actual {}", *spec.ttl, live.ttl));
    }
    return differs;
}

}  // namespace shunt::packetdrill
