// The table of Linux tunables: names, where they live in Tunables, what values they take.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/tunables.hpp"

namespace shunt::config {

struct Sysctl {
    std::string_view name;  // "net.ipv4.tcp_rmem"
    // Exactly one is set.
    std::int32_t Tunables::*number = nullptr;
    MemoryLimits Tunables::*limits = nullptr;
    PortRange Tunables::*ports = nullptr;
    CongestionControl Tunables::*congestion = nullptr;
    FastOpenKeys Tunables::*keys = nullptr;
    std::int32_t minimum = 0, maximum = 1;  // of each number
    // Does anything in Shunt follow it? A user who sets one that nothing follows is warned; a house rule keeps this true.
    bool is_followed = true;
};

std::span<const Sysctl> sysctls() noexcept;
const Sysctl* find_sysctl(std::string_view name) noexcept;

// Sets one by name; the message says which names come close, or which values are possible.
Outcome<void> set_sysctl(Tunables& tunables, std::string_view name, std::string_view value);

// Takes over what this host has under `root` ("/proc/sys"). What is not there, or makes no sense here, stays as it is.
void read_host(Tunables& tunables, const std::string& root);

// As /proc/sys would print it; a key that was not given is empty.
std::string sysctl_text(const Tunables& tunables, const Sysctl& sysctl);

}  // namespace shunt::config
