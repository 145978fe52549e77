// Datagrams on their way out: gathered into packets, whole or in fragments, or part by part (UDP_CORK, MSG_MORE).
#include <algorithm>
#include <bit>
#include <utility>

#include "base/user_memory.hpp"
#include "ip/checksum.hpp"
#include "pmd/port_inline.hpp"
#include "udp/udp.hpp"

namespace shunt {
namespace {

using Pieces = Udp::Pieces;

std::uint32_t total_of(Pieces pieces) noexcept {
    std::size_t total = 0;
    for (const auto& piece : pieces) {
        total += piece.size();
    }
    return static_cast<std::uint32_t>(std::min<std::size_t>(total, 0xffff'ffff));
}

// Copies bytes out of a gather list, in order.
class Gather {
public:
    explicit Gather(Pieces pieces) noexcept : pieces_(pieces) {}
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
    Pieces pieces_;
    std::size_t index_ = 0;
    std::size_t offset_ = 0;
};

// IP_MTU_DISCOVER: DONT and OMIT fragment and let others; WANT fragments what is too large; DO, PROBE and INTERFACE do not.
bool never_fragments(const UdpEndpoint& endpoint) noexcept { return endpoint.mtu_discover >= 2 && endpoint.mtu_discover <= 4; }
bool sets_dont_fragment(const UdpEndpoint& endpoint) noexcept { return endpoint.mtu_discover >= 1 && endpoint.mtu_discover <= 3; }

bool is_anywhere_bad(Pieces pieces) noexcept {
    return std::any_of(pieces.begin(), pieces.end(), [](const auto& piece) { return is_bad_pointer(piece.data()) && !piece.empty(); });
}

// What stands against a datagram whose way is known, in Linux's order. 0: nothing.
int refusal(UdpEndpoint& endpoint, Pieces pieces) noexcept {
    if (endpoint.error != 0) {
        return std::exchange(endpoint.error, 0);
    }
    return endpoint.is_shut_for_send ? EPIPE : is_anywhere_bad(pieces) ? EFAULT : 0;
}

// A socket that is connected sends where it last sent or connected to with the kernel's own flow: once parts for another address have been gathered, there. As Linux.
UdpDestination destination_of(const UdpEndpoint& endpoint, const UdpDestination* to) noexcept { return to != nullptr ? *to : endpoint.flow_to; }

constexpr std::uint32_t segments_max = 128;  // of one send (Linux's UDP_MAX_SEGMENTS)

// The pieces of `size` bytes from `at` on; how many.
std::size_t cut_out(Pieces pieces, std::uint32_t at, std::uint32_t size, std::span<std::span<const std::byte>> to) noexcept {
    std::size_t count = 0;
    for (const auto& piece : pieces) {
        const std::size_t skipped = std::min<std::size_t>(at, piece.size()), here = std::min<std::size_t>(size, piece.size() - skipped);
        if (here != 0) {
            to[count++] = piece.subspan(skipped, here);
        }
        at -= static_cast<std::uint32_t>(skipped);
        size -= static_cast<std::uint32_t>(here);
    }
    return count;
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
wire::Checksum copy_payload(std::byte* to, Pieces pieces, std::uint32_t size, bool is_summed) noexcept {
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

// What a datagram's first part costs a send buffer of Linux's: a block with room for headers and an skb_shared_info, and an sk_buff; what is too large
// for that lies in pages, as all that joins it does.
std::uint32_t memory_of_first(std::uint32_t size) noexcept {
    constexpr std::uint32_t headers = 59, shared_info = 320, sk_buff = 256, small_head = 576, line = 64, in_block_max = 16'384 - shared_info - headers;
    const std::uint32_t in_block = size < in_block_max ? size : 0;
    const std::uint32_t wanted = (in_block + headers + line - 1) / line * line + shared_info;
    return (wanted <= small_head ? small_head : std::bit_ceil(wanted)) + sk_buff + size - in_block;
}

// The most that a datagram may hold on this way.
std::uint32_t room_of(const UdpEndpoint& endpoint, const Path& path) noexcept {
    constexpr std::uint32_t headers = sizeof(wire::UdpHeader) + sizeof(wire::Ipv4Header);
    return never_fragments(endpoint) ? std::min(mtu_of(path) - headers, Udp::payload_max) : Udp::payload_max;
}

}  // namespace

void Udp::uncork(UdpEndpoint& endpoint) noexcept {
    endpoint.corked.clear();
    endpoint.corked_bytes = 0;
    endpoint.corked_memory = 0;
    endpoint.has_corked = false;
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

Result<Path> Udp::admit(UdpEndpoint& endpoint, Pieces pieces, const UdpDestination* to) noexcept {
    if (const auto bound = bind_at_need(endpoint); !bound) [[unlikely]] {  // first of all, as on Linux
        return fail(code_of(bound.error()));
    }
    const UdpDestination destination = destination_of(endpoint, to);
    const std::uint32_t size = total_of(pieces);
    if (size > 0xffff) {
        return fail(EMSGSIZE);
    }
    if (to != nullptr ? destination.port == 0 : !endpoint.is_connected()) {
        return fail(to != nullptr ? EINVAL : EDESTADDRREQ);
    }
    auto path = path_for(endpoint, destination);
    if (!path) {
        return path;
    }
    if (size > room_of(endpoint, *path)) [[unlikely]] {
        return refuse_size(endpoint, *path, destination);
    }
    if (const int error = refusal(endpoint, pieces); error != 0) [[unlikely]] {
        return fail(error);
    }
    return path;
}

Result<std::uint32_t> Udp::send(UdpEndpoint& endpoint, Pieces pieces, const UdpDestination* to, Time now) noexcept {
    const auto path = admit(endpoint, pieces, to);
    if (!path) [[unlikely]] {
        return fail(code_of(path.error()));
    }
    return transmit(endpoint, pieces, total_of(pieces), *path, destination_of(endpoint, to).port, now);
}

// A datagram against which nothing stands any more.
Result<std::uint32_t> Udp::transmit(UdpEndpoint& endpoint, Pieces pieces, std::uint32_t size, const Path& path, std::uint16_t port, Time now) noexcept {
    if (size + sizeof(wire::UdpHeader) + sizeof(wire::Ipv4Header) > path.mtu) {
        return path.is_local() ? send_chain(endpoint, pieces, size, path, port, now) : send_fragments(endpoint, pieces, size, path, port, now);
    }
    Packet* packet = claim();
    if (packet == nullptr) {
        counters_->count(DropReason::packet_pool_empty);
        return fail(ENOBUFS);
    }
    std::byte* at = packet->append(static_cast<std::uint32_t>(sizeof(wire::UdpHeader)) + size) + sizeof(wire::UdpHeader);
    const wire::Checksum sum = copy_payload(at, pieces, size, !Ipv4::offloads_udp_checksum(path));
    emit(endpoint, packet, path, port, sum, now);
    return size;
}

// The first part: where the datagram goes, and whether it may.
Result<void> Udp::start_cork(UdpEndpoint& endpoint, const UdpDestination* to) noexcept {
    if (const auto bound = bind_at_need(endpoint); !bound) {
        return fail(code_of(bound.error()));
    }
    if (to != nullptr ? to->port == 0 : !endpoint.is_connected()) {
        return fail(to != nullptr ? EINVAL : EDESTADDRREQ);
    }
    const UdpDestination destination = to != nullptr ? *to : UdpDestination{endpoint.remote_address, endpoint.remote_port};  // Linux sets its flow anew
    const auto path = path_for(endpoint, destination);
    if (!path) {
        return fail(code_of(path.error()));
    }
    endpoint.corked_source = path->source;
    endpoint.flow_to = {ipv4_->named(destination.address, endpoint.local_address), destination.port};
    endpoint.has_corked = true;
    return {};
}

Result<std::uint32_t> Udp::append(UdpEndpoint& endpoint, Pieces pieces, const UdpDestination* to) noexcept {
    const std::uint32_t size = total_of(pieces);
    const bool is_first = !endpoint.has_corked;
    if (size > 0xffff) {
        return fail(EMSGSIZE);  // what there is stays
    }
    if (const auto started = is_first ? start_cork(endpoint, to) : Result<void>(); !started) {
        return fail(code_of(started.error()));
    }
    const auto path = path_for(endpoint, endpoint.flow_to);
    if (path && endpoint.corked_bytes + size > room_of(endpoint, *path)) {
        uncork(endpoint);
        return refuse_size(endpoint, *path, endpoint.flow_to);
    }
    // As Linux: a part that joins others finds its packet there, and nobody asks about errors or a shutdown.
    const int error = !path ? code_of(path.error()) : is_first ? refusal(endpoint, pieces) : is_anywhere_bad(pieces) ? EFAULT : 0;
    if (error != 0 || !gather(endpoint.corked, pieces, size)) {
        uncork(endpoint);
        return fail(error != 0 ? error : ENOBUFS);
    }
    endpoint.corked_bytes += size;
    endpoint.corked_memory += is_first ? memory_of_first(size) : size;
    return size;
}

// Behind what `queue` has, in as many packets as it takes. False: there were not enough.
bool Udp::gather(PacketQueue& queue, Pieces pieces, std::uint32_t size) noexcept {
    Gather from(pieces);
    for (std::uint32_t left = size; left != 0;) {
        Packet* packet = queue.back();
        if (packet == nullptr || packet->tailroom() == 0) {
            packet = claim();
            if (packet == nullptr) {
                counters_->count(DropReason::packet_pool_empty);
                return false;
            }
            queue.push_back(packet);
        }
        const std::uint32_t here = std::min<std::uint32_t>(left, packet->tailroom());
        from.copy(packet->append(here), here);
        left -= here;
    }
    return true;
}

Result<std::uint32_t> Udp::push(UdpEndpoint& endpoint, Time now) noexcept {
    std::array<std::span<const std::byte>, 128> pieces;
    std::size_t count = 0;
    for (Packet* each = endpoint.corked.front(); each != nullptr && count < pieces.size(); each = each->meta().next) {
        pieces[count++] = {each->data(), each->size()};
    }
    auto path = path_for(endpoint, endpoint.flow_to);
    if (path) {
        path->source = endpoint.corked_source;
    }
    const std::uint32_t size = endpoint.corked_bytes, cut = endpoint.segment_bytes != 0 ? endpoint.segment_bytes : size;  // UDP_SEGMENT cuts what was gathered, too
    Result<std::uint32_t> sent = path ? Result<std::uint32_t>(size) : fail(code_of(path.error()));
    if (sent && size > segments_max * cut) {
        sent = fail(EINVAL);
    }
    for (std::uint32_t at = 0; sent;) {
        std::array<std::span<const std::byte>, 128> part;
        const std::uint32_t here = std::min(cut, size - at);
        const auto one = transmit(endpoint, std::span(part).first(cut_out(std::span(pieces).first(count), at, here, part)), here, *path, endpoint.flow_to.port, now);
        if (!one) {
            sent = one;
        }
        at += here;
        if (at >= size) {
            break;
        }
    }
    uncork(endpoint);
    return sent;
}

// To ourselves: one datagram in a chain of packets, which need no fragments.
Result<std::uint32_t> Udp::send_chain(UdpEndpoint& endpoint, Pieces pieces, std::uint32_t size, const Path& path, std::uint16_t port, Time now) noexcept {
    PacketQueue queue;
    Packet* whole = claim();
    if (whole == nullptr) {
        counters_->count(DropReason::packet_pool_empty);
        return fail(ENOBUFS);
    }
    whole->append(static_cast<std::uint32_t>(sizeof(wire::UdpHeader)));
    queue.push_back(whole);
    if (!gather(queue, pieces, size)) {
        queue.clear();
        return fail(ENOBUFS);
    }
    queue.pop_front();
    wire::Checksum sum;
    sum.add(whole->data() + sizeof(wire::UdpHeader), whole->size() - sizeof(wire::UdpHeader));
    for (Packet* last = whole; !queue.is_empty();) {
        Packet* piece = queue.pop_front();
        sum.add(piece->data(), piece->size());
        whole->chain(*last, piece);
        last = piece;
    }
    emit(endpoint, whole, path, port, sum, now);
    return size;
}

Result<void> Udp::send_packet(UdpEndpoint& endpoint, Packet* packet, const UdpDestination* to, Time now) noexcept {
    const UdpDestination destination = destination_of(endpoint, to);
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
Result<std::uint32_t> Udp::send_fragments(UdpEndpoint& endpoint, Pieces pieces, std::uint32_t size, const Path& path, std::uint16_t port,
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

// A datagram that may not be fragmented and is too large for the path.
std::unexpected<Errno> Udp::refuse_size(UdpEndpoint& endpoint, const Path& path, const UdpDestination& to) noexcept {
    if (endpoint.recverr) {
        ErrorReport local;
        local.origin = ErrorReport::Origin::local;
        local.error = EMSGSIZE;
        local.info = mtu_of(path);
        local.address = to.address;
        local.port = endpoint.remote_port;  // Linux names the peer's, whatever the datagram's
        report(endpoint, local, nullptr, 0);
    }
    return fail(EMSGSIZE);
}

}  // namespace shunt
