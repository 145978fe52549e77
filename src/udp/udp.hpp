// UDP (RFC 768; RFC 1122, 4.1): endpoints by port, datagrams in and out, fragmentation of large ones on the way out.
#pragma once

#include <optional>
#include <span>

#include "base/arena.hpp"
#include "base/counters.hpp"
#include "base/pool.hpp"
#include "base/random.hpp"
#include "base/result.hpp"
#include "base/tunables.hpp"
#include "ip/endpoint.hpp"
#include "ip/error_report.hpp"
#include "ip/icmp.hpp"
#include "ip/ipv4.hpp"
#include "wire/checksum.hpp"

namespace shunt {

struct UdpDestination {
    std::uint32_t address = 0;
    std::uint16_t port = 0;
};

struct UdpEndpoint : Endpoint {
    UdpEndpoint() noexcept : Endpoint(EndpointKind::udp) {}

    PacketQueue rcv_queue;           // data() is the payload; PacketMeta has the addresses and the time
    std::uint32_t rcv_queued = 0;    // bytes of memory that they pin, as Linux counts them
    std::uint32_t rcvbuf = 0;
    std::uint32_t drops = 0;         // SO_RXQ_OVFL
    UdpEndpoint* next = nullptr;     // on the same port
    std::optional<Path> path;        // of the connected peer
    std::uint8_t tos = 0;
    std::uint8_t ttl = 0;            // 0: the default
    std::uint8_t mtu_discover = 1;   // IP_MTU_DISCOVER: IP_PMTUDISC_WANT
    std::uint16_t segment_bytes = 0; // UDP_SEGMENT: a send is cut into datagrams of so many; 0: it is one
    bool is_corked = false;          // UDP_CORK: sends make one datagram until it is off
    bool has_corked = false;         // parts of a datagram wait, which may be empty
    PacketQueue corked;              // those parts, of corked_bytes
    std::uint32_t corked_bytes = 0;
    std::uint32_t corked_memory = 0; // what Linux counts for them
    std::uint32_t corked_source = 0; // the address that they leave from, whatever the socket is bound to by then
    UdpDestination flow_to;          // where what names no address goes: the peer, or where parts were last gathered for (Linux's inet->cork.fl)
    bool recverr = false;            // IP_RECVERR
    PacketQueue error_queue;         // each: an ErrorReport, then what it quotes
    std::uint32_t error_reports = 0;
    std::uint32_t bound_address = 0; // what bind() named: stays when a connection is dissolved
    bool is_bound = false;
    bool has_own_port = false;       // bind() named it
    bool reuse_address = false;
    bool reuse_port = false;
    bool broadcast = false;          // SO_BROADCAST
    bool is_shut_for_receive = false;
    bool is_shut_for_send = false;

    bool is_connected() const noexcept { return remote_address != 0; }
};

class Udp {
public:
    Udp(Ipv4& ipv4, Counters& counters, ChangedList& changed, const Tunables& tunables, SecretKey key, Arena& arena, std::uint32_t endpoints_max) noexcept;
    static std::size_t arena_bytes(std::uint32_t endpoints_max) noexcept;
    static constexpr std::uint32_t payload_max = 65507;
    using Pieces = std::span<const std::span<const std::byte>>;

    // ENOBUFS.
    Result<UdpEndpoint*> open() noexcept;
    void close(UdpEndpoint& endpoint) noexcept;
    // EADDRINUSE, EADDRNOTAVAIL, EINVAL when bound already. Port 0 picks one.
    Result<void> bind(UdpEndpoint& endpoint, std::uint32_t address, std::uint16_t port) noexcept;
    // To the address that bind() named, if any, and a port that is free; nothing where it is bound.
    Result<void> bind_at_need(UdpEndpoint& endpoint) noexcept;
    // ENETUNREACH, EACCES (broadcast without SO_BROADCAST). Port 0 is a peer as good as others, as on Linux.
    Result<void> connect(UdpEndpoint& endpoint, UdpDestination to) noexcept;
    // What was not asked for by bind() is given up with the peer.
    void disconnect(UdpEndpoint& endpoint) noexcept;

    // Sends one datagram gathered from `pieces`. EMSGSIZE, ENETUNREACH, EACCES, ENOBUFS (no packets), EDESTADDRREQ, EPIPE.
    Result<std::uint32_t> send(UdpEndpoint& endpoint, Pieces pieces, const UdpDestination* to, Time now) noexcept;
    // What stands against sending that: the same errors; else its way.
    Result<Path> admit(UdpEndpoint& endpoint, Pieces pieces, const UdpDestination* to) noexcept;
    // As send, for a part of a datagram that goes with push(). An error takes back what there was.
    Result<std::uint32_t> append(UdpEndpoint& endpoint, Pieces pieces, const UdpDestination* to) noexcept;
    Result<std::uint32_t> push(UdpEndpoint& endpoint, Time now) noexcept;
    // A packet to fill with at most mtu - 28 bytes; null without memory.
    Packet* claim() noexcept { return ipv4_->packet_source()->allocate(); }
    // Sends a claimed packet; takes it also on failure.
    Result<void> send_packet(UdpEndpoint& endpoint, Packet* packet, const UdpDestination* to, Time now) noexcept;
    // The oldest datagram, now the caller's; null: none.
    Packet* take(UdpEndpoint& endpoint) noexcept;

    // From below; takes ownership. `no_socket` is set when an ICMP port unreachable is due (RFC 1122, 4.1.3.1); then the packet stays the caller's,
    // as it came.
    void input(Packet* packet, const Ipv4Verdict& ip, Time now, bool& no_socket) noexcept;
    void icmp_error(const IcmpError& error, Time now) noexcept;
    // The oldest report of the error queue, in `report`, and a packet with what it quotes, now the caller's; null: none.
    Packet* take_report(UdpEndpoint& endpoint, ErrorReport& report) noexcept;
    // Nobody wants to hear of errors any more.
    static void drop_reports(UdpEndpoint& endpoint) noexcept;

    void free_packets() noexcept;  // for the stack's end
    // After a death in the middle of a change (socket/repair.cpp): start_over() empties the tables; revive() makes an endpoint that a socket holds anew, at
    // its place, bound and connected as it was and without a datagram; false: it is none. finish_repair() frees the rest.
    void start_over() noexcept;
    bool revive(UdpEndpoint& endpoint, void* owner) noexcept;
    void finish_repair() noexcept;
    std::uint32_t endpoints_used() const noexcept { return endpoints_.used(); }
    void set_memory_pressure(bool on) noexcept { memory_pressure_ = on; }
    template <class F>
    void for_each_endpoint(F f) const {
        for (std::uint32_t port = 0; port < 65536; ++port) {
            for (const UdpEndpoint* e = by_port_[port]; e != nullptr; e = e->next) {
                f(*e);
            }
        }
    }

private:
    UdpEndpoint* find(std::uint32_t local, std::uint16_t local_port, std::uint32_t remote, std::uint16_t remote_port) const noexcept;
    bool is_free(const UdpEndpoint& endpoint, std::uint32_t address, std::uint16_t port) const noexcept;
    Result<Path> path_for(UdpEndpoint& endpoint, const UdpDestination& to) noexcept;
    void emit(UdpEndpoint& endpoint, Packet* packet, const Path& path, std::uint16_t port, wire::Checksum sum, Time now) noexcept;
    Result<std::uint32_t> transmit(UdpEndpoint& endpoint, Pieces pieces, std::uint32_t size, const Path& path, std::uint16_t port, Time now) noexcept;
    Result<std::uint32_t> send_fragments(UdpEndpoint& endpoint, Pieces pieces, std::uint32_t size, const Path& path, std::uint16_t port, Time now) noexcept;
    Result<std::uint32_t> send_chain(UdpEndpoint& endpoint, Pieces pieces, std::uint32_t size, const Path& path, std::uint16_t port, Time now) noexcept;
    Result<void> start_cork(UdpEndpoint& endpoint, const UdpDestination* to) noexcept;
    bool gather(PacketQueue& queue, Pieces pieces, std::uint32_t size) noexcept;
    void unlink(UdpEndpoint& endpoint) noexcept;
    static void uncork(UdpEndpoint& endpoint) noexcept;
    void report(UdpEndpoint& endpoint, const ErrorReport& report, const Packet* quote, std::uint32_t quote_offset) noexcept;
    std::unexpected<Errno> refuse_size(UdpEndpoint& endpoint, const Path& path, const UdpDestination& to) noexcept;
    void release_path(UdpEndpoint& endpoint) noexcept;

    Ipv4* ipv4_;
    Counters* counters_;
    ChangedList* changed_;
    const Tunables* tunables_;
    Random random_;
    Pool<UdpEndpoint> endpoints_;
    UdpEndpoint** by_port_ = nullptr;
    bool memory_pressure_ = false;
};

}  // namespace shunt
