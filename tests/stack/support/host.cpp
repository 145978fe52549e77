#include "stack/support/host.hpp"

#include <array>

#include "pmd/eal.hpp"
#include "pmd/port_inline.hpp"
#include "stack/support/card.hpp"

namespace shunt::test {
namespace {

// Ports and EAL stay for the life of the process: DPDK likes neither to be started twice.
pmd::RingPort& ring_port(unsigned index) {
    static std::array<std::optional<pmd::RingPort>, 2> ports;
    if (!ports.at(index)) {
        const auto started = pmd::start_eal({.memory_mib = 192, .hugepages = pmd::EalOptions::Hugepages::never, .links = {}});
        SHUNT_CHECK(started.has_value());
        pmd::borrow_lcore(127);
        pmd::PortOptions options;
        options.packets = 32767;
        auto opened = pmd::open_ring_port(index == 0 ? "host0" : "host1", options);
        SHUNT_CHECK(opened.has_value());
        opened->port.mac = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(index + 1)};
        ports[index] = *opened;
    }
    return *ports[index];
}

}  // namespace

Host::Host(const HostSetup& setup) : setup_(setup), ring_(&ring_port(setup.index)), available_before_(ring_->port.pool_available()) {
    pmd::Port port = ring_->port;
    port.mtu = setup.mtu;
    port.offloads = setup.offloads;
    const Ipv4Address address{setup.address, setup.length, setup.has_port ? std::uint8_t{0} : Ipv4Address::no_link};
    StackOptions options;
    options.ports = std::span(&port, setup.has_port ? 1 : 0);
    options.packet_source = &port;
    options.addresses = std::span(&address, 1);
    options.gateway = setup.gateway;
    options.tunables = setup.tunables;
    options.key = {setup.seed * 0x9E3779B97F4A7C15U, ~setup.seed};
    options.connections_max = setup.connections_max;
    options.owns_loopback = setup.owns_loopback;
    options.lan_rto_min = setup.lan_rto_min;
    auto created = Stack::create(options, now);
    SHUNT_CHECK(created.has_value());
    stack_ = *created;
    step();
    sent.clear();
}

Host::~Host() {
    const bool had_two = ::testing::Test::HasFailure();
    EXPECT_TRUE(stack_->is_valid());
    Stack::destroy(stack_);
    for (Packet* packet = ring_->take(); packet != nullptr; packet = ring_->take()) {
        packet->free();
    }
    std::array<Packet*, 32> left;
    while (const std::uint16_t count = ring_->port.rx_burst(now, left)) {
        for (std::uint16_t i = 0; i < count; ++i) {
            left[i]->free();
        }
    }
    if (!had_two) {
        EXPECT_EQ(ring_->port.pool_available(), available_before_) << "packets were lost, or freed twice";
    }
}

Packet* Host::allocate() { return ring_->port.allocate(); }

void Host::enqueue(const Bytes& frame) {
    Packet* packet = ring_->port.allocate();
    ASSERT_NE(packet, nullptr);
    std::memcpy(packet->append(static_cast<std::uint32_t>(frame.size())), frame.data(), frame.size());
    if (!ring_->give(packet)) {
        packet->free();
    }
}

void Host::give(const Bytes& frame) {
    enqueue(frame);
    if (!gathers) {
        step();
    }
}

void Host::give_ip(const Bytes& packet) {
    give(ethernet(mac(), {2, 0, 0, 0, 0, 9}, wire::ethertype_ipv4, packet));
}

std::vector<Bytes> Host::take_raw() {
    std::vector<Bytes> frames;
    while (Packet* packet = ring_->take()) {
        ++frames_handed_over;
        for (Bytes& bytes : on_the_wire(*packet)) {
            frames.push_back(std::move(bytes));
        }
        packet->free();
    }
    return frames;
}

void Host::collect() {
    bool answered = false;
    for (const Bytes& bytes : take_raw()) {
        const Frame frame = decode(bytes, now);
        const auto station = stations.find(frame.destination);
        if (frame.is_arp() && frame.arp_operation == wire::ArpPacket::request && station != stations.end()) {
            enqueue(ethernet(mac(), station->second, wire::ethertype_arp, arp(wire::ArpPacket::reply, station->second, station->first, mac(), setup_.address)));
            answered = true;
        } else if (!frame.is_arp() || station == stations.end()) {
            sent.push_back(frame);
        }
    }
    if (answered) {
        step();
    }
}

void Host::step() {
    stack_->poll(now);
    collect();
}

void Host::flush() {
    stack_->flush(now);
    collect();
}

void Host::advance(Duration duration) {
    const Time end = now + duration;
    while (stack_->next_deadline() <= end) {
        now = std::max(stack_->next_deadline(), now + 10us);
        if (now > end) {
            break;
        }
        step();
    }
    now = end;
    step();
}

std::optional<Frame> Host::next() {
    if (sent.empty()) {
        return std::nullopt;
    }
    Frame frame = sent.front();
    sent.pop_front();
    return frame;
}

}  // namespace shunt::test
