// Socket options as one table: level, name, how to read it, how to set it, whether a socket that becomes ours takes it over from the kernel's.
// Values that a program sets have passed the kernel's own socket first, which knows what Linux refuses, but not the state of ours.
#include "socket/options.hpp"

#include <linux/socket.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <utility>

#include "socket/guard.hpp"
#include "socket/opening.hpp"
#include "socket/tcp_info.hpp"
#include "tcp/congestion.hpp"

namespace shunt::socket {
namespace {

constexpr int linger2_max_s = 120;      // TCP_FIN_TIMEOUT_MAX
constexpr int protocol_option = 52;     // IP_PROTOCOL: of a connected kind it is the port

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
        layer.stack->tcp().send_pending(*socket.connection, now);
        layer.stack->flush(now);
    }
    return 0;
}

long set_nodelay(Layer& layer, Socket& socket, int value) noexcept {
    change(layer, socket, [value](tcp::ConnectionOptions& o) { o.nodelay = value != 0; });
    if (value != 0 && socket.connection != nullptr) {
        const Time now = layer.now();
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
    const tcp::Connection* c = socket.connection;
    if (receive) {
        const int now = c != nullptr ? static_cast<int>(c->rcvbuf * 2) : t.tcp_rmem.default_bytes;
        return value.give(o.rcvbuf_locked ? static_cast<int>(o.rcvbuf) : now);
    }
    const int now = c != nullptr ? static_cast<int>(c->sndbuf) : t.tcp_wmem.default_bytes;
    return value.give(o.sndbuf_locked ? static_cast<int>(o.sndbuf) : now);
}

std::uint32_t doubled(int value, std::uint32_t minimum) noexcept {
    return std::max(static_cast<std::uint32_t>(std::clamp(value, 0, 0x3fff'ffff)) * 2, minimum);
}

long put_receive_buffer(Layer& layer, Socket& socket, int value) noexcept {
    const std::uint32_t bytes = doubled(value, 2304);
    if (socket.udp != nullptr) {
        socket.udp->rcvbuf = bytes;
    }
    return change(layer, socket, [bytes](tcp::ConnectionOptions& o) { o.rcvbuf = bytes, o.rcvbuf_locked = true; });
}

// What a datagram socket sends leaves at once: its buffer is a number to read back.
long put_send_buffer(Layer& layer, Socket& socket, int value) noexcept {
    const std::uint32_t bytes = doubled(value, 4608);
    return change(layer, socket, [bytes](tcp::ConnectionOptions& o) { o.sndbuf = bytes, o.sndbuf_locked = true; });
}

// Linux compares without a sign: less than nothing is the most.
int limited(int value, int most) noexcept { return static_cast<int>(std::min(static_cast<unsigned>(value), static_cast<unsigned>(most))); }

// Doubled, and limited by the tunable, as Linux.
long set_receive_buffer(Layer& layer, Socket& socket, int value) noexcept {
    return put_receive_buffer(layer, socket, limited(value, layer.stack->tunables().rmem_max));
}

long set_send_buffer(Layer& layer, Socket& socket, int value) noexcept {
    return put_send_buffer(layer, socket, limited(value, layer.stack->tunables().wmem_max));
}

long get_error(Layer&, Socket& socket, Value value) noexcept {
    int error = 0;
    if (socket.connection != nullptr) {
        error = std::exchange(socket.connection->error, 0);
    } else {
        error = std::exchange(socket.udp != nullptr ? socket.udp->error : socket.error, 0);
    }
    return value.give(error);
}

long get_tcp_info(Layer& layer, Socket& socket, Value value) noexcept {
    std::array<std::byte, tcp_info_bytes_max> info;
    const std::size_t bytes = fill_tcp_info(layer, socket, info.data());
    return value.give(info.data(), bytes);
}

// SK_MEMINFO_*: received, its limit, under way, its limit, reserved, to send, options, backlog, drops.
long get_memory_info(Layer& layer, Socket& socket, Value value) noexcept {
    std::array<std::uint32_t, 9> info{};
    if (const tcp::Connection* c = socket.connection) {
        info = {c->rcv_queued + c->ooo_bytes, c->rcvbuf * 2, c->outstanding(), c->sndbuf, 0, c->buffered(), 0, 0, 0};
    } else {
        const Tunables& t = layer.stack->tunables();
        info[1] = static_cast<std::uint32_t>(socket.udp != nullptr ? static_cast<int>(socket.udp->rcvbuf) : t.tcp_rmem.default_bytes);
        info[3] = static_cast<std::uint32_t>(socket.udp != nullptr ? t.wmem_default : t.tcp_wmem.default_bytes);
    }
    return value.give(info.data(), sizeof info);
}

long get_congestion_info(Layer& layer, Socket& socket, Value value) noexcept {
    std::array<std::byte, congestion_info_bytes_max> info;
    return value.give(info.data(), fill_congestion_info(layer, socket, info.data()));
}

long set_timestamping(Layer& layer, Socket& socket, int value) noexcept {
    namespace bits = tcp::timestamping;
    const auto flags = static_cast<std::uint32_t>(value);
    tcp::Connection* c = socket.connection;
    if ((flags & ~bits::all) != 0 || (flags & (bits::opt_id_tcp | bits::opt_id)) == bits::opt_id_tcp) {
        return -EINVAL;
    }
    if ((flags & bits::bind_phc) != 0) {
        return -EOPNOTSUPP;
    }
    if (socket.udp != nullptr && (flags & bits::any_tx) != 0) {
        return -ENOPROTOOPT;
    }
    if ((flags & bits::opt_id) != 0 && socket.udp == nullptr && (socket.options.timestamping & bits::opt_id) == 0) {
        if (c == nullptr || c->state == tcp::State::closed) {
            return -EINVAL;
        }
        c->stamp_base = (flags & bits::opt_id_tcp) != 0 ? c->write_seq : c->snd_una;
    }
    return change(layer, socket, [flags](tcp::ConnectionOptions& o) { o.timestamping = flags; });
}

long set_notsent_lowat(Layer& layer, Socket& socket, int value) noexcept {
    return change(layer, socket, [value](tcp::ConnectionOptions& o) { o.notsent_lowat = static_cast<std::uint32_t>(value); });
}

long set_window_clamp(Layer& layer, Socket& socket, int value) noexcept {
    constexpr int minimum = 1152;
    const tcp::State state = socket.connection != nullptr ? socket.connection->state : tcp::State::closed;
    const bool is_closed = socket.listener == nullptr && (state == tcp::State::closed || state == tcp::State::time_wait);  // the program's socket is CLOSE then
    if (value == 0 && !is_closed) {
        return -EINVAL;
    }
    const auto clamp = static_cast<std::uint32_t>(value == 0 ? 0 : std::max(value, minimum));
    return change(layer, socket, [clamp](tcp::ConnectionOptions& o) { o.window_clamp = clamp; });
}

// No more than half of what the buffer can become, which grows for it at once.
long set_receive_low_water(Layer& layer, Socket& socket, int value) noexcept {
    const auto wanted = static_cast<std::uint32_t>(value < 0 ? 0x7fff'ffff : std::max(value, 1));
    if (socket.udp != nullptr) {
        socket.rcvlowat = wanted;
        return 0;
    }
    const tcp::ConnectionOptions& o = tcp_options(socket);
    const std::uint32_t limit = o.rcvbuf_locked ? o.rcvbuf : static_cast<std::uint32_t>(layer.stack->tunables().tcp_rmem.maximum_bytes);
    socket.rcvlowat = std::min(wanted, limit / 2);
    if (tcp::Connection* c = socket.connection; c != nullptr && !o.rcvbuf_locked) {
        c->rcvbuf = std::max(c->rcvbuf, socket.rcvlowat);
    }
    return 0;
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

}  // namespace

long set_congestion(Layer& layer, Socket& socket, std::string_view name) noexcept {
    const auto algorithm = tcp::congestion::find(name);
    if (name.empty() || !algorithm) {
        return name.empty() ? -EINVAL : -ENOENT;
    }
    return change(layer, socket, [algorithm](tcp::ConnectionOptions& o) { o.congestion = *algorithm; });
}

// Bytes a second; all bits set: as fast as it goes.
long set_pacing(Layer& layer, Socket& socket, std::uint64_t rate) noexcept {
    return change(layer, socket, [rate](tcp::ConnectionOptions& o) { o.max_pacing_rate = rate == UINT64_MAX ? 0 : std::max(static_cast<float>(rate), 1.0F); });
}

namespace {

long get_congestion(Layer& layer, Socket& socket, Value value) noexcept {
    char name[16]{};
    tcp::congestion::name_of(congestion_of(layer, socket)).copy(name, sizeof name - 1);
    return value.give(name, sizeof name);
}

int port_of(const Socket& socket) noexcept {
    if (socket.udp != nullptr) {
        return socket.udp->local_port;
    }
    return socket.connection != nullptr ? socket.connection->local_port : socket.bound_port;
}

// Off: what has been gathered goes; an error is nobody's.
long set_udp_cork(Layer& layer, Socket& socket, int value) noexcept {
    socket.udp->is_corked = value != 0;
    if (value == 0 && socket.udp->has_corked) {
        const Time now = layer.now();
        static_cast<void>(layer.stack->udp().push(*socket.udp, now));
        layer.stack->flush(now);
    }
    return 0;
}

// As getpeername, but the whole name must be asked for at most.
long get_peer(Layer&, Socket& socket, Value value) noexcept {
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    if (const long error = name_of_peer(socket, reinterpret_cast<sockaddr*>(&name), &length); error != 0) {
        return error;
    }
    return length < *value.length ? -EINVAL : value.give(&name, length);
}

long get_buffer_locks(Layer&, Socket& socket, Value value) noexcept {
    const tcp::ConnectionOptions& o = tcp_options(socket);
    return value.give((o.sndbuf_locked ? SOCK_SNDBUF_LOCK : 0) | (o.rcvbuf_locked ? SOCK_RCVBUF_LOCK : 0));
}

// A size that is fixed without having been set is the one of the moment.
long set_buffer_locks(Layer& layer, Socket& socket, int value) noexcept {
    if ((value & ~SOCK_BUF_LOCK_MASK) != 0) {
        return -EINVAL;
    }
    int sizes[2] = {};
    socklen_t length = sizeof(int);
    get_buffer(layer, socket, Value{&sizes[0], &length, false}, false);
    get_buffer(layer, socket, Value{&sizes[1], &length, false}, true);
    return change(layer, socket, [&](tcp::ConnectionOptions& o) {
        o.sndbuf = static_cast<std::uint32_t>(sizes[0]);
        o.rcvbuf = static_cast<std::uint32_t>(sizes[1]);
        o.sndbuf_locked = (value & SOCK_SNDBUF_LOCK) != 0;
        o.rcvbuf_locked = (value & SOCK_RCVBUF_LOCK) != 0;
    });
}

long get_mtu(Layer&, Socket& socket, Value value) noexcept {
    if (socket.connection != nullptr && !socket.is_bound_anew) {
        return value.give(static_cast<int>(mtu_of(socket.connection->path)));
    }
    return socket.udp != nullptr && socket.udp->path ? value.give(static_cast<int>(mtu_of(*socket.udp->path))) : -ENOTCONN;
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
         s.options.reuse_port = s.reuse_port;
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
    {SOL_SOCKET, SO_RCVLOWAT, [](Layer&, Socket& s, Value v) noexcept { return v.give(static_cast<int>(s.rcvlowat)); }, set_receive_low_water, true},
    {SOL_SOCKET, SO_RCVBUFFORCE, nullptr, [](Layer& l, Socket& s, int value) noexcept { return put_receive_buffer(l, s, value); }, false},
    {SOL_SOCKET, SO_SNDBUFFORCE, nullptr, [](Layer& l, Socket& s, int value) noexcept { return put_send_buffer(l, s, value); }, false},
    {SOL_SOCKET, SO_TIMESTAMP, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.receives.timestamp ? 1 : 0); },
     [](Layer&, Socket& s, int value) noexcept -> long { s.receives.timestamp = value != 0; s.receives.timestamp_ns = false; return 0; }, true},
    {SOL_SOCKET, SO_TIMESTAMPNS, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.receives.timestamp_ns ? 1 : 0); },
     [](Layer&, Socket& s, int value) noexcept -> long { s.receives.timestamp_ns = value != 0; s.receives.timestamp = s.receives.timestamp && value == 0; return 0; }, true},
    {SOL_SOCKET, SO_MAX_PACING_RATE,
     [](Layer&, Socket& s, Value v) noexcept {
         const float rate = tcp_options(s).max_pacing_rate;
         const auto bytes = rate == 0 ? UINT64_MAX : static_cast<std::uint64_t>(rate);
         return *v.length >= sizeof bytes ? v.give(&bytes, sizeof bytes) : v.give(static_cast<int>(std::min<std::uint64_t>(bytes, UINT32_MAX)));
     },
     [](Layer& l, Socket& s, int value) noexcept { return set_pacing(l, s, value == -1 ? UINT64_MAX : static_cast<std::uint32_t>(value)); }, true},
    {SOL_SOCKET, SO_PEERNAME, get_peer, nullptr, false},
    {SOL_SOCKET, SO_BUF_LOCK, get_buffer_locks, set_buffer_locks, false},
    SHUNT_SOCKET_FLAG(SOL_SOCKET, SO_RXQ_OVFL, receives.drops, true),
    SHUNT_TCP_FLAG(SOL_SOCKET, SO_KEEPALIVE, keepalive, true),
    {IPPROTO_TCP, TCP_NODELAY, [](Layer&, Socket& s, Value v) noexcept { return v.give(static_cast<int>(tcp_options(s).nodelay)); }, set_nodelay, true},
    SHUNT_TCP_FLAG(IPPROTO_TCP, TCP_CORK, cork, true),
    SHUNT_TCP_FLAG(IPPROTO_TCP, TCP_QUICKACK, quickack, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_KEEPIDLE, keepidle_s, 1, 32767, l.stack->tunables().tcp_keepalive_time, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_KEEPINTVL, keepintvl_s, 1, 32767, l.stack->tunables().tcp_keepalive_intvl, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_KEEPCNT, keepcnt, 1, 127, l.stack->tunables().tcp_keepalive_probes, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_SYNCNT, syn_retries, 1, 127, l.stack->tunables().tcp_syn_retries, true),
    SHUNT_TCP_NUMBER(IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms, 0, 0x7fffffff, 0, true),
    {IPPROTO_TCP, TCP_LINGER2,
     [](Layer& l, Socket& s, Value v) noexcept {
         const int set = tcp_options(s).linger2_s;
         return v.give(set != 0 ? set : l.stack->tunables().tcp_fin_timeout);
     },
     [](Layer& l, Socket& s, int value) noexcept {
         const auto seconds = static_cast<std::int16_t>(std::clamp(value, -1, linger2_max_s));
         return change(l, s, [seconds](tcp::ConnectionOptions& o) { o.linger2_s = seconds; });
     }, true},
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
     }, true},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, [](Layer&, Socket& s, Value v) noexcept { return v.give(to_seconds(tcp_options(s).defer_accept)); },
     [](Layer& l, Socket& s, int value) noexcept { return change(l, s, [value](tcp::ConnectionOptions& o) { o.defer_accept = to_timeouts(value); }); }, true},
    {IPPROTO_TCP, TCP_FASTOPEN, [](Layer&, Socket& s, Value v) noexcept { return v.give(static_cast<int>((s.listener != nullptr ? s.listener->options : s.options).fast_open_queue)); },
     set_fast_open_queue, true},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.options.fast_open_connect ? 1 : 0); }, set_fast_open_connect, true},
    {IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, [](Layer&, Socket& s, Value v) noexcept { return v.give((s.listener != nullptr ? s.listener->options : s.options).fast_open_no_cookie ? 1 : 0); }, set_fast_open_no_cookie, true},
    {IPPROTO_TCP, TCP_FASTOPEN_KEY,
     [](Layer& l, Socket& s, Value v) noexcept {
         const FastOpenKeys& keys = fast_open_keys_of(l, s);
         return v.give(keys.keys.data(), keys.count * sizeof(SecretKey));
     }, nullptr, false},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, [](Layer&, Socket& s, Value v) noexcept { return v.give(static_cast<int>(tcp_options(s).notsent_lowat)); }, set_notsent_lowat, true},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP,
     [](Layer&, Socket& s, Value v) noexcept {
         const std::uint32_t clamp = tcp_options(s).window_clamp;
         return v.give(static_cast<int>(clamp == 0 && s.connection != nullptr ? s.connection->rcvbuf : clamp));
     }, set_window_clamp, true},
    SHUNT_SOCKET_FLAG(IPPROTO_TCP, TCP_INQ, inq, true),
    SHUNT_SOCKET_FLAG(SOL_SOCKET, SO_ZEROCOPY, zerocopy, true),
    SHUNT_TCP_FLAG(SOL_SOCKET, SO_OOBINLINE, oob_inline, true),
    {IPPROTO_IP, IP_RECVERR, [](Layer&, Socket& s, Value v) noexcept { return v.give(tcp_options(s).recverr ? 1 : 0); },
     [](Layer& l, Socket& s, int value) noexcept {
         if (s.udp != nullptr) {
             s.udp->recverr = value != 0;
             if (value == 0) {
                 Udp::drop_reports(*s.udp);
             }
         }
         return change(l, s, [value](tcp::ConnectionOptions& o) { o.recverr = value != 0; });
     }, true},
    {IPPROTO_IP, IP_MTU_DISCOVER, [](Layer&, Socket& s, Value v) noexcept { return v.give(tcp_options(s).mtu_discover); },
     [](Layer& l, Socket& s, int value) noexcept -> long {
         if (value < IP_PMTUDISC_DONT || value > IP_PMTUDISC_OMIT) {
             return -EINVAL;
         }
         if (s.udp != nullptr) {
             s.udp->mtu_discover = static_cast<std::uint8_t>(value);
         }
         return change(l, s, [value](tcp::ConnectionOptions& o) { o.mtu_discover = static_cast<std::uint8_t>(value); });
     }, true},
    {SOL_SOCKET, SO_TIMESTAMPING,
     [](Layer&, Socket& s, Value v) noexcept {
         const int flags_and_clock[2] = {static_cast<int>(tcp_options(s).timestamping), 0};
         return v.give(flags_and_clock, sizeof flags_and_clock);
     }, set_timestamping, true},
    {IPPROTO_UDP, UDP_CORK, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.udp->is_corked ? 1 : 0); }, set_udp_cork, true},
    {IPPROTO_UDP, UDP_SEGMENT, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.udp->segment_bytes); },
     [](Layer&, Socket& s, int value) noexcept -> long {
         if (value < 0 || value > 0xffff) {
             return -EINVAL;
         }
         s.udp->segment_bytes = static_cast<std::uint16_t>(value);
         return 0;
     }, true},
    {SOL_SOCKET, SO_MEMINFO, get_memory_info, nullptr, false},
    {IPPROTO_TCP, TCP_INFO, get_tcp_info, nullptr, false},
    {IPPROTO_TCP, TCP_CC_INFO, get_congestion_info, nullptr, false},
    {IPPROTO_TCP, TCP_CONGESTION, get_congestion, nullptr, false},
    {IPPROTO_IP, IP_MTU, get_mtu, nullptr, false},
    {IPPROTO_IP, IP_TOS, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.udp != nullptr ? s.udp->tos : s.options.tos); },
     [](Layer& l, Socket& s, int value) noexcept -> long {
         if (s.udp != nullptr) {
             s.udp->tos = static_cast<std::uint8_t>(value);
             return 0;
         }
         return change(l, s, [value](tcp::ConnectionOptions& o) { o.tos = static_cast<std::uint8_t>(value & ~3); });  // ECN is TCP's own
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
     }, true},
    SHUNT_SOCKET_FLAG(IPPROTO_IP, IP_PKTINFO, receives.pktinfo, true),
    SHUNT_SOCKET_FLAG(IPPROTO_IP, IP_RECVTTL, receives.ttl, true),
    SHUNT_SOCKET_FLAG(IPPROTO_IP, IP_RECVTOS, receives.tos, true),
    SHUNT_SOCKET_FLAG(IPPROTO_IP, IP_RECVORIGDSTADDR, receives.destination, true),
    {IPPROTO_IP, protocol_option, [](Layer&, Socket& s, Value v) noexcept { return v.give(port_of(s)); }, nullptr, false},
    SHUNT_SOCKET_FLAG(IPPROTO_IPV6, IPV6_RECVPKTINFO, receives.pktinfo_v6, true),
    {IPPROTO_IPV6, IPV6_V6ONLY, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.v6only ? 1 : 0); },
     [](Layer&, Socket& s, int value) noexcept -> long {
         if (port_of(s) != 0) {
             return -EINVAL;
         }
         s.v6only = value != 0;
         return 0;
     }, false},
    {IPPROTO_IPV6, IPV6_MTU, get_mtu, nullptr, false},
};

#undef SHUNT_TCP_FLAG
#undef SHUNT_TCP_NUMBER
#undef SHUNT_SOCKET_FLAG

}  // namespace

std::span<const Row> option_rows() noexcept { return rows; }

}  // namespace shunt::socket
