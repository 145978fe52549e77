// setsockopt and getsockopt through the table of options; what the kernel's descriptor keeps for itself; options set before a socket became ours.
#include <linux/socket.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "base/sys.hpp"
#include "socket/guard.hpp"
#include "socket/opening.hpp"
#include "socket/options.hpp"
#include "tcp/congestion.hpp"

namespace shunt::socket {

long Value::give(const void* from, std::size_t size) const noexcept {
    const auto n = static_cast<socklen_t>(std::min<std::size_t>(*length, size));
    if (data == nullptr && n != 0) {
        return -EFAULT;
    }
    if (n != 0) {
        std::memcpy(data, from, n);
    }
    *length = n;
    return 0;
}

long Value::give(int value) const noexcept {
    if (is_ip && *length != 0 && *length < sizeof value && value >= 0 && value <= 255) {
        const auto byte = static_cast<unsigned char>(value);
        return give(&byte, sizeof byte);
    }
    return give(&value, sizeof value);
}

namespace {


struct Name {
    int level;
    int name;
};

// They mean nothing here (marks, the kernel's polling, its routes, labels), are advice, or belong to groups, which are the kernel's side of the socket.
constexpr Name kept[] = {
    {SOL_SOCKET, SO_DEBUG}, {SOL_SOCKET, SO_DONTROUTE}, {SOL_SOCKET, SO_NO_CHECK}, {SOL_SOCKET, SO_PRIORITY},
    {SOL_SOCKET, SO_BSDCOMPAT}, {SOL_SOCKET, SO_PASSCRED}, {SOL_SOCKET, SO_MARK}, {SOL_SOCKET, SO_INCOMING_CPU}, {SOL_SOCKET, SO_BUSY_POLL},
    {SOL_SOCKET, SO_PREFER_BUSY_POLL}, {SOL_SOCKET, SO_BUSY_POLL_BUDGET}, {SOL_SOCKET, SO_SELECT_ERR_QUEUE}, {SOL_SOCKET, SO_WIFI_STATUS},
    {SOL_SOCKET, SO_NOFCS}, {SOL_SOCKET, SO_LOCK_FILTER}, {SOL_SOCKET, SO_CNX_ADVICE}, {SOL_SOCKET, SO_RESERVE_MEM}, {SOL_SOCKET, SO_TXREHASH},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS}, {IPPROTO_TCP, TCP_THIN_DUPACK},
    {IPPROTO_UDP, UDP_GRO}, {IPPROTO_UDP, UDP_NO_CHECK6_TX}, {IPPROTO_UDP, UDP_NO_CHECK6_RX},
    {IPPROTO_IP, IP_FREEBIND}, {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT}, {IPPROTO_IP, IP_TRANSPARENT}, {IPPROTO_IP, IP_PASSSEC}, {IPPROTO_IP, IP_RECVOPTS},
    {IPPROTO_IP, IP_RETOPTS}, {IPPROTO_IP, IP_RECVERR_RFC4884},
    {IPPROTO_IP, IP_UNICAST_IF}, {IPPROTO_IP, IP_NODEFRAG}, {IPPROTO_IP, IP_MULTICAST_IF}, {IPPROTO_IP, IP_MULTICAST_TTL},
    {IPPROTO_IP, IP_MULTICAST_LOOP}, {IPPROTO_IP, IP_MULTICAST_ALL}, {IPPROTO_IP, IP_ADD_MEMBERSHIP}, {IPPROTO_IP, IP_DROP_MEMBERSHIP},
    {IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP}, {IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP}, {IPPROTO_IP, IP_BLOCK_SOURCE}, {IPPROTO_IP, IP_UNBLOCK_SOURCE},
    {IPPROTO_IP, IP_MSFILTER}, {IPPROTO_IP, MCAST_JOIN_GROUP}, {IPPROTO_IP, MCAST_LEAVE_GROUP}, {IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP},
    {IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP}, {IPPROTO_IP, MCAST_BLOCK_SOURCE}, {IPPROTO_IP, MCAST_UNBLOCK_SOURCE}, {IPPROTO_IP, MCAST_MSFILTER},
};

// Those of them that an accepted connection has of its listener.
constexpr Name passed_on[] = {
    {SOL_SOCKET, SO_DEBUG}, {SOL_SOCKET, SO_DONTROUTE}, {SOL_SOCKET, SO_NO_CHECK}, {SOL_SOCKET, SO_MARK}, {SOL_SOCKET, SO_WIFI_STATUS}, {SOL_SOCKET, SO_NOFCS},
    {SOL_SOCKET, SO_LOCK_FILTER}, {SOL_SOCKET, SO_SELECT_ERR_QUEUE}, {SOL_SOCKET, SO_BUSY_POLL}, {SOL_SOCKET, SO_PREFER_BUSY_POLL}, {SOL_SOCKET, SO_TXREHASH},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS}, {IPPROTO_IP, IP_RECVOPTS}, {IPPROTO_IP, IP_RETOPTS}, {IPPROTO_IP, IP_FREEBIND}, {IPPROTO_IP, IP_PASSSEC},
    {IPPROTO_IP, IP_TRANSPARENT}, {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT}, {IPPROTO_IP, IP_RECVERR_RFC4884}, {IPPROTO_IP, IP_MULTICAST_LOOP}, {IPPROTO_IP, IP_MULTICAST_ALL},
};

// Every option has its kind of socket; the kernel says so of the others.
bool is_for(bool is_stream, int level, int name) noexcept {
    if (level == IPPROTO_TCP || (level == SOL_SOCKET && name == SO_ZEROCOPY)) {
        return is_stream;
    }
    return !is_stream || level != IPPROTO_UDP;
}

const Row* find_row(bool is_stream, int level, int name) noexcept {
    for (const Row& row : option_rows()) {
        if (row.level == level && row.name == name && is_for(is_stream, level, name)) {
            return &row;
        }
    }
    return nullptr;
}

bool is_receive_timeout(int level, int name) noexcept { return level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_RCVTIMEO_NEW); }
bool is_timeout(int level, int name) noexcept {
    return is_receive_timeout(level, name) || (level == SOL_SOCKET && (name == SO_SNDTIMEO || name == SO_SNDTIMEO_NEW));
}

// Structures have no row.
bool is_structure(int level, int name) noexcept { return is_timeout(level, name) || (level == SOL_SOCKET && name == SO_LINGER); }

Duration to_timeout(const timeval& value) noexcept {
    if (value.tv_sec < 0) {
        return Duration{};
    }
    const bool is_endless = value.tv_sec > 1'000'000'000;
    const Duration d = is_endless ? Duration{} : Duration(std::chrono::seconds(value.tv_sec) + std::chrono::microseconds(value.tv_usec));
    return d == Duration{} ? Duration::max() : d;
}

timeval from_timeout(Duration d) noexcept {
    const auto us = d == Duration::max() ? 0 : d.count() / 1000;
    return {static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
}

// An int, or what Linux makes of less at each level.
Result<int> read_number(int level, const void* value, socklen_t length) noexcept {
    int number = 0;
    if (level == IPPROTO_IPV6 && value == nullptr) {
        return 0;
    }
    if (value == nullptr && length != 0) {
        return fail(level == IPPROTO_IP || length >= sizeof number ? EFAULT : EINVAL);
    }
    if (length >= sizeof number) {
        std::memcpy(&number, value, sizeof number);
        return number;
    }
    if (level != IPPROTO_IP && level != IPPROTO_IPV6) {
        return fail(EINVAL);
    }
    return level == IPPROTO_IP && length != 0 ? *static_cast<const unsigned char*>(value) : 0;
}

long set_structure(Socket& socket, int level, int name, const void* value, socklen_t length) noexcept {
    if (value == nullptr) {
        return -EFAULT;
    }
    if (is_timeout(level, name)) {
        timeval timeout;
        if (length < sizeof timeout) {
            return -EINVAL;
        }
        std::memcpy(&timeout, value, sizeof timeout);
        if (timeout.tv_usec < 0 || timeout.tv_usec >= 1'000'000) {
            return -EDOM;
        }
        (is_receive_timeout(level, name) ? socket.rcvtimeo : socket.sndtimeo) = to_timeout(timeout);
        return 0;
    }
    linger setting;
    if (length < sizeof setting) {
        return -EINVAL;
    }
    std::memcpy(&setting, value, sizeof setting);
    socket.linger_s = setting.l_onoff != 0 ? setting.l_linger : -1;
    return 0;
}

long get_structure(const Socket& socket, int level, int name, const Value& out) noexcept {
    if (is_timeout(level, name)) {
        const timeval timeout = from_timeout(is_receive_timeout(level, name) ? socket.rcvtimeo : socket.sndtimeo);
        return out.give(&timeout, sizeof timeout);
    }
    const linger setting{socket.linger_s >= 0 ? 1 : 0, std::max(socket.linger_s, 0)};
    return out.give(&setting, sizeof setting);
}

}  // namespace

OptionKind kind_of_option(bool is_stream, int level, int name) noexcept {
    if (is_structure(level, name) || find_row(is_stream, level, name) != nullptr) {
        return OptionKind::carried;
    }
    const bool is_kept = std::any_of(std::begin(kept), std::end(kept), [&](const Name& each) { return each.level == level && each.name == name; });
    return is_kept || level == IPPROTO_IPV6 ? OptionKind::kept : OptionKind::foreign;
}

bool is_passed_on(int level, int name) noexcept {
    return std::any_of(std::begin(passed_on), std::end(passed_on), [&](const Name& each) { return each.level == level && each.name == name; });
}

void pass_on_options(int listener, int accepted) noexcept {
    for (const Name& each : passed_on) {
        int value = 0, fresh = 0;
        socklen_t length = sizeof value;
        const bool is_there = sys::getsockopt(listener, each.level, each.name, &value, &length) == 0 && sys::getsockopt(accepted, each.level, each.name, &fresh, &length) == 0;
        if (is_there && value != fresh) {
            sys::setsockopt(accepted, each.level, each.name, &value, sizeof value);
        }
    }
}

bool is_ours_alone(bool is_stream, int level, int name) noexcept {
    return is_stream && (level == IPPROTO_TCP ? name == TCP_QUICKACK || name == TCP_CORK : level == SOL_SOCKET && name == SO_TIMESTAMPING);
}

long get_option(Socket& socket, int level, int name, void* value, socklen_t* length) noexcept {
    const Row* row = find_row(socket.udp == nullptr, level, name);
    const bool has_it = is_structure(level, name) || (row != nullptr && row->get != nullptr);
    if (!has_it || (level == IPPROTO_IPV6 && !socket.is_v6)) {
        return -ENOPROTOOPT;
    }
    if (length == nullptr || (static_cast<int>(*length) < 0 && level != IPPROTO_IPV6)) {
        return length == nullptr ? -EFAULT : -EINVAL;
    }
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    const Value out{value, length, level == IPPROTO_IP};
    return is_structure(level, name) ? get_structure(socket, level, name, out) : row->get(guard.layer(), socket, out);
}

long set_option(Socket& socket, int level, int name, const void* value, socklen_t length) noexcept {
    if (static_cast<int>(length) < 0) {
        return -EINVAL;
    }
    Guard guard(layer());
    if (is_gone(socket)) [[unlikely]] {
        return -EBADF;
    }
    if (is_structure(level, name)) {
        return set_structure(socket, level, name, value, length);
    }
    const Row* row = find_row(socket.udp == nullptr, level, name);
    if (row == nullptr) {
        return -ENOPROTOOPT;
    }
    if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
        return value == nullptr ? -EFAULT : set_congestion(guard.layer(), socket, {static_cast<const char*>(value), strnlen(static_cast<const char*>(value), length)});
    }
    if (level == IPPROTO_TCP && name == TCP_FASTOPEN_KEY) {
        return value == nullptr ? -EFAULT : set_fast_open_keys(socket, value, length);
    }
    if (level == SOL_SOCKET && name == SO_MAX_PACING_RATE && value != nullptr && length == sizeof(std::uint64_t)) {
        std::uint64_t rate;
        std::memcpy(&rate, value, sizeof rate);
        return set_pacing(guard.layer(), socket, rate);
    }
    if (row->set == nullptr) {
        return -ENOPROTOOPT;
    }
    const auto number = read_number(level, value, length);
    return number ? row->set(guard.layer(), socket, *number) : -code_of(number.error());
}

// ---------------------------------------------------------------- what was set before

namespace {

using CongestionName = std::array<char, 16>;

CongestionName congestion_of(int fd) noexcept {
    CongestionName name{};
    socklen_t length = name.size() - 1;
    sys::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length);
    return name;
}

constexpr std::size_t rows_max = 128;

// What a kernel's socket says before anybody has set anything: the host's own tunables, which are not the program's wish and must not hide ours.
struct Untouched {
    explicit Untouched(int type) noexcept {
        const auto fd = static_cast<int>(sys::socket(AF_INET, type, 0));
        const std::span<const Row> rows = option_rows();
        for (std::size_t i = 0; i < rows.size(); ++i) {
            socklen_t length = sizeof(int);
            values.at(i) = -1;
            sys::getsockopt(fd, rows[i].level, rows[i].name, &values.at(i), &length);
        }
        congestion = congestion_of(fd);
        sys::close(fd);
    }
    std::array<int, rows_max> values;
    CongestionName congestion;
};

const Untouched& untouched(bool is_stream) noexcept {
    static const Untouched stream(SOCK_STREAM), datagram(SOCK_DGRAM);
    return is_stream ? stream : datagram;
}

void import_rows(Layer& layer, Socket& socket, int fd) noexcept {
    const bool is_stream = socket.udp == nullptr;
    const std::span<const Row> rows = option_rows();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Row& row = rows[i];
        int value = 0;
        socklen_t length = sizeof value;
        const bool applies = row.imported && row.set != nullptr && is_for(is_stream, row.level, row.name);
        const bool is_there = applies && sys::getsockopt(fd, row.level, row.name, &value, &length) == 0 && length == sizeof value;
        if (is_there && value != untouched(is_stream).values.at(i)) {
            row.set(layer, socket, value);
        }
    }
}

// Buffers that the program has fixed; the kernel shows them doubled.
void import_buffers(Layer& layer, Socket& socket, int fd) noexcept {
    int locks = 0;
    socklen_t length = sizeof locks;
    if (sys::getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locks, &length) != 0) {
        return;
    }
    const auto import = [&](int name, int lock, int force) {
        int bytes = 0;
        socklen_t size = sizeof bytes;
        if ((locks & lock) != 0 && sys::getsockopt(fd, SOL_SOCKET, name, &bytes, &size) == 0) {
            find_row(socket.udp == nullptr, SOL_SOCKET, force)->set(layer, socket, bytes / 2);
        }
    };
    import(SO_RCVBUF, SOCK_RCVBUF_LOCK, SO_RCVBUFFORCE);
    import(SO_SNDBUF, SOCK_SNDBUF_LOCK, SO_SNDBUFFORCE);
}

}  // namespace

void import_options(Socket& socket, int fd) noexcept {
    Guard guard(layer());
    import_rows(guard.layer(), socket, fd);
    import_buffers(guard.layer(), socket, fd);
    linger linger_value{};
    socklen_t length = sizeof linger_value;
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

}  // namespace shunt::socket
