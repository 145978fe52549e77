#include "udp/udp.hpp"

#include <algorithm>
#include <utility>

#include "base/user_memory.hpp"
#include "ip/checksum.hpp"
#include "pmd/port_inline.hpp"

namespace shunt {
namespace {

constexpr std::uint32_t ports = 65536;

std::uint32_t total_of(std::span<const std::span<const std::byte>> pieces) noexcept {
    std::size_t total = 0;
    for (const auto& piece : pieces) {
        total += piece.size();
    }
    return static_cast<std::uint32_t>(std::min<std::size_t>(total, 0xffff'ffff));
}

// Copies bytes out of a gather list, in order.
class Gather {
public:
    explicit Gather(std::span<const std::span<const std::byte>> pieces) noexcept : pieces_(pieces) {}
    void copy(std::byte* to, std::uint32_t n) noexcept {
        while (n != 0) {
            const auto& piece = pieces_[index_];
            const auto here = static_cast<std::uint32_t>(std::min<std::size_t>(piece.size() - offset_, n));
            std::memcpy(to, piece.data() + offset_, here);
            to += here;
            n -= here;
            offset_ += here;
            if (offset_ == piece.size()) {
                ++index_;
                offset_ = 0;
            }
        }
    }

private:
    std::span<const std::span<const std::byte>> pieces_;
    std::size_t index_ = 0;
    std::size_t offset_ = 0;
};

// IP_MTU_DISCOVER: DONT and OMIT fragment and let others; WANT fragments what is too large; DO, PROBE and INTERFACE do not.
bool never_fragments(const UdpEndpoint& endpoint) noexcept { return endpoint.mtu_discover >= 2 && endpoint.mtu_discover <= 4; }
bool sets_dont_fragment(const UdpEndpoint& endpoint) noexcept { return endpoint.mtu_discover >= 1 && endpoint.mtu_discover <= 3; }
// What stands against a datagram whose way is known, in Linux's order. 0: nothing.
int refusal(UdpEndpoint& endpoint, std::span<const std::span<const std::byte>> pieces) noexcept {
    if (endpoint.error != 0) {
        return std::exchange(endpoint.error, 0);
    }
    const bool is_bad = std::any_of(pieces.begin(), pieces.end(), [](const auto& piece) { return is_bad_pointer(piece.data()) && !piece.empty(); });
    return endpoint.is_shut_for_send ? EPIPE : is_bad ? EFAULT : 0;
}

void write_udp_header(void* at, std::uint16_t source_port, std::uint16_t destination_port, std::uint32_t length) noexcept {
    auto* header = static_cast<wire::UdpHeader*>(at);
    header->source_port = source_port;
    header->destination_port = destination_port;
    header->length = static_cast<std::uint16_t>(length);
    header->checksum = 0;
}

// Zero would say that there is none (RFC 768).
std::uint16_t checksum_field(const wire::Checksum& sum) noexcept {
    const std::uint16_t field = sum.field();
    return field != 0 ? field : std::uint16_t{0xffff};
}

// Copies a datagram, and gives its sum where one is wanted.
wire::Checksum copy_payload(std::byte* to, std::span<const std::span<const std::byte>> pieces, std::uint32_t size, bool is_summed) noexcept {
    constexpr std::uint32_t small = 256;
    wire::Checksum sum;
    if (is_summed && pieces.size() == 1 && size <= small) {
        sum.copy(to, pieces[0].data(), size);
        return sum;
    }
    Gather(pieces).copy(to, size);
    if (is_summed) {
        sum.add(to, size);
    }
    return sum;
}

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

void Udp::uncork(UdpEndpoint& endpoint) noexcept {
    endpoint.corked.clear();
    endpoint.corked_bytes = 0;
    endpoint.corked_to = {};
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
    endpoint.local_address = path->source;
    endpoint.remote_address = to.address;
    endpoint.remote_port = to.port;
    endpoint.path = *path;
    if (endpoint.corked_to.address != 0) {
        endpoint.corked_to = to;  // as on Linux, a datagram that waits goes there now
    }
    if (path->neighbour != nullptr) {
        ++path->neighbour->references;
    }
    return {};
}

Result<Path> Udp::path_for(UdpEndpoint& endpoint, const UdpDestination& to) noexcept {
    auto path = endpoint.path && endpoint.remote_address == to.address
                    ? Result<Path>(*endpoint.path)
                    : ipv4_->route(ipv4_->named(to.address, endpoint.local_address), endpoint.local_address);
    if (!path) {
        return path;
    }
    if (!endpoint.broadcast && ipv4_->is_broadcast(to.address)) {
        return fail(EACCES);
    }
    path->tos = endpoint.tos;
    if (!sets_dont_fragment(endpoint)) {
        path->fragment_field = 0;
    }
    if (endpoint.ttl != 0) {
        path->ttl = endpoint.ttl;
    }
    return path;
}

// `packet` holds the payload behind room for the UDP header, and fits the MTU. `sum`: the payload's, where the port does not compute it.
void Udp::emit(UdpEndpoint& endpoint, Packet* packet, const Path& path, std::uint16_t port, wire::Checksum sum, Time now) noexcept {
    wire::Checksum pseudo;
    wire::add_pseudo_header(pseudo, __builtin_bswap32(path.source), __builtin_bswap32(path.destination), wire::protocol_udp, packet->size());
    wire::HeaderWriter(packet->data(), sum).put(std::uint32_t{endpoint.local_port} << 16 | port, packet->size() << 16);
    sum.add_raw(pseudo.sum());
    auto* header = reinterpret_cast<wire::UdpHeader*>(packet->data());
    header->checksum = Ipv4::offloads_udp_checksum(path) ? pseudo.sum() : checksum_field(sum);
    counters_->count(Event::udp_sent);
    ipv4_->output(packet, path, wire::protocol_udp, now);
}

Result<std::uint32_t> Udp::send(UdpEndpoint& endpoint, std::span<const std::span<const std::byte>> pieces, const UdpDestination* to, Time now) noexcept {
    if (const auto bound = bind_at_need(endpoint); !bound) [[unlikely]] {  // first of all, as on Linux
        return fail(code_of(bound.error()));
    }
    const UdpDestination peer{endpoint.remote_address, endpoint.remote_port};
    const UdpDestination& destination = to != nullptr ? *to : peer;
    const std::uint32_t size = total_of(pieces);
    if (size > 0xffff) {
        return fail(EMSGSIZE);
    }
    if (to != nullptr ? destination.port == 0 : !endpoint.is_connected()) {
        return fail(to != nullptr ? EINVAL : EDESTADDRREQ);
    }
    const auto path = path_for(endpoint, destination);
    if (!path) {
        return fail(code_of(path.error()));
    }
    if (size > payload_max) [[unlikely]] {
        return refuse_size(endpoint, *path, destination);
    }
    if (const int error = refusal(endpoint, pieces); error != 0) [[unlikely]] {
        return fail(error);
    }
    if (size + sizeof(wire::UdpHeader) + sizeof(wire::Ipv4Header) > path->mtu) {
        if (never_fragments(endpoint)) {
            return refuse_size(endpoint, *path, destination);
        }
        return send_fragments(endpoint, pieces, size, *path, destination.port, now);
    }
    Packet* packet = claim();
    if (packet == nullptr) {
        counters_->count(DropReason::packet_pool_empty);
        return fail(ENOBUFS);
    }
    std::byte* at = packet->append(static_cast<std::uint32_t>(sizeof(wire::UdpHeader)) + size) + sizeof(wire::UdpHeader);
    const wire::Checksum sum = copy_payload(at, pieces, size, !Ipv4::offloads_udp_checksum(*path));
    emit(endpoint, packet, *path, destination.port, sum, now);
    return size;
}

Result<std::uint32_t> Udp::append(UdpEndpoint& endpoint, std::span<const std::span<const std::byte>> pieces, const UdpDestination* to) noexcept {
    if (endpoint.corked_to.address == 0) {  // the first part, which may be empty
        if (const auto bound = bind_at_need(endpoint); !bound) {
            return fail(code_of(bound.error()));
        }
        if (to != nullptr ? to->port == 0 : !endpoint.is_connected()) {
            return fail(to != nullptr ? EINVAL : EDESTADDRREQ);
        }
        endpoint.corked_to = to != nullptr ? UdpDestination{ipv4_->named(to->address, endpoint.local_address), to->port}
                                           : UdpDestination{endpoint.remote_address, endpoint.remote_port};
    }
    const std::uint32_t size = total_of(pieces);
    if (const int error = endpoint.corked_bytes + size > payload_max ? EMSGSIZE : refusal(endpoint, pieces); error != 0) {
        uncork(endpoint);
        return fail(error);
    }
    Gather gather(pieces);
    for (std::uint32_t left = size; left != 0;) {
        Packet* packet = endpoint.corked.back();
        if (packet == nullptr || packet->tailroom() == 0) {
            packet = claim();
            if (packet == nullptr) {
                counters_->count(DropReason::packet_pool_empty);
                uncork(endpoint);
                return fail(ENOBUFS);
            }
            endpoint.corked.push_back(packet);
        }
        const std::uint32_t here = std::min<std::uint32_t>(left, packet->tailroom());
        gather.copy(packet->append(here), here);
        left -= here;
    }
    endpoint.corked_bytes += size;
    return size;
}

Result<std::uint32_t> Udp::push(UdpEndpoint& endpoint, Time now) noexcept {
    std::array<std::span<const std::byte>, 128> pieces;
    std::size_t count = 0;
    for (Packet* each = endpoint.corked.front(); each != nullptr && count < pieces.size(); each = each->meta().next) {
        pieces[count++] = {each->data(), each->size()};
    }
    const UdpDestination to = endpoint.corked_to;
    const auto sent = send(endpoint, std::span(pieces).first(count), to.port != 0 ? &to : nullptr, now);
    uncork(endpoint);
    return sent;
}

Result<void> Udp::send_packet(UdpEndpoint& endpoint, Packet* packet, const UdpDestination* to, Time now) noexcept {
    const UdpDestination peer{endpoint.remote_address, endpoint.remote_port};
    const UdpDestination& destination = to != nullptr ? *to : peer;
    auto path = destination.port == 0 ? Result<Path>(fail(EDESTADDRREQ)) : path_for(endpoint, destination);
    if (const auto bound = bind_at_need(endpoint); !bound) {
        path = fail(code_of(bound.error()));
    }
    if (!path || packet->size() + sizeof(wire::UdpHeader) + sizeof(wire::Ipv4Header) > path->mtu) {
        packet->free();
        return fail(path ? EMSGSIZE : code_of(path.error()));
    }
    wire::Checksum sum;
    if (!Ipv4::offloads_udp_checksum(*path)) {
        add_packet(sum, *packet);
    }
    packet->prepend(sizeof(wire::UdpHeader));
    emit(endpoint, packet, *path, destination.port, sum, now);
    return {};
}

// RFC 791, 3.2: pieces of a multiple of 8 bytes. The checksum covers the whole, so it is summed first.
Result<std::uint32_t> Udp::send_fragments(UdpEndpoint& endpoint, std::span<const std::span<const std::byte>> pieces, std::uint32_t size, const Path& path, std::uint16_t port,
                                          Time now) noexcept {
    const std::uint32_t total = size + static_cast<std::uint32_t>(sizeof(wire::UdpHeader));
    const std::uint32_t room = (path.mtu - static_cast<std::uint32_t>(sizeof(wire::Ipv4Header))) & ~7U;
    const std::uint32_t count = (total + room - 1) / room;
    std::array<Packet*, 128> packets{};
    if (count > packets.size()) {
        return fail(EMSGSIZE);
    }
    Gather gather(pieces);
    wire::Checksum sum;
    wire::add_pseudo_header(sum, __builtin_bswap32(path.source), __builtin_bswap32(path.destination), wire::protocol_udp, total);
    for (std::uint32_t i = 0; i < count; ++i) {
        packets[i] = claim();
        if (packets[i] == nullptr) {
            while (i-- > 0) {
                packets[i]->free();
            }
            counters_->count(DropReason::packet_pool_empty);
            return fail(ENOBUFS);
        }
        const std::uint32_t here = std::min(room, total - i * room);
        std::byte* at = packets[i]->append(here);
        const std::uint32_t header = i == 0 ? static_cast<std::uint32_t>(sizeof(wire::UdpHeader)) : 0;
        if (header != 0) {
            write_udp_header(at, endpoint.local_port, port, total);
        }
        gather.copy(at + header, here - header);
        sum.add(at, here);
    }
    reinterpret_cast<wire::UdpHeader*>(packets[0]->data())->checksum = checksum_field(sum);
    const std::uint16_t identification = ipv4_->next_identification();
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto offset = static_cast<std::uint16_t>(i * room / 8);
        const std::uint16_t more = i + 1 < count ? wire::Ipv4Header::more_fragments : std::uint16_t{0};
        ipv4_->output_fragment(packets[i], path, wire::protocol_udp, identification, offset | more, now);
    }
    counters_->count(Event::udp_sent);
    return size;
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
    UdpEndpoint* best = nullptr;
    int best_score = -1;
    unsigned ties = 0;
    for (UdpEndpoint* e = by_port_[local_port]; e != nullptr; e = e->next) {
        if ((e->local_address != 0 && e->local_address != local) || (e->is_connected() && (e->remote_address != remote || (e->remote_port != 0 && e->remote_port != remote_port)))) {
            continue;
        }
        const int score = (e->is_connected() ? 2 : 0) + (e->local_address != 0 ? 1 : 0);
        const bool shares = score == best_score && e->reuse_port && (remote * 31 + remote_port) * 0x9E3779B1U % (++ties + 1) == 0;
        if (score > best_score || shares) {
            ties = score > best_score ? 0 : ties;
            best_score = score;
            best = e;
        }
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

// A datagram that may not be fragmented and is too large for the path.
std::unexpected<Errno> Udp::refuse_size(UdpEndpoint& endpoint, const Path& path, const UdpDestination& to) noexcept {
    if (endpoint.recverr) {
        ErrorReport local;
        local.origin = ErrorReport::Origin::local;
        local.error = EMSGSIZE;
        local.info = path.mtu;
        local.address = to.address;
        local.port = to.port;
        report(endpoint, local, nullptr, 0);
    }
    return fail(EMSGSIZE);
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
