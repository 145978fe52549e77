// Socket options as one table: level, name, how to read it, how to set it, whether a socket that becomes ours takes it over from the kernel's; and
// the list of those that the kernel's descriptor may keep for itself.
#include "socket/options.hpp"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/sys.hpp"
#include "socket/guard.hpp"
#include "socket/opening.hpp"
#include "tcp/congestion.hpp"

namespace shunt::socket {
namespace {

constexpr int buffer_lock_option = 72;  // SO_BUF_LOCK, Linux 5.14

struct Value {
    void* data;
    socklen_t* length;

    // Linux copies as much of an int as fits, and a single byte for short requests.
    long give(const void* from, std::size_t size) const noexcept {
        const auto n = static_cast<socklen_t>(std::min<std::size_t>(*length, size));
        std::memcpy(data, from, n);
        *length = n;
        return 0;
    }
    long give(int value) const noexcept { return give(&value, sizeof value); }
};

struct Row {
    int level;
    int name;
    long (*get)(Layer&, Socket&, Value) noexcept;               // null: ENOPROTOOPT
    long (*set)(Layer&, Socket&, int value) noexcept;           // integers; null: read-only
    bool imported;
};

tcp::ConnectionOptions& tcp_options(Socket& socket) noexcept { return socket.connection != nullptr ? socket.connection->options : socket.options; }

// Changes an option in every place that has it.
template <class Change>
long change(Layer& layer, Socket& socket, Change apply) noexcept {
    apply(socket.options);
    if (socket.listener != nullptr) {
        apply(socket.listener->options);
    }
    if (socket.connection != nullptr) {
        apply(socket.connection->options);
        const Time now = layer.now();
        layer.stack->tcp().apply_options(*socket.connection, now);
        layer.stack->tcp().push(*socket.connection, now);
        layer.stack->flush(now);
    }
    return 0;
}

long get_buffer(Layer& layer, Socket& socket, Value value, bool receive) noexcept {
    const Tunables& t = layer.stack->tunables();
    if (socket.udp != nullptr) {
        const auto send_bytes = socket.options.sndbuf_locked ? static_cast<int>(socket.options.sndbuf) : t.wmem_default;
        return value.give(receive ? static_cast<int>(socket.udp->rcvbuf) : send_bytes);
    }
    const tcp::ConnectionOptions& o = tcp_options(socket);
    if (receive) {
        return value.give(o.rcvbuf_locked ? static_cast<int>(o.rcvbuf) : t.tcp_rmem.default_bytes);
    }
    return value.give(o.sndbuf_locked ? static_cast<int>(o.sndbuf) : t.tcp_wmem.default_bytes);
}

std::uint32_t doubled(int value, std::uint32_t minimum) noexcept {
    return std::max(static_cast<std::uint32_t>(std::clamp(value, 0, 0x3fff'ffff)) * 2, minimum);
}

long put_receive_buffer(Layer& layer, Socket& socket, int value) noexcept {
    const std::uint32_t bytes = doubled(value, 2304);
    if (socket.udp != nullptr) {
        socket.udp->rcvbuf = bytes;
        return 0;
    }
    return change(layer, socket, [bytes](tcp::ConnectionOptions& o) { o.rcvbuf = bytes, o.rcvbuf_locked = true; });
}

// What a datagram socket sends leaves at once: its buffer is a number to read back.
long put_send_buffer(Layer& layer, Socket& socket, int value) noexcept {
    const std::uint32_t bytes = doubled(value, 4608);
    return change(layer, socket, [bytes](tcp::ConnectionOptions& o) { o.sndbuf = bytes, o.sndbuf_locked = true; });
}

// Doubled, and limited by the tunable, as Linux.
long set_receive_buffer(Layer& layer, Socket& socket, int value) noexcept {
    return put_receive_buffer(layer, socket, std::min(value, layer.stack->tunables().rmem_max));
}

long set_send_buffer(Layer& layer, Socket& socket, int value) noexcept {
    return put_send_buffer(layer, socket, std::min(value, layer.stack->tunables().wmem_max));
}

long get_error(Layer&, Socket& socket, Value value) noexcept {
    int error = 0;
    if (socket.connection != nullptr) {
        error = std::exchange(socket.connection->error, 0);
        if (socket.connection->state != tcp::State::syn_sent && socket.connection->state != tcp::State::syn_received) {
            socket.was_connecting = false;
        }
    } else if (socket.udp != nullptr) {
        error = std::exchange(socket.udp->error, 0);
    }
    return value.give(error);
}

int tcp_info_state(const Socket& socket) noexcept {
    if (socket.listener != nullptr) {
        return TCP_LISTEN;
    }
    if (socket.connection == nullptr) {
        return TCP_CLOSE;
    }
    constexpr int states[] = {TCP_CLOSE,     TCP_SYN_SENT,   TCP_SYN_RECV, TCP_ESTABLISHED, TCP_FIN_WAIT1,
                              TCP_FIN_WAIT2, TCP_CLOSE_WAIT, TCP_CLOSING,  TCP_LAST_ACK,    TCP_TIME_WAIT};
    return states[static_cast<int>(socket.connection->state)];
}

long get_tcp_info(Layer& layer, Socket& socket, Value value) noexcept {
    tcp_info info{};
    info.tcpi_state = static_cast<std::uint8_t>(tcp_info_state(socket));
    if (const tcp::Connection* c = socket.connection) {
        constexpr int recovery_states[] = {TCP_CA_Open, TCP_CA_Disorder, TCP_CA_CWR, TCP_CA_Recovery, TCP_CA_Loss};
        info.tcpi_ca_state = static_cast<std::uint8_t>(recovery_states[static_cast<int>(c->recovery)]);
        info.tcpi_options = static_cast<std::uint8_t>((c->has_timestamps ? TCPI_OPT_TIMESTAMPS : 0) | (c->has_sack ? TCPI_OPT_SACK : 0) |
                                                      (c->has_wscale ? TCPI_OPT_WSCALE : 0) | (c->has_ecn ? TCPI_OPT_ECN : 0) |
                                                      (c->opening.data_accepted ? TCPI_OPT_SYN_DATA : 0));
        info.tcpi_snd_wscale = c->snd_wscale & 0xf;
        info.tcpi_rcv_wscale = c->rcv_wscale & 0xf;
        info.tcpi_rto = static_cast<std::uint32_t>(count_us(c->rto));
        info.tcpi_snd_mss = c->mss;
        info.tcpi_rcv_mss = c->rcv_mss;
        info.tcpi_unacked = (c->outstanding() + c->mss - 1) / c->mss;
        info.tcpi_sacked = c->sacked_out / c->mss;
        info.tcpi_lost = c->lost_out / c->mss;
        info.tcpi_retrans = c->retrans_out / c->mss;
        info.tcpi_backoff = c->backoff;
        info.tcpi_probes = static_cast<std::uint8_t>(c->probes);
        info.tcpi_pmtu = c->path.mtu;
        info.tcpi_rtt = static_cast<std::uint32_t>(count_us(c->srtt));
        info.tcpi_rttvar = static_cast<std::uint32_t>(count_us(c->rttvar));
        info.tcpi_snd_ssthresh = c->ssthresh == 0xffff'ffff ? 0x7fff'ffff : c->ssthresh / c->mss;
        info.tcpi_snd_cwnd = c->cwnd / c->mss;
        info.tcpi_advmss = static_cast<std::uint32_t>(c->path.mtu - 40);
        info.tcpi_rcv_space = c->rcvbuf;
        info.tcpi_total_retrans = static_cast<std::uint32_t>(c->retransmits);
        const Time now = layer.now();
        info.tcpi_last_data_sent = static_cast<std::uint32_t>(count_ms(now - c->last_sent_at));
        info.tcpi_last_data_recv = static_cast<std::uint32_t>(count_ms(now - c->last_heard));
        info.tcpi_last_ack_recv = info.tcpi_last_data_recv;
    } else if (socket.listener != nullptr) {
        info.tcpi_unacked = socket.listener->queued;
        info.tcpi_sacked = socket.listener->backlog;
    }
    return value.give(&info, sizeof info);
}

// Rows that only move a flag or a number between the program and ConnectionOptions.
#define SHUNT_TCP_FLAG(level, name, member, imported)                                                                          \
    Row{level, name, [](Layer&, Socket& s, Value v) noexcept { return v.give(static_cast<int>(tcp_options(s).member)); },      \
        [](Layer& l, Socket& s, int value) noexcept {                                                                          \
            return change(l, s, [value](tcp::ConnectionOptions& o) { o.member = value != 0; });                                \
        },                                                                                                                     \
        imported}
#define SHUNT_TCP_NUMBER(level, name, member, minimum, maximum, shown_default, imported)                                       \
    Row{level, name,                                                                                                           \
        [](Layer& l, Socket& s, Value v) noexcept {                                                                            \
            (void)l;                                                                                                           \
            const auto set = static_cast<int>(tcp_options(s).member);                                                          \
            return v.give(set != 0 ? set : static_cast<int>(shown_default));                                                   \
        },                                                                                                                     \
        [](Layer& l, Socket& s, int value) noexcept -> long {                                                                  \
            if (value < (minimum) || value > (maximum)) {                                                                      \
                return -EINVAL;                                                                                                \
            }                                                                                                                  \
            return change(l, s, [value](tcp::ConnectionOptions& o) { o.member = static_cast<decltype(o.member)>(value); });    \
        },                                                                                                                     \
        imported}
#define SHUNT_SOCKET_FLAG(level, name, member, imported)                                                                       \
    Row{level, name, [](Layer&, Socket& s, Value v) noexcept { return v.give(static_cast<int>(s.member)); },                   \
        [](Layer&, Socket& s, int value) noexcept -> long { s.member = value != 0; return 0; }, imported}

// Bytes a second; all bits set: as fast as it goes.
long set_pacing(Layer& layer, Socket& socket, std::uint64_t rate) noexcept {
    return change(layer, socket, [rate](tcp::ConnectionOptions& o) { o.max_pacing_rate = rate == UINT64_MAX ? 0 : std::max(static_cast<float>(rate), 1.0F); });
}

// What the connection runs, or will run.
long get_congestion(Layer& layer, Socket& socket, Value value) noexcept {
    const CongestionControl asked = socket.options.congestion;
    const CongestionControl next = asked == CongestionControl::other ? layer.stack->tunables().tcp_congestion_control : asked;
    char name[16]{};
    tcp::congestion::name_of(socket.connection != nullptr ? socket.connection->cc.algorithm : tcp::congestion::available(next)).copy(name, sizeof name - 1);
    return value.give(name, sizeof name);
}

long set_congestion(Layer& layer, Socket& socket, std::string_view name) noexcept {
    const auto algorithm = tcp::congestion::find(name);
    if (name.empty() || !algorithm) {
        return name.empty() ? -EINVAL : -ENOENT;
    }
    return change(layer, socket, [algorithm](tcp::ConnectionOptions& o) { o.congestion = *algorithm; });
}

long get_mtu(Layer&, Socket& socket, Value value) noexcept {
    if (socket.connection != nullptr) {
        return value.give(socket.connection->path.mtu);
    }
    return socket.udp != nullptr && socket.udp->path ? value.give(socket.udp->path->mtu) : -ENOTCONN;
}

const Row rows[] = {
    {SOL_SOCKET, SO_TYPE, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.type); }, nullptr, false},
    {SOL_SOCKET, SO_DOMAIN, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.is_v6 ? AF_INET6 : AF_INET); }, nullptr, false},
    {SOL_SOCKET, SO_PROTOCOL, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP); }, nullptr, false},
    {SOL_SOCKET, SO_ERROR, get_error, nullptr, false},
    {SOL_SOCKET, SO_ACCEPTCONN, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.listener != nullptr ? 1 : 0); }, nullptr, false},
    {SOL_SOCKET, SO_REUSEADDR, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.options.reuse_address ? 1 : 0); },
     [](Layer& l, Socket& s, int value) noexcept -> long {
         if (s.udp != nullptr) {
             s.udp->reuse_address = value != 0;
         }
         return change(l, s, [value](tcp::ConnectionOptions& o) { o.reuse_address = value != 0; });
     }, true},
    {SOL_SOCKET, SO_REUSEPORT, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.reuse_port ? 1 : 0); },
     [](Layer&, Socket& s, int value) noexcept -> long {
         s.reuse_port = value != 0;
         if (s.udp != nullptr) {
             s.udp->reuse_port = s.reuse_port;
         }
         return 0;
     }, true},
    {SOL_SOCKET, SO_BROADCAST, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.broadcast ? 1 : 0); },
     [](Layer&, Socket& s, int value) noexcept -> long {
         s.broadcast = value != 0;
         if (s.udp != nullptr) {
             s.udp->broadcast = s.broadcast;
         }
         return 0;
     }, true},
    {SOL_SOCKET, SO_RCVBUF, [](Layer& l, Socket& s, Value v) noexcept { return get_buffer(l, s, v, true); }, set_receive_buffer, false},
    {SOL_SOCKET, SO_SNDBUF, [](Layer& l, Socket& s, Value v) noexcept { return get_buffer(l, s, v, false); }, set_send_buffer, false},
    {SOL_SOCKET, SO_RCVLOWAT, [](Layer&, Socket& s, Value v) noexcept { return v.give(static_cast<int>(s.rcvlowat)); },
     [](Layer&, Socket& s, int value) noexcept -> long { s.rcvlowat = value > 0 ? static_cast<std::uint32_t>(value) : 1; return 0; }, true},
    {SOL_SOCKET, SO_RCVBUFFORCE, nullptr, [](Layer& l, Socket& s, int value) noexcept { return put_receive_buffer(l, s, value); }, false},
    {SOL_SOCKET, SO_SNDBUFFORCE, nullptr, [](Layer& l, Socket& s, int value) noexcept { return put_send_buffer(l, s, value); }, false},
    {SOL_SOCKET, SO_TIMESTAMP, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.timestamp ? 1 : 0); },
     [](Layer&, Socket& s, int value) noexcept -> long { s.timestamp = value != 0; s.timestamp_ns = false; return 0; }, true},
    {SOL_SOCKET, SO_TIMESTAMPNS, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.timestamp_ns ? 1 : 0); },
     [](Layer&, Socket& s, int value) noexcept -> long { s.timestamp_ns = value != 0; s.timestamp = s.timestamp && value == 0; return 0; }, true},
    {SOL_SOCKET, SO_MAX_PACING_RATE,
     [](Layer&, Socket& s, Value v) noexcept {
         const float rate = tcp_options(s).max_pacing_rate;
         const auto bytes = rate == 0 ? UINT64_MAX : static_cast<std::uint64_t>(rate);
         return *v.length >= sizeof bytes ? v.give(&bytes, sizeof bytes) : v.give(static_cast<int>(std::min<std::uint64_t>(bytes, UINT32_MAX)));
     },
     [](Layer& l, Socket& s, int value) noexcept { return set_pacing(l, s, value == -1 ? UINT64_MAX : static_cast<std::uint32_t>(value)); }, true},
    SHUNT_TCP_FLAG(SOL_SOCKET, SO_KEEPALIVE, keepalive, true),
    SHUNT_TCP_FLAG(IPPROTO_TCP, TCP_NODELAY, nodelay, true),
    SHUNT_TCP_FLAG(IPPROTO_TCP, TCP_CORK, cork, true),
    SHUNT_TCP_FLAG(IPPROTO_TCP, TCP_QUICKACK, quickack, false),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_KEEPIDLE, keepidle_s, 1, 32767, l.stack->tunables().tcp_keepalive_time, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_KEEPINTVL, keepintvl_s, 1, 32767, l.stack->tunables().tcp_keepalive_intvl, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_KEEPCNT, keepcnt, 1, 127, l.stack->tunables().tcp_keepalive_probes, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_SYNCNT, syn_retries, 1, 127, l.stack->tunables().tcp_syn_retries, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms, 0, 0x7fffffff, 0, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_LINGER2, linger2_s, -1, 3600, l.stack->tunables().tcp_fin_timeout, false),
    {IPPROTO_TCP, TCP_MAXSEG,
     [](Layer&, Socket& s, Value v) noexcept {
         const int next = s.options.maxseg != 0 ? s.options.maxseg : 536;
         return v.give(s.connection != nullptr ? s.connection->mss : next);
     },
     [](Layer&, Socket& s, int value) noexcept -> long {
         if (value != 0 && (value < 88 || value > 32767)) {
             return -EINVAL;
         }
         s.options.maxseg = static_cast<std::uint16_t>(value);
         return 0;
     }, false},
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_NOTSENT_LOWAT, notsent_lowat, 0, 0x7fffffff, 0, true),
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, [](Layer&, Socket& s, Value v) noexcept { return v.give(to_seconds(tcp_options(s).defer_accept)); },
     [](Layer& l, Socket& s, int value) noexcept { return change(l, s, [value](tcp::ConnectionOptions& o) { o.defer_accept = to_timeouts(value); }); }, true},
    {IPPROTO_TCP, TCP_FASTOPEN, [](Layer&, Socket& s, Value v) noexcept { return v.give(static_cast<int>((s.listener != nullptr ? s.listener->options : s.options).fast_open_queue)); },
     set_fast_open_queue, true},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.options.fast_open_connect ? 1 : 0); }, set_fast_open_connect, true},
    {IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, [](Layer&, Socket& s, Value v) noexcept { return v.give((s.listener != nullptr ? s.listener->options : s.options).fast_open_no_cookie ? 1 : 0); }, set_fast_open_no_cookie, true},
    {IPPROTO_TCP, TCP_INFO, get_tcp_info, nullptr, false},
    {IPPROTO_TCP, TCP_FASTOPEN_KEY,
     [](Layer& l, Socket& s, Value v) noexcept {
         const FastOpenKeys& keys = fast_open_keys_of(l, s);
         return v.give(keys.keys.data(), keys.count * sizeof(SecretKey));
     }, nullptr, false},
    {IPPROTO_TCP, TCP_CONGESTION, get_congestion, nullptr, false},
    {IPPROTO_IP, IP_MTU, get_mtu, nullptr, false},
    {IPPROTO_IP, IP_TOS, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.options.tos); },
     [](Layer& l, Socket& s, int value) noexcept -> long {
         if (s.udp != nullptr) {
             s.udp->tos = static_cast<std::uint8_t>(value);
         }
         return change(l, s, [value](tcp::ConnectionOptions& o) { o.tos = static_cast<std::uint8_t>(value & ~3); });
     }, true},
    {IPPROTO_IP, IP_TTL, [](Layer& l, Socket& s, Value v) noexcept { return v.give(s.options.ttl != 0 ? s.options.ttl : l.stack->tunables().ip_default_ttl); },
     [](Layer& l, Socket& s, int value) noexcept -> long {
         if (value != -1 && (value < 1 || value > 255)) {
             return -EINVAL;
         }
         const auto ttl = static_cast<std::uint8_t>(value == -1 ? 0 : value);
         if (s.udp != nullptr) {
             s.udp->ttl = ttl;
         }
         return change(l, s, [ttl](tcp::ConnectionOptions& o) { o.ttl = ttl; });
     }, false},
    SHUNT_SOCKET_FLAG(IPPROTO_IP, IP_PKTINFO, pktinfo, true),
    SHUNT_SOCKET_FLAG(IPPROTO_IPV6, IPV6_RECVPKTINFO, pktinfo, true),
    SHUNT_SOCKET_FLAG(IPPROTO_IPV6, IPV6_V6ONLY, v6only, false),
};

struct Name {
    int level;
    int name;
};

// They mean nothing here (marks, the kernel's polling, its routes), are advice, or belong to groups, which are the kernel's side of the socket.
constexpr Name kept[] = {
    {SOL_SOCKET, SO_DEBUG}, {SOL_SOCKET, SO_DONTROUTE}, {SOL_SOCKET, SO_OOBINLINE}, {SOL_SOCKET, SO_NO_CHECK}, {SOL_SOCKET, SO_PRIORITY},
    {SOL_SOCKET, SO_BSDCOMPAT}, {SOL_SOCKET, SO_PASSCRED}, {SOL_SOCKET, SO_MARK}, {SOL_SOCKET, SO_INCOMING_CPU}, {SOL_SOCKET, SO_BUSY_POLL},
    {SOL_SOCKET, SO_PREFER_BUSY_POLL}, {SOL_SOCKET, SO_BUSY_POLL_BUDGET}, {SOL_SOCKET, SO_SELECT_ERR_QUEUE},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP}, {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS}, {IPPROTO_TCP, TCP_THIN_DUPACK}, {IPPROTO_TCP, TCP_SAVE_SYN},
    {IPPROTO_UDP, UDP_GRO},
    {IPPROTO_IP, IP_RECVERR}, {IPPROTO_IP, IP_MTU_DISCOVER}, {IPPROTO_IP, IP_FREEBIND}, {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
    {IPPROTO_IP, IP_UNICAST_IF}, {IPPROTO_IP, IP_NODEFRAG}, {IPPROTO_IP, IP_MULTICAST_IF}, {IPPROTO_IP, IP_MULTICAST_TTL},
    {IPPROTO_IP, IP_MULTICAST_LOOP}, {IPPROTO_IP, IP_MULTICAST_ALL}, {IPPROTO_IP, IP_ADD_MEMBERSHIP}, {IPPROTO_IP, IP_DROP_MEMBERSHIP},
    {IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP}, {IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP}, {IPPROTO_IP, IP_BLOCK_SOURCE}, {IPPROTO_IP, IP_UNBLOCK_SOURCE},
    {IPPROTO_IP, IP_MSFILTER}, {IPPROTO_IP, MCAST_JOIN_GROUP}, {IPPROTO_IP, MCAST_LEAVE_GROUP}, {IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP},
    {IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP}, {IPPROTO_IP, MCAST_BLOCK_SOURCE}, {IPPROTO_IP, MCAST_UNBLOCK_SOURCE}, {IPPROTO_IP, MCAST_MSFILTER},
};

#undef SHUNT_TCP_FLAG
#undef SHUNT_TCP_NUMBER
#undef SHUNT_SOCKET_FLAG

const Row* find_row(bool is_stream, int level, int name) noexcept {
    for (const Row& row : rows) {
        if (row.level == level && row.name == name && !(level == IPPROTO_TCP && !is_stream)) {
            return &row;
        }
    }
    return nullptr;
}

// Structures have no row.
bool is_structure(int level, int name) noexcept {
    return level == SOL_SOCKET && (name == SO_LINGER || name == SO_RCVTIMEO || name == SO_SNDTIMEO);
}

Duration to_timeout(const timeval& value) noexcept {
    if (value.tv_sec < 0) {
        return Duration{};
    }
    const Duration d = std::chrono::seconds(value.tv_sec) + std::chrono::microseconds(value.tv_usec);
    return d == Duration{} ? Duration::max() : d;
}

timeval from_timeout(Duration d) noexcept {
    const auto us = d == Duration::max() ? 0 : d.count() / 1000;
    return {static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
}

}  // namespace

OptionKind kind_of_option(bool is_stream, int level, int name) noexcept {
    if (is_structure(level, name) || find_row(is_stream, level, name) != nullptr) {
        return OptionKind::carried;
    }
    const bool is_kept = std::any_of(std::begin(kept), std::end(kept), [&](const Name& each) { return each.level == level && each.name == name; });
    return is_kept || level == IPPROTO_IPV6 ? OptionKind::kept : OptionKind::foreign;
}

namespace {

using CongestionName = std::array<char, 16>;

CongestionName congestion_of(int fd) noexcept {
    CongestionName name{};
    socklen_t length = name.size() - 1;
    sys::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length);
    return name;
}

// What a kernel's socket says before anybody has set anything: the host's own tunables, which are not the program's wish and must not hide ours.
struct Untouched {
    explicit Untouched(int type) noexcept {
        const auto fd = static_cast<int>(sys::socket(AF_INET, type, 0));
        for (std::size_t i = 0; i < values.size(); ++i) {
            socklen_t length = sizeof(int);
            values.at(i) = -1;
            sys::getsockopt(fd, rows[i].level, rows[i].name, &values.at(i), &length);
        }
        congestion = congestion_of(fd);
        sys::close(fd);
    }
    std::array<int, std::size(rows)> values;
    CongestionName congestion;
};

const Untouched& untouched(bool is_stream) noexcept {
    static const Untouched stream(SOCK_STREAM), datagram(SOCK_DGRAM);
    return is_stream ? stream : datagram;
}

}  // namespace

void import_options(Socket& socket, int fd) noexcept {
    Guard guard(layer());
    const bool is_stream = socket.udp == nullptr;
    for (std::size_t i = 0; i < std::size(rows); ++i) {
        const Row& row = rows[i];
        int value = 0;
        socklen_t length = sizeof value;
        const bool applies = row.imported && row.set != nullptr && find_row(is_stream, row.level, row.name) != nullptr;
        const bool is_there = applies && sys::getsockopt(fd, row.level, row.name, &value, &length) == 0 && length == sizeof value;
        if (is_there && value != untouched(is_stream).values.at(i)) {
            row.set(guard.layer(), socket, value);
        }
    }
    int locks = 0;
    socklen_t length = sizeof locks;
    if (sys::getsockopt(fd, SOL_SOCKET, buffer_lock_option, &locks, &length) == 0) {
        int bytes = 0;
        length = sizeof bytes;
        if ((locks & 2) != 0 && sys::getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length) == 0) {
            set_receive_buffer(guard.layer(), socket, bytes / 2);
        }
        if ((locks & 1) != 0 && sys::getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &length) == 0) {
            set_send_buffer(guard.layer(), socket, bytes / 2);
        }
    }
    linger linger_value{};
    length = sizeof linger_value;
    if (sys::getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger_value, &length) == 0 && linger_value.l_onoff != 0) {
        socket.linger_s = linger_value.l_linger;
    }
    if (socket.udp == nullptr) {
        const CongestionName name = congestion_of(fd);  // one that we do not have reads back as what runs
        const auto algorithm = name == untouched(true).congestion ? std::nullopt : tcp::congestion::find(name.data());
        socket.options.congestion = algorithm.value_or(socket.options.congestion);
    }
    timeval timeout{};
    length = sizeof timeout;
    if (sys::getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length) == 0) {
        socket.rcvtimeo = to_timeout(timeout);
    }
    length = sizeof timeout;
    if (sys::getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, &length) == 0) {
        socket.sndtimeo = to_timeout(timeout);
    }
}

long get_option(Socket& socket, int level, int name, void* value, socklen_t* length) noexcept {
    if (value == nullptr || length == nullptr) {
        return -EFAULT;
    }
    Guard guard(layer());
    const Value out{value, length};
    if (level == SOL_SOCKET && name == SO_LINGER) {
        const linger setting{socket.linger_s >= 0 ? 1 : 0, std::max(socket.linger_s, 0)};
        return out.give(&setting, sizeof setting);
    }
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        const timeval timeout = from_timeout(name == SO_RCVTIMEO ? socket.rcvtimeo : socket.sndtimeo);
        return out.give(&timeout, sizeof timeout);
    }
    const Row* row = find_row(socket.udp == nullptr, level, name);
    return row != nullptr && row->get != nullptr ? row->get(guard.layer(), socket, out) : -ENOPROTOOPT;
}

long set_option(Socket& socket, int level, int name, const void* value, socklen_t length) noexcept {
    if (value == nullptr) {
        return -EFAULT;
    }
    Guard guard(layer());
    if (level == SOL_SOCKET && name == SO_LINGER) {
        linger setting;
        if (length < sizeof setting) {
            return -EINVAL;
        }
        std::memcpy(&setting, value, sizeof setting);
        socket.linger_s = setting.l_onoff != 0 ? setting.l_linger : -1;
        return 0;
    }
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        timeval timeout;
        if (length < sizeof timeout) {
            return -EINVAL;
        }
        std::memcpy(&timeout, value, sizeof timeout);
        if (timeout.tv_usec < 0 || timeout.tv_usec >= 1'000'000) {
            return -EDOM;
        }
        (name == SO_RCVTIMEO ? socket.rcvtimeo : socket.sndtimeo) = to_timeout(timeout);
        return 0;
    }
    if (level == IPPROTO_TCP && name == TCP_CONGESTION && socket.udp == nullptr) {
        return set_congestion(guard.layer(), socket, {static_cast<const char*>(value), strnlen(static_cast<const char*>(value), length)});
    }
    if (level == SOL_SOCKET && name == SO_MAX_PACING_RATE && length >= sizeof(std::uint64_t)) {
        std::uint64_t rate;
        std::memcpy(&rate, value, sizeof rate);
        return set_pacing(guard.layer(), socket, rate);
    }
    if (level == IPPROTO_TCP && name == TCP_FASTOPEN_KEY && socket.udp == nullptr) {
        return set_fast_open_keys(socket, value, length);
    }
    const Row* row = find_row(socket.udp == nullptr, level, name);
    if (row == nullptr || row->set == nullptr) {
        return -ENOPROTOOPT;
    }
    int number = 0;
    if (length >= sizeof number) {
        std::memcpy(&number, value, sizeof number);
    } else if (length == 1 && level == IPPROTO_IP) {
        number = *static_cast<const unsigned char*>(value);
    } else {
        return -EINVAL;
    }
    return row->set(guard.layer(), socket, number);
}

long control(Socket& socket, unsigned long request, void* argument) noexcept {
    Guard guard(layer());
    switch (request) {
        case FIONREAD: {
            int bytes = 0;
            guard.layer().stack->poll(guard.layer().now());
            if (socket.udp != nullptr) {
                bytes = socket.udp->rcv_queue.is_empty() ? 0 : static_cast<int>(socket.udp->rcv_queue.front()->size());
            } else if (socket.connection != nullptr) {
                bytes = static_cast<int>(socket.connection->rcv_queued);
            } else {
                return -EINVAL;
            }
            std::memcpy(argument, &bytes, sizeof bytes);
            return 0;
        }
        case TIOCOUTQ: {
            const int bytes = socket.connection != nullptr ? static_cast<int>(socket.connection->buffered()) : 0;
            std::memcpy(argument, &bytes, sizeof bytes);
            return 0;
        }
        case SIOCATMARK: {
            const int no = 0;
            std::memcpy(argument, &no, sizeof no);
            return 0;
        }
        case FIONBIO: {
            int on = 0;
            std::memcpy(&on, argument, sizeof on);
            socket.nonblocking = on != 0;
            return 0;
        }
        default:
            return -ENOTTY;
    }
}

}  // namespace shunt::socket
