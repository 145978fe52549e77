// Socket options as one table: level, name, how to read it, how to set it, whether a socket that becomes ours takes it over from the kernel's.
#include "socket/options.hpp"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/sys.hpp"
#include "socket/guard.hpp"

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
        return value.give(static_cast<int>(receive ? socket.udp->rcvbuf : static_cast<std::uint32_t>(t.wmem_default)));
    }
    const tcp::ConnectionOptions& o = tcp_options(socket);
    if (receive) {
        return value.give(o.rcvbuf_locked ? static_cast<int>(o.rcvbuf) : t.tcp_rmem.default_bytes);
    }
    return value.give(o.sndbuf_locked ? static_cast<int>(o.sndbuf) : t.tcp_wmem.default_bytes);
}

long set_receive_buffer(Layer& layer, Socket& socket, int value) noexcept {  // doubled, as Linux
    const auto limited = static_cast<std::uint32_t>(std::clamp(value, 0, layer.stack->tunables().rmem_max));
    const std::uint32_t bytes = std::max(limited * 2, 2304U);
    if (socket.udp != nullptr) {
        socket.udp->rcvbuf = bytes;
        return 0;
    }
    return change(layer, socket, [bytes](tcp::ConnectionOptions& o) { o.rcvbuf = bytes, o.rcvbuf_locked = true; });
}

long set_send_buffer(Layer& layer, Socket& socket, int value) noexcept {
    const auto limited = static_cast<std::uint32_t>(std::clamp(value, 0, layer.stack->tunables().wmem_max));
    const std::uint32_t bytes = std::max(limited * 2, 4608U);
    return socket.udp != nullptr ? 0 : change(layer, socket, [bytes](tcp::ConnectionOptions& o) { o.sndbuf = bytes, o.sndbuf_locked = true; });
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
    constexpr int states[] = {TCP_CLOSE, TCP_SYN_SENT, TCP_SYN_RECV, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_LAST_ACK, TCP_TIME_WAIT};
    return states[static_cast<int>(socket.connection->state)];
}

long get_tcp_info(Layer& layer, Socket& socket, Value value) noexcept {
    tcp_info info{};
    info.tcpi_state = static_cast<std::uint8_t>(tcp_info_state(socket));
    if (const tcp::Connection* c = socket.connection) {
        info.tcpi_ca_state = static_cast<std::uint8_t>(c->recovery == tcp::Recovery::loss ? TCP_CA_Loss : c->recovery == tcp::Recovery::recovery ? TCP_CA_Recovery : c->recovery == tcp::Recovery::disorder ? TCP_CA_Disorder : TCP_CA_Open);
        info.tcpi_options = static_cast<std::uint8_t>((c->has_timestamps ? TCPI_OPT_TIMESTAMPS : 0) | (c->has_sack ? TCPI_OPT_SACK : 0) | (c->snd_wscale != 0 || c->rcv_wscale != 0 ? TCPI_OPT_WSCALE : 0));
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
    {SOL_SOCKET, SO_PRIORITY, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.priority); },
     [](Layer&, Socket& s, int value) noexcept -> long { s.priority = value; return 0; }, false},
    SHUNT_SOCKET_FLAG(SOL_SOCKET, SO_TIMESTAMP, timestamp, true),
    SHUNT_SOCKET_FLAG(SOL_SOCKET, SO_TIMESTAMPNS, timestamp_ns, true),
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
    {IPPROTO_TCP, TCP_MAXSEG, [](Layer&, Socket& s, Value v) noexcept { return v.give(s.connection != nullptr ? s.connection->mss : s.options.maxseg != 0 ? s.options.maxseg : 536); },
     [](Layer&, Socket& s, int value) noexcept -> long {
         if (value != 0 && (value < 88 || value > 32767)) {
             return -EINVAL;
         }
         s.options.maxseg = static_cast<std::uint16_t>(value);
         return 0;
     }, false},
    {IPPROTO_TCP, TCP_INFO, get_tcp_info, nullptr, false},
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
    SHUNT_SOCKET_FLAG(IPPROTO_IPV6, IPV6_V6ONLY, v6only, false),
};

#undef SHUNT_TCP_FLAG
#undef SHUNT_TCP_NUMBER
#undef SHUNT_SOCKET_FLAG

const Row* find_row(const Socket& socket, int level, int name) noexcept {
    for (const Row& row : rows) {
        if (row.level == level && row.name == name && !(level == IPPROTO_TCP && socket.udp != nullptr)) {
            return &row;
        }
    }
    return nullptr;
}

Duration to_timeout(const timeval& value) noexcept {
    const Duration d = std::chrono::seconds(value.tv_sec) + std::chrono::microseconds(value.tv_usec);
    return d == Duration{} ? Duration::max() : d;
}

timeval from_timeout(Duration d) noexcept {
    return d == Duration::max() ? timeval{0, 0} : timeval{static_cast<time_t>(d.count() / 1'000'000'000), static_cast<suseconds_t>(d.count() % 1'000'000'000 / 1000)};
}

}  // namespace

void import_options(Socket& socket, int fd) noexcept {
    Guard guard(layer());
    for (const Row& row : rows) {
        int value = 0;
        socklen_t length = sizeof value;
        if (!row.imported || row.set == nullptr || find_row(socket, row.level, row.name) == nullptr || sys::getsockopt(fd, row.level, row.name, &value, &length) != 0 || length != sizeof value) {
            continue;
        }
        row.set(guard.layer(), socket, value);
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
    if (level == IPPROTO_TCP && name == TCP_CONGESTION && socket.udp == nullptr) {
        char reno[16] = "reno";
        return out.give(reno, sizeof reno);
    }
    const Row* row = find_row(socket, level, name);
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
    const Row* row = find_row(socket, level, name);
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
            if (socket.udp != nullptr) {
                bytes = socket.udp->rcv_queue.is_empty() ? 0 : static_cast<int>(socket.udp->rcv_queue.front()->size());
            } else if (socket.connection != nullptr) {
                guard.layer().stack->poll(guard.layer().now());
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
