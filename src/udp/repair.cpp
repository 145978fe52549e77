// After a process died while it changed the stack: see tcp/repair.cpp, which has the same principles.
#include <algorithm>

#include "udp/udp.hpp"

namespace shunt {

void Udp::start_over() noexcept {
    constexpr std::uint32_t ports = 65536;
    std::fill_n(by_port_, ports, nullptr);
    for (std::uint32_t i = 0; i < endpoints_.touched(); ++i) {
        endpoints_.at(i).owner = nullptr;
    }
    memory_pressure_ = false;
}

bool Udp::revive(UdpEndpoint& endpoint, void* owner) noexcept {
    if (!endpoints_.has_slot(&endpoint) || endpoint.owner != nullptr) {
        return false;
    }
    UdpEndpoint& e = endpoint;
    const bool was_bound = e.is_bound;
    const UdpDestination peer{e.remote_address, e.remote_port};
    // What holds packets, or a place in a list, is new; what setsockopt and bind have said stays.
    e.kind = EndpointKind::udp;
    e.news = 0;
    e.is_changed = false;
    e.next_changed = nullptr;
    e.owner = owner;
    e.rcv_queue = e.corked = e.error_queue = {};
    e.rcv_queued = e.corked_bytes = e.corked_memory = e.error_reports = 0;
    e.has_corked = false;
    e.next = nullptr;
    e.path.reset();
    if (was_bound) {
        e.next = by_port_[e.local_port];
        by_port_[e.local_port] = &e;
    }
    if (peer.address != 0 && !connect(e, peer)) {
        disconnect(e);
    }
    return true;
}

void Udp::finish_repair() noexcept {
    endpoints_.relink([](const UdpEndpoint& each) { return each.owner != nullptr; });
}

}  // namespace shunt
