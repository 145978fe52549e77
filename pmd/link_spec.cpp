// Reading --link: one row for each kind, with the check of what stands behind the colon.
#include "pmd/link_spec.hpp"

#include <net/if.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>

namespace shunt::pmd {
namespace {

using Kind = LinkSpec::Kind;

bool is_hex(char c) {
    return std::isxdigit(static_cast<unsigned char>(c)) != 0;
}

// True when `text` has hexadecimal digits where `shape` has 'x' and shape's own characters elsewhere.
bool has_shape(std::string_view text, std::string_view shape) {
    return text.size() == shape.size() && std::equal(text.begin(), text.end(), shape.begin(), [](char c, char s) { return s == 'x' ? is_hex(c) : c == s; });
}

bool is_pci_address(std::string_view text) {
    return (has_shape(text, "xxxx:xx:xx.x") || has_shape(text, "xx:xx.x")) && text.back() >= '0' && text.back() <= '7';
}

bool is_wire_name(std::string_view text) {
    return !text.empty() && text.size() <= 64 &&
           std::all_of(text.begin(), text.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.'; });
}

bool is_interface_name(std::string_view text) {
    return !text.empty() && text.size() < IFNAMSIZ && text != "." && text != ".." &&
           std::none_of(text.begin(), text.end(), [](char c) { return c == '/' || c == ',' || c == ':' || std::isspace(static_cast<unsigned char>(c)); });
}

bool is_device_arguments(std::string_view text) {
    return !text.empty() && text.size() < 512 && text.front() != '-' && text.front() != ',';
}

bool is_nothing(std::string_view text) {
    return text.empty();
}

struct Row {
    std::string_view name;
    Kind kind;
    bool (*accepts)(std::string_view);
    std::string_view remedy;
};
constexpr std::array rows{
    Row{"pci", Kind::pci, is_pci_address, "give the address that lspci -D shows, such as pci:0000:03:02.0"},
    Row{"memif", Kind::memif, is_wire_name, "give a name of 1 to 64 letters, digits, '-', '_' or '.', such as memif:wire0"},
    Row{"tap", Kind::tap, is_interface_name, "give an interface name of 1 to 15 characters, such as tap:shunt0"},
    Row{"xdp", Kind::xdp, is_interface_name, "give an interface name that ip link shows, such as xdp:eth0"},
    Row{"packet", Kind::packet, is_interface_name, "give an interface name that ip link shows, such as packet:eth0"},
    Row{"dpdk", Kind::dpdk, is_device_arguments, "give DPDK's device arguments, such as dpdk:net_ring0"},
    Row{"loop", Kind::loop, is_nothing, "give loop alone, without a colon: it has no port"},
};

}  // namespace

Outcome<LinkSpec> parse_link_spec(std::string_view text) {
    const std::size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    const std::string_view value = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.name == name; });
    if (row == rows.end()) {
        return explain(EINVAL, "is no kind of link; give one of pci:ADDRESS memif:NAME tap:IFNAME xdp:IFNAME packet:IFNAME dpdk:DEVARGS loop");
    }
    if (!row->accepts(value) || (row->kind == Kind::loop && colon != std::string_view::npos)) {
        return explain(EINVAL, std::string(row->remedy));
    }
    LinkSpec spec{row->kind, std::string(value)};
    if (spec.kind == Kind::pci) {
        std::transform(spec.value.begin(), spec.value.end(), spec.value.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        if (spec.value.size() == 7) {
            spec.value.insert(0, "0000:");
        }
    }
    return spec;
}

std::string to_string(const LinkSpec& spec) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.kind == spec.kind; });
    return spec.kind == Kind::loop ? std::string(row->name) : std::string(row->name).append(":").append(spec.value);
}

}  // namespace shunt::pmd
