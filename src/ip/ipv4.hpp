// IPv4 (RFC 791, RFC 1122 section 3): our addresses, routes, and the way in and out. Reassembly is pmd/fragments'.
// Knows no ports and no connections; a received packet is handed back as a verdict.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "base/counters.hpp"
#include "base/random.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "link/link.hpp"
#include "pmd/packet.hpp"
#include "wire/ipv4.hpp"

namespace shunt {

namespace pmd {
struct Fragments;
}

// Who talks to whom, over what: resolved once a connection, or once a datagram.
struct Path {
    std::uint32_t source = 0;       // host order
    std::uint32_t destination = 0;  // host order
    Link* link = nullptr;           // null: to ourselves
    Neighbour* neighbour = nullptr; // null: to ourselves
    std::uint16_t mtu = 1500;
    std::uint8_t tos = 0;
    std::uint8_t ttl = 64;
    std::uint16_t fragment_field = wire::Ipv4Header::dont_fragment;
    bool is_to_all = false;         // a broadcast, which we hear ourselves

    bool is_local() const noexcept { return link == nullptr; }
};
// As programs see it: that of Linux's lo, IP_MAX_MTU, where `path.mtu` is what fits into a packet buffer.
inline std::uint32_t mtu_of(const Path& path) noexcept { return path.is_local() ? 65535 : path.mtu; }

struct Ipv4Address {
    std::uint32_t address = 0;
    std::uint8_t length = 0;  // prefix bits
    std::uint8_t link = 0;    // index, or no_link: reached from this host alone

    static constexpr std::uint8_t no_link = 0xff;
    std::uint32_t mask() const noexcept { return length == 0 ? 0 : ~std::uint32_t{0} << (32 - length); }
    bool contains(std::uint32_t other) const noexcept { return ((address ^ other) & mask()) == 0; }
    std::uint32_t broadcast() const noexcept { return length >= 31 ? 0 : address | ~mask(); }
};

// What ipv4 says of a received packet. For tcp, udp and icmp the packet's data() is the transport header and the padding is cut off.
struct Ipv4Verdict {
    enum class Kind : std::uint8_t { tcp, udp, icmp, unknown_protocol, consumed, drop };
    Kind kind = Kind::drop;
    DropReason reason = DropReason::ip_malformed;
    std::uint8_t tos = 0;
    std::uint8_t ttl = 0;
    std::uint8_t header_bytes = sizeof(wire::Ipv4Header);
    bool to_group = false;  // broadcast or multicast: never answered by an error
    std::uint32_t source = 0;
    std::uint32_t destination = 0;
};

class Ipv4 {
public:
    static constexpr unsigned links_max = 4, addresses_max = 32;
    static constexpr std::uint32_t loop_queue_max = 4096;
    // To ourselves: what fits a packet buffer in one piece (pmd/packet_pool.cpp), as a looped segment is copied into one. Datagrams come in chains.
    static constexpr std::uint16_t loop_mtu = 2048;

    // `packet_source`: a port, or without any, what has packets only.
    Ipv4(std::span<Link* const> links, const pmd::Port& packet_source, Counters& counters, pmd::Fragments* fragments, std::uint8_t ttl) noexcept;

    // EEXIST when it is there already, ENOSPC beyond addresses_max or when there is no such link.
    Result<void> add_address(const Ipv4Address& address) noexcept;
    void set_gateway(std::uint32_t gateway) noexcept { gateway_ = gateway; }
    void own_loopback() noexcept { owns_loopback_ = true; }  // 127.0.0.0/8 is ours (--link loop)
    std::span<const Ipv4Address> addresses() const noexcept { return {addresses_.data(), address_count_}; }

    bool owns(std::uint32_t address) const noexcept {
        for (unsigned i = 0; i < address_count_; ++i) {
            if (addresses_[i].address == address) {
                return true;
            }
        }
        return owns_loopback_ && wire::is_loopback(address) && address != wire::loopback_broadcast;
    }
    bool is_broadcast(std::uint32_t address) const noexcept;

    // The host that a program names: 0.0.0.0 is this one, by the address that the socket is bound to, if any.
    std::uint32_t named(std::uint32_t destination, std::uint32_t source) const noexcept {
        return destination != 0 ? destination : source != 0 ? source : owns_loopback_ ? wire::loopback : addresses_[0].address;
    }
    // The way to `destination`; `source` 0, or a broadcast address that a socket is bound to, lets the route choose. ENETUNREACH without a route,
    // EADDRNOTAVAIL when `source` is not ours, ENOBUFS when the neighbour table is full.
    Result<Path> route(std::uint32_t destination, std::uint32_t source) noexcept;
    // The index of the link whose address, or broadcast address, this is; no_link: nobody's but this host's.
    std::uint8_t link_of(std::uint32_t address) const noexcept;
    // Whether route() would succeed; does not touch the neighbour table.
    bool reaches(std::uint32_t destination) const noexcept;

    Ipv4Verdict input(Packet*& packet, Time now) noexcept;

    // Prepends the header and sends; takes ownership. The packet must fit the path's MTU (else see output_fragments). Non-fragments carry DF.
    // `ecn`: the two low bits of the TOS byte, which are not the path's (RFC 3168).
    void output(Packet* packet, const Path& path, std::uint8_t protocol, Time now, std::uint8_t ecn = 0) noexcept;
    // One piece of a larger datagram: `fragment` is the header's flags-and-offset word.
    void output_fragment(Packet* packet, const Path& path, std::uint8_t protocol, std::uint16_t identification, std::uint16_t fragment, Time now) noexcept;
    std::uint16_t next_identification() noexcept { return ++identification_; }

    // Whether the port fills in the transport checksum on this path.
    static bool offloads_tcp_checksum(const Path& path) noexcept { return path.link != nullptr && path.link->port.offloads.tx_tcp_checksum; }
    static bool offloads_udp_checksum(const Path& path) noexcept { return path.link != nullptr && path.link->port.offloads.tx_udp_checksum; }

    // A router has told the MTU of the way to `destination`: new paths have it for ten minutes (RFC 1191, 6.3).
    void learn_mtu(std::uint32_t destination, std::uint16_t mtu, Time now) noexcept;
    void forget_mtus(Time now) noexcept;  // those whose time is over

    // Packets that we sent to ourselves; the stack takes them in its next poll.
    Packet* take_looped() noexcept;
    bool has_looped() const noexcept { return !looped_.is_empty(); }

    // Gives up datagrams whose other fragments have not come.
    void expire_fragments(Time now) noexcept;

    void flush(Time now) noexcept {
        for (Link* link : links()) {
            link->flush(now);
        }
    }
    bool has_output() const noexcept {
        return has_looped() || std::ranges::any_of(links(), &Link::has_output);
    }
    // After a death in the middle of a change: as new, without a packet; addresses and routes stay.
    void start_over(Time now) noexcept;
    template <class F>
    void for_each_packet(F f) const noexcept {
        looped_.for_each(f);
        for (const Link* link : links()) {
            link->for_each_packet(f);
        }
    }
    // Of a path that is not known yet.
    std::uint16_t usual_mtu() const noexcept { return link_count_ != 0 ? links_[0]->port.mtu : loop_mtu; }
    std::span<Link* const> links() const noexcept { return {links_.data(), link_count_}; }
    const pmd::Port* packet_source() const noexcept { return &packet_source_; }
    pmd::Port* packet_source() noexcept { return &packet_source_; }

private:
    struct LearnedMtu {
        std::uint32_t destination = 0;
        std::uint16_t mtu = 0;
        Time until{};
    };
    static constexpr unsigned learned_max = 64;

    LearnedMtu* find_learned(std::uint32_t destination) noexcept;
    std::uint16_t mtu_to(std::uint32_t destination, std::uint16_t of_link) noexcept;
    void write_header(Packet* packet, const Path& path, std::uint8_t protocol, std::uint16_t identification, std::uint16_t fragment, std::uint8_t ecn) noexcept;
    Packet* reassemble(Packet* packet, Time now) noexcept;
    void count_failed_fragments() noexcept;
    void hand_over(Packet* packet, const Path& path, Time now) noexcept;
    void loop_back(Packet* packet) noexcept;
    void hear(const Packet& packet, const pmd::Offloads& offloads) noexcept;
    Packet* copy_of(const Packet& packet) noexcept;
    std::uint32_t first_beside(std::uint32_t own) const noexcept;
    const Ipv4Address* on_link(std::uint32_t destination) const noexcept;
    const Ipv4Address* address_for(std::uint32_t destination) const noexcept;

    pmd::Port packet_source_;
    std::array<Link*, links_max> links_{};
    unsigned link_count_ = 0;
    std::array<Ipv4Address, addresses_max> addresses_{};
    unsigned address_count_ = 0;
    std::array<LearnedMtu, learned_max> learned_{};
    unsigned learned_count_ = 0;
    std::uint32_t gateway_ = 0;
    bool owns_loopback_ = false;
    std::uint8_t ttl_;
    std::uint16_t identification_ = 0;
    std::uint32_t looped_count_ = 0;
    PacketQueue looped_;
    Counters* counters_;
    pmd::Fragments* fragments_;
    std::uint64_t fragments_counted_ = 0;
};

}  // namespace shunt
