// recvmsg with MSG_ERRQUEUE: one report a call, as Linux's control messages.
#include <ctime>

#include <linux/errqueue.h>

#include <algorithm>
#include <cstring>

#include "pmd/port_inline.hpp"
#include "socket/ancillary.hpp"

namespace shunt::socket {

namespace {

static_assert(static_cast<int>(ErrorReport::Origin::timestamping) == SO_EE_ORIGIN_TIMESTAMPING);
static_assert(static_cast<int>(ErrorReport::Origin::zerocopy) == SO_EE_ORIGIN_ZEROCOPY);

// What IP_RECVERR's control message holds.
struct Described {
    sock_extended_err error{};
    sockaddr_in offender{};
};

Described describe(const ErrorReport& report) noexcept {
    Described all;
    all.error.ee_errno = static_cast<std::uint32_t>(report.error);
    all.error.ee_origin = static_cast<std::uint8_t>(report.origin);
    all.error.ee_type = report.type;
    all.error.ee_code = report.code;
    all.error.ee_info = report.info;
    all.error.ee_data = report.data;
    if (report.offender != 0) {
        all.offender.sin_family = AF_INET;
        all.offender.sin_addr.s_addr = htonl(report.offender);
    }
    return all;
}

}  // namespace

long receive_report(Layer& layer, Socket& socket, msghdr& message) noexcept {
    ErrorReport report;
    Packet* packet = nullptr;
    if (socket.udp != nullptr) {
        packet = layer.stack->udp().take_report(*socket.udp, report);
    } else if (socket.connection != nullptr) {
        packet = layer.stack->tcp().take_report(*socket.connection, report);
    }
    if (packet == nullptr) {
        return -EAGAIN;
    }
    const std::uint32_t size = packet->size();
    std::uint32_t copied = 0;
    for (std::size_t i = 0; i < message.msg_iovlen && copied < size; ++i) {
        const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(message.msg_iov[i].iov_len, size - copied));
        packet->copy_out(copied, message.msg_iov[i].iov_base, n);
        copied += n;
    }
    packet->free();
    message.msg_flags = MSG_ERRQUEUE | (copied < size ? MSG_TRUNC : 0);
    if (report.port != 0 && message.msg_name != nullptr) {
        write_address({report.address, report.port}, socket.is_v6, static_cast<sockaddr*>(message.msg_name), &message.msg_namelen);
    } else {
        message.msg_namelen = 0;
    }
    ControlWriter control(message);
    if (report.origin == ErrorReport::Origin::timestamping && (socket.connection->options.timestamping & tcp::timestamping::software) != 0) {
        control.add_stamps(layer, report.at);
    }
    const Described described = describe(report);
    control.add(IPPROTO_IP, IP_RECVERR, &described, sizeof described);
    return static_cast<long>(copied);
}

}  // namespace shunt::socket
