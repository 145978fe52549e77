// What a --link option says: which kind of port, and where. Knows no DPDK, so that the launcher can check options with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace shunt::pmd {

struct LinkSpec {
    enum class Kind { pci, memif, tap, xdp, packet, dpdk, loop };
    Kind kind = Kind::memif;
    std::string value;   // PCI address in full form, wire name, interface name, or DPDK device arguments; of loop nothing
    bool operator==(const LinkSpec&) const = default;
};

// Reads one link. The error is EINVAL and the remedy; the caller says where it stood.
Outcome<LinkSpec> parse_link_spec(std::string_view text);

// The form that parse_link_spec reads.
std::string to_string(const LinkSpec& spec);

}  // namespace shunt::pmd
