#include "config/rules.hpp"

#include <fmt/core.h>
#include <fnmatch.h>

#include <algorithm>
#include <cerrno>

#include "config/values.hpp"

namespace shunt::config {
namespace {

Outcome<void> refuse(std::string_view word, std::string_view why) {
    return explain(EINVAL, fmt::format("\"{}\" {}; a rule is kernel or shunt, then tcp or udp, program=NAME, local=ADDR:PORT or peer=ADDR:PORT as needed, "
                                       "such as \"kernel tcp peer=10.0.0.9:22\"", word, why));
}

std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
    const auto port = parse_integer(text);
    return port && *port >= 0 && *port <= 65535 ? std::optional(static_cast<std::uint16_t>(*port)) : std::nullopt;
}

// PORT or PORT-PORT.
bool read_ports(Rule& rule, std::string_view text) noexcept {
    const std::size_t dash = text.find('-');
    const auto first = parse_port(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_port(text.substr(dash + 1));
    if (!first || !last || *first > *last) {
        return false;
    }
    rule.first_port = *first;
    rule.last_port = *last;
    return true;
}

// ADDR, ADDR/LEN or *.
bool read_prefix(Rule& rule, std::string_view text) noexcept {
    if (text == "*") {
        return true;
    }
    const std::size_t slash = text.find('/');
    const auto address = parse_ipv4(text.substr(0, slash));
    const auto length = slash == std::string_view::npos ? std::optional<std::int64_t>(32) : parse_integer(text.substr(slash + 1));
    if (!address || !length || *length < 0 || *length > 32) {
        return false;
    }
    rule.prefix = {*address, static_cast<std::uint8_t>(*length)};
    return true;
}

Outcome<void> read_end(Rule& rule, std::string_view word, End end, std::string_view value) {
    if (rule.end != End::any) {
        return refuse(word, "is one too many: a rule speaks of one end, since a socket that binds has no peer yet");
    }
    rule.end = end;
    const std::size_t colon = value.find(':');
    if (!read_prefix(rule, value.substr(0, colon))) {
        return refuse(word, "has no IPv4 address, network (10.0.0.0/24) or *");
    }
    if (colon != std::string_view::npos && !read_ports(rule, value.substr(colon + 1))) {
        return refuse(word, "has no port (22) or ports (7000-7999) behind the colon");
    }
    return {};
}

Outcome<void> read_word(Rule& rule, std::string_view word) {
    const std::size_t equals = word.find('=');
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
    if (word == "tcp" || word == "udp") {
        if (rule.protocol != Protocol::any) {
            return refuse(word, "is one too many; leave both out for both");
        }
        rule.protocol = word == "tcp" ? Protocol::tcp : Protocol::udp;
        return {};
    }
    if (key == "program" && !value.empty() && rule.program.empty()) {
        rule.program = value;
        return {};
    }
    if (key == "local" || key == "peer") {
        return read_end(rule, word, key == "local" ? End::local : End::peer, value);
    }
    return refuse(word, key == "program" ? "is empty or one too many" : "is not understood");
}

}  // namespace

Outcome<Rule> parse_rule(std::string_view text) {
    const auto words = split(text, ' ');
    Rule rule;
    rule.text = trim(text);
    if (words.empty() || (words[0] != "kernel" && words[0] != "shunt")) {
        return std::unexpected(refuse(words.empty() ? "" : words[0], "is no side").error());
    }
    rule.is_for_kernel = words[0] == "kernel";
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (auto done = read_word(rule, words[i]); !done) {
            return std::unexpected(done.error());
        }
    }
    return rule;
}

std::vector<Rule> rules_for(const std::vector<Rule>& rules, const std::string& name, const std::string& path) {
    const std::string file = path.substr(path.rfind('/') + 1);
    std::vector<Rule> found;
    std::ranges::copy_if(rules, std::back_inserter(found), [&](const Rule& rule) {
        const auto is = [&rule](const std::string& what, int flags) { return fnmatch(rule.program.c_str(), what.c_str(), flags) == 0; };
        const bool is_path = rule.program.find('/') != std::string::npos;
        return rule.program.empty() || (is_path ? is(path, FNM_PATHNAME) : is(name, 0) || is(file, 0));
    });
    return found;
}

const Rule* first_match(const std::vector<Rule>& rules, const Question& question) noexcept {
    const Protocol protocol = question.is_tcp ? Protocol::tcp : Protocol::udp;
    const auto found = std::ranges::find_if(rules, [&](const Rule& rule) {
        return (rule.protocol == Protocol::any || rule.protocol == protocol) && (rule.end == End::any || rule.end == question.end) && rule.prefix.contains(question.address) &&
               question.port >= rule.first_port && question.port <= rule.last_port;
    });
    return found == rules.end() ? nullptr : &*found;
}

}  // namespace shunt::config
