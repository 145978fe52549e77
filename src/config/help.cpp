// The table of options as text: --help and docs/options.md.
#include <fmt/core.h>

#include "config/options.hpp"
#include "config/sysctl.hpp"

namespace shunt::config {
namespace {

constexpr std::size_t column = 24, line_width = 100;

std::string range_text(const Option& option) {
    switch (option.kind) {
        case Kind::number: return fmt::format("{} to {} {}", option.minimum, option.maximum, option.unit);
        case Kind::choice: {
            std::string text;
            for (char c : option.choices) {
                text += c == '|' ? std::string(", ") : std::string(1, c);
            }
            return text;
        }
        case Kind::flag: return "yes, no";
        case Kind::text: break;
    }
    return "";
}

std::string synopsis(const Option& option) {
    return option.kind == Kind::flag ? fmt::format("--{}", option.name) : fmt::format("--{} {}", option.name, option.placeholder);
}

std::string repeat_text(const Option& option) {
    if (!option.is_repeatable()) {
        return "";
    }
    return option.separator == ' ' ? "repeatable; blanks between in the environment"
                                   : "repeatable; commas between in the environment";
}

// Words of `text` from column `column` on.
std::string wrapped(std::string_view text) {
    std::string result;
    std::size_t used = column;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        if (used + 1 + end > line_width) {
            result += "\n" + std::string(column, ' ');
            used = column;
        } else if (used > column) {
            result += " ";
            ++used;
        }
        result += text.substr(0, end);
        used += end;
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return result;
}

std::string sentence(const Option& option) {
    std::string text(option.sentence);
    if (option.kind == Kind::number || option.kind == Kind::choice) {
        text += fmt::format(" ({}", range_text(option));
        text += option.default_value.empty() ? ")" : fmt::format("; default {})", option.default_value);
    }
    if (option.is_repeatable()) {
        text += "; repeatable";
    }
    return text;
}

}  // namespace

std::string help_text() {
    std::string text;
    for (const Option& option : options) {
        text += fmt::format("  {:<{}}{}\n", synopsis(option), column - 2, wrapped(sentence(option)));
    }
    return text;
}

std::string markdown() {
    std::string text =
        "# Options\n\n"
        "Each option can be given on the command line of `shunt`, in the environment, or as a key of the file that `--config` "
        "names.\n"
        "The command line wins over the environment, the environment over the file, the file over the default. This page is "
        "written\n"
        "by `options_doc` (see tests/config) from the table in src/config/options.hpp.\n\n"
        "| option | environment | key in the file | default | values | meaning |\n|---|---|---|---|---|---|\n";
    for (const Option& option : options) {
        const std::string repeat = repeat_text(option);
        text += fmt::format("| `{}` | `{}` | `{}` | {} | {} | {}{} |\n", synopsis(option), variable_name(option),
                            option.name == "sysctl" ? "[sysctl]" : key_name(option),
                            option.default_value.empty() ? "" : fmt::format("`{}`", option.default_value), range_text(option),
                            option.sentence, repeat.empty() ? "" : " (" + repeat + ")");
    }
    text +=
        "\nA variable that begins with `SHUNT_` and is none of these gives a warning. `LD_PRELOAD=libshunt_preload.so` with the\n"
        "environment set does what `shunt` does (`SHUNT_CHECKED` in a program's environment is the launcher's note to the shim "
        "that\n"
        "warnings have been shown).\n\n"
        "## A file\n\n"
        "```toml\n"
        "link = \"memif:wire\"\n"
        "ip = [\"10.0.0.1/24\"]\n"
        "profile = \"latency\"\n\n"
        "[sysctl]\n"
        "net.ipv4.tcp_rmem = [4096, 131072, 6291456]\n"
        "net.ipv4.tcp_sack = 1\n"
        "```\n\n"
        "## Tunables\n\n"
        "Their names and units are Linux's. The default is this host's own value, read from /proc/sys at start; where the host "
        "does not\n"
        "show one (inside a network namespace, for some), it is the value below.\n\n"
        "| name | without a host's value | |\n|---|---|---|\n";
    const Tunables tunables;
    for (const Sysctl& sysctl : sysctls()) {
        text += fmt::format("| `{}` | {} | {} |\n", sysctl.name, sysctl_text(tunables, sysctl),
                            sysctl.is_followed ? "" : "nothing follows it yet; setting it gives a warning");
    }
    return text;
}

}  // namespace shunt::config
