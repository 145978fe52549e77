// Shell commands of scripts, as far as they set tunables. No shell runs.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "packetdrill/session.hpp"

namespace shunt::packetdrill {
namespace {

std::string trimmed(const std::string& text) {
    const std::size_t from = text.find_first_not_of(" \t\n\"'"), to = text.find_last_not_of(" \t\n\"'");
    return from == std::string::npos ? "" : text.substr(from, to - from + 1);
}

std::string tunable_of_path(std::string path) {
    constexpr std::string_view root = "/proc/sys/";
    path.erase(0, path.starts_with(root) ? root.size() : 0);
    std::replace(path.begin(), path.end(), '/', '.');
    return path;
}

// $((32*1024*1024)) of a shell, where scripts write so.
std::string with_products(std::string text) {
    for (std::size_t from = 0; (from = text.find("$((")) != std::string::npos;) {
        const std::size_t end = std::min(text.find("))", from), text.size());
        std::istringstream factors(text.substr(from + 3, end - from - 3));
        std::uint64_t product = 1;
        for (std::string factor; std::getline(factors, factor, '*');) {
            product *= std::strtoull(factor.c_str(), nullptr, 10);
        }
        text.replace(from, end + 2 - from, std::to_string(product));
    }
    return text;
}

void set(World& world, const std::string& name, const std::string& value, int line) {
    if (const auto done = world.set_tunable(tunable_of_path(trimmed(name)), trimmed(with_products(value))); !done) {
        throw ScriptError(line, done.error().message);
    }
}

// name=value and name="a b c", one after the other.
void set_all(World& world, const std::string& text, int line) {
    std::size_t at = 0;
    while ((at = text.find_first_not_of(" \t\n", at)) != std::string::npos) {
        const std::size_t equals = text.find('=', at);
        if (equals == std::string::npos) {
            throw ScriptError(line, fmt::format("name=value is missing in '{}'", text));
        }
        const char quote = equals + 1 < text.size() ? text[equals + 1] : '\0';
        const bool is_quoted = quote == '"' || quote == '\'';
        const std::size_t from = equals + 1 + (is_quoted ? 1 : 0);
        const std::size_t end = std::min(is_quoted ? text.find(quote, from) : text.find_first_of(" \t\n", from), text.size());
        set(world, text.substr(at, equals - at), text.substr(from, end - from), line);
        at = end + (is_quoted ? 1 : 0);
    }
}

void run_line(World& world, const std::string& command, int line) {
    std::istringstream in(command);
    std::string program, rest;
    in >> program;
    if (program == "sysctl") {
        std::string flag;
        for (in >> std::ws; in.peek() == '-'; in >> std::ws) {
            in >> flag;
        }
    }
    std::getline(in, rest);
    const std::string name = program.substr(program.rfind('/') == std::string::npos ? 0 : program.rfind('/') + 1);
    if (name == "ethtool") {
        return;  // it turns off what the port in memory does not have
    }
    if (program == "sysctl" || name == "set_sysctls.py") {
        set_all(world, rest, line);
    } else if (program == "echo" && rest.find('>') != std::string::npos) {
        set(world, rest.substr(rest.find('>') + 1), rest.substr(0, rest.find('>')), line);
    } else if (name == "defaults.sh") {
        // Where public collections of scripts begin, as far as it differs from a World's beginning.
        constexpr std::string_view key = "net.ipv4.tcp_fastopen_key=a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4 net.ipv4.tcp_fastopen=";
        set_all(world, std::string(key) + (program.starts_with("..") ? "0x70403 net.ipv4.tcp_syn_linear_timeouts=0" : "0x3"), line);  // Google's, the kernel's
        set_all(world, "net.ipv4.tcp_rmem='4096 540000 15728640' net.ipv4.tcp_wmem='4096 262144 4194304' net.ipv4.tcp_slow_start_after_idle=0 net.ipv4.tcp_ecn=0 net.ipv4.tcp_no_metrics_save=1", line);
    } else if (program == "ip" && rest.starts_with(" tcp_metrics flush")) {
        world.stack().tcp().forget_fast_open();
    } else {
        throw ScriptError(line, fmt::format("the command '{}' is not known: sysctl, set_sysctls.py, defaults.sh and 'echo N > /proc/sys/...' are", command));
    }
}

}  // namespace

void run_command(World& world, const std::string& command, int line) {
    std::istringstream in(command);
    std::string one;
    while (std::getline(in, one, '\n')) {
        one.erase(0, std::min(one.find_first_not_of(" \t"), one.size()));
        for (std::size_t at = 0; at < one.size();) {
            const std::size_t end = std::min(one.find_first_of(";", at), one.size());
            const std::string piece = trimmed(one.substr(at, end - at));
            if (!piece.empty() && piece[0] != '#') {
                run_line(world, piece, line);
            }
            at = end + 1;
        }
    }
}

}  // namespace shunt::packetdrill
