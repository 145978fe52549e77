#include "udp/udp.hpp"

#include <algorithm>
#include <utility>

#include "ip/checksum.hpp"
#include "pmd/port_inline.hpp"

namespace shunt {
namespace {

constexpr std::uint32_t ports = 65536;

}  // namespace

std::size_t Udp::arena_bytes(std::uint32_t endpoints_max) noexcept {
    return Pool<UdpEndpoint>::bytes_for(endpoints_max) + ports * sizeof(UdpEndpoint*) + 2 * 64;
}

Udp::Udp(Ipv4& ipv4, Counters& counters, ChangedList& changed, const Tunables& tunables, SecretKey key, Arena& arena, std::uint32_t endpoints_max) noexcept
    : ipv4_(&ipv4),
      counters_(&counters),
      changed_(&changed),
      tunables_(&tunables),
      random_(key.k0 ^ key.k1),
      endpoints_(arena.carve(Pool<UdpEndpoint>::bytes_for(endpoints_max), 64), endpoints_max),
      by_port_(arena.carve_array<UdpEndpoint*>(ports)) {}

Result<UdpEndpoint*> Udp::open() noexcept {
    UdpEndpoint* endpoint = endpoints_.try_create();
    if (endpoint == nullptr) {
        return fail(ENOBUFS);
    }
    endpoint->rcvbuf = static_cast<std::uint32_t>(tunables_->rmem_default);
    return endpoint;
}

void Udp::close(UdpEndpoint& endpoint) noexcept {
    changed_->remove(endpoint);
    endpoint.rcv_queue.clear();
    uncork(endpoint);
    drop_reports(endpoint);
    unlink(endpoint);
    release_path(endpoint);
    endpoints_.destroy(&endpoint);
}

void Udp::free_packets() noexcept {
    for (std::uint32_t port = 0; port < ports; ++port) {
        for (UdpEndpoint* endpoint = by_port_[port]; endpoint != nullptr; endpoint = endpoint->next) {
            endpoint->rcv_queue.clear();
            uncork(*endpoint);
            drop_reports(*endpoint);
        }
    }
}

void Udp::unlink(UdpEndpoint& endpoint) noexcept {
    if (!endpoint.is_bound) {
        return;
    }
    UdpEndpoint** link = &by_port_[endpoint.local_port];
    while (*link != &endpoint) {
        link = &(*link)->next;
    }
    *link = endpoint.next;
    endpoint.is_bound = false;
}

void Udp::release_path(UdpEndpoint& endpoint) noexcept {
    if (endpoint.path && endpoint.path->neighbour != nullptr) {
        --endpoint.path->neighbour->references;
    }
    endpoint.path.reset();
}

bool Udp::is_free(const UdpEndpoint& endpoint, std::uint32_t address, std::uint16_t port) const noexcept {
    for (const UdpEndpoint* other = by_port_[port]; other != nullptr; other = other->next) {
        const bool overlaps = other->local_address == 0 || address == 0 || other->local_address == address;
        const bool may_share = (endpoint.reuse_address && other->reuse_address) || (endpoint.reuse_port && other->reuse_port);
        if (overlaps && !may_share) {
            return false;
        }
    }
    return true;
}

Result<void> Udp::bind(UdpEndpoint& endpoint, std::uint32_t address, std::uint16_t port) noexcept {
    if (endpoint.is_bound) {
        return fail(EINVAL);
    }
    if (address != 0 && !ipv4_->owns(address) && !ipv4_->is_broadcast(address)) {
        return fail(EADDRNOTAVAIL);
    }
    endpoint.has_own_port = port != 0;
    if (port == 0) {
        const auto first = static_cast<std::uint32_t>(tunables_->ip_local_port_range.first);
        const std::uint32_t range = static_cast<std::uint32_t>(tunables_->ip_local_port_range.last) - first + 1;
        const std::uint32_t start = random_.below(range);
        for (std::uint32_t i = 0; i < range && port == 0; ++i) {
            const auto candidate = static_cast<std::uint16_t>(first + (start + i) % range);
            port = is_free(endpoint, address, candidate) ? candidate : std::uint16_t{0};
        }
        if (port == 0) {
            return fail(EADDRINUSE);
        }
    } else if (!is_free(endpoint, address, port)) {
        return fail(EADDRINUSE);
    }
    endpoint.local_address = endpoint.bound_address = address;
    endpoint.local_port = port;
    endpoint.is_bound = true;
    endpoint.next = by_port_[port];
    by_port_[port] = &endpoint;
    return {};
}

Result<void> Udp::bind_at_need(UdpEndpoint& endpoint) noexcept {
    if (!endpoint.is_bound && !bind(endpoint, endpoint.bound_address, 0)) {
        return fail(EAGAIN);  // as Linux says it when nobody asked for a port
    }
    return {};
}

void Udp::disconnect(UdpEndpoint& endpoint) noexcept {
    release_path(endpoint);
    endpoint.remote_address = 0;
    endpoint.remote_port = 0;
    endpoint.local_address = endpoint.bound_address;
    if (!endpoint.has_own_port) {
        unlink(endpoint);
        endpoint.local_port = 0;
    }
}

Result<void> Udp::connect(UdpEndpoint& endpoint, UdpDestination to) noexcept {
    to.address = ipv4_->named(to.address, endpoint.local_address);
    auto path = ipv4_->route(to.address, endpoint.local_address);
    if (!path) {
        return fail(code_of(path.error()));
    }
    if (ipv4_->is_broadcast(to.address) && !endpoint.broadcast) {
        return fail(EACCES);
    }
    if (auto bound = bind_at_need(endpoint); !bound) {
        return bound;
    }
    release_path(endpoint);
    if (endpoint.local_address == 0) {  // who is bound to a broadcast address stays so
        endpoint.local_address = path->source;
    }
    endpoint.remote_address = to.address;
    endpoint.remote_port = to.port;
    endpoint.path = *path;
    endpoint.flow_to = to;  // a datagram that waits goes there now, too
    if (path->neighbour != nullptr) {
        ++path->neighbour->references;
    }
    return {};
}

Packet* Udp::take(UdpEndpoint& endpoint) noexcept {
    if (endpoint.rcv_queue.is_empty()) {
        return nullptr;
    }
    Packet* packet = endpoint.rcv_queue.pop_front();
    endpoint.rcv_queued -= packet->buffer_bytes();
    return packet;
}

// The closest match wins: connected, then bound to the address, then to any; of equals with SO_REUSEPORT the flow's hash chooses.
UdpEndpoint* Udp::find(std::uint32_t local, std::uint16_t local_port, std::uint32_t remote, std::uint16_t remote_port) const noexcept {
    const auto score_of = [&](const UdpEndpoint& e) {
        const bool is_other = (e.local_address != 0 && e.local_address != local) ||
                              (e.is_connected() && (e.remote_address != remote || (e.remote_port != 0 && e.remote_port != remote_port)));
        return is_other ? -1 : (e.is_connected() ? 2 : 0) + (e.local_address != 0 ? 1 : 0);
    };
    UdpEndpoint* best = nullptr;
    int best_score = -1;
    std::uint32_t equals = 0;
    for (UdpEndpoint* e = by_port_[local_port]; e != nullptr; e = e->next) {
        const int score = score_of(*e);
        if (score > best_score) {
            best = e;
            best_score = score;
            equals = 1;
        } else if (score >= 0 && score == best_score && best->reuse_port && e->reuse_port) {
            ++equals;
        }
    }
    if (equals < 2) [[likely]] {
        return best;
    }
    std::uint32_t nth = ((remote * 31 + remote_port) * 0x9E3779B1U >> 16) % equals;
    while (nth != 0) {
        best = best->next;
        nth -= score_of(*best) == best_score && best->reuse_port;
    }
    return best;
}

void Udp::input(Packet* packet, const Ipv4Verdict& ip, Time now, bool& no_socket) noexcept {
    const auto drop = [&](DropReason reason) {
        counters_->count(reason);
        packet->free();
    };
    if (packet->first_size() < sizeof(wire::UdpHeader)) {
        return drop(DropReason::udp_malformed);
    }
    const auto& header = *reinterpret_cast<const wire::UdpHeader*>(packet->data());
    const std::uint32_t length = header.length;
    if (length < sizeof(wire::UdpHeader) || length > packet->size()) {
        return drop(DropReason::udp_malformed);
    }
    packet->trim_back(packet->size() - length);
    if (header.checksum != 0) {
        const ChecksumState state = ipv4_->packet_source()->rx_l4_checksum(*packet);
        wire::Checksum sum;
        if (state == ChecksumState::unknown) {
            wire::add_pseudo_header(sum, __builtin_bswap32(ip.source), __builtin_bswap32(ip.destination), wire::protocol_udp, length);
            add_packet(sum, *packet);
        }
        if (state == ChecksumState::bad || (state == ChecksumState::unknown && !sum.is_good())) {
            return drop(DropReason::udp_bad_checksum);
        }
    }
    UdpEndpoint* endpoint = find(ip.destination, header.destination_port, ip.source, header.source_port);
    if (endpoint == nullptr) {
        no_socket = !ip.to_group;
        counters_->count(DropReason::udp_no_socket);
        if (!no_socket) {
            packet->free();
        }
        return;
    }
    const std::uint32_t memory = packet->buffer_bytes();
    if (endpoint->rcv_queued != 0 && (endpoint->rcv_queued + memory > endpoint->rcvbuf + 2048 || memory_pressure_)) {  // one has room in the smallest buffer
        ++endpoint->drops;
        return drop(DropReason::udp_queue_full);
    }
    PacketMeta& meta = packet->meta();
    meta.address = ip.source;
    meta.port = header.source_port;
    meta.local_address = ip.destination;
    meta.drops = endpoint->drops;
    meta.ttl = ip.ttl;
    meta.tos = ip.tos;
    meta.stamp_ns = now.time_since_epoch().count();
    packet->trim_front(sizeof(wire::UdpHeader));
    endpoint->rcv_queued += memory;
    endpoint->rcv_queue.push_back(packet);
    counters_->count(Event::udp_received);
    changed_->note(*endpoint, ready::input);
}

// Dropped when nobody fetches them, as Linux drops them beyond the receive buffer.
void Udp::report(UdpEndpoint& endpoint, const ErrorReport& report, const Packet* quote, std::uint32_t quote_offset) noexcept {
    constexpr std::uint32_t memory = 1024;  // what one counts against the receive buffer
    Packet* packet = endpoint.error_reports < std::max(endpoint.rcvbuf / memory, 16U) && !memory_pressure_ ? claim() : nullptr;
    if (packet == nullptr) {
        return;
    }
    std::memcpy(packet->append(sizeof report), &report, sizeof report);
    if (quote != nullptr && quote->size() > quote_offset) {
        const std::uint32_t size = std::min(quote->size() - quote_offset, packet->tailroom());
        quote->copy_out(quote_offset, packet->append(size), size);
    }
    endpoint.error_queue.push_back(packet);
    ++endpoint.error_reports;
    changed_->note(endpoint, ready::error);
}

Packet* Udp::take_report(UdpEndpoint& endpoint, ErrorReport& report) noexcept {
    if (endpoint.error_queue.is_empty()) {
        return nullptr;
    }
    Packet* packet = endpoint.error_queue.pop_front();
    --endpoint.error_reports;
    packet->copy_out(0, &report, sizeof report);
    packet->trim_front(sizeof report);
    if (report.origin == ErrorReport::Origin::icmp) {  // as Linux: what waits to be told by a call is the next one's
        ErrorReport next;
        const Packet* after = endpoint.error_queue.front();
        if (after != nullptr) {
            after->copy_out(0, &next, sizeof next);
        }
        endpoint.error = after != nullptr && next.origin == ErrorReport::Origin::icmp ? next.error : 0;
    }
    return packet;
}

void Udp::drop_reports(UdpEndpoint& endpoint) noexcept {
    endpoint.error_queue.clear();
    endpoint.error_reports = 0;
}

// As Linux: a connected socket hears of hard errors; with IP_RECVERR each hears of all, and its error queue says more.
void Udp::icmp_error(const IcmpError& error, Time now) noexcept {
    UdpEndpoint* endpoint = find(error.source, error.source_port, error.destination, error.destination_port);
    if (endpoint == nullptr) {
        return;
    }
    if (error.mtu != 0) {
        ipv4_->learn_mtu(error.destination, error.mtu, now);
        if (endpoint->path && endpoint->remote_address == error.destination) {
            endpoint->path->mtu = std::min(endpoint->path->mtu, error.mtu);
        }
        if (endpoint->mtu_discover == 0) {  // IP_PMTUDISC_DONT
            return;
        }
    }
    const bool is_hard = error.is_hard || error.mtu != 0;
    if (!endpoint->recverr && (!endpoint->is_connected() || !is_hard)) {
        return;
    }
    counters_->count(Event::icmp_errors_received);
    endpoint->error = error.mtu != 0 ? EMSGSIZE : error.error;
    if (endpoint->recverr) {
        ErrorReport told;
        told.type = error.type;
        told.code = error.code;
        told.error = endpoint->error;
        told.info = error.mtu;
        told.offender = error.offender;
        told.address = error.destination;
        told.port = error.destination_port;
        report(*endpoint, told, error.quote, error.quote_offset);
    }
    changed_->note(*endpoint, ready::error | ready::input | ready::output);
}

}  // namespace shunt
