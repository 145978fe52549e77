#include "socket/interfaces.hpp"

#include <fmt/core.h>
#include <net/if.h>

#include <algorithm>
#include <climits>

#include "pmd/link_spec.hpp"
#include "pmd/port.hpp"
#include "socket/runtime.hpp"
#include "socket/state.hpp"

namespace shunt::socket {
namespace {

constexpr std::uint16_t loopback_mtu = 65'535;  // what a datagram to ourselves may have; lo's own 65,536 does not fit the number of an MTU here

bool stands_on_the_kernels(const pmd::LinkSpec& spec) {
    return spec.kind == pmd::LinkSpec::Kind::packet || spec.kind == pmd::LinkSpec::Kind::xdp;
}

Interface interface_of(const pmd::LinkSpec& spec, unsigned port, std::uint32_t mtu) {
    Interface made;
    made.is_kernels = stands_on_the_kernels(spec);
    made.name = made.is_kernels ? spec.value : fmt::format("shunt/{}", port);
    made.index = made.is_kernels ? if_nametoindex(spec.value.c_str()) : static_cast<unsigned>(INT_MAX) - port;
    made.mtu = static_cast<std::uint16_t>(mtu);
    made.port = port;
    return made;
}

}  // namespace

InterfaceState state_of(const Interface& interface) noexcept {
    if (!Runtime::instance().is_started() || layer().stack->links().empty()) {
        return {};
    }
    const pmd::Port& port = layer().stack->links()[interface.port]->port;
    return {port.mac, port.is_link_up()};
}

std::vector<Interface> interfaces_of(const config::Config& config) {
    std::vector<Interface> made;
    for (const std::string& text : config.links) {
        const auto spec = pmd::parse_link_spec(text);
        if (spec && spec->kind != pmd::LinkSpec::Kind::loop) {
            made.push_back(interface_of(*spec, static_cast<unsigned>(made.size()), config.mtu));
        }
    }
    if (made.empty() && config.has_loop) {
        made.push_back({.name = "lo", .index = loopback_index, .is_kernels = true, .mtu = loopback_mtu, .addresses = {}, .port = 0});
    }
    for (std::size_t i = 0; i < config.addresses.size() && !made.empty(); ++i) {
        made[std::min(i, made.size() - 1)].addresses.push_back(config.addresses[i]);
    }
    return made;
}

}  // namespace shunt::socket
