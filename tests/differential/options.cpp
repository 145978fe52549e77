// The options that plans set and ask for: all but those that docs/sockets.md lists as refused or different.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <vector>

#include "differential/plan.hpp"

namespace differential {
namespace {

using Shape = Option::Shape;
using Compared = Option::Compared;

#define PLAIN(level, name) \
    { #name, level, name, Shape::number, Compared::always }
#define SPECIAL(level, name, shape, compared) \
    { #name, level, name, Shape::shape, Compared::compared }

const Option table[] = {
    PLAIN(SOL_SOCKET, SO_REUSEADDR), PLAIN(SOL_SOCKET, SO_TYPE), PLAIN(SOL_SOCKET, SO_ERROR), PLAIN(SOL_SOCKET, SO_DONTROUTE), PLAIN(SOL_SOCKET, SO_BROADCAST),
    PLAIN(SOL_SOCKET, SO_KEEPALIVE), PLAIN(SOL_SOCKET, SO_OOBINLINE), PLAIN(SOL_SOCKET, SO_PRIORITY), PLAIN(SOL_SOCKET, SO_REUSEPORT), PLAIN(SOL_SOCKET, SO_RCVLOWAT),
    PLAIN(SOL_SOCKET, SO_SNDLOWAT), PLAIN(SOL_SOCKET, SO_ACCEPTCONN), PLAIN(SOL_SOCKET, SO_PROTOCOL), PLAIN(SOL_SOCKET, SO_DOMAIN), PLAIN(SOL_SOCKET, SO_TIMESTAMP),
    PLAIN(SOL_SOCKET, SO_TIMESTAMPNS), PLAIN(SOL_SOCKET, SO_BUSY_POLL), PLAIN(SOL_SOCKET, SO_MARK), PLAIN(SOL_SOCKET, SO_RXQ_OVFL), 
    PLAIN(SOL_SOCKET, SO_NO_CHECK), PLAIN(SOL_SOCKET, SO_BSDCOMPAT), PLAIN(SOL_SOCKET, SO_PASSCRED), PLAIN(SOL_SOCKET, 999),
    SPECIAL(SOL_SOCKET, SO_RCVBUF, number, unconnected), SPECIAL(SOL_SOCKET, SO_SNDBUF, number, unconnected), SPECIAL(SOL_SOCKET, SO_LINGER, linger, always),
    SPECIAL(SOL_SOCKET, SO_RCVTIMEO, interval, always), SPECIAL(SOL_SOCKET, SO_SNDTIMEO, interval, always), SPECIAL(SOL_SOCKET, SO_INCOMING_CPU, number, never),
    SPECIAL(SOL_SOCKET, SO_COOKIE, number, never), SPECIAL(SOL_SOCKET, SO_MEMINFO, number, never), SPECIAL(SOL_SOCKET, SO_PEERCRED, number, never),
    PLAIN(IPPROTO_IP, IP_TOS), PLAIN(IPPROTO_IP, IP_TTL), PLAIN(IPPROTO_IP, IP_RECVERR), PLAIN(IPPROTO_IP, IP_PKTINFO), PLAIN(IPPROTO_IP, IP_RECVTTL),
    PLAIN(IPPROTO_IP, IP_RECVTOS), PLAIN(IPPROTO_IP, IP_MTU_DISCOVER), PLAIN(IPPROTO_IP, IP_FREEBIND), PLAIN(IPPROTO_IP, IP_TRANSPARENT), 
    PLAIN(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT), PLAIN(IPPROTO_IP, IP_MULTICAST_LOOP), PLAIN(IPPROTO_IP, IP_RECVORIGDSTADDR),
    PLAIN(IPPROTO_IP, IP_HDRINCL), PLAIN(IPPROTO_IP, 999), SPECIAL(IPPROTO_IP, IP_MTU, number, never),
    PLAIN(IPPROTO_TCP, TCP_NODELAY), PLAIN(IPPROTO_TCP, TCP_CORK), PLAIN(IPPROTO_TCP, TCP_KEEPIDLE), PLAIN(IPPROTO_TCP, TCP_KEEPINTVL), PLAIN(IPPROTO_TCP, TCP_KEEPCNT),
    PLAIN(IPPROTO_TCP, TCP_SYNCNT), PLAIN(IPPROTO_TCP, TCP_LINGER2), PLAIN(IPPROTO_TCP, TCP_DEFER_ACCEPT), PLAIN(IPPROTO_TCP, TCP_USER_TIMEOUT), PLAIN(IPPROTO_TCP, TCP_FASTOPEN),
    SPECIAL(IPPROTO_TCP, TCP_TIMESTAMP, number, never), PLAIN(IPPROTO_TCP, TCP_NOTSENT_LOWAT), PLAIN(IPPROTO_TCP, TCP_INQ), PLAIN(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS),
    PLAIN(IPPROTO_TCP, 999), SPECIAL(IPPROTO_TCP, TCP_MAXSEG, number, never), SPECIAL(IPPROTO_TCP, TCP_WINDOW_CLAMP, number, unconnected),
    SPECIAL(IPPROTO_TCP, TCP_QUICKACK, number, never), SPECIAL(IPPROTO_TCP, TCP_INFO, number, never), SPECIAL(IPPROTO_TCP, TCP_CONGESTION, text, always),
    PLAIN(IPPROTO_UDP, UDP_CORK), PLAIN(IPPROTO_UDP, UDP_SEGMENT), PLAIN(IPPROTO_UDP, UDP_GRO), PLAIN(IPPROTO_UDP, UDP_NO_CHECK6_TX), PLAIN(IPPROTO_UDP, 999),
    {"level_999", 999, 1, Shape::number, Compared::always},
};

std::vector<Value> values() {
    std::vector<Value> found;
    for (const Option& option : table) {
        found.push_back({option.name, static_cast<long>(found.size()), 1});
    }
    return found;
}

const std::vector<Value> all_values = values();

}  // namespace

std::span<const Option> options() { return table; }
const Kind kinds::option = all_values;

}  // namespace differential
