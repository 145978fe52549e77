// See fault.hpp. Four random numbers a frame, drawn whether they are needed or not: so one probability does not shift the others' dice.
#include "pmd/fault.hpp"

#include <algorithm>

#include "pmd/port_inline.hpp"

namespace shunt::pmd {

bool FaultQueue::push(Time due, Packet* packet) noexcept {
    if (count_ == capacity) {
        return false;
    }
    entries_[count_++] = {due, pushed_++, packet};
    std::push_heap(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(count_), Entry::is_later);
    return true;
}

Packet* FaultQueue::pop(Time now) noexcept {
    if (next_due() > now || count_ == 0) {
        return nullptr;
    }
    std::pop_heap(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(count_), Entry::is_later);
    return entries_[--count_].packet;
}

void FaultQueue::clear() noexcept {
    std::for_each(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(count_), [](Entry& entry) { entry.packet->free(); });
    count_ = 0;
}

namespace {

bool happens(Random& random, std::uint64_t probability) noexcept {
    return (random.next() >> 32) < probability;
}

// A copy of all segments, offload requests included; null when the pool is exhausted.
Packet* copy_of(Port& port, const Packet* packet) noexcept {
    return Packet::from(rte_pktmbuf_copy(packet->mbuf(), static_cast<rte_mempool*>(port.pool), 0, UINT32_MAX));
}

// The one bit lies behind the Ethernet header where there is something: the stack's checksums have to find it, not the switch's.
void flip_a_bit(Random& random, Packet* packet) noexcept {
    constexpr std::uint32_t ethernet_bytes = 14;
    const std::uint32_t first = packet->first_size() > ethernet_bytes ? ethernet_bytes : 0;
    const std::uint32_t position = first + random.below(std::max(packet->first_size() - first, 1U));
    packet->data()[position] ^= static_cast<std::byte>(1U << random.below(8));
}

std::uint16_t hand_over(Port& port, FaultInjector& injector, Time now) noexcept {
    std::array<Packet*, 32> burst;
    std::uint16_t sent = 0;
    for (;;) {
        std::size_t count = 0;
        while (count < burst.size() && (burst[count] = injector.tx.pop(now)) != nullptr) {
            ++count;
        }
        if (count == 0) {
            return sent;
        }
        port.faults = nullptr;   // straight to the driver
        sent = static_cast<std::uint16_t>(sent + port.tx_burst(now, std::span(burst).first(count)));
        port.faults = &injector;
    }
}

}  // namespace

void FaultInjector::submit(Port& port, FaultQueue& queue, Time now, Packet* packet) noexcept {
    const bool drops = happens(random, options.drop), duplicates = happens(random, options.duplicate);
    const bool reorders = happens(random, options.reorder), corrupts = happens(random, options.corrupt);
    const std::uint32_t jitter_us = options.jitter_us != 0 ? random.below(options.jitter_us + 1) : 0;
    if (drops) {
        ++counters.dropped;
        packet->free();
        return;
    }
    const Time due = now + std::chrono::microseconds(options.delay_us) + std::chrono::microseconds(jitter_us) +
                     std::chrono::microseconds(reorders ? options.reorder_us : 0);
    // Whoever else holds the frame may put new headers into it while it waits here.
    if (packet->is_shared() && (corrupts || due > now)) {
        Packet* copy = copy_of(port, packet);
        packet->free();
        if (copy == nullptr) {
            ++counters.overflowed;
            return;
        }
        packet = copy;
    }
    Packet* twin = duplicates ? copy_of(port, packet) : nullptr;
    if (corrupts) {
        ++counters.corrupted;
        flip_a_bit(random, packet);
    }
    counters.reordered += reorders ? 1U : 0U;
    counters.delayed += due > now ? 1U : 0U;
    for (Packet* each : {packet, twin}) {
        if (each != nullptr && !queue.push(due, each)) {
            ++counters.overflowed;
            each->free();
        } else if (each != nullptr) {
            ++(each == packet ? counters.passed : counters.duplicated);
        }
    }
}

void FaultInjector::clear() noexcept {
    rx.clear();
    tx.clear();
}

std::uint16_t fault_rx_burst(Port& port, Time now, std::span<Packet*> packets) noexcept {
    FaultInjector& injector = *port.faults;
    hand_over(port, injector, now);
    port.faults = nullptr;
    std::uint16_t count = port.rx_burst(now, packets);
    port.faults = &injector;
    if (!injector.options.on_rx) {
        return count;
    }
    for (std::uint16_t i = 0; i < count; ++i) {
        injector.submit(port, injector.rx, now, packets[i]);
    }
    count = 0;
    while (count < packets.size() && (packets[count] = injector.rx.pop(now)) != nullptr) {
        ++count;
    }
    return count;
}

std::uint16_t fault_tx_burst(Port& port, Time now, std::span<Packet*> packets) noexcept {
    FaultInjector& injector = *port.faults;
    if (!injector.options.on_tx) {
        port.faults = nullptr;
        const std::uint16_t sent = port.tx_burst(now, packets);
        port.faults = &injector;
        return sent;
    }
    for (Packet* packet : packets) {
        injector.submit(port, injector.tx, now, packet);
    }
    hand_over(port, injector, now);
    return static_cast<std::uint16_t>(packets.size());
}

}  // namespace shunt::pmd
