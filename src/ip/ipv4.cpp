#include "ip/ipv4.hpp"

#include <algorithm>

#include "pmd/fragments.hpp"
#include "pmd/port_inline.hpp"

namespace shunt {
namespace {

Ipv4Verdict dropped(DropReason reason) noexcept {
    Ipv4Verdict verdict;
    verdict.reason = reason;
    return verdict;
}

Ipv4Verdict::Kind kind_of(std::uint8_t protocol) noexcept {
    switch (protocol) {
        case wire::protocol_tcp: return Ipv4Verdict::Kind::tcp;
        case wire::protocol_udp: return Ipv4Verdict::Kind::udp;
        case wire::protocol_icmp: return Ipv4Verdict::Kind::icmp;
        default: return Ipv4Verdict::Kind::unknown_protocol;
    }
}

// Options that let the sender choose the way: no host of today believes them (RFC 7126, 4.3 and 4.4; Linux's accept_source_route).
bool has_source_route(const wire::Ipv4Header& header) noexcept {
    constexpr std::uint8_t end = 0, nop = 1, loose = 131, strict = 137;
    const auto* option = reinterpret_cast<const std::uint8_t*>(&header + 1);
    const auto* const last = reinterpret_cast<const std::uint8_t*>(&header) + header.header_bytes();
    while (option < last && *option != end && *option != loose && *option != strict) {
        const std::ptrdiff_t length = *option == nop ? 1 : option + 1 < last ? option[1] : 0;
        if (length == 0 || length > last - option) {
            return false;
        }
        option += length;
    }
    return option < last && *option != end;
}

}  // namespace

Ipv4::Ipv4(std::span<Link* const> links, const pmd::Port& packet_source, Counters& counters, pmd::Fragments* fragments, std::uint8_t ttl) noexcept
    : packet_source_(packet_source), link_count_(static_cast<unsigned>(std::min<std::size_t>(links.size(), links_max))), ttl_(ttl), counters_(&counters), fragments_(fragments) {
    std::copy_n(links.begin(), link_count_, links_.begin());
}

Result<void> Ipv4::add_address(const Ipv4Address& address) noexcept {
    if (owns(address.address)) {
        return fail(EEXIST);
    }
    if (address_count_ == addresses_max || (address.link >= link_count_ && address.link != Ipv4Address::no_link)) {
        return fail(ENOSPC);
    }
    addresses_[address_count_++] = address;
    if (address.link == Ipv4Address::no_link) {
        return {};
    }
    Link& link = *links_[address.link];
    if (link.address == 0) {
        link.address = address.address;
        link.broadcast = address.broadcast();
    }
    return {};
}

bool Ipv4::is_broadcast(std::uint32_t address) const noexcept {
    return address == wire::limited_broadcast || (owns_loopback_ && address == wire::loopback_broadcast) ||
           std::any_of(addresses_.begin(), addresses_.begin() + address_count_, [&](const Ipv4Address& ours) { return ours.broadcast() != 0 && ours.broadcast() == address; });
}

const Ipv4Address* Ipv4::on_link(std::uint32_t destination) const noexcept {
    const Ipv4Address* best = nullptr;
    for (const Ipv4Address& ours : addresses()) {
        if (ours.link != Ipv4Address::no_link && ours.contains(destination) && (best == nullptr || ours.length > best->length)) {
            best = &ours;
        }
    }
    return best;
}

// Our address on the link that leads to `destination`; null when no link does.
const Ipv4Address* Ipv4::address_for(std::uint32_t destination) const noexcept {
    if (const Ipv4Address* direct = on_link(destination)) {
        return direct;
    }
    const bool is_group = destination == wire::limited_broadcast;
    if (is_group && address_count_ != 0 && link_count_ != 0) {
        return &addresses_[0];
    }
    return gateway_ != 0 && !wire::is_loopback(destination) && !wire::is_multicast(destination) ? on_link(gateway_) : nullptr;
}

bool Ipv4::reaches(std::uint32_t destination) const noexcept {
    return owns(destination) || (owns_loopback_ && destination == wire::loopback_broadcast) || (destination != 0 && address_for(destination) != nullptr);
}

// Null: no router has told.
Ipv4::LearnedMtu* Ipv4::find_learned(std::uint32_t destination) noexcept {
    const auto end = learned_.begin() + learned_count_;
    const auto found = std::find_if(learned_.begin(), end, [destination](const LearnedMtu& each) { return each.destination == destination; });
    return found != end ? &*found : nullptr;
}

std::uint16_t Ipv4::mtu_to(std::uint32_t destination, std::uint16_t of_link) noexcept {
    const LearnedMtu* known = find_learned(destination);
    return known != nullptr ? std::min(known->mtu, of_link) : of_link;
}

void Ipv4::learn_mtu(std::uint32_t destination, std::uint16_t mtu, Time now) noexcept {
    constexpr Duration lasts = std::chrono::minutes(10);  // Linux: net.ipv4.route.mtu_expires
    LearnedMtu* place = find_learned(destination);
    if (place == nullptr && learned_count_ < learned_max) {
        place = &learned_[learned_count_++];
    } else if (place == nullptr) {
        place = &*std::min_element(learned_.begin(), learned_.end(), [](const LearnedMtu& a, const LearnedMtu& b) { return a.until < b.until; });
    }
    *place = {destination, mtu, now + lasts};
}

void Ipv4::forget_mtus(Time now) noexcept {
    const auto end = std::remove_if(learned_.begin(), learned_.begin() + learned_count_, [now](const LearnedMtu& each) { return each.until <= now; });
    learned_count_ = static_cast<unsigned>(end - learned_.begin());
}

// Of the addresses that share a network on a link, Linux prefers the first, for what goes to the others as well.
std::uint32_t Ipv4::first_beside(std::uint32_t own) const noexcept {
    const auto all = addresses();
    const auto self = std::ranges::find(all, own, &Ipv4Address::address);
    return std::find_if(all.begin(), self, [&](const Ipv4Address& each) { return each.link == self->link && each.length == self->length && each.contains(own); })->address;
}

std::uint8_t Ipv4::link_of(std::uint32_t address) const noexcept {
    for (const Ipv4Address& ours : addresses()) {
        if (ours.address == address || ours.broadcast() == address) {
            return ours.link;
        }
    }
    return address == wire::limited_broadcast && link_count_ != 0 ? std::uint8_t{0} : Ipv4Address::no_link;
}

Result<Path> Ipv4::route(std::uint32_t destination, std::uint32_t source) noexcept {
    if (source != 0 && !owns(source)) {
        if (!is_broadcast(source)) {
            return fail(EADDRNOTAVAIL);
        }
        source = 0;
    }
    Path path;
    path.destination = destination;
    path.ttl = ttl_;
    const bool is_loopback = owns_loopback_ && wire::is_loopback(destination);
    if (is_loopback || owns(destination)) {
        path.source = source != 0 ? source : is_loopback ? wire::loopback : first_beside(destination);  // as in Linux's local table
        path.mtu = loop_mtu;
        return path;
    }
    const Ipv4Address* ours = destination == 0 ? nullptr : address_for(destination);
    if (ours == nullptr) {
        return fail(ENETUNREACH);
    }
    const bool direct = ours->contains(destination) || destination == wire::limited_broadcast;
    path.source = source != 0 ? source : ours->address;
    path.link = links_[ours->link];
    path.is_to_all = destination == wire::limited_broadcast || destination == ours->broadcast();
    path.mtu = mtu_to(destination, path.link->port.mtu);
    path.neighbour = path.link->neighbour(direct ? destination : gateway_);
    if (path.neighbour == nullptr) {
        return fail(ENOBUFS);
    }
    return path;
}

Ipv4Verdict Ipv4::input(Packet*& packet, Time now) noexcept {
    if (packet->first_size() < sizeof(wire::Ipv4Header)) {
        return dropped(DropReason::ip_malformed);
    }
    const auto* header = reinterpret_cast<const wire::Ipv4Header*>(packet->data());
    const unsigned header_bytes = header->header_bytes();
    const std::uint32_t total = header->total_length;
    if (header->version() != 4 || header_bytes < sizeof(wire::Ipv4Header) || header_bytes > packet->first_size() || total < header_bytes || total > packet->size()) {
        return dropped(DropReason::ip_malformed);
    }
    const ChecksumState checksum = packet_source()->rx_ipv4_checksum(*packet);
    if (checksum == ChecksumState::bad || (checksum == ChecksumState::unknown && !header->has_good_checksum())) {
        return dropped(DropReason::ip_bad_checksum);
    }
    if (header_bytes != sizeof(wire::Ipv4Header) && has_source_route(*header)) [[unlikely]] {
        return dropped(DropReason::ip_source_route);
    }
    Ipv4Verdict verdict;
    verdict.source = header->source;
    verdict.destination = header->destination;
    verdict.tos = header->tos;
    verdict.ttl = header->ttl;
    if (!owns(verdict.destination)) {
        if (!is_broadcast(verdict.destination)) {
            return dropped(DropReason::ip_not_for_us);
        }
        verdict.to_group = true;
    }
    if (verdict.source == 0 || is_broadcast(verdict.source) || wire::is_multicast(verdict.source)) {
        return dropped(DropReason::ip_bad_source);
    }
    if (packet->size() > total) {
        packet->trim_back(packet->size() - total);
    }
    if (header->is_fragment()) {
        packet = reassemble(packet, now);
        if (packet == nullptr) {
            verdict.kind = Ipv4Verdict::Kind::consumed;
            return verdict;
        }
        header = reinterpret_cast<const wire::Ipv4Header*>(packet->data());
    }
    verdict.kind = kind_of(header->protocol);
    verdict.header_bytes = static_cast<std::uint8_t>(header->header_bytes());
    packet->trim_front(verdict.header_bytes);
    return verdict;
}

// Null: kept until the rest comes, or thrown away.
Packet* Ipv4::reassemble(Packet* packet, Time now) noexcept {
    if (fragments_ == nullptr) {
        counters_->count(DropReason::ip_fragment_failed);
        packet->free();
        return nullptr;
    }
    packet = pmd::reassemble(*fragments_, packet, now);
    count_failed_fragments();
    return packet;
}

void Ipv4::expire_fragments(Time now) noexcept {
    if (fragments_ != nullptr) {
        pmd::expire(*fragments_, now);
        count_failed_fragments();
    }
}

void Ipv4::count_failed_fragments() noexcept {
    for (const std::uint64_t failed = pmd::fragments_failed(*fragments_); fragments_counted_ < failed; ++fragments_counted_) {
        counters_->count(DropReason::ip_fragment_failed);
    }
}

void Ipv4::write_header(Packet* packet, const Path& path, std::uint8_t protocol, std::uint16_t identification, std::uint16_t fragment, std::uint8_t ecn) noexcept {
    const auto total = static_cast<std::uint16_t>(packet->size() + sizeof(wire::Ipv4Header));
    auto* header = reinterpret_cast<wire::Ipv4Header*>(packet->prepend(sizeof(wire::Ipv4Header)));
    wire::Checksum sum;
    wire::HeaderWriter writer(header, sum);
    constexpr std::uint32_t version_ihl = 0x45;
    const auto tos = static_cast<std::uint32_t>(path.tos | ecn);
    writer.put(version_ihl << 24 | tos << 16 | total, std::uint32_t{identification} << 16 | fragment);
    writer.put(std::uint32_t{path.ttl} << 24 | std::uint32_t{protocol} << 16, path.source);
    writer.put(path.destination);
    if (path.link == nullptr || !path.link->port.offloads.tx_ipv4_checksum) {
        header->checksum = sum.field();
    }
}

void Ipv4::output(Packet* packet, const Path& path, std::uint8_t protocol, Time now, std::uint8_t ecn) noexcept {
    write_header(packet, path, protocol, ++identification_, path.fragment_field, ecn);
    if (path.link != nullptr) {
        const pmd::Offloads& offloads = path.link->port.offloads;
        const bool tcp = protocol == wire::protocol_tcp && offloads.tx_tcp_checksum;
        const bool udp = protocol == wire::protocol_udp && offloads.tx_udp_checksum;
        if (offloads.tx_ipv4_checksum || tcp || udp) {
            pmd::Port::request_tx_checksum(*packet, sizeof(wire::EthernetHeader), sizeof(wire::Ipv4Header), offloads.tx_ipv4_checksum, tcp, udp);
        }
    }
    hand_over(packet, path, now);
}

void Ipv4::output_fragment(Packet* packet, const Path& path, std::uint8_t protocol, std::uint16_t identification, std::uint16_t fragment, Time now) noexcept {
    write_header(packet, path, protocol, identification, fragment, 0);
    if (path.link != nullptr && path.link->port.offloads.tx_ipv4_checksum) {
        pmd::Port::request_tx_checksum(*packet, sizeof(wire::EthernetHeader), sizeof(wire::Ipv4Header), true, false, false);
    }
    hand_over(packet, path, now);
}

void Ipv4::hand_over(Packet* packet, const Path& path, Time now) noexcept {
    if (path.link == nullptr) {
        return loop_back(packet);
    }
    if (path.is_to_all) [[unlikely]] {
        hear(*packet, path.link->port.offloads);
    }
    path.link->output(packet, *path.neighbour, now);
}

// As on Linux, what goes to all comes to us as well. Checksums that the port would have filled in are missing.
void Ipv4::hear(const Packet& packet, const pmd::Offloads& offloads) noexcept {
    Packet* copy = copy_of(packet);
    if (copy == nullptr) {
        return;
    }
    auto* header = reinterpret_cast<wire::Ipv4Header*>(copy->data());
    if (offloads.tx_ipv4_checksum) {
        header->checksum = 0;
        wire::Checksum sum;
        sum.add(copy->data(), sizeof *header);
        header->checksum = sum.field();
    }
    if (offloads.tx_udp_checksum && header->protocol == wire::protocol_udp && !header->is_fragment()) {
        reinterpret_cast<wire::UdpHeader*>(header + 1)->checksum = 0;  // none
    }
    loop_back(copy);
}

// Null: no packet is left.
Packet* Ipv4::copy_of(const Packet& packet) noexcept {
    Packet* copy = packet_source()->allocate();
    const std::uint32_t size = packet.size();
    if (copy == nullptr || copy->tailroom() < size) {
        counters_->count(DropReason::packet_pool_empty);
        if (copy != nullptr) {
            copy->free();
        }
        return nullptr;
    }
    packet.copy_out(0, copy->append(size), size);
    return copy;
}

// The sender's retransmission queue may still hold the packet, and the receiver will queue and trim it: give the receiver its own.
void Ipv4::loop_back(Packet* packet) noexcept {
    if (looped_count_ == loop_queue_max) {
        counters_->count(DropReason::neighbour_queue_full);
        packet->free();
        return;
    }
    if (packet->is_shared()) {
        Packet* copy = copy_of(*packet);
        packet->free();
        if (copy == nullptr) {
            return;
        }
        packet = copy;
    }
    looped_.push_back(packet);
    ++looped_count_;
}

void Ipv4::start_over(Time now) noexcept {
    looped_ = {};
    looped_count_ = 0;
    learned_count_ = 0;
    if (fragments_ != nullptr) {
        pmd::forget_fragments(*fragments_);
        fragments_counted_ = pmd::fragments_failed(*fragments_);
    }
    for (Link* link : links()) {
        link->start_over(now);
    }
}

Packet* Ipv4::take_looped() noexcept {
    if (looped_.is_empty()) {
        return nullptr;
    }
    --looped_count_;
    return looped_.pop_front();
}

}  // namespace shunt
