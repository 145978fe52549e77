// What the user wants, read once and checked before anything starts. Plain types: no layer below knows this header.
// Precedence: command line, then environment (SHUNT_*), then file (--config), then the defaults of the table in options.hpp.
// For protocol tunables the defaults are this host's (/proc/sys).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "base/tunables.hpp"
#include "config/prefix.hpp"
#include "config/rules.hpp"

namespace shunt::config {

enum class Profile { latency, balanced, throughput };

struct Config {
    std::vector<std::string> links;  // link specs as given; pmd/link_spec.hpp reads them
    std::vector<Ipv4Prefix> addresses;
    bool has_loop = false;           // one of the links is "loop": 127.0.0.0/8 is ours
    std::optional<std::uint32_t> gateway;  // host order
    Profile profile = Profile::balanced;
    std::string config_file;
    log::Level log = log::Level::warning;
    std::string faults;                              // the fault injector's spec; empty: none
    std::uint32_t mtu = 0;                           // bytes of IP a frame carries
    std::uint32_t packets = 0;                       // packet buffers
    std::uint32_t memory_mib = 0;                    // packet memory; 0: as much as `packets` needs
    std::optional<std::array<std::uint8_t, 6>> mac;  // none: the port's own
    std::uint32_t connections = 0;                   // the arena's limit
    std::size_t ports() const noexcept { return links.size() - (has_loop ? 1 : 0); }
    bool has_port() const noexcept { return ports() != 0; }
    bool require = false;                            // falling back to the kernel is an error
    std::vector<Rule> rules;                         // of which the first that matches decides
    Tunables tunables;
    std::vector<std::string> warnings;  // lines for the user; nothing has been printed
};

struct Option;  // options.hpp

// One value that somebody gave: `origin` is how the user would find it again ("--mtu 9", "SHUNT_MTU=9", "x.toml: mtu = 9").
struct Setting {
    const Option* option;
    std::string value;
    std::string origin;
};

struct Inputs {
    std::vector<std::string> environment;  // "NAME=value"; only SHUNT_* is looked at
    std::vector<Setting> command_line;     // see parse_option() in options.hpp
    std::string sysctl_root = "/proc/sys";
};

// Reads the file that --config or SHUNT_CONFIG names, merges, checks each value. No link and no address is no error here.
Outcome<Config> load(const Inputs& inputs);

// load() from this process's environment; what the shim and the library call. Call it early: programs overwrite theirs.
Outcome<Config> from_environment();

// Is there all that a stack needs? A link, an address where there is a port, a gateway that can be reached.
Outcome<void> check_complete(const Config& config);

// This process's environment, the only place that reads it: every "SHUNT_..." entry, and one variable by name.
std::vector<std::string> shunt_environment();
char* const* all_variables() noexcept;  // as exec wants it
std::optional<std::string> variable(const char* name);
// The file of the program that runs; empty where /proc does not tell.
std::string program_path();

// Set for the program by the launcher: it has shown the warnings already.
inline constexpr const char* checked_variable = "SHUNT_CHECKED";

}  // namespace shunt::config
