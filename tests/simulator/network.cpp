#include "simulator/network.hpp"

#include <algorithm>

#include "stack/support/card.hpp"

namespace shunt::simulator {
namespace {

constexpr unsigned frames_a_poll = 128;  // what Stack::poll takes from a port at most
constexpr Duration polls_apart = 10us;  // at least, when a timer wheel guesses early

const wire::EthernetHeader& ethernet_of(const Bytes& frame) { return *reinterpret_cast<const wire::EthernetHeader*>(frame.data()); }

}  // namespace

Station& Network::add(const StationSetup& setup, const WireSpec& to_switch, const WireSpec& from_switch) {
    const unsigned index = size();
    nodes_.push_back({std::make_unique<Station>(index, setup), Wire(to_switch, spread(seed_, 2 * index)), Wire(from_switch, spread(seed_, 2 * index + 1))});
    return station(index);
}

void Network::introduce() {
    for (const Node& to : nodes_) {
        for (const Node& of : nodes_) {
            if (&to != &of) {
                const wire::Mac& mac = of.station->mac();
                const Bytes reply = test::arp(wire::ArpPacket::reply, mac, of.station->address(), to.station->mac(), to.station->address());
                const Bytes frame = test::ethernet(to.station->mac(), mac, wire::ethertype_arp, reply);
                to.station->give(frame.data(), frame.size());
            }
        }
        to.station->stack().poll(now_);
    }
}

void Network::restart(unsigned index) {
    station(index).restart(now_);
    introduce();
}

std::uint32_t Network::keep(const Bytes& frame) {
    if (free_slots_.empty()) {
        frames_.push_back(frame);
        return static_cast<std::uint32_t>(frames_.size() - 1);
    }
    const std::uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    frames_[slot].assign(frame);
    return slot;
}

void Network::carry(Wire& wire, unsigned from, unsigned to, bool at_switch, Bytes& frame) {
    const bool is_arp = ethernet_of(frame).type == wire::ethertype_arp;
    const Wire::Fate fate = is_arp ? Wire::Fate{{{{now_ + wire.spec.delay}}}, 1} : wire.carry(frame.size(), now_);
    if (on_carried) {
        on_carried(from, to, frame, fate);
    }
    for (unsigned i = 0; i < fate.count; ++i) {
        const std::uint32_t slot = keep(frame);
        if (fate.copies[i].is_corrupt) {
            const auto at = wire.random().below(static_cast<std::uint32_t>(frame.size()));
            frames_[slot][at] = static_cast<char>(frames_[slot][at] ^ (1 << wire.random().below(8)));
        }
        events_.push({fate.copies[i].arrives, ++order_, to, slot, at_switch});
    }
}

// The router behind the wire says that the packet does not fit (RFC 1191).
void Network::refuse(unsigned from, const Bytes& frame, std::uint16_t mtu) {
    const Bytes quoted = frame.substr(sizeof(wire::EthernetHeader), sizeof(wire::Ipv4Header) + 8);
    const Bytes message = test::icmp(3, 4, mtu, quoted);
    const Bytes packet = test::ipv4({.source = test::ip(10, 0, 0, 254), .destination = station(from).address(), .protocol = wire::protocol_icmp}, message);
    const Bytes answer = test::ethernet(station(from).mac(), {2, 0, 0, 0, 0, 254}, wire::ethertype_ipv4, packet);
    events_.push({now_ + nodes_[from].to_switch.spec.delay, ++order_, from, keep(answer)});
}

void Network::submit(unsigned from) {
    while (Packet* packet = station(from).take()) {
        for (Bytes& frame : test::on_the_wire(*packet)) {
            send(from, frame);
        }
        packet->free();
    }
}

void Network::send(unsigned from, Bytes& frame) {
    if (on_sent) {
        on_sent(from, frame);
    }
    if (loses && loses(from, frame)) {
        return;
    }
    Wire& out = nodes_[from].to_switch;
    if (out.spec.mtu != 0 && frame.size() > sizeof(wire::EthernetHeader) + out.spec.mtu) {
        refuse(from, frame, out.spec.mtu);
        return;
    }
    const wire::Mac& destination = ethernet_of(frame).destination;
    for (unsigned to = 0; to < size(); ++to) {
        if (to != from && (wire::is_group(destination) || destination == station(to).mac())) {
            carry(out, from, to, true, frame);
        }
    }
}

void Network::collect() {
    for (unsigned i = 0; i < size(); ++i) {
        station(i).stack().flush(now_);
        submit(i);
    }
}

void Network::arrive(const Arrival& event) {
    Bytes& frame = frames_[event.slot];
    if (event.at_switch) {
        scratch_.assign(frame);
        carry(nodes_[event.to].from_switch, none, event.to, false, scratch_);
    } else {
        station(event.to).give(frame.data(), frame.size());
        ++nodes_[event.to].given;
    }
    free_slots_.push_back(event.slot);
}

// To the next thing that happens, and through it. False when nothing does before `end`.
bool Network::advance(Time end) {
    collect();
    Time next = events_.empty() ? never : events_.top().at;
    for (const Node& node : nodes_) {
        next = std::min(next, std::max(node.station->stack().next_deadline(), now_ + polls_apart));
    }
    if (next > end) {
        now_ = end;
        return false;
    }
    now_ = std::max(next, now_);
    while (!events_.empty() && events_.top().at <= now_) {
        const Arrival event = events_.top();
        events_.pop();
        if (event.to != none) {
            arrive(event);
        }
    }
    for (Node& node : nodes_) {
        if (node.given != 0 || node.station->stack().next_deadline() <= now_) {
            for (unsigned taken = 0; taken <= node.given; taken += frames_a_poll) {
                node.station->stack().poll(now_);
            }
            node.given = 0;
        }
    }
    collect();
    return true;
}

}  // namespace shunt::simulator
