// ICMP (RFC 792; RFC 1122, 3.2.2): answers pings, reads errors about what we sent, makes errors about what we got.
// Knows no ports' owners: an error is handed back as a value.
#pragma once

#include <optional>

#include "base/seq.hpp"
#include "ip/ipv4.hpp"

namespace shunt {

// An error about a packet that we sent, with the start of the packet it quotes.
struct IcmpError {
    std::uint8_t protocol = 0;
    std::uint32_t source = 0;       // ours
    std::uint32_t destination = 0;
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    Seq seq;                        // TCP only
    int error = 0;                  // errno as Linux maps it
    bool is_hard = false;
    std::uint16_t mtu = 0;          // not 0: fragmentation needed, the next hop's MTU
    std::uint8_t type = 0, code = 0;
    std::uint32_t offender = 0;     // who sent it
    Packet* quote = nullptr;        // now the caller's; from quote_offset on: behind the quoted IP header and the eight bytes that RFC 792 asks for
    std::uint32_t quote_offset = 0;
};

class Icmp {
public:
    Icmp(Ipv4& ipv4, Counters& counters) noexcept : ipv4_(&ipv4), counters_(&counters) {}

    // Takes ownership. A ping is answered; an error comes back, and with it the packet.
    std::optional<IcmpError> input(Packet* packet, const Ipv4Verdict& ip, Time now) noexcept;

    // Tells the sender of `packet` (data() at the transport header, its IP header still in front in the headroom) that it is unreachable; rate-limited as
    // Linux's icmp_ratelimit. The packet stays the caller's.
    void send_unreachable(Packet& packet, const Ipv4Verdict& ip, std::uint8_t code, Time now) noexcept;

    // The error that a packet of ours (data() at the IP header) met because its next hop does not answer.
    static std::optional<IcmpError> host_unreachable(const Packet& packet) noexcept;

private:
    void answer_echo(Packet* packet, const Ipv4Verdict& ip, Time now) noexcept;
    static bool read_quote(const std::byte* quoted, std::uint32_t size, IcmpError& error) noexcept;

    Ipv4* ipv4_;
    Counters* counters_;
    Time tokens_at_{};
    int tokens_ = 6;
};

}  // namespace shunt
