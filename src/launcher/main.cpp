// `shunt`: checks the configuration, hands it on in the environment, and becomes the program with the shim preloaded.
// It starts nothing itself: no EAL, no port. So its process, its exit status and its signals are the program's own.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/sys.hpp"
#include "config/config.hpp"
#include "config/options.hpp"
#include "launcher/doctor.hpp"
#include "launcher/program.hpp"

namespace shunt::launcher {
namespace {

struct CommandLine {
    std::vector<config::Setting> settings;
    std::vector<std::string> program;
};

void print_help() {
    fmt::print(
        "shunt runs a program with its TCP and UDP sockets on a user-space stack.\n\n"
        "usage: shunt [options] [--] program [arguments]\n"
        "       shunt doctor         what this machine allows: links, rights, hugepages\n"
        "       shunt --help | --version\n\n"
        "options (the environment has them as SHUNT_NAME; a file, see --config, by the same names):\n{}\n"
        "examples:\n"
        "  shunt --link memif:wire --ip 10.0.0.1/24 redis-server\n"
        "  shunt --link memif:wire --ip 10.0.0.2/24 redis-cli -h 10.0.0.1 ping\n"
        "  shunt --link pci:0000:03:02.0 --ip 192.168.7.20/24 --gateway 192.168.7.1 --profile latency ./gateway\n"
        "  shunt --config trading.toml --sysctl net.ipv4.tcp_rmem=\"4096 262144 16777216\" -- ./feed --verbose\n\n"
        "The exit status is the program's; 2: the configuration is wrong, 126: the program cannot be executed, 127: not found.\n",
        config::help_text());
}

Outcome<CommandLine> read_arguments(const std::vector<std::string>& arguments) {
    CommandLine line;
    std::size_t index = 0;
    while (index < arguments.size() && arguments[index].size() > 1 && arguments[index][0] == '-') {
        if (arguments[index] == "--") {
            ++index;
            break;
        }
        auto setting = config::parse_option(arguments, index);
        if (!setting) {
            return std::unexpected(setting.error());
        }
        line.settings.push_back(std::move(*setting));
    }
    line.program.assign(arguments.begin() + static_cast<std::ptrdiff_t>(index), arguments.end());
    if (line.program.empty()) {
        return explain(EINVAL, "no program given; usage: shunt [options] [--] program [arguments], more with shunt --help");
    }
    return line;
}

// What the command line says goes into the environment, where it wins by replacing what was there; tunables add up.
void export_settings(const std::vector<config::Setting>& settings) {
    std::map<const config::Option*, std::string> values;
    for (const config::Setting& setting : settings) {
        const config::Option& option = *setting.option;
        if (!option.is_repeatable()) {
            // The program may change its folder before it reads this.
            values[&option] = option.name == "config" ? std::filesystem::absolute(setting.value).string() : setting.value;
            continue;
        }
        const auto [value, is_first] = values.try_emplace(&option);
        if (is_first && option.name == "sysctl") {
            value->second = config::variable(config::variable_name(option).c_str()).value_or("");
        }
        value->second += (value->second.empty() ? "" : std::string(1, option.separator)) + setting.value;
    }
    for (const auto& [option, value] : values) {
        setenv(config::variable_name(*option).c_str(), value.c_str(), 1);
    }
    // Its value names this launch: all that it starts share one loop. Not anew in a launch within a launch.
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    setenv(config::checked_variable, fmt::format("{}-{:x}", sys::getpid(), now).c_str(), 0);
}

Outcome<std::string> prepare(const CommandLine& line) {
    auto config = config::load({.environment = config::shunt_environment(), .command_line = line.settings});
    if (!config) {
        return explain(exit_usage, config.error().message);
    }
    log::set_threshold(config->log);
    for (const std::string& warning : config->warnings) {
        log::warning("{}", warning);
    }
    if (auto done = config::check_complete(*config); !done) {
        return explain(exit_usage, done.error().message);
    }
    const auto shim = find_shim();
    if (!shim) {
        return std::unexpected(shim.error());
    }
    const auto path = find_program(line.program[0]);
    if (!path) {
        return path;
    }
    if (const std::string obstacle = preload_obstacle(*path); !obstacle.empty()) {
        if (config->require) {
            return explain(exit_usage,
                           fmt::format("{}: {}, so Shunt cannot accelerate it; leave out --require", *path, obstacle));
        }
        log::warning("{}: {}; it runs on the kernel", *path, obstacle);
    }
    export_settings(line.settings);
    setenv("LD_PRELOAD", preload_value(*shim, config::variable("LD_PRELOAD").value_or("")).c_str(), 1);
    return path;
}

int run(const std::vector<std::string>& arguments) {
    const auto line = read_arguments(arguments);
    if (!line) {
        log::error("{}", line.error().message);
        return exit_usage;
    }
    const auto path = prepare(*line);
    if (!path) {
        log::error("{}", path.error().message);
        return path.error().code;
    }
    std::vector<char*> words;
    for (const std::string& word : line->program) {
        words.push_back(const_cast<char*>(word.c_str()));  // execvp does not write to them
    }
    words.push_back(nullptr);
    execvp(words[0], words.data());
    const int failure = errno;
    log::error("{}: cannot be started: {}", *path, std::strerror(failure));
    return failure == ENOENT ? exit_not_found : exit_not_executable;
}

}  // namespace
}  // namespace shunt::launcher

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const std::string first = arguments.empty() ? std::string() : arguments[0];
    if (first == "--help" || first == "-h") {
        shunt::launcher::print_help();
        return 0;
    }
    if (first == "--version") {
        fmt::print("shunt {}\n", SHUNT_VERSION);
        return 0;
    }
    if (first == "doctor" && arguments.size() == 1) {
        return shunt::launcher::doctor();
    }
    return shunt::launcher::run(arguments);
}
