#include "socket/ancillary.hpp"

#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "pmd/port_inline.hpp"
#include "socket/interfaces.hpp"

namespace shunt::socket {
namespace {

// The wall clock at which the packet was received: now, less the time since.
timespec wall_time_of(const Layer& layer, std::int64_t stamp_ns) noexcept {
    const timespec wall = wall_time(layer);
    const std::int64_t age = layer.now().time_since_epoch().count() - stamp_ns;
    const std::int64_t total = wall.tv_sec * 1'000'000'000 + wall.tv_nsec - age;
    return {static_cast<time_t>(total / 1'000'000'000), static_cast<long>(total % 1'000'000'000)};
}

// SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING, as asked.
void add_arrival(ControlWriter& writer, const Layer& layer, const Socket& socket, std::uint32_t timestamping, std::int64_t stamp_ns) noexcept {
    if (socket.receives.timestamp_ns) {
        const timespec at = wall_time_of(layer, stamp_ns);
        writer.add(SOL_SOCKET, SO_TIMESTAMPNS, &at, sizeof at);
    } else if (socket.receives.timestamp) {
        const timespec at = wall_time_of(layer, stamp_ns);
        const timeval coarse{at.tv_sec, at.tv_nsec / 1000};
        writer.add(SOL_SOCKET, SO_TIMESTAMP, &coarse, sizeof coarse);
    }
    constexpr std::uint32_t wanted = tcp::timestamping::software | tcp::timestamping::rx_software;
    if ((timestamping & wanted) == wanted) {
        writer.add_stamps(layer, Time{Duration(stamp_ns)});
    }
}

template <class T>
bool read(const cmsghdr& header, T& to) noexcept {
    if (header.cmsg_len != CMSG_LEN(sizeof to)) {
        return false;
    }
    std::memcpy(&to, CMSG_DATA(&header), sizeof to);
    return true;
}

// The port's that it came by. As on Linux, what the program sent to itself came by the one that has the address, or by lo.
unsigned interface_index_of(const Layer& layer, const Packet& packet) noexcept {
    const auto links = layer.stack->links();
    const auto found = std::ranges::find_if(links, [&](const Link* link) { return link->port.id == packet.input_port(); });
    if (found != links.end()) {
        return layer.interface_indices[static_cast<std::size_t>(found - links.begin())];
    }
    const std::uint8_t link = layer.stack->ipv4().link_of(packet.meta().local_address);
    return link == Ipv4Address::no_link ? loopback_index : layer.interface_indices[link];
}

// What a broadcast came to is nobody's.
std::uint32_t address_to_answer_from(const Layer& layer, const Packet& packet) noexcept {
    Ipv4& ipv4 = layer.stack->ipv4();
    const std::uint32_t to = packet.meta().local_address;
    if (ipv4.owns(to)) {
        return to;
    }
    const auto path = ipv4.route(packet.meta().address, 0);
    return path ? path->source : to;
}

bool is_interface_of_ours(const Layer& layer, unsigned index) noexcept {
    return index == loopback_index || std::ranges::find(layer.interface_indices, index) != layer.interface_indices.end();
}

}  // namespace

void ControlWriter::add(int level, int type, const void* data, std::size_t size) noexcept {
    if (message_.msg_control == nullptr || room_ < sizeof(cmsghdr)) {
        message_.msg_flags |= MSG_CTRUNC;
        return;
    }
    const std::size_t given = std::min(CMSG_LEN(size), room_);  // as Linux: as much of the last one as there is room for
    if (given < CMSG_LEN(size)) {
        message_.msg_flags |= MSG_CTRUNC;
    }
    auto* header = reinterpret_cast<cmsghdr*>(static_cast<char*>(message_.msg_control) + message_.msg_controllen);
    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = given;
    std::memcpy(CMSG_DATA(header), data, given - sizeof(cmsghdr));
    const std::size_t taken = std::min(CMSG_SPACE(size), room_);
    message_.msg_controllen += taken;
    room_ -= taken;
}

void ControlWriter::add_stamps(const Layer& layer, Time at) noexcept {
    const timespec stamps[3] = {wall_time_of(layer, at.time_since_epoch().count()), {}, {}};  // software; none of hardware
    add(SOL_SOCKET, SO_TIMESTAMPING, stamps, sizeof stamps);
}

SendControl::SendControl(Stack& stack, UdpEndpoint& udp, const msghdr& message, int flags) noexcept
    : udp_(udp), local_address_(udp.local_address), flow_to_(udp.flow_to), segment_bytes_(udp.segment_bytes), tos_(udp.tos), ttl_(udp.ttl) {
    has_own_way_ = ((flags & MSG_DONTROUTE) != 0 || message.msg_controllen != 0) && !udp.has_corked;
    if (has_own_way_) [[unlikely]] {
        udp.flow_to = {udp.remote_address, udp.remote_port};  // as Linux: what asks for a way of its own goes to the peer
    }
    if (message.msg_control == nullptr) {
        return;
    }
    auto& walked = const_cast<msghdr&>(message);  // the macros do not write
    for (cmsghdr* each = CMSG_FIRSTHDR(&walked); each != nullptr && error_ == 0; each = CMSG_NXTHDR(&walked, each)) {
        const auto left = static_cast<const char*>(message.msg_control) + message.msg_controllen - reinterpret_cast<const char*>(each);
        const bool fits = each->cmsg_len >= sizeof *each && each->cmsg_len <= static_cast<std::size_t>(left);
        error_ = fits ? apply(stack, *each) : -EINVAL;
    }
}

SendControl::~SendControl() {
    if (has_source_) {
        udp_.local_address = local_address_;
    }
    if (has_own_way_ && !udp_.has_corked) [[unlikely]] {
        udp_.flow_to = flow_to_;
    }
    udp_.segment_bytes = segment_bytes_;
    udp_.tos = tos_;
    udp_.ttl = ttl_;
}

long SendControl::apply(Stack& stack, const cmsghdr& header) noexcept {
    if (header.cmsg_level == IPPROTO_IP) {
        return apply_ip(stack, header);
    }
    in6_pktinfo info;
    if (header.cmsg_level == IPPROTO_IPV6 && header.cmsg_type == IPV6_PKTINFO && read(header, info)) {
        std::uint32_t raw;
        std::memcpy(&raw, info.ipi6_addr.s6_addr + 12, sizeof raw);
        return use_source(stack, ntohl(raw), info.ipi6_ifindex);
    }
    if (header.cmsg_level == IPPROTO_UDP && header.cmsg_type == UDP_SEGMENT) {
        return read(header, udp_.segment_bytes) ? 0 : -EINVAL;
    }
    const bool is_mark = header.cmsg_level == SOL_SOCKET && header.cmsg_type == SO_MARK;
    return header.cmsg_level == IPPROTO_UDP || (header.cmsg_level == SOL_SOCKET && !is_mark) ? -EINVAL : 0;
}

long SendControl::apply_ip(Stack& stack, const cmsghdr& header) noexcept {
    in_pktinfo info;
    int number = 0;
    std::uint8_t byte = 0;
    switch (header.cmsg_type) {
        case IP_PKTINFO:
            return read(header, info) ? use_source(stack, ntohl(info.ipi_spec_dst.s_addr), static_cast<unsigned>(info.ipi_ifindex)) : -EINVAL;
        case IP_TTL:
            if (!read(header, number) || number < 1 || number > 255) {
                return -EINVAL;
            }
            udp_.ttl = static_cast<std::uint8_t>(number);
            return 0;
        case IP_TOS:
            if (!read(header, number) && !read(header, byte)) {
                return -EINVAL;
            }
            udp_.tos = static_cast<std::uint8_t>(number | byte);
            return 0;
        default:
            return -EINVAL;
    }
}

long SendControl::use_source(Stack& stack, std::uint32_t address, unsigned interface_index) noexcept {
    if (interface_index != 0 && !is_interface_of_ours(layer_of(stack), interface_index)) {
        return -ENODEV;
    }
    if (address == 0) {
        return 0;
    }
    if (!stack.ipv4().owns(address)) {
        return -ENETUNREACH;
    }
    if (udp_.is_bound) {  // else the address that it is bound to is chosen by the same route
        udp_.local_address = address;
        has_source_ = true;
    }
    return 0;
}

void write_stream_ancillary(const Layer& layer, const Socket& socket, std::int64_t stamp_ns, msghdr& message) noexcept {
    const tcp::Connection& c = *socket.connection;
    ControlWriter writer(message);
    if (stamp_ns != 0) {
        add_arrival(writer, layer, socket, c.options.timestamping, stamp_ns);
    }
    if (socket.inq) {
        const int left = c.rcv_queued == 0 && c.fin_received ? 1 : static_cast<int>(c.rcv_queued);  // as Linux: one more read brings the end
        writer.add(IPPROTO_TCP, TCP_CM_INQ, &left, sizeof left);
    }
}

void write_ancillary(Layer& layer, const Socket& socket, const Packet& packet, msghdr& message) noexcept {
    if (!socket.receives.is_any() && socket.options.timestamping == 0) {
        message.msg_controllen = 0;
        return;
    }
    ControlWriter writer(message);
    const PacketMeta& meta = packet.meta();
    add_arrival(writer, layer, socket, socket.options.timestamping, meta.stamp_ns);
    if (socket.receives.drops && meta.drops != 0) {
        writer.add(SOL_SOCKET, SO_RXQ_OVFL, &meta.drops, sizeof meta.drops);
    }
    if (socket.receives.pktinfo_v6) {
        in6_pktinfo info{};
        info.ipi6_addr.s6_addr[10] = info.ipi6_addr.s6_addr[11] = 0xff;  // v4-mapped
        const std::uint32_t raw = htonl(meta.local_address);
        std::memcpy(info.ipi6_addr.s6_addr + 12, &raw, sizeof raw);
        info.ipi6_ifindex = interface_index_of(layer, packet);
        writer.add(IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
    if (socket.receives.pktinfo) {
        in_pktinfo info{};
        info.ipi_addr.s_addr = htonl(meta.local_address);
        info.ipi_spec_dst.s_addr = htonl(address_to_answer_from(layer, packet));
        info.ipi_ifindex = static_cast<int>(interface_index_of(layer, packet));
        writer.add(IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
    if (socket.receives.ttl) {
        const int ttl = meta.ttl;
        writer.add(IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
    }
    if (socket.receives.tos) {
        writer.add(IPPROTO_IP, IP_TOS, &meta.tos, sizeof meta.tos);
    }
    if (socket.receives.destination) {
        const sockaddr_in name{AF_INET, htons(socket.udp->local_port), {htonl(meta.local_address)}, {}};
        writer.add(IPPROTO_IP, IP_ORIGDSTADDR, &name, sizeof name);
    }
}

}  // namespace shunt::socket
