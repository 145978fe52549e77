// Connections as a script sees them: sequence numbers, ports and time stamps of the script's own, laid over those of the stack. Packets are written from
// and compared with the script here.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>

#include "packetdrill/script.hpp"

namespace shunt::packetdrill {

using Bytes = std::string;

struct Flow {
    std::uint8_t protocol = 0;
    std::uint32_t local = 0, remote = 0;         // host order
    std::uint16_t local_port = 0, remote_port = 0;
    int fd = -1;                                 // the stack's, when there is one
    bool is_passive = false;
    // Numbers count from each side's SYN; in a SYN itself they count from what the script says of its number.
    std::optional<std::uint32_t> local_offset;   // the stack's own, known from its SYN on
    std::uint32_t local_isn = 0;                 // the script's
    std::uint32_t syn_ack = 0;                   // what that SYN acknowledged
    std::uint32_t remote_offset = 0;
    std::optional<std::uint32_t> remote_isn;     // the script's
    std::map<std::uint32_t, std::uint32_t> stamps;  // the script's -> the stack's, of our TSvals
    std::map<std::string, std::string> cookies;  // name -> hexadecimal
    bool is_closed = false;                      // an RST went over it

    std::uint32_t local_live(std::uint32_t number, bool is_syn = false) const { return number + local_offset.value_or(0) - (is_syn ? local_isn : 0); }
    std::uint32_t local_script(std::uint32_t number, bool is_syn = false) const { return number - local_offset.value_or(0) + (is_syn ? local_isn : 0); }
    std::uint32_t remote_live(std::uint32_t number, bool is_syn = false) const { return number + remote_offset - (is_syn ? remote_isn.value_or(0) : 0); }
    std::uint32_t remote_script(std::uint32_t number, bool is_syn = false) const { return number - remote_offset + (is_syn ? remote_isn.value_or(0) : 0); }
    std::uint32_t stamp_live(std::uint32_t stamp) const;
    std::uint32_t stamp_script(std::uint32_t stamp) const;
};

// A packet of the stack's, read.
struct LivePacket {
    std::uint8_t protocol = 0, tos = 0, ttl = 0;
    bool has_good_checksums = false;
    std::uint32_t source = 0, destination = 0;
    std::uint16_t source_port = 0, destination_port = 0;
    std::uint8_t flags = 0;
    std::uint32_t seq = 0, ack = 0, length = 0;
    std::uint16_t window = 0, urgent = 0;
    std::vector<TcpOption> options;
    std::uint8_t icmp_type = 0, icmp_code = 0;
};

std::optional<LivePacket> read_packet(const Bytes& packet);
Bytes write_packet(const PacketSpec& spec, const Flow& flow);
// In the script's notation and numbers.
std::string describe(const LivePacket& live, const Flow& flow);
// What differs from the script; empty when nothing does. Learns from the packet what later ones are measured by. `skip`: so many of the script's bytes
// have been seen in packets before (the stack may cut its segments otherwise).
std::string compare(const PacketSpec& spec, const LivePacket& live, Flow& flow, std::uint32_t skip);
// Is it the beginning of the script's bytes, and more may follow in another packet?
bool is_piece(const PacketSpec& spec, const LivePacket& live, const Flow& flow, std::uint32_t skip);

std::string name_of_error(int code);
std::string name_of_address(std::uint32_t address);

}  // namespace shunt::packetdrill
