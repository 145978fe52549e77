// Packets: "S. 0:0(0) ack 1 win 65535 <mss 1460,nop,wscale 7>" and its relatives.
#include <algorithm>

#include "packetdrill/cursor.hpp"
#include "wire/tcp.hpp"

namespace shunt::packetdrill {
namespace {

namespace flag = wire::tcp_flag;

std::uint8_t parse_flags(Cursor& in) {
    in.skip_space();
    if (in.take("-")) {
        return 0;
    }
    std::uint8_t flags = 0;
    const std::size_t from = in.position();
    constexpr std::pair<char, std::uint8_t> letters[] = {{'S', flag::syn}, {'F', flag::fin}, {'R', flag::rst}, {'P', flag::psh}, {'.', flag::ack},
                                                         {'U', flag::urg}, {'E', flag::ece}, {'W', flag::cwr}, {'C', flag::cwr}};
    while (true) {
        const auto* const found = std::find_if(std::begin(letters), std::end(letters), [&](const auto& each) { return each.first == in.peek(); });
        if (found == std::end(letters)) {
            break;
        }
        flags |= found->second;
        in.skip(1);
    }
    if (in.position() == from) {
        in.complain("TCP flags are missing");
    }
    return flags;
}

// 1:1001(1000), 1(1000)
void parse_sequence(Cursor& in, std::uint32_t& seq, std::uint32_t& length) {
    seq = in.unsigned_number();
    std::optional<std::uint32_t> end;
    if (in.take(":")) {
        end = in.unsigned_number();
    }
    if (in.take("(")) {
        length = in.unsigned_number();
        in.expect(")");
    } else if (end) {
        length = *end - seq;
    }
    if (end && *end - seq != length) {
        in.complain(fmt::format("{}:{} are not {} bytes", seq, *end, length));
    }
}

// The two names that public collections of scripts define: the cookie of the tool's addresses under the key of their defaults.sh, and under one of zeros.
std::string parse_cookie(Cursor& in) {
    in.skip_space();
    const std::string cookie = Cursor::is_word(in.peek()) ? in.word() : "";
    return cookie == "TFO_COOKIE" ? "3021b9d889017eeb" : cookie == "TFO_COOKIE_ZERO" ? "b7c12350a90dc8f5" : cookie;
}

TcpOption parse_option(Cursor& in) {
    TcpOption option;
    if (in.take_word("mss")) {
        option.kind = OptionKind::mss;
        option.value = in.unsigned_number();
    } else if (in.take_word("wscale")) {
        option.kind = OptionKind::wscale;
        option.value = in.unsigned_number();
    } else if (in.take_word("sackOK")) {
        option.kind = OptionKind::sack_ok;
    } else if (in.take_word("TS")) {
        option.kind = OptionKind::timestamp;
        in.expect("val");
        option.value = in.unsigned_number();
        in.expect("ecr");
        option.echo = in.unsigned_number();
    } else if (in.take_word("sack")) {
        option.kind = OptionKind::sack;
        for (in.skip_space(); std::isdigit(static_cast<unsigned char>(in.peek())) != 0; in.skip_space()) {
            const std::uint32_t left = in.unsigned_number();
            in.expect(":");
            option.blocks.emplace_back(left, in.unsigned_number());
        }
    } else if (in.take_word("FOEXP")) {
        option.kind = OptionKind::fast_open_experimental;
        option.cookie = parse_cookie(in);
    } else if (in.take_word("FO")) {
        option.kind = OptionKind::fast_open;
        option.cookie = parse_cookie(in);
    } else if (in.take_word("eol")) {
        option.kind = OptionKind::eol;
    } else if (!in.take_word("nop")) {
        in.complain("a TCP option is missing or not known");
    }
    return option;
}

void parse_options(Cursor& in, TcpSpec& tcp) {
    if (!in.take("<")) {
        return;
    }
    if (in.take("...")) {
        tcp.any_options = true;
        in.expect(">");
        return;
    }
    while (!in.take(">")) {
        if (!tcp.options.empty()) {
            in.expect(",");
        }
        tcp.options.push_back(parse_option(in));
    }
}

TcpSpec parse_tcp(Cursor& in) {
    TcpSpec tcp;
    tcp.flags = parse_flags(in);
    parse_sequence(in, tcp.seq, tcp.length);
    if (in.take_word("ack")) {
        tcp.ack = in.unsigned_number();
    }
    if (in.take_word("win")) {
        tcp.window = in.unsigned_number();
    }
    if (in.take_word("urg")) {
        tcp.urgent = in.unsigned_number();
    }
    parse_options(in, tcp);
    return tcp;
}

IcmpSpec parse_icmp(Cursor& in, IcmpSpec icmp) {
    icmp.type = in.word();
    in.skip_space();
    const bool is_time = std::isdigit(static_cast<unsigned char>(in.peek())) != 0;
    if (!is_time && in.peek() != 'm' && Cursor::is_word(in.peek())) {
        icmp.code = in.word();
    }
    if (in.take_word("mtu")) {
        icmp.mtu = in.unsigned_number();
    }
    if (in.take("[")) {
        parse_sequence(in, icmp.seq, icmp.length);
        in.expect("]");
    }
    return icmp;
}

// [ect0], [noecn], [tos 0x1b, ttl 20]; true when it was the quoted segment of an ICMP error, [1:1001(1000)].
bool parse_brackets(Cursor& in, PacketSpec& packet, IcmpSpec& quoted) {
    constexpr std::pair<std::string_view, Ecn> marks[] = {{"noecn", Ecn::none}, {"ect01", Ecn::ect01}, {"ect0", Ecn::ect0}, {"ect1", Ecn::ect1}, {"ce", Ecn::ce}};
    bool is_quote = false;
    while (!in.take("]")) {
        in.take(",");
        const auto* const mark = std::find_if(std::begin(marks), std::end(marks), [&](const auto& each) { return in.take_word(each.first); });
        if (mark != std::end(marks)) {
            packet.ecn = mark->second;
        } else if (in.take_word("tos")) {
            packet.tos = in.unsigned_number();
        } else if (in.take_word("ttl")) {
            packet.ttl = in.unsigned_number();
        } else {
            quoted.quotes_udp = in.take_word("udp");
            if (quoted.quotes_udp) {
                in.expect("(");
                quoted.length = in.unsigned_number();
                in.expect(")");
            } else {
                parse_sequence(in, quoted.seq, quoted.length);
            }
            is_quote = true;
        }
    }
    return is_quote;
}

}  // namespace

PacketSpec parse_packet(bool is_inbound, std::string_view text, std::size_t& at, int line) {
    Cursor in(text, at, line);
    PacketSpec packet;
    packet.is_inbound = is_inbound;
    IcmpSpec icmp;
    in.skip_space();
    const std::size_t from = in.position();
    while (in.take("[")) {
        parse_brackets(in, packet, icmp);
    }
    if (in.take_word("icmp")) {
        packet.content = parse_icmp(in, icmp);
    } else if (in.take_word("udp")) {
        in.expect("(");
        packet.content = UdpSpec{in.unsigned_number()};
        in.expect(")");
    } else {
        packet.content = parse_tcp(in);
    }
    packet.text = in.since(from);
    at = in.position();
    return packet;
}

}  // namespace shunt::packetdrill
