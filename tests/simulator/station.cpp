#include "simulator/station.hpp"

#include <array>
#include <optional>

#include "pmd/eal.hpp"
#include "pmd/port_inline.hpp"
#include "stack/support/card.hpp"

namespace shunt::simulator {
namespace {

constexpr std::uint32_t packets = 32767;

// Ports and EAL stay for the life of the process: DPDK likes neither to be started twice.
pmd::RingPort& ring_port(unsigned index) {
    static std::array<std::optional<pmd::RingPort>, stations_max> ports;
    if (!ports.at(index)) {
        const auto started = pmd::start_eal({.memory_mib = 160, .hugepages = pmd::EalOptions::Hugepages::never, .links = {}});
        SHUNT_CHECK(started.has_value());
        pmd::borrow_lcore(127);
        pmd::PortOptions options;
        options.packets = packets;
        auto opened = pmd::open_ring_port(("station" + std::to_string(index)).c_str(), options);
        SHUNT_CHECK(opened.has_value());
        opened->port.mac = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(index + 1)};
        ports[index] = *opened;
    }
    return *ports[index];
}

}  // namespace

Station::Station(unsigned index, const StationSetup& setup) : index_(index), setup_(setup), ring_(ring_port(index)) { start(beginning); }

Station::~Station() { stop(); }

std::uint32_t Station::address() const noexcept { return test::ip(10, 0, 0, index_ + 1); }

std::uint32_t Station::packets_free() { return ring_port(0).port.pool_available(); }

void Station::start(Time now) {
    pmd::Port port = ring_.port;
    port.mtu = setup_.mtu;
    port.offloads = setup_.has_card ? test::card_offloads() : ring_.port.offloads;
    const Ipv4Address our{address(), 24, 0};
    StackOptions options;
    options.ports = std::span(&port, 1);
    options.addresses = std::span(&our, 1);
    options.tunables = setup_.tunables;
    options.key = {setup_.key * 0x9E3779B97F4A7C15U + index_, ~setup_.key};
    options.connections_max = setup_.connections_max;
    options.lan_rto_min = setup_.lan_rto_min;
    options.fragments_max = 64;
    auto created = Stack::create(options, now);
    SHUNT_CHECK(created.has_value());
    stack_ = *created;
    stack_->poll(now);
}

void Station::stop() noexcept {
    Stack::destroy(stack_);
    while (Packet* packet = ring_.take()) {
        packet->free();
    }
    std::array<Packet*, 32> left;
    while (const std::uint16_t count = ring_.port.rx_burst(beginning, left)) {
        for (std::uint16_t i = 0; i < count; ++i) {
            left[i]->free();
        }
    }
}

void Station::restart(Time now) {
    stop();
    setup_.key += 0x1000;
    start(now);
}

void Station::give(const void* frame, std::size_t size) {
    Packet* packet = ring_.port.allocate();
    if (packet == nullptr || packet->tailroom() < size || !ring_.give(packet)) {
        if (packet != nullptr) {
            packet->free();
        }
        return;  // as a card without descriptors
    }
    std::memcpy(packet->append(static_cast<std::uint32_t>(size)), frame, size);
}

}  // namespace shunt::simulator
