#include "ip/icmp.hpp"

#include <algorithm>

#include "ip/checksum.hpp"
#include "pmd/port_inline.hpp"
#include "wire/tcp.hpp"

namespace shunt {
namespace {

constexpr int burst = 6;                                     // Linux: a bucket of six
constexpr Duration refill = std::chrono::milliseconds(167);  // and six a second

struct Meaning {
    int error;
    bool is_hard;
};

// Linux's icmp_err_convert.
Meaning meaning_of(std::uint8_t code) noexcept {
    constexpr Meaning meanings[] = {{ENETUNREACH, false}, {EHOSTUNREACH, false}, {ENOPROTOOPT, true}, {ECONNREFUSED, true}, {EMSGSIZE, false}, {EOPNOTSUPP, false},
                                    {ENETUNREACH, true},  {EHOSTDOWN, true},     {ENONET, true},      {ENETUNREACH, true},  {EHOSTUNREACH, true}, {ENETUNREACH, false},
                                    {EHOSTUNREACH, false}, {EHOSTUNREACH, true}, {EHOSTUNREACH, true}, {EHOSTUNREACH, true}};
    return code < std::size(meanings) ? meanings[code] : Meaning{EHOSTUNREACH, false};
}

}  // namespace

bool Icmp::read_quote(const std::byte* quoted, std::uint32_t size, IcmpError& error) noexcept {
    if (size < sizeof(wire::Ipv4Header) + 8) {
        return false;
    }
    const auto& header = *reinterpret_cast<const wire::Ipv4Header*>(quoted);
    const unsigned header_bytes = header.header_bytes();
    if (header.version() != 4 || header_bytes < sizeof(wire::Ipv4Header) || size < header_bytes + 8 || (header.fragment & wire::Ipv4Header::offset_mask) != 0) {
        return false;
    }
    error.protocol = header.protocol;
    error.source = header.source;
    error.destination = header.destination;
    error.source_port = wire::load_big16(quoted + header_bytes);
    error.destination_port = wire::load_big16(quoted + header_bytes + 2);
    error.seq = Seq(wire::load_big32(quoted + header_bytes + 4));
    error.quote_offset = static_cast<std::uint32_t>(sizeof(wire::IcmpHeader)) + header_bytes + 8;
    return true;
}

std::optional<IcmpError> Icmp::input(Packet* packet, const Ipv4Verdict& ip, Time now) noexcept {
    const auto drop = [&](DropReason reason) -> std::optional<IcmpError> {
        counters_->count(reason);
        packet->free();
        return std::nullopt;
    };
    wire::Checksum sum;
    add_packet(sum, *packet);
    if (packet->first_size() < sizeof(wire::IcmpHeader) || !sum.is_good()) {
        return drop(DropReason::icmp_malformed);
    }
    const auto& header = *reinterpret_cast<const wire::IcmpHeader*>(packet->data());
    if (header.type == wire::IcmpHeader::echo_request) {
        if (ip.to_group) {
            return drop(DropReason::icmp_ignored);  // RFC 1122, 3.2.2.6; Linux: icmp_echo_ignore_broadcasts
        }
        answer_echo(packet, ip, now);
        return std::nullopt;
    }
    const bool is_error = header.type == wire::IcmpHeader::unreachable || header.type == wire::IcmpHeader::time_exceeded || header.type == wire::IcmpHeader::parameter_problem;
    if (!is_error) {
        return drop(DropReason::icmp_ignored);
    }
    IcmpError error;
    if (!read_quote(packet->data() + sizeof header, packet->first_size() - static_cast<std::uint32_t>(sizeof header), error) || !ipv4_->owns(error.source)) {
        return drop(DropReason::icmp_malformed);
    }
    if (header.type == wire::IcmpHeader::unreachable) {
        const Meaning meaning = meaning_of(header.code);
        error.error = meaning.error;
        error.is_hard = meaning.is_hard;
        if (header.code == wire::IcmpHeader::fragmentation_needed) {
            error.mtu = header.word2 != 0 ? std::uint16_t{header.word2} : std::uint16_t{576};
        }
    } else {
        error.error = header.type == wire::IcmpHeader::time_exceeded ? EHOSTUNREACH : EPROTO;
        error.is_hard = header.type == wire::IcmpHeader::parameter_problem;
    }
    error.type = header.type;
    error.code = header.code;
    error.offender = ip.source;
    error.quote = packet;
    return error;
}

void Icmp::answer_echo(Packet* packet, const Ipv4Verdict& ip, Time now) noexcept {
    const auto path = ipv4_->route(ip.source, ip.destination);
    Packet* reply = path ? ipv4_->packet_source()->allocate() : nullptr;
    const std::uint32_t size = packet->size();
    if (reply == nullptr || reply->tailroom() < size || size + sizeof(wire::Ipv4Header) > path->mtu) {
        if (reply != nullptr) {
            reply->free();
        }
        counters_->count(path ? DropReason::packet_pool_empty : DropReason::no_route);
        packet->free();
        return;
    }
    packet->copy_out(0, reply->append(size), size);
    packet->free();
    auto* header = reinterpret_cast<wire::IcmpHeader*>(reply->data());
    header->type = wire::IcmpHeader::echo_reply;
    header->checksum = 0;
    wire::Checksum sum;
    sum.add(reply->data(), size);
    header->checksum = sum.field();
    counters_->count(Event::icmp_echo_replies);
    ipv4_->output(reply, *path, wire::protocol_icmp, now);
}

void Icmp::send_unreachable(Packet& packet, const Ipv4Verdict& ip, std::uint8_t code, Time now) noexcept {
    if (now - tokens_at_ >= refill) {
        const auto gained = (now - tokens_at_) / refill;
        tokens_ = static_cast<int>(std::min<std::int64_t>(burst, tokens_ + gained));
        tokens_at_ = now;
    }
    const bool is_own = ipv4_->owns(ip.source);  // as Linux: no limit on what does not leave the host
    if ((tokens_ == 0 && !is_own) || ip.to_group) {
        return;
    }
    const auto path = ipv4_->route(ip.source, ip.destination);
    Packet* message = path ? ipv4_->packet_source()->allocate() : nullptr;
    if (message == nullptr) {
        return;
    }
    tokens_ -= is_own ? 0 : 1;
    packet.prepend(ip.header_bytes);  // the header is still there
    const std::uint32_t quoted = std::min<std::uint32_t>(packet.size(), 548);  // RFC 1812, 4.3.2.3: 576 bytes in all
    auto* header = reinterpret_cast<wire::IcmpHeader*>(message->append(static_cast<std::uint32_t>(sizeof(wire::IcmpHeader)) + quoted));
    header->type = wire::IcmpHeader::unreachable;
    header->code = code;
    header->checksum = 0;
    header->word1 = 0;
    header->word2 = 0;
    packet.copy_out(0, header + 1, quoted);
    packet.trim_front(ip.header_bytes);
    wire::Checksum sum;
    sum.add(message->data(), message->size());
    header->checksum = sum.field();
    counters_->count(Event::icmp_errors_sent);
    ipv4_->output(message, *path, wire::protocol_icmp, now);
}

std::optional<IcmpError> Icmp::host_unreachable(const Packet& packet) noexcept {
    IcmpError error;
    if (!read_quote(packet.data(), packet.first_size(), error)) {
        return std::nullopt;
    }
    error.error = EHOSTUNREACH;
    return error;
}

}  // namespace shunt
