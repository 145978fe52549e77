// See guest.hpp.
#include "pmd/guest.hpp"

#include <algorithm>

#include "base/arena.hpp"
#include "pmd/memif_calls.hpp"
#include "pmd/port_inline.hpp"

namespace shunt::pmd {

GuestQueues* guest_queues_here = nullptr;

GuestQueues* create_guest_queues() {
    auto arena = Arena::map(sizeof(GuestQueues));
    return arena ? new (arena->carve(sizeof(GuestQueues), alignof(GuestQueues))) GuestQueues : nullptr;
}

// A gate's generation is not 0, which a guest has seen: so the bursts of gated ports look twice there (Port::gated_rx_burst).
void become_guest(GuestQueues& queues) noexcept {
    guest_queues_here = &queues;
    memif::create_gates();
}

std::uint16_t queue_for_keeper(std::uint16_t port, std::span<Packet* const> packets) noexcept {
    GuestQueues::Queue& to = guest_queues_here->of[port % GuestQueues::ports_max];
    const auto taken = std::min<std::size_t>(packets.size(), GuestQueues::frames_max - to.count);
    std::copy_n(packets.begin(), taken, to.frames.begin() + to.count);
    to.count += static_cast<std::uint32_t>(taken);
    return static_cast<std::uint16_t>(taken);
}

void send_for_guests(GuestQueues& queues, Port& port, Time now) noexcept {
    if (port.id < GuestQueues::ports_max) {
        GuestQueues::Queue& queue = queues.of[port.id];
        port.tx_burst(now, std::span(queue.frames).first(queue.count));
        queue.count = 0;
    }
}

}  // namespace shunt::pmd
