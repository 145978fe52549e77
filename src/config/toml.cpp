#include "config/toml.hpp"

#include <fmt/core.h>

#include <cstring>

#include "config/options.hpp"
#include "config/values.hpp"

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#endif
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace shunt::config {
namespace {

// A scalar as it would stand on the command line; an array of scalars with blanks between (tcp_rmem = [4096, 87380, 6291456]).
std::optional<std::string> scalar_text(const toml::node& node) {
    if (const auto* text = node.as_string()) {
        return text->get();
    }
    if (const auto* number = node.as_integer()) {
        return std::to_string(number->get());
    }
    if (const auto* yes = node.as_boolean()) {
        return yes->get() ? "yes" : "no";
    }
    return std::nullopt;
}

std::optional<std::string> list_text(const toml::node& node) {
    const auto* array = node.as_array();
    if (array == nullptr) {
        return scalar_text(node);
    }
    std::string all;
    for (const toml::node& element : *array) {
        const auto text = scalar_text(element);
        if (!text) {
            return std::nullopt;
        }
        all += (all.empty() ? "" : " ") + *text;
    }
    return all;
}

class Reader {
public:
    explicit Reader(const std::string& path) : path_(path) {}

    Outcome<std::vector<Setting>> read(const toml::table& table) {
        for (const auto& [key, node] : table) {
            const bool is_sysctl = key.str() == "sysctl" && node.is_table();
            auto done = is_sysctl ? read_sysctls("", *node.as_table()) : read_option(std::string(key.str()), node);
            if (!done) {
                return std::unexpected(done.error());
            }
        }
        return std::move(settings_);
    }

private:
    Outcome<void> read_option(const std::string& key, const toml::node& node) {
        const Option* const option = from_key(key);
        if (option == nullptr) {
            std::vector<std::string> keys;
            for (const Option& each : options) {
                keys.push_back(key_name(each));
            }
            return explain(EINVAL, fmt::format("{}: there is no such key{}; docs/options.md lists them", place(key, node),
                                               suggestion(key, keys, "")));
        }
        if (const auto* array = node.as_array(); array != nullptr && option->is_repeatable()) {
            for (const toml::node& element : *array) {
                if (auto done = add(*option, key, element); !done) {
                    return done;
                }
            }
            return {};
        }
        return add(*option, key, node);
    }

    Outcome<void> add(const Option& option, const std::string& key, const toml::node& node) {
        const auto text = scalar_text(node);
        if (!text) {
            return explain(EINVAL, fmt::format("{}: is not a value; give {}, such as {} = \"{}\"", place(key, node),
                                               option.placeholder, key, option.example));
        }
        settings_.push_back({&option, *text, fmt::format("{} = {}", place(key, node), *text)});
        return {};
    }

    // net.ipv4.tcp_sack = 0 is a table in a table to TOML; "net.ipv4.tcp_sack" = 0 is a key. Both are meant.
    Outcome<void> read_sysctls(const std::string& prefix, const toml::table& table) {
        for (const auto& [key, node] : table) {
            const std::string name = prefix + std::string(key.str());
            if (const auto* inner = node.as_table()) {
                if (auto done = read_sysctls(name + ".", *inner); !done) {
                    return done;
                }
                continue;
            }
            auto text = list_text(node);
            if (!text) {
                return explain(EINVAL, fmt::format("{}: is not a value; give a number or a string", place(name, node)));
            }
            if (node.is_boolean()) {
                *text = *text == "yes" ? "1" : "0";
            }
            settings_.push_back({find_option("sysctl"), name + "=" + *text, fmt::format("{} = {}", place(name, node), *text)});
        }
        return {};
    }

    std::string place(const std::string& key, const toml::node& node) const {
        return fmt::format("{}:{}: {}", path_, node.source().begin.line, key);
    }

    const std::string& path_;
    std::vector<Setting> settings_;
};

}  // namespace

Outcome<std::vector<Setting>> read_toml(const std::string& path) {
    const auto text = read_file(path);
    if (!text) {
        return explain(code_of(text.error()), fmt::format("{}; give a file that can be read", strerror(code_of(text.error()))));
    }
    const toml::parse_result parsed = toml::parse(*text, path);
    if (!parsed) {
        const toml::parse_error& error = parsed.error();
        return explain(EINVAL, fmt::format("{}:{}: {}; see docs/options.md for an example", path, error.source().begin.line,
                                           error.description()));
    }
    return Reader(path).read(parsed.table());
}

}  // namespace shunt::config
