#include "link/link.hpp"

#include "pmd/port_inline.hpp"
#include "wire/ipv4.hpp"

namespace shunt {
namespace {

constexpr unsigned probe_window = 16;  // an address is looked for in so many places, then the oldest idle one is taken

unsigned place_of(std::uint32_t address, unsigned i) noexcept {
    return ((address * 0x9E3779B1U >> 16) + i) % Link::neighbours_max;
}

wire::Mac multicast_mac(std::uint32_t address) noexcept {  // RFC 1112, 6.4
    return {0x01, 0x00, 0x5e, static_cast<std::uint8_t>((address >> 16) & 0x7f), static_cast<std::uint8_t>(address >> 8), static_cast<std::uint8_t>(address)};
}

}  // namespace

Neighbour* Link::neighbour(std::uint32_t wanted) noexcept {
    Neighbour* candidate = nullptr;
    for (unsigned i = 0; i < probe_window; ++i) {
        Neighbour& entry = neighbours_[place_of(wanted, i)];
        if (entry.state != Neighbour::State::unused && entry.address == wanted) {
            return &entry;
        }
        const bool is_free = entry.references == 0 && entry.pending.is_empty();
        if (is_free && (candidate == nullptr || entry.used < candidate->used)) {
            candidate = &entry;
        }
    }
    if (candidate == nullptr) {
        return nullptr;
    }
    *candidate = Neighbour{};
    candidate->address = wanted;
    candidate->state = Neighbour::State::failed;  // not asked for yet
    const bool is_broadcast = wanted == wire::limited_broadcast || (broadcast != 0 && wanted == broadcast);
    if (is_broadcast || wire::is_multicast(wanted)) {
        candidate->mac = is_broadcast ? wire::broadcast_mac : multicast_mac(wanted);
        candidate->state = Neighbour::State::reachable;
        candidate->confirmed = never - reachable_time;
    }
    return candidate;
}

void Link::output_slowly(Packet* packet, Neighbour& neighbour, Time now) noexcept {
    neighbour.used = now;
    switch (neighbour.state) {
        case Neighbour::State::reachable:  // not heard for a while: go on using it, but ask
            neighbour.state = Neighbour::State::probing;
            neighbour.tries = 0;
            request(neighbour, now);
            [[fallthrough]];
        case Neighbour::State::probing:
            emit(packet, neighbour.mac, wire::ethertype_ipv4, now);
            return;
        case Neighbour::State::unused:
        case Neighbour::State::failed:
            neighbour.state = Neighbour::State::incomplete;
            neighbour.tries = 0;
            request(neighbour, now);
            [[fallthrough]];
        case Neighbour::State::incomplete:
            break;
    }
    if (neighbour.pending_count == pending_max) {  // the oldest goes, as RFC 1122, 2.3.2.2 asks to keep the latest
        neighbour.pending.pop_front()->free();
        --neighbour.pending_count;
        counters_->count(DropReason::neighbour_queue_full);
    }
    if (packet->is_shared()) {
        // A packet has one queue link and the sender's retransmission queue may be using it: queue a copy, so that both can.
        Packet* copy = port.allocate();
        if (copy != nullptr && copy->tailroom() >= packet->size()) {
            packet->copy_out(0, copy->append(packet->size()), packet->size());
        } else if (copy != nullptr) {
            copy->free();
            copy = nullptr;
        }
        packet->free();
        if (copy == nullptr) {
            counters_->count(DropReason::packet_pool_empty);
            return;
        }
        packet = copy;
    }
    neighbour.pending.push_back(packet);
    ++neighbour.pending_count;
}

void Link::flush_outbox(Time now) noexcept {
    const unsigned count = outbox_count_;
    outbox_count_ = 0;
    counters_->count(Event::tx_packets, count);
    port.tx_burst(now, std::span<Packet*>(outbox_.data(), count));
}

const wire::ArpPacket* Link::parse_arp(const Packet& packet) const noexcept {
    if (packet.first_size() < sizeof(wire::ArpPacket)) {
        return nullptr;
    }
    const auto* arp = reinterpret_cast<const wire::ArpPacket*>(packet.data());
    return arp->is_well_formed() ? arp : nullptr;
}

void Link::learn(std::uint32_t from, const wire::Mac& mac, bool may_create, Time now) noexcept {
    if (from == 0 || wire::is_multicast(from) || from == wire::limited_broadcast || from == broadcast) {
        return;  // an address probe (RFC 5227), or nonsense
    }
    Neighbour* entry = nullptr;
    for (unsigned i = 0; i < probe_window && entry == nullptr; ++i) {
        Neighbour& at = neighbours_[place_of(from, i)];
        entry = at.state != Neighbour::State::unused && at.address == from ? &at : nullptr;
    }
    if (entry == nullptr) {
        if (!may_create || (entry = neighbour(from)) == nullptr) {
            return;
        }
    }
    entry->mac = mac;
    entry->state = Neighbour::State::reachable;
    entry->confirmed = now;
    entry->tries = 0;
    entry->pending_count = 0;
    while (!entry->pending.is_empty()) {
        emit(entry->pending.pop_front(), mac, wire::ethertype_ipv4, now);
    }
}

void Link::send_arp(std::uint16_t operation, std::uint32_t sender, std::uint32_t target, const wire::Mac& target_mac, const wire::Mac& to, Time now) noexcept {
    Packet* packet = port.allocate();
    if (packet == nullptr) {
        counters_->count(DropReason::packet_pool_empty);
        return;
    }
    auto* arp = reinterpret_cast<wire::ArpPacket*>(packet->append(sizeof(wire::ArpPacket)));
    arp->hardware_type = 1;
    arp->protocol_type = wire::ethertype_ipv4;
    arp->hardware_length = 6;
    arp->protocol_length = 4;
    arp->operation = operation;
    arp->sender_mac = port.mac;
    arp->sender_address = sender;
    arp->target_mac = target_mac;
    arp->target_address = target;
    constexpr std::uint32_t ethernet_payload_min = 46;
    std::memset(packet->append(ethernet_payload_min - sizeof(wire::ArpPacket)), 0, ethernet_payload_min - sizeof(wire::ArpPacket));
    emit(packet, to, wire::ethertype_arp, now);
}

void Link::announce(std::uint32_t ours, Time now) noexcept {
    send_arp(wire::ArpPacket::request, ours, ours, wire::Mac{}, wire::broadcast_mac, now);
}

void Link::request(Neighbour& neighbour, Time now) noexcept {
    ++neighbour.tries;
    neighbour.next_try = now + retry_time;
    schedule(neighbour.next_try);
    counters_->count(Event::arp_requests);
    const bool is_known = neighbour.state == Neighbour::State::probing;
    send_arp(wire::ArpPacket::request, address, neighbour.address, wire::Mac{}, is_known ? neighbour.mac : wire::broadcast_mac, now);
}

void Link::give_up(Neighbour& neighbour, PacketQueue& failed) noexcept {
    neighbour.state = Neighbour::State::failed;
    neighbour.pending_count = 0;
    while (!neighbour.pending.is_empty()) {
        counters_->count(DropReason::neighbour_failed);
        failed.push_back(neighbour.pending.pop_front());
    }
}

void Link::on_timer(Time now, PacketQueue& failed) noexcept {
    next_deadline_ = never;
    for (Neighbour& entry : neighbours_) {
        if (entry.state != Neighbour::State::incomplete && entry.state != Neighbour::State::probing) {
            continue;
        }
        if (now < entry.next_try) {
            schedule(entry.next_try);
        } else if (entry.tries < tries_max) {
            request(entry, now);
        } else if (entry.state == Neighbour::State::probing) {
            entry.state = Neighbour::State::incomplete;  // it does not answer under the MAC we knew: ask everybody
            entry.tries = 0;
            request(entry, now);
        } else {
            give_up(entry, failed);
        }
    }
}

void Link::on_link_up(Time now) noexcept {
    if (address != 0) {
        announce(address, now);
    }
    for (Neighbour& entry : neighbours_) {
        if (entry.state == Neighbour::State::incomplete) {
            entry.tries = 0;
            request(entry, now);
        } else if (entry.state == Neighbour::State::reachable && entry.confirmed + reachable_time < never) {
            entry.confirmed = now - reachable_time;  // whoever is there now may be another
        }
    }
}

void Link::free_packets() noexcept {
    for (Neighbour& entry : neighbours_) {
        entry.pending.clear();
    }
    while (outbox_count_ != 0) {
        outbox_[--outbox_count_]->free();
    }
}

void Link::start_over(Time now) noexcept {
    outbox_count_ = 0;
    next_deadline_ = never;
    for (Neighbour& entry : neighbours_) {
        const Neighbour old = entry;
        entry = Neighbour{};
        const bool is_station = old.is_usable() && old.confirmed + reachable_time < never;  // not broadcast, not multicast
        if (is_station) {
            entry.address = old.address;
            entry.mac = old.mac;
            entry.state = Neighbour::State::reachable;
            entry.confirmed = now - reachable_time;
        }
    }
}

void Link::doubt(Neighbour& neighbour, Time now) noexcept {
    if (neighbour.state == Neighbour::State::reachable && neighbour.confirmed + reachable_time < never && now - neighbour.confirmed > retry_time) {
        neighbour.confirmed = now - reachable_time;
    }
}

}  // namespace shunt
