#include "config/sysctl.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>
#include <vector>

#include "config/options.hpp"
#include "config/values.hpp"

namespace shunt::config {
namespace {

constexpr std::int32_t int_max = std::numeric_limits<std::int32_t>::max();

// Order: as /proc/sys lists them. Limits as the kernel checks them, where it does.
// clang-format off
constexpr Sysctl table[] = {
    {.name = "net.core.rmem_default", .number = &Tunables::rmem_default, .minimum = 2304, .maximum = int_max},
    {.name = "net.core.rmem_max", .number = &Tunables::rmem_max, .minimum = 2304, .maximum = int_max},
    {.name = "net.core.somaxconn", .number = &Tunables::somaxconn, .minimum = 0, .maximum = int_max},
    {.name = "net.core.wmem_default", .number = &Tunables::wmem_default, .minimum = 4608, .maximum = int_max},
    {.name = "net.core.wmem_max", .number = &Tunables::wmem_max, .minimum = 4608, .maximum = int_max},
    {.name = "net.ipv4.ip_default_ttl", .number = &Tunables::ip_default_ttl, .minimum = 1, .maximum = 255},
    {.name = "net.ipv4.ip_local_port_range", .ports = &Tunables::ip_local_port_range, .minimum = 1, .maximum = 65535},
    {.name = "net.ipv4.tcp_abort_on_overflow", .number = &Tunables::tcp_abort_on_overflow},
    {.name = "net.ipv4.tcp_adv_win_scale", .number = &Tunables::tcp_adv_win_scale, .minimum = -31, .maximum = 31, .is_followed = false},
    {.name = "net.ipv4.tcp_base_mss", .number = &Tunables::tcp_base_mss, .minimum = 48, .maximum = 65495},
    {.name = "net.ipv4.tcp_challenge_ack_limit", .number = &Tunables::tcp_challenge_ack_limit, .maximum = int_max},
    {.name = "net.ipv4.tcp_congestion_control", .congestion = &Tunables::tcp_congestion_control},
    {.name = "net.ipv4.tcp_dsack", .number = &Tunables::tcp_dsack},
    {.name = "net.ipv4.tcp_early_retrans", .number = &Tunables::tcp_early_retrans, .maximum = 4},
    {.name = "net.ipv4.tcp_ecn", .number = &Tunables::tcp_ecn, .maximum = 2},
    {.name = "net.ipv4.tcp_fastopen", .number = &Tunables::tcp_fastopen, .maximum = int_max},
    {.name = "net.ipv4.tcp_fastopen_blackhole_timeout_sec", .number = &Tunables::tcp_fastopen_blackhole_timeout_sec, .maximum = int_max},
    {.name = "net.ipv4.tcp_fastopen_key", .keys = &Tunables::tcp_fastopen_key},
    {.name = "net.ipv4.tcp_fin_timeout", .number = &Tunables::tcp_fin_timeout, .minimum = 1, .maximum = 32767},
    {.name = "net.ipv4.tcp_frto", .number = &Tunables::tcp_frto, .maximum = 2},
    {.name = "net.ipv4.tcp_invalid_ratelimit", .number = &Tunables::tcp_invalid_ratelimit, .maximum = int_max},
    {.name = "net.ipv4.tcp_keepalive_intvl", .number = &Tunables::tcp_keepalive_intvl, .minimum = 1, .maximum = 32767},
    {.name = "net.ipv4.tcp_keepalive_probes", .number = &Tunables::tcp_keepalive_probes, .minimum = 1, .maximum = 127},
    {.name = "net.ipv4.tcp_keepalive_time", .number = &Tunables::tcp_keepalive_time, .minimum = 1, .maximum = 32767},
    {.name = "net.ipv4.tcp_limit_output_bytes", .number = &Tunables::tcp_limit_output_bytes, .maximum = int_max, .is_followed = false},
    {.name = "net.ipv4.tcp_max_syn_backlog", .number = &Tunables::tcp_max_syn_backlog, .minimum = 1, .maximum = int_max},
    {.name = "net.ipv4.tcp_max_tw_buckets", .number = &Tunables::tcp_max_tw_buckets, .maximum = int_max},
    {.name = "net.ipv4.tcp_min_tso_segs", .number = &Tunables::tcp_min_tso_segs, .minimum = 1, .maximum = 255, .is_followed = false},
    {.name = "net.ipv4.tcp_moderate_rcvbuf", .number = &Tunables::tcp_moderate_rcvbuf},
    {.name = "net.ipv4.tcp_mtu_probe_floor", .number = &Tunables::tcp_mtu_probe_floor, .minimum = 48, .maximum = 65495},
    {.name = "net.ipv4.tcp_mtu_probing", .number = &Tunables::tcp_mtu_probing, .maximum = 2},
    {.name = "net.ipv4.tcp_no_metrics_save", .number = &Tunables::tcp_no_metrics_save, .is_followed = false},
    {.name = "net.ipv4.tcp_notsent_lowat", .number = &Tunables::tcp_notsent_lowat, .minimum = -1, .maximum = int_max},
    {.name = "net.ipv4.tcp_orphan_retries", .number = &Tunables::tcp_orphan_retries, .maximum = 255},
    {.name = "net.ipv4.tcp_probe_interval", .number = &Tunables::tcp_probe_interval, .maximum = int_max},
    {.name = "net.ipv4.tcp_probe_threshold", .number = &Tunables::tcp_probe_threshold, .maximum = 65535},
    {.name = "net.ipv4.tcp_recovery", .number = &Tunables::tcp_recovery, .maximum = 7},
    {.name = "net.ipv4.tcp_retries1", .number = &Tunables::tcp_retries1, .maximum = 255},
    {.name = "net.ipv4.tcp_retries2", .number = &Tunables::tcp_retries2, .maximum = 255},
    {.name = "net.ipv4.tcp_rfc1337", .number = &Tunables::tcp_rfc1337},
    {.name = "net.ipv4.tcp_rmem", .limits = &Tunables::tcp_rmem, .minimum = 1, .maximum = int_max},
    {.name = "net.ipv4.tcp_rto_min_us", .number = &Tunables::tcp_rto_min_us, .minimum = 1, .maximum = int_max},
    {.name = "net.ipv4.tcp_sack", .number = &Tunables::tcp_sack},
    {.name = "net.ipv4.tcp_slow_start_after_idle", .number = &Tunables::tcp_slow_start_after_idle},
    {.name = "net.ipv4.tcp_stdurg", .number = &Tunables::tcp_stdurg},
    {.name = "net.ipv4.tcp_syn_linear_timeouts", .number = &Tunables::tcp_syn_linear_timeouts, .maximum = 127},
    {.name = "net.ipv4.tcp_syn_retries", .number = &Tunables::tcp_syn_retries, .minimum = 1, .maximum = 127},
    {.name = "net.ipv4.tcp_synack_retries", .number = &Tunables::tcp_synack_retries, .maximum = 255},
    {.name = "net.ipv4.tcp_syncookies", .number = &Tunables::tcp_syncookies, .maximum = 2},
    {.name = "net.ipv4.tcp_timestamps", .number = &Tunables::tcp_timestamps, .maximum = 2},
    {.name = "net.ipv4.tcp_tw_reuse", .number = &Tunables::tcp_tw_reuse, .maximum = 2},
    {.name = "net.ipv4.tcp_window_scaling", .number = &Tunables::tcp_window_scaling},
    {.name = "net.ipv4.tcp_wmem", .limits = &Tunables::tcp_wmem, .minimum = 1, .maximum = int_max},
    {.name = "net.ipv4.udp_rmem_min", .number = &Tunables::udp_rmem_min, .minimum = 1, .maximum = int_max, .is_followed = false},
    {.name = "net.ipv4.udp_wmem_min", .number = &Tunables::udp_wmem_min, .minimum = 1, .maximum = int_max, .is_followed = false},
};
// clang-format on

constexpr std::pair<std::string_view, CongestionControl> algorithms[] = {
    {"reno", CongestionControl::reno}, {"cubic", CongestionControl::cubic}, {"bbr", CongestionControl::bbr}};

std::size_t width(const Sysctl& sysctl) noexcept {
    return sysctl.limits != nullptr ? 3 : sysctl.ports != nullptr ? 2 : 1;
}

// As the kernel reads it under /proc/sys: also in hexadecimal, which suits sets of bits.
std::optional<std::int64_t> parse_number(std::string_view text) noexcept {
    if (!text.starts_with("0x")) {
        return parse_integer(text);
    }
    std::uint32_t value = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + 2, end, value, 16);
    return read.ec == std::errc{} && read.ptr == end ? std::optional<std::int64_t>(value) : std::nullopt;
}

// The numbers of `value`, as many as the tunable has and each within its range. The kernel also takes fewer; so do we not,
// because a file that says "tcp_rmem = 4096" means something else than it does.
Outcome<std::array<std::int32_t, 3>> numbers(const Sysctl& sysctl, std::string_view value) {
    const std::vector<std::string_view> pieces = split(value, ' ');
    std::array<std::int32_t, 3> result{};
    if (pieces.size() != width(sysctl)) {
        return explain(EINVAL, fmt::format("takes {} separated by blanks, not \"{}\"",
                                           width(sysctl) == 1 ? "one number" : fmt::format("{} numbers", width(sysctl)), value));
    }
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const auto number = parse_number(pieces[i]);
        // An unsigned -1 in /proc/sys (tcp_notsent_lowat) is "no limit".
        if (number == 4294967295 && sysctl.minimum == -1) {
            result[i] = -1;
            continue;
        }
        if (!number || *number < sysctl.minimum || *number > sysctl.maximum) {
            return explain(EINVAL, fmt::format("takes {} to {}, not \"{}\"", sysctl.minimum, sysctl.maximum, pieces[i]));
        }
        result[i] = static_cast<std::int32_t>(*number);
    }
    if (!std::is_sorted(result.begin(), result.begin() + static_cast<std::ptrdiff_t>(pieces.size()))) {
        return explain(EINVAL, fmt::format("takes numbers in rising order, not \"{}\"", value));
    }
    return result;
}

// "00112233-44556677-8899aabb-ccddeeff", and perhaps a second one behind a comma.
Outcome<FastOpenKeys> parse_keys(std::string_view value) {
    FastOpenKeys keys;
    if (value.empty()) {
        return keys;
    }
    for (const std::string_view text : split(value, ',')) {
        std::array<std::uint32_t, 4> words{};
        const std::vector<std::string_view> pieces = split(text, '-');
        bool is_good = pieces.size() == words.size() && keys.count < keys.keys.size();
        for (std::size_t i = 0; is_good && i < words.size(); ++i) {
            const char* end = pieces[i].data() + pieces[i].size();
            is_good = std::from_chars(pieces[i].data(), end, words.at(i), 16).ptr == end && !pieces[i].empty();
        }
        if (!is_good) {
            return explain(EINVAL, fmt::format("takes one or two keys like 00112233-44556677-8899aabb-ccddeeff, separated by a comma, not \"{}\"", value));
        }
        keys.keys.at(keys.count++) = {std::uint64_t{words[1]} << 32 | words[0], std::uint64_t{words[3]} << 32 | words[2]};
    }
    return keys;
}

std::string keys_text(const FastOpenKeys& keys) {
    std::string text;
    for (std::uint64_t i = 0; i < keys.count; ++i) {
        const SecretKey key = keys.keys.at(i);
        const auto word = [](std::uint64_t from, int shift) { return static_cast<std::uint32_t>(from >> shift); };
        text += fmt::format("{}{:08x}-{:08x}-{:08x}-{:08x}", i != 0 ? "," : "", word(key.k0, 0), word(key.k0, 32), word(key.k1, 0), word(key.k1, 32));
    }
    return text;
}

Outcome<void> assign(Tunables& tunables, const Sysctl& sysctl, std::string_view value) {
    if (sysctl.congestion != nullptr) {
        for (const auto& [name, algorithm] : algorithms) {
            if (name == trim(value)) {
                tunables.*sysctl.congestion = algorithm;
                return {};
            }
        }
        return explain(EINVAL, fmt::format("takes reno, cubic or bbr, not \"{}\"", value));
    }
    if (sysctl.keys != nullptr) {
        const auto keys = parse_keys(trim(value));
        if (!keys) {
            return std::unexpected(keys.error());
        }
        tunables.*sysctl.keys = *keys;
        return {};
    }
    const auto parsed = numbers(sysctl, value);
    if (!parsed) {
        return std::unexpected(parsed.error());
    }
    const auto [a, b, c] = *parsed;
    if (sysctl.limits != nullptr) {
        tunables.*sysctl.limits = {a, b, c};
    } else if (sysctl.ports != nullptr) {
        tunables.*sysctl.ports = {a, b};
    } else {
        tunables.*sysctl.number = a;
    }
    return {};
}

}  // namespace

std::span<const Sysctl> sysctls() noexcept {
    return table;
}

const Sysctl* find_sysctl(std::string_view name) noexcept {
    const auto found = std::ranges::find(table, name, &Sysctl::name);
    return found == std::end(table) ? nullptr : found;
}

Outcome<void> set_sysctl(Tunables& tunables, std::string_view name, std::string_view value) {
    const Sysctl* const sysctl = find_sysctl(name);
    if (sysctl == nullptr) {
        std::vector<std::string> names;
        for (const Sysctl& each : table) {
            names.emplace_back(each.name);
        }
        return explain(EINVAL, fmt::format("{} is not a tunable that Shunt knows{}", name, suggestion(name, names, "")));
    }
    if (auto done = assign(tunables, *sysctl, value); !done) {
        return explain(EINVAL, fmt::format("{} {}", name, done.error().message));
    }
    return {};
}

void read_host(Tunables& tunables, const std::string& root) {
    for (const Sysctl& sysctl : table) {
        std::string path = root + "/";
        std::ranges::replace_copy(sysctl.name, std::back_inserter(path), '.', '/');
        const auto text = read_file(path);
        if (!text) {
            continue;  // not in this kernel, or not in this network namespace
        }
        if (sysctl.keys != nullptr && trim(*text) == "00000000-00000000-00000000-00000000") {
            continue;  // the kernel has not made one yet
        }
        if (!assign(tunables, sysctl, trim(*text)) && sysctl.congestion != nullptr) {
            tunables.*sysctl.congestion = CongestionControl::other;
        }
    }
}

std::string sysctl_text(const Tunables& tunables, const Sysctl& sysctl) {
    if (sysctl.limits != nullptr) {
        const MemoryLimits& limits = tunables.*sysctl.limits;
        return fmt::format("{} {} {}", limits.minimum_bytes, limits.default_bytes, limits.maximum_bytes);
    }
    if (sysctl.ports != nullptr) {
        const PortRange& ports = tunables.*sysctl.ports;
        return fmt::format("{} {}", ports.first, ports.last);
    }
    if (sysctl.keys != nullptr) {
        return keys_text(tunables.*sysctl.keys);
    }
    if (sysctl.congestion != nullptr) {
        for (const auto& [name, algorithm] : algorithms) {
            if (algorithm == tunables.*sysctl.congestion) {
                return std::string(name);
            }
        }
        return "other";
    }
    return std::to_string(tunables.*sysctl.number);
}

}  // namespace shunt::config
