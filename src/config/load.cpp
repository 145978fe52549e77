// From three sources to one Config: collect, let the higher source win, set, check.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>

#include "config/config.hpp"
#include "config/options.hpp"
#include "config/sysctl.hpp"
#include "config/toml.hpp"
#include "config/values.hpp"

namespace shunt::config {
namespace {

using Settings = std::vector<Setting>;

// SHUNT_ variables as settings. What is no option is a warning: it may be meant for a newer Shunt, or for something else.
Settings read_environment(const std::vector<std::string>& environment, std::vector<std::string>& warnings) {
    Settings settings;
    std::vector<std::string> names;
    std::ranges::transform(options, std::back_inserter(names), variable_name);
    for (const std::string& entry : environment) {
        const std::size_t equals = std::min(entry.find('='), entry.size());
        const std::string name = entry.substr(0, equals);
        const std::string value = entry.substr(std::min(equals + 1, entry.size()));
        if (!name.starts_with("SHUNT_") || name == checked_variable) {
            continue;
        }
        const Option* const option = from_variable(name);
        if (option == nullptr) {
            warnings.push_back(
                fmt::format("{} is in the environment, but there is no such option{}", name, suggestion(name, names, "")));
        } else if (option->is_repeatable()) {
            for (std::string_view piece : split(value, option->separator)) {
                settings.push_back({option, std::string(piece), fmt::format("{}={}", name, piece)});
            }
        } else if (!value.empty()) {
            settings.push_back({option, value, fmt::format("{}={}", name, value)});
        }
    }
    return settings;
}

bool has(const Settings& settings, const Option& option) {
    return std::ranges::find(settings, &option, &Setting::option) != settings.end();
}

Outcome<void> apply(Config& config, const Setting& setting) {
    auto done = setting.option->set(config, *setting.option, setting.value);
    if (!done) {
        return explain(done.error().code, fmt::format("{}: {}", setting.origin, done.error().message));
    }
    return done;
}

Outcome<Settings> read_file_settings(const Settings& command_line, const Settings& environment) {
    const Option& option = *find_option("config");
    for (const Settings* source : {&command_line, &environment}) {
        const auto last = std::find_if(source->rbegin(), source->rend(), [&](const Setting& s) { return s.option == &option; });
        if (last != source->rend()) {
            auto settings = read_toml(last->value);
            if (!settings) {
                const std::string& message = settings.error().message;
                // A message about a line of the file begins with the file; one about the file itself needs to be told where.
                return message.starts_with(last->value)
                           ? settings
                           : explain(settings.error().code, fmt::format("{}: {}", last->origin, message));
            }
            return settings;
        }
    }
    return Settings{};
}

// All sources, lowest first. A higher one replaces a lower one's value, of a repeatable option all its values; tunables are
// one by one, since each has its own name.
Outcome<void> merge(Config& config, std::span<const Settings* const> sources) {
    for (const Option& option : options) {
        if (!option.default_value.empty()) {
            if (auto done = option.set(config, option, option.default_value); !done) {
                return done;
            }
        }
        const bool adds_up = option.name == "sysctl";
        for (std::size_t i = 0; i < sources.size(); ++i) {
            const auto above = sources.subspan(i + 1);
            if (!adds_up && std::ranges::any_of(above, [&](const Settings* s) { return has(*s, option); })) {
                continue;
            }
            for (const Setting& setting : *sources[i]) {
                if (setting.option == &option) {
                    if (auto done = apply(config, setting); !done) {
                        return done;
                    }
                }
            }
        }
    }
    return {};
}

}  // namespace

Outcome<Config> load(const Inputs& inputs) {
    Config config;
    const Settings environment = read_environment(inputs.environment, config.warnings);
    const auto file = read_file_settings(inputs.command_line, environment);
    if (!file) {
        return std::unexpected(file.error());
    }
    read_host(config.tunables, inputs.sysctl_root);
    const Settings* const sources[] = {&*file, &environment, &inputs.command_line};
    if (auto done = merge(config, sources); !done) {
        return std::unexpected(done.error());
    }
    const std::string checked = std::string(checked_variable) + "=";
    if (std::ranges::any_of(inputs.environment, [&](const std::string& entry) { return entry.starts_with(checked); })) {
        config.warnings.clear();
    }
    return config;
}

Outcome<void> check_complete(const Config& config) {
    if (config.links.empty()) {
        return explain(EINVAL, "--link is missing: no port to work on; give one, such as --link memif:wire");
    }
    if (config.addresses.empty() && config.has_port()) {
        return explain(EINVAL, "--ip is missing: the port needs an address; give one, such as --ip 10.0.0.1/24");
    }
    if (config.mac && config.ports() != 1) {
        return explain(EINVAL, fmt::format("--mac is for one port, and there are {}; leave it out", config.ports()));
    }
    if (!config.faults.empty() && !config.has_port()) {
        return explain(EINVAL, "--fault spoils a port's wire, and --link loop has none; leave it out, or give --link memif:wire");
    }
    if (!config.gateway) {
        return {};
    }
    if (!config.has_port()) {
        return explain(EINVAL, "--gateway needs a port that leads there, and --link loop has none; leave it out");
    }
    const std::uint32_t gateway = *config.gateway;
    for (const Ipv4Prefix& prefix : config.addresses) {
        if (prefix.address_host_order == gateway) {
            return explain(EINVAL, fmt::format("--gateway {} is our own address; give the router's", ipv4_text(gateway)));
        }
    }
    if (std::ranges::none_of(config.addresses, [&](const Ipv4Prefix& prefix) { return prefix.contains(gateway); })) {
        return explain(EINVAL, fmt::format("--gateway {} is in no network of ours; give one within {}/{}", ipv4_text(gateway),
                                           ipv4_text(config.addresses[0].address_host_order), config.addresses[0].length));
    }
    return {};
}

}  // namespace shunt::config
