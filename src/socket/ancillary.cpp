#include "socket/ancillary.hpp"

#include <cstring>
#include <ctime>

#include "pmd/port_inline.hpp"

namespace shunt::socket {
namespace {

class ControlWriter {
public:
    explicit ControlWriter(msghdr& message) noexcept : message_(message), room_(message.msg_controllen) { message.msg_controllen = 0; }
    void add(int level, int type, const void* data, std::size_t size) noexcept {
        if (room_ < CMSG_SPACE(size)) {
            message_.msg_flags |= MSG_CTRUNC;
            return;
        }
        auto* header = reinterpret_cast<cmsghdr*>(static_cast<char*>(message_.msg_control) + message_.msg_controllen);
        header->cmsg_level = level;
        header->cmsg_type = type;
        header->cmsg_len = CMSG_LEN(size);
        std::memcpy(CMSG_DATA(header), data, size);
        message_.msg_controllen += CMSG_SPACE(size);
        room_ -= CMSG_SPACE(size);
    }

private:
    msghdr& message_;
    std::size_t room_;
};

// The wall clock at which the packet was received: now, less the time since.
timespec wall_time_of(const Layer& layer, const Packet& packet) noexcept {
    timespec wall{};
    clock_gettime(CLOCK_REALTIME, &wall);
    const std::int64_t age = layer.now().time_since_epoch().count() - packet.meta().stamp_ns;
    const std::int64_t total = wall.tv_sec * 1'000'000'000 + wall.tv_nsec - age;
    return {static_cast<time_t>(total / 1'000'000'000), static_cast<long>(total % 1'000'000'000)};
}

}  // namespace

void write_ancillary(Layer& layer, const Socket& socket, const Packet& packet, msghdr& message) noexcept {
    if (message.msg_control == nullptr) {
        message.msg_controllen = 0;
        return;
    }
    ControlWriter writer(message);
    if (socket.timestamp_ns) {
        const timespec at = wall_time_of(layer, packet);
        writer.add(SOL_SOCKET, SO_TIMESTAMPNS, &at, sizeof at);
    } else if (socket.timestamp) {
        const timespec at = wall_time_of(layer, packet);
        const timeval coarse{at.tv_sec, at.tv_nsec / 1000};
        writer.add(SOL_SOCKET, SO_TIMESTAMP, &coarse, sizeof coarse);
    }
    if (socket.pktinfo && socket.is_v6) {
        in6_pktinfo info{};
        info.ipi6_addr.s6_addr[10] = info.ipi6_addr.s6_addr[11] = 0xff;  // v4-mapped
        const std::uint32_t raw = htonl(packet.meta().local_address);
        std::memcpy(info.ipi6_addr.s6_addr + 12, &raw, sizeof raw);
        writer.add(IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    } else if (socket.pktinfo) {
        in_pktinfo info{};
        info.ipi_addr.s_addr = htonl(packet.meta().local_address);
        info.ipi_spec_dst = info.ipi_addr;
        writer.add(IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
}

}  // namespace shunt::socket
