// See ring_port.hpp.
#include "pmd/ring_port.hpp"

#include <fmt/core.h>

#include "pmd/dpdk.hpp"
#include "pmd/port_access.hpp"

namespace shunt::pmd {
namespace {

constexpr unsigned ring_frames = 2048;

rte_ring* create_ring(const char* name, const char* direction) {
    return rte_ring_create(fmt::format("{}_{}", name, direction).c_str(), ring_frames, SOCKET_ID_ANY, 0);
}

}  // namespace

Packet* RingPort::take() noexcept {
    void* mbuf = nullptr;
    return rte_ring_dequeue(from_stack, &mbuf) == 0 ? Packet::from(static_cast<rte_mbuf*>(mbuf)) : nullptr;
}

bool RingPort::give(Packet* packet) noexcept {
    return rte_ring_enqueue(to_stack, packet->mbuf()) == 0;
}

Outcome<RingPort> open_ring_port(const char* name, const PortOptions& options) {
    RingPort result;
    result.to_stack = create_ring(name, "rx");
    result.from_stack = create_ring(name, "tx");
    const bool have_rings = result.to_stack != nullptr && result.from_stack != nullptr;
    const int id = have_rings ? rte_eth_from_rings(name, &result.to_stack, 1, &result.from_stack, 1, 0) : -1;
    if (id < 0) {
        rte_ring_free(result.to_stack);
        rte_ring_free(result.from_stack);
        return explain(ENOMEM, fmt::format("ring port {}: {}; is the name new, and does EAL run?", name, rte_strerror(rte_errno)));
    }
    auto port = PortAccess::start(static_cast<std::uint16_t>(id), name, options);
    if (!port) {
        return std::unexpected(port.error());
    }
    result.port = *port;
    return result;
}

void close_ring_port(RingPort& ring_port) noexcept {
    for (Packet* packet = ring_port.take(); packet != nullptr; packet = ring_port.take()) {
        packet->free();
    }
    void* mbuf = nullptr;
    while (rte_ring_dequeue(ring_port.to_stack, &mbuf) == 0) {
        rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
    }
    close_port(ring_port.port);
    rte_ring_free(ring_port.to_stack);
    rte_ring_free(ring_port.from_stack);
    ring_port = {};
}

}  // namespace shunt::pmd
