// Linux's protocol tunables as plain numbers: what net.ipv4.* and net.core.* mean here, in Linux's own units.
// Names are Linux's without the prefix. The values below are those of a kernel of our days; src/config/sysctl.cpp, which
// holds the table of names, replaces them by this host's at start and by the user's after that. May live in shared memory.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "base/random.hpp"

namespace shunt {

enum class CongestionControl : std::int32_t { reno, cubic, bbr, other };

struct MemoryLimits {
    std::int32_t minimum_bytes, default_bytes, maximum_bytes;
    friend bool operator==(const MemoryLimits&, const MemoryLimits&) = default;
};
struct PortRange {
    std::int32_t first, last;
    friend bool operator==(const PortRange&, const PortRange&) = default;
};

// Two, so that cookies made with the older one are still good. In SipHash's words: Linux's "a-b-c-d" are k0 = b:a and k1 = d:c.
struct FastOpenKeys {
    std::array<SecretKey, 2> keys{};
    std::uint64_t count = 0;  // 0: none was given
    friend bool operator==(const FastOpenKeys&, const FastOpenKeys&) = default;
};

struct Tunables {
    FastOpenKeys tcp_fastopen_key{};  // none: a random one
    // net.ipv4.tcp_*: buffers
    MemoryLimits tcp_rmem{4096, 131072, 6291456};
    MemoryLimits tcp_wmem{4096, 16384, 4194304};
    std::int32_t tcp_moderate_rcvbuf = 1;
    std::int32_t tcp_adv_win_scale = 1;
    std::int32_t tcp_notsent_lowat = -1;  // bytes; -1: no limit
    std::int32_t tcp_limit_output_bytes = 1048576;
    std::int32_t tcp_min_tso_segs = 2;
    // net.ipv4.tcp_*: options on the wire
    std::int32_t tcp_window_scaling = 1;
    std::int32_t tcp_timestamps = 1;  // 1: with a random offset each connection; 2: without
    std::int32_t tcp_sack = 1;
    std::int32_t tcp_dsack = 1;
    std::int32_t tcp_ecn = 2;  // 2: when the peer asks
    // net.ipv4.tcp_*: retransmission and congestion
    std::int32_t tcp_syn_retries = 6;
    std::int32_t tcp_synack_retries = 5;
    std::int32_t tcp_syn_linear_timeouts = 4;  // the first SYNs follow each other without doubling
    std::int32_t tcp_retries1 = 3;
    std::int32_t tcp_retries2 = 15;
    std::int32_t tcp_orphan_retries = 0;  // 0: 8
    std::int32_t tcp_rto_min_us = 200'000;
    std::int32_t tcp_early_retrans = 3;   // tail loss probe
    std::int32_t tcp_recovery = 1;        // RACK, bits: 2 the reordering window stays, 4 it holds from the first duplicate ACK on
    std::int32_t tcp_frto = 2;            // 0: off
    std::int32_t tcp_mtu_probing = 0;     // 1: after a black hole; 2: always
    std::int32_t tcp_base_mss = 1024;
    std::int32_t tcp_mtu_probe_floor = 48;
    std::int32_t tcp_probe_interval = 600;  // seconds
    std::int32_t tcp_probe_threshold = 8;   // bytes
    std::int32_t tcp_slow_start_after_idle = 1;
    std::int32_t tcp_no_metrics_save = 0;
    CongestionControl tcp_congestion_control = CongestionControl::cubic;
    // net.ipv4.tcp_*: life of a connection
    std::int32_t tcp_fin_timeout = 60;       // seconds
    std::int32_t tcp_keepalive_time = 7200;  // seconds
    std::int32_t tcp_keepalive_intvl = 75;   // seconds
    std::int32_t tcp_keepalive_probes = 9;
    std::int32_t tcp_max_syn_backlog = 1024;
    std::int32_t tcp_abort_on_overflow = 0;
    std::int32_t tcp_syncookies = 1;   // 1: when a listener's half-open connections are at their limit; 2: always
    std::int32_t tcp_fastopen = 1;     // a set of bits, see tcp/fast_open.hpp
    std::int32_t tcp_fastopen_blackhole_timeout_sec = 0;  // 0: never paused
    std::int32_t tcp_rfc1337 = 0;
    std::int32_t tcp_tw_reuse = 2;           // a new connection may take a port in TIME_WAIT: 1 yes, 2 on the loopback
    std::int32_t tcp_max_tw_buckets = 262144;
    std::int32_t tcp_challenge_ack_limit = 1000;  // a second, all connections
    std::int32_t tcp_invalid_ratelimit = 500;     // ms between two answers to segments without data that are out of order
    std::int32_t tcp_stdurg = 0;  // 1: the urgent pointer names the urgent byte (RFC 1122), not the one behind it
    // net.ipv4.*: the rest
    std::int32_t ip_default_ttl = 64;
    PortRange ip_local_port_range{32768, 60999};
    std::int32_t udp_rmem_min = 4096;
    std::int32_t udp_wmem_min = 4096;
    // net.core.*
    std::int32_t rmem_default = 212992;
    std::int32_t rmem_max = 212992;
    std::int32_t wmem_default = 212992;
    std::int32_t wmem_max = 212992;
    std::int32_t somaxconn = 4096;

    friend bool operator==(const Tunables&, const Tunables&) = default;
};
static_assert(std::is_trivially_copyable_v<Tunables>);

}  // namespace shunt
