// See guest.hpp.
#include "pmd/guest.hpp"

#include <algorithm>

#include "base/arena.hpp"
#include "pmd/dpdk.hpp"
#include "pmd/memif_calls.hpp"
#include "pmd/port_inline.hpp"

namespace shunt::pmd {

GuestQueues* guest_queues_here = nullptr;

namespace {

std::uint16_t receive_nothing(void*, rte_mbuf**, std::uint16_t) {
    return 0;
}

std::uint16_t queue_frames(void* queue, rte_mbuf** frames, std::uint16_t count) {
    auto& to = *static_cast<GuestQueues::Queue*>(queue);
    const auto taken = static_cast<std::uint16_t>(std::min<std::uint32_t>(count, GuestQueues::frames_max - to.count));
    std::transform(frames, frames + taken, to.frames.begin() + to.count, [](rte_mbuf* each) { return Packet::from(each); });
    to.count += taken;
    return taken;
}

}  // namespace

GuestQueues* create_guest_queues() {
    auto arena = Arena::map(sizeof(GuestQueues));
    return arena ? new (arena->carve(sizeof(GuestQueues), alignof(GuestQueues))) GuestQueues : nullptr;
}

// DPDK's inline bursts call what stands in this table, which EAL and ethdev fill where they run; here they do not.
void become_guest(GuestQueues& queues) noexcept {
    static std::array<void*, GuestQueues::ports_max> rx{}, tx{}, no_callbacks{};
    guest_queues_here = &queues;
    for (std::size_t port = 0; port < GuestQueues::ports_max; ++port) {
        rx[port] = &queues.of[port];
        tx[port] = &queues.of[port];
        rte_eth_fp_ops[port].rx_pkt_burst = receive_nothing;
        rte_eth_fp_ops[port].tx_pkt_burst = queue_frames;
        rte_eth_fp_ops[port].tx_pkt_prepare = nullptr;
        rte_eth_fp_ops[port].rxq.data = &rx[port];
        rte_eth_fp_ops[port].txq.data = &tx[port];
        rte_eth_fp_ops[port].rxq.clbk = rte_eth_fp_ops[port].txq.clbk = &no_callbacks[port];
    }
    if (memif::create_gates()) {
        memif::seen.fill(memif::gates->generation.load());
    }
}

void send_for_guests(GuestQueues& queues, Port& port, Time now) noexcept {
    if (port.id < GuestQueues::ports_max) {
        GuestQueues::Queue& queue = queues.of[port.id];
        port.tx_burst(now, std::span(queue.frames).first(queue.count));
        queue.count = 0;
    }
}

}  // namespace shunt::pmd
