#include "config/options.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <numeric>
#include <utility>

#include "config/sysctl.hpp"
#include "config/values.hpp"
#include "pmd/fault_spec.hpp"
#include "pmd/link_spec.hpp"

namespace shunt::config {
namespace {

// Levenshtein's distance: how many letters must be added, taken away or changed.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
        }
    }
    return row.back();
}

std::string spelled(std::string_view prefix, const Option& option, char from, char to, bool upper) {
    std::string result(prefix);
    for (char c : option.name) {
        const char letter = c == from ? to : c;
        result += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(letter))) : letter;
    }
    return result;
}

// What a good value looks like: the end of every message about a bad one.
std::unexpected<Error> refuse(const Option& option, std::string_view why) {
    switch (option.kind) {
        case Kind::number:
            return explain(EINVAL, fmt::format("{}; give {} to {} {}", why, option.minimum, option.maximum, option.unit));
        case Kind::choice: {
            std::string choices(option.choices);
            std::ranges::replace(choices, '|', ' ');
            return explain(EINVAL, fmt::format("{}; give one of: {}", why, choices));
        }
        case Kind::flag: return explain(EINVAL, fmt::format("{}; give yes or no", why));
        case Kind::text: break;
    }
    return explain(EINVAL, fmt::format("{}; give {}, such as {}", why, option.placeholder, option.example));
}

Outcome<std::uint32_t> number(const Option& option, std::string_view value) {
    const auto parsed = parse_integer(value);
    if (!parsed) {
        return refuse(option, "is not a number");
    }
    if (*parsed < option.minimum || *parsed > option.maximum) {
        return refuse(option, "is out of range");
    }
    return static_cast<std::uint32_t>(*parsed);
}

Outcome<void> store(std::uint32_t& member, const Option& option, std::string_view value) {
    const auto parsed = number(option, value);
    if (!parsed) {
        return std::unexpected(parsed.error());
    }
    member = *parsed;
    return {};
}

// The choices stand in the table in the order of the enumeration.
template <class Enumeration>
Outcome<void> choose(Enumeration& member, const Option& option, std::string_view value) {
    const auto choices = split(option.choices, '|');
    const auto found = std::ranges::find(choices, value);
    if (found == choices.end()) {
        return refuse(option, "is unknown");
    }
    member = static_cast<Enumeration>(found - choices.begin());
    return {};
}

// An address that one host can have as its own.
bool is_unicast(std::uint32_t address) noexcept {
    const std::uint32_t first = address >> 24;
    return first != 0 && first != 127 && first < 224;
}

}  // namespace

namespace setters {

Outcome<void> link(Config& config, const Option&, std::string_view value) {
    const auto spec = pmd::parse_link_spec(value);
    if (!spec) {
        return std::unexpected(spec.error());
    }
    if (spec->kind == pmd::LinkSpec::Kind::loop) {
        if (config.has_loop) {
            return explain(EINVAL, "is given twice; leave one out");
        }
        config.has_loop = true;
    }
    config.links.emplace_back(value);
    return {};
}

Outcome<void> ip(Config& config, const Option& option, std::string_view value) {
    if (std::ranges::count(value, ':') >= 2) {
        return explain(ENOTSUP, "IPv6 is not carried yet; give an IPv4 address, such as 10.0.0.1/24");
    }
    const std::size_t slash = value.find('/');
    const auto address = parse_ipv4(value.substr(0, slash));
    if (!address || !is_unicast(*address)) {
        return refuse(option, "is not an address that a host can have");
    }
    if (slash == std::string_view::npos) {
        return refuse(option, "lacks the length of the network's prefix");
    }
    const auto length = parse_integer(value.substr(slash + 1));
    if (!length || *length < 1 || *length > 32) {
        return refuse(option, "has no prefix length of 1 to 32 behind the slash");
    }
    const Ipv4Prefix prefix{*address, static_cast<std::uint8_t>(*length)};
    if (*length < 31 && ((*address & ~prefix.mask()) == 0 || (*address | prefix.mask()) == ~std::uint32_t{0})) {
        return refuse(option, "is the network's own or its broadcast address");
    }
    if (std::ranges::find(config.addresses, *address, &Ipv4Prefix::address_host_order) != config.addresses.end()) {
        return explain(EINVAL, "is given twice; leave one out");
    }
    config.addresses.push_back(prefix);
    return {};
}

Outcome<void> gateway(Config& config, const Option& option, std::string_view value) {
    if (std::ranges::count(value, ':') >= 2) {
        return explain(ENOTSUP, "IPv6 is not carried yet; give an IPv4 address, such as 10.0.0.254");
    }
    const auto address = parse_ipv4(value);
    if (!address || !is_unicast(*address)) {
        return refuse(option, "is not an address that a host can have");
    }
    config.gateway = address;
    return {};
}

Outcome<void> profile(Config& config, const Option& option, std::string_view value) {
    return choose(config.profile, option, value);
}

Outcome<void> config_file(Config& config, const Option&, std::string_view value) {
    config.config_file = value;
    return {};
}

Outcome<void> log_level(Config& config, const Option& option, std::string_view value) {
    return choose(config.log, option, value);
}

Outcome<void> require(Config& config, const Option& option, std::string_view value) {
    constexpr std::string_view yes[] = {"yes", "true", "1", "on"};
    constexpr std::string_view no[] = {"no", "false", "0", "off"};
    const bool is_yes = std::ranges::find(yes, value) != std::end(yes);
    if (!is_yes && std::ranges::find(no, value) == std::end(no)) {
        return refuse(option, "is neither yes nor no");
    }
    config.require = is_yes;
    return {};
}

Outcome<void> rule(Config& config, const Option&, std::string_view value) {
    auto parsed = parse_rule(value);
    if (!parsed) {
        return std::unexpected(parsed.error());
    }
    config.rules.push_back(std::move(*parsed));
    return {};
}

Outcome<void> sysctl(Config& config, const Option& option, std::string_view value) {
    const std::size_t equals = value.find('=');
    if (equals == std::string_view::npos) {
        return refuse(option, "lacks \"=\"");
    }
    const std::string_view name = trim(value.substr(0, equals));
    auto done = set_sysctl(config.tunables, name, trim(value.substr(equals + 1)));
    if (done && !find_sysctl(name)->is_followed) {
        config.warnings.push_back(fmt::format("{} is known, but nothing in Shunt follows it yet", name));
    }
    return done;
}

Outcome<void> mtu(Config& config, const Option& option, std::string_view value) {
    return store(config.mtu, option, value);
}

Outcome<void> mac(Config& config, const Option& option, std::string_view value) {
    const auto address = parse_mac(value);
    if (!address || ((*address)[0] & 1) != 0 || *address == std::array<std::uint8_t, 6>{}) {
        return refuse(option, "is not the hardware address of one port");
    }
    config.mac = *address;
    return {};
}

Outcome<void> packets(Config& config, const Option& option, std::string_view value) {
    return store(config.packets, option, value);
}

Outcome<void> memory(Config& config, const Option& option, std::string_view value) {
    return store(config.memory_mib, option, value);
}

Outcome<void> connections(Config& config, const Option& option, std::string_view value) {
    return store(config.connections, option, value);
}

Outcome<void> fault(Config& config, const Option&, std::string_view value) {
    if (auto faults = pmd::parse_fault_options(value); !faults) {
        return std::unexpected(faults.error());
    }
    config.faults = value;
    return {};
}

}  // namespace setters

const Option* find_option(std::string_view name) noexcept {
    const auto found = std::ranges::find(options, name, &Option::name);
    return found == std::end(options) ? nullptr : found;
}

std::string variable_name(const Option& option) {
    return spelled("SHUNT_", option, '-', '_', true);
}

std::string key_name(const Option& option) {
    return spelled("", option, '-', '_', false);
}

const Option* from_variable(std::string_view name) noexcept {
    const auto found = std::ranges::find(options, name, variable_name);
    return found == std::end(options) ? nullptr : found;
}

const Option* from_key(std::string_view key) noexcept {
    const auto found = std::ranges::find(options, key, key_name);
    return found == std::end(options) ? nullptr : found;
}

std::string suggestion(std::string_view name, std::span<const std::string> candidates, std::string_view prefix) {
    std::string closest;
    std::size_t best = name.size() / 3 + 2;
    for (const std::string& candidate : candidates) {
        const std::size_t d = distance(name, candidate);
        if (d < best) {
            best = d;
            closest.clear();
        }
        if (d == best && best < name.size() / 3 + 2) {
            closest += (closest.empty() ? "" : " or ") + std::string(prefix) + candidate;
        }
    }
    return closest.empty() ? std::string() : fmt::format("; did you mean {}?", closest);
}

Outcome<Setting> parse_option(std::span<const std::string> arguments, std::size_t& index) {
    const std::string& argument = arguments[index++];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const Option* const option = name.starts_with("--") ? find_option(std::string_view(name).substr(2)) : nullptr;
    if (option == nullptr) {
        std::vector<std::string> names;
        for (const Option& each : options) {
            names.emplace_back(each.name);
        }
        return explain(EINVAL, fmt::format("{}: there is no such option{}", name,
                                           suggestion(name.substr(std::min<std::size_t>(2, name.size())), names, "--")) +
                                   "; shunt --help shows them all");
    }
    std::string value = "yes";
    if (equals != std::string::npos) {
        value = argument.substr(equals + 1);
    } else if (option->kind != Kind::flag) {
        if (index == arguments.size()) {
            return explain(
                EINVAL, fmt::format("{}: a value must follow; give {}, such as {}", name, option->placeholder, option->example));
        }
        value = arguments[index++];
    }
    return Setting{option, value, fmt::format("{} {}", name, value)};
}

}  // namespace shunt::config
