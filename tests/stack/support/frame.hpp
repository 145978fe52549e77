// Frames as a test wants them: built from a few fields, and read back into one flat struct.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "wire/ethernet.hpp"
#include "wire/ipv4.hpp"
#include "wire/tcp.hpp"

namespace shunt::test {

using Bytes = std::string;
namespace flag = wire::tcp_flag;

constexpr std::uint32_t ip(unsigned a, unsigned b, unsigned c, unsigned d) { return a << 24 | b << 16 | c << 8 | d; }
std::string name_of_address(std::uint32_t address);
Bytes pattern(std::size_t size, std::size_t from = 0);  // bytes that tell where they belong

struct Frame {
    Time at{};
    wire::Mac to{}, from{};
    std::uint16_t type = 0;
    std::uint16_t arp_operation = 0;
    // IPv4; of ARP the sender's and the target's address
    std::uint32_t source = 0, destination = 0;
    std::uint8_t protocol = 0, ttl = 0, tos = 0;
    std::uint16_t identification = 0, fragment = 0;
    bool has_good_checksums = false;
    std::uint16_t source_port = 0, destination_port = 0;
    // TCP
    std::uint32_t seq = 0, ack = 0;
    std::uint8_t flags = 0;
    std::uint16_t window = 0;
    wire::TcpOptions options;
    Bytes option_bytes;
    // ICMP
    std::uint8_t icmp_type = 0, icmp_code = 0;
    Bytes payload;

    bool is_arp() const { return type == wire::ethertype_arp; }
    bool is_tcp() const { return type == wire::ethertype_ipv4 && protocol == wire::protocol_tcp; }
    bool is_udp() const { return type == wire::ethertype_ipv4 && protocol == wire::protocol_udp; }
    bool is_icmp() const { return type == wire::ethertype_ipv4 && protocol == wire::protocol_icmp; }
    bool has(std::uint8_t wanted) const { return (flags & wanted) == wanted; }
    std::uint32_t end() const { return seq + static_cast<std::uint32_t>(payload.size()) + (has(flag::syn) ? 1U : 0U) + (has(flag::fin) ? 1U : 0U); }
};
std::ostream& operator<<(std::ostream& out, const Frame& frame);

Frame decode(const Bytes& bytes, Time at = Time{});

struct IpFields {
    std::uint32_t source = 0, destination = 0;
    std::uint8_t protocol = wire::protocol_udp, ttl = 64, version_ihl = 0x45, tos = 0;
    std::uint16_t identification = 1, fragment = 0;
    bool bad_checksum = false;
};
struct TcpFields {
    std::uint16_t source_port = 0, destination_port = 0;
    std::uint32_t seq = 0, ack = 0;
    std::uint8_t flags = 0;
    std::uint16_t window = 65535;
    wire::TcpOptions options;
    bool bad_checksum = false;
};

Bytes ethernet(const wire::Mac& to, const wire::Mac& from, std::uint16_t type, const Bytes& payload);
Bytes arp(std::uint16_t operation, const wire::Mac& sender_mac, std::uint32_t sender, const wire::Mac& target_mac, std::uint32_t target);
Bytes ipv4(const IpFields& fields, const Bytes& payload);
// Transport headers with their checksum over the pseudo-header of these addresses.
Bytes udp(std::uint32_t source, std::uint16_t source_port, std::uint32_t destination, std::uint16_t destination_port, const Bytes& payload);
Bytes tcp(std::uint32_t source, std::uint32_t destination, const TcpFields& fields, const Bytes& payload);
Bytes icmp(std::uint8_t type, std::uint8_t code, std::uint32_t rest, const Bytes& payload);

}  // namespace shunt::test
