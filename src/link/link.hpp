// The link layer of one port: Ethernet framing, the neighbours on it (ARP, RFC 826; ageing as RFC 1122, 2.3.2.1 asks), and the batch of
// frames to send. Knows addresses of stations, no routes and no transport.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/counters.hpp"
#include "base/time.hpp"
#include "pmd/packet.hpp"
#include "pmd/port.hpp"
#include "wire/ethernet.hpp"

namespace shunt {

struct Neighbour {
    enum class State : std::uint8_t { unused, incomplete, reachable, probing, failed };

    std::uint32_t address = 0;  // host order
    wire::Mac mac{};
    State state = State::unused;
    std::uint8_t tries = 0;       // requests sent since the last answer
    std::uint16_t pending_count = 0;
    std::uint32_t references = 0; // connections that hold a pointer here; not evicted while > 0
    Time confirmed{};             // last time the station was heard
    Time used{};                  // last time we sent to it
    Time next_try{};
    PacketQueue pending;          // IP packets waiting for its address

    bool is_usable() const noexcept { return state == State::reachable || state == State::probing; }
};

class Link {
public:
    static constexpr unsigned neighbours_max = 1024, pending_max = 256, outbox_max = 64;
    static constexpr Duration reachable_time = std::chrono::seconds(30);  // Linux: base_reachable_time
    static constexpr Duration retry_time = std::chrono::seconds(1);       // RFC 1122: at most one request a second
    static constexpr unsigned tries_max = 3;

    Link(const pmd::Port& on, Counters& counters) noexcept : port(on), counters_(&counters) {}

    // Where frames to `address` (host order, on this link) go. Starts resolution when it is unknown. Broadcast and multicast addresses
    // have entries as well. Null when the table is full of entries in use.
    Neighbour* neighbour(std::uint32_t address) noexcept;

    // Sends an IP packet to a neighbour, or queues it until the neighbour has answered. Takes ownership.
    void output(Packet* packet, Neighbour& neighbour, Time now) noexcept {
        if (__builtin_expect(neighbour.is_usable() && now < neighbour.confirmed + reachable_time, true)) {
            neighbour.used = now;
            emit(packet, neighbour.mac, wire::ethertype_ipv4, now);
        } else {
            output_slowly(packet, neighbour, now);
        }
    }
    // Sends what output() has collected.
    void flush(Time now) noexcept {
        if (outbox_count_ != 0) {
            flush_outbox(now);
        }
    }

    // A received ARP packet (after the Ethernet header). `owns` says whether an address is ours. Replies are sent; the packet stays the caller's.
    template <class Owns>
    std::optional<DropReason> arp_input(const Packet& packet, Time now, Owns owns) noexcept {
        const wire::ArpPacket* arp = parse_arp(packet);
        if (arp == nullptr) {
            return DropReason::arp_malformed;
        }
        const bool for_us = owns(std::uint32_t{arp->target_address});
        if (owns(std::uint32_t{arp->sender_address})) {
            ++conflicts;
            return DropReason::arp_malformed;
        }
        learn(arp->sender_address, arp->sender_mac, for_us, now);
        if (for_us && arp->operation == wire::ArpPacket::request) {
            send_arp(wire::ArpPacket::reply, arp->target_address, arp->sender_address, arp->sender_mac, arp->sender_mac, now);
        }
        return std::nullopt;
    }
    // Announces an address of ours (RFC 5227, 3): others' caches learn our MAC.
    void announce(std::uint32_t address, Time now) noexcept;

    // Repeats requests, ages entries. Packets whose neighbour did not answer are moved to `failed`. Call at next_deadline().
    void on_timer(Time now, PacketQueue& failed) noexcept;
    Time next_deadline() const noexcept { return next_deadline_; }
    // The port went up: ask again at once for whoever has not answered yet.
    void on_link_up(Time now) noexcept;
    // A MAC of a neighbour's may have changed or vanished: a transport that gets no answers asks again (RFC 1122, 2.3.2.1 (4)).
    void doubt(Neighbour& neighbour, Time now) noexcept;

    void free_packets() noexcept;  // for the stack's end
    // After a death in the middle of a change: as new, without a packet; stations that have answered are remembered, and asked again.
    void start_over(Time now) noexcept;
    bool has_output() const noexcept { return outbox_count_ != 0; }
    void drop_output() noexcept { outbox_count_ = 0; }  // the packets are the caller's to find again
    template <class F>
    void for_each_packet(F f) const noexcept {
        for (const Neighbour& entry : neighbours_) {
            entry.pending.for_each(f);
        }
    }
    std::span<const Neighbour> neighbours() const noexcept { return neighbours_; }

    pmd::Port port;
    std::uint32_t address = 0;         // ours on this link, used as the sender of requests
    std::uint32_t broadcast = 0;       // the subnet's
    std::uint64_t conflicts = 0;       // ARP from somebody who claims our address

private:
    void emit(Packet* packet, const wire::Mac& to, std::uint16_t type, Time now) noexcept {
        auto* header = reinterpret_cast<wire::EthernetHeader*>(packet->prepend(sizeof(wire::EthernetHeader)));
        header->destination = to;
        header->source = port.mac;
        header->type = type;
        if (outbox_count_ == outbox_max) {
            flush_outbox(now);
        }
        outbox_[outbox_count_++] = packet;
    }
    void output_slowly(Packet* packet, Neighbour& neighbour, Time now) noexcept;
    void flush_outbox(Time now) noexcept;
    const wire::ArpPacket* parse_arp(const Packet& packet) const noexcept;
    void learn(std::uint32_t address, const wire::Mac& mac, bool may_create, Time now) noexcept;
    void send_arp(std::uint16_t operation, std::uint32_t sender, std::uint32_t target, const wire::Mac& target_mac, const wire::Mac& to, Time now) noexcept;
    void request(Neighbour& neighbour, Time now) noexcept;
    void give_up(Neighbour& neighbour, PacketQueue& failed) noexcept;
    void schedule(Time at) noexcept { next_deadline_ = at < next_deadline_ ? at : next_deadline_; }

    Counters* counters_;
    unsigned outbox_count_ = 0;
    Time next_deadline_ = never;
    std::array<Packet*, outbox_max> outbox_{};
    std::array<Neighbour, neighbours_max> neighbours_{};
};

}  // namespace shunt
