// A stack on an in-memory port, and the other end of its wire: frames made by hand, so that what the stack does can be timed alone.
// Time is a number here; nothing sleeps.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "pmd/eal.hpp"
#include "pmd/port_inline.hpp"
#include "pmd/ring_port.hpp"
#include "stack/stack.hpp"
#include "tcp/connection.hpp"
#include "wire/ethernet.hpp"
#include "wire/ipv4.hpp"
#include "wire/tcp.hpp"

namespace bench {

using shunt::Packet;
using shunt::Seq;
using shunt::Time;
namespace wire = shunt::wire;

inline constexpr std::uint32_t our_address = 0x0a4d'0001, peer_network = 0x0a4d'0000;  // 10.77.0.1/16
inline constexpr std::uint16_t our_port = 7000;

class StackOnRing {
public:
    explicit StackOnRing(std::uint32_t connections_max) {
        static unsigned number = 0;
        static const auto started = shunt::pmd::start_eal({.memory_mib = 512, .hugepages = shunt::pmd::EalOptions::Hugepages::when_free, .links = {}});
        require(started.has_value(), "EAL does not start");
        auto ring = shunt::pmd::open_ring_port(("bench" + std::to_string(number++)).c_str());
        require(ring.has_value(), "no ring port");
        ring_ = *ring;
        const shunt::Ipv4Address address{our_address, 16, 0};
        shunt::StackOptions options;
        options.ports = {&ring_.port, 1};
        options.addresses = {&address, 1};
        options.connections_max = connections_max;
        options.key = {1, 2};
        auto stack = shunt::Stack::create(options, now);
        require(stack.has_value(), "no stack");
        stack_ = *stack;
        shunt::pmd::borrow_lcore(127);
        shunt::tcp::ConnectionOptions wishes;
        wishes.nodelay = true;
        auto listener = stack_->tcp().listen(our_address, our_port, 1024, wishes, false);
        require(listener.has_value(), "no listener");
        listener_ = *listener;
        answer_arp();
    }
    ~StackOnRing() {
        shunt::Stack::destroy(stack_);
        shunt::pmd::close_ring_port(ring_);
    }
    StackOnRing(const StackOnRing&) = delete;
    StackOnRing& operator=(const StackOnRing&) = delete;

    shunt::Stack& stack() noexcept { return *stack_; }
    void poll() noexcept { stack_->poll(now); }
    void give(Packet* packet) { require(ring_.give(packet), "the ring is full"); }
    // Takes what the stack has sent; how many frames.
    unsigned drain() noexcept {
        unsigned count = 0;
        while (Packet* packet = ring_.take()) {
            packet->free();
            ++count;
        }
        return count;
    }

    // A connection from the peer, established and accepted. `id` tells the peer's ends apart.
    shunt::tcp::Connection& establish(std::uint32_t id) {
        const Ends ends{our_address, peer_network | 2, our_port, static_cast<std::uint16_t>(1024 + id % 60000)};
        Ends at = ends;
        at.peer += id / 60000;
        if (id % 60000 == 0) {
            last_peer_ = std::max(last_peer_, at.peer);
            answer_arp(at.peer);
        }
        give(segment(at, Seq(999), Seq(0), wire::tcp_flag::syn, 0));
        poll();
        Packet* reply = ring_.take();
        require(reply != nullptr && reply->size() >= tcp_at + sizeof(wire::TcpHeader), "no SYN-ACK");
        const Seq iss(reinterpret_cast<const wire::TcpHeader*>(reply->data() + tcp_at)->seq);
        reply->free();
        give(segment(at, Seq(1000), iss + 1, wire::tcp_flag::ack, 0));
        poll();
        shunt::tcp::Connection* connection = stack_->tcp().accept(*listener_);
        require(connection != nullptr, "not accepted");
        connection->owner = this;
        connection->options.nodelay = true;
        drain();
        return *connection;
    }

    // The next segment that the peer of `c` would send, `ahead` bytes from now, with an ACK of all that we sent.
    Packet* next_segment(const shunt::tcp::Connection& c, std::uint32_t payload, std::uint32_t ahead = 0) {
        const Ends ends{c.local_address, c.remote_address, c.local_port, c.remote_port};
        return segment(ends, c.rcv_nxt + ahead, c.snd_nxt, payload != 0 ? wire::tcp_flag::ack | wire::tcp_flag::psh : wire::tcp_flag::ack, payload,
                       static_cast<std::uint32_t>(shunt::count_ms(now.time_since_epoch())) + c.ts_offset);
    }

    // Time passes; the peers make themselves known now and then, as the stack forgets neighbours that it does not hear.
    void pass(shunt::Duration duration) {
        now += duration;
        if (now >= arp_at_) {
            for (std::uint32_t peer = peer_network | 2; peer <= last_peer_; ++peer) {
                answer_arp(peer);
            }
        }
    }

    Time now{std::chrono::hours(1)};

private:
    static constexpr std::uint32_t tcp_at = 34;
    struct Ends {
        std::uint32_t us, peer;
        std::uint16_t our_port, peer_port;
    };
    static constexpr wire::Mac peer_mac{2, 0, 0, 0, 0, 9};

    static void require(bool holds, const char* what) {
        if (!holds) {
            throw std::runtime_error(what);
        }
    }

    void answer_arp(std::uint32_t peer = peer_network | 2) {
        arp_at_ = now + std::chrono::seconds(10);
        Packet* packet = ring_.port.allocate();
        require(packet != nullptr, "no packets");
        std::byte* frame = packet->append(60);
        std::memset(frame, 0, 60);
        new (frame) wire::EthernetHeader{ring_.port.mac, peer_mac, wire::ethertype_arp};
        new (frame + 14) wire::ArpPacket{1, wire::ethertype_ipv4, 6, 4, wire::ArpPacket::request, peer_mac, peer, {}, our_address};
        give(packet);
        poll();
        drain();
    }

    unsigned write_options(std::uint8_t flags, std::uint32_t tsecr, std::uint8_t* to) const {
        wire::TcpOptions options;
        options.has_timestamp = true;
        options.tsval = static_cast<std::uint32_t>(shunt::count_ms(now.time_since_epoch()));
        options.tsecr = tsecr;
        if ((flags & wire::tcp_flag::syn) != 0) {
            options.mss = 1460;
            options.wscale = 7;
            options.sack_permitted = true;
        }
        return wire::emit_tcp_options(options, to);
    }

    Packet* segment(const Ends& ends, Seq seq, Seq ack, unsigned flags, std::uint32_t payload, std::uint32_t tsecr = 0) {
        Packet* packet = ring_.port.allocate();
        require(packet != nullptr, "no packets");
        std::uint8_t options[40];
        const unsigned option_bytes = write_options(static_cast<std::uint8_t>(flags), tsecr, options);
        const auto tcp_bytes = static_cast<std::uint32_t>(sizeof(wire::TcpHeader) + option_bytes + payload);
        std::byte* frame = packet->append(tcp_at + tcp_bytes);
        std::memset(frame, 0, tcp_at + tcp_bytes);
        new (frame) wire::EthernetHeader{ring_.port.mac, peer_mac, wire::ethertype_ipv4};
        auto* ip = new (frame + 14) wire::Ipv4Header{0x45, 0, static_cast<std::uint16_t>(20 + tcp_bytes), 1, wire::Ipv4Header::dont_fragment, 64,
                                                     wire::protocol_tcp, 0, ends.peer, ends.us};
        ip->fill_checksum();
        auto* tcp = new (frame + tcp_at) wire::TcpHeader{ends.peer_port, ends.our_port, seq.raw(), ack.raw(),
                                                         static_cast<std::uint8_t>((sizeof(wire::TcpHeader) + option_bytes) / 4 << 4),
                                                         static_cast<std::uint8_t>(flags), 65535, 0, 0};
        std::memcpy(frame + tcp_at + sizeof *tcp, options, option_bytes);
        wire::Checksum sum;
        wire::add_pseudo_header(sum, ip->source.raw(), ip->destination.raw(), wire::protocol_tcp, tcp_bytes);
        sum.add(tcp, tcp_bytes);
        tcp->checksum = sum.field();
        return packet;
    }

    shunt::pmd::RingPort ring_;
    shunt::Stack* stack_ = nullptr;
    shunt::tcp::Listener* listener_ = nullptr;
    std::uint32_t last_peer_ = peer_network | 2;
    Time arp_at_{};
};

}  // namespace bench
