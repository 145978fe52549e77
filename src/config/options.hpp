// The table of options. From it come --help, the keys of the file, the SHUNT_* names and docs/options.md.
// To add one: a line here, a setter in options.cpp, a member in Config, a test; then write docs/options.md anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"

namespace shunt::config {

enum class Kind { text, number, choice, flag };

struct Option {
    using Setter = Outcome<void> (*)(Config& config, const Option& option, std::string_view value);

    std::string_view name;  // --name; SHUNT_NAME; key "name" of the file, with _ for -
    Kind kind = Kind::text;
    std::string_view placeholder = {};    // of the value in --help
    std::string_view default_value = {};  // empty: none
    std::int64_t minimum = 0, maximum = 0;
    std::string_view unit = {};
    std::string_view choices = {};  // separated by '|'
    char separator = 0;             // repeatable: what separates values in the environment; 0: given once
    std::string_view sentence = {};
    std::string_view example = {};  // a value that works, for error messages and tests
    Setter set = nullptr;

    bool is_repeatable() const noexcept { return separator != 0; }
};

namespace setters {
Outcome<void> link(Config&, const Option&, std::string_view);
Outcome<void> ip(Config&, const Option&, std::string_view);
Outcome<void> gateway(Config&, const Option&, std::string_view);
Outcome<void> profile(Config&, const Option&, std::string_view);
Outcome<void> config_file(Config&, const Option&, std::string_view);
Outcome<void> log_level(Config&, const Option&, std::string_view);
Outcome<void> require(Config&, const Option&, std::string_view);
Outcome<void> rule(Config&, const Option&, std::string_view);
Outcome<void> sysctl(Config&, const Option&, std::string_view);
Outcome<void> mtu(Config&, const Option&, std::string_view);
Outcome<void> mac(Config&, const Option&, std::string_view);
Outcome<void> packets(Config&, const Option&, std::string_view);
Outcome<void> memory(Config&, const Option&, std::string_view);
Outcome<void> connections(Config&, const Option&, std::string_view);
Outcome<void> fault(Config&, const Option&, std::string_view);
}  // namespace setters

// clang-format off
inline constexpr Option options[] = {
    {.name = "link", .placeholder = "SPEC", .separator = ' ',
     .sentence = "the port: pci:ADDRESS, memif:NAME (a shared-memory wire between two programs on this host; the first to come "
                 "is the server), tap:IFNAME, xdp:IFNAME, packet:IFNAME, dpdk:DEVARGS, "
                 "or loop (no port: the program talks to itself on 127.0.0.0/8)",
     .example = "memif:wire", .set = setters::link},
    {.name = "ip", .placeholder = "ADDR/LEN", .separator = ',',
     .sentence = "an address of ours, with the length of its network's prefix", .example = "10.0.0.1/24", .set = setters::ip},
    {.name = "gateway", .placeholder = "ADDR",
     .sentence = "the default route; without it only our own networks are reached through Shunt", .example = "10.0.0.254",
     .set = setters::gateway},
    {.name = "profile", .kind = Kind::choice, .placeholder = "NAME", .default_value = "balanced",
     .choices = "latency|balanced|throughput",
     .sentence = "how to wait: latency spins, balanced spins a little and then sleeps, throughput sleeps", .example = "latency",
     .set = setters::profile},
    {.name = "config", .placeholder = "FILE", .sentence = "a TOML file; every option has a key there", .example = "shunt.toml",
     .set = setters::config_file},
    {.name = "log", .kind = Kind::choice, .placeholder = "LEVEL", .default_value = "warning", .choices = "error|warning|info|debug",
     .sentence = "what is written to standard error", .example = "info", .set = setters::log_level},
    {.name = "require", .kind = Kind::flag, .default_value = "no",
     .sentence = "a socket that Shunt cannot carry fails instead of falling back to the kernel", .example = "yes",
     .set = setters::require},
    {.name = "rule", .placeholder = "RULE", .separator = ';',
     .sentence = "whose a socket is, where it could be Shunt's: kernel or shunt, then tcp or udp, program=GLOB, and local=ADDR/LEN:PORT-PORT or "
                 "peer=ADDR/LEN:PORT-PORT, as much as is needed; the first rule that matches decides",
     .example = "kernel tcp peer=10.0.0.9:22", .set = setters::rule},
    {.name = "sysctl", .placeholder = "NAME=VALUE", .separator = ',',
     .sentence = "a Linux tunable, by its Linux name; the default is this host's own value", .example = "net.ipv4.tcp_sack=0",
     .set = setters::sysctl},
    {.name = "mtu", .kind = Kind::number, .placeholder = "N", .default_value = "1500", .minimum = 576, .maximum = 9216, .unit = "bytes",
     .sentence = "the largest IP packet that a frame carries", .example = "9000", .set = setters::mtu},
    {.name = "mac", .placeholder = "ADDR", .sentence = "the port's hardware address, instead of its own",
     .example = "02:00:00:00:00:01", .set = setters::mac},
    {.name = "packets", .kind = Kind::number, .placeholder = "N", .default_value = "32768", .minimum = 1024, .maximum = 16777216,
     .unit = "packets", .sentence = "packet buffers, for all sockets together", .example = "65536", .set = setters::packets},
    {.name = "memory-mib", .kind = Kind::number, .placeholder = "N", .default_value = "0", .minimum = 0, .maximum = 1048576,
     .unit = "MiB", .sentence = "memory for packet buffers; 0 is as much as --packets needs", .example = "256",
     .set = setters::memory},
    {.name = "connections", .kind = Kind::number, .placeholder = "N", .default_value = "65536", .minimum = 64, .maximum = 4194304,
     .unit = "connections", .sentence = "how many TCP connections there can be, those in TIME_WAIT included", .example = "1000",
     .set = setters::connections},
    {.name = "fault", .placeholder = "SPEC",
     .sentence = "for tests, spoil the wire: rates drop= duplicate= reorder= corrupt= (0 to 1), delay_us= jitter_us= seed= and "
                 "side= (rx, tx or both), separated by commas",
     .example = "drop=0.01,seed=7", .set = setters::fault},
};
// clang-format on

// The option called `name` ("memory-mib"), or null. from_variable: "SHUNT_MEMORY_MIB"; from_key: "memory_mib".
const Option* find_option(std::string_view name) noexcept;
const Option* from_variable(std::string_view name) noexcept;
const Option* from_key(std::string_view key) noexcept;
std::string variable_name(const Option& option);
std::string key_name(const Option& option);

// Reads the option at arguments[index] ("--name value", "--name=value", "--flag") and moves index behind it.
Outcome<Setting> parse_option(std::span<const std::string> arguments, std::size_t& index);

// What comes closest to `name` ("; did you mean --link?"), or nothing.
std::string suggestion(std::string_view name, std::span<const std::string> candidates, std::string_view prefix);

// All of --help's table, and docs/options.md.
std::string help_text();
std::string markdown();

}  // namespace shunt::config
