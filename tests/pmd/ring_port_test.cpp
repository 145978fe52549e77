// The port whose wire is two rings: frames in, frames out, with and without the fault injector.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "pmd/fault.hpp"
#include "pmd/ring_port.hpp"
#include "pmd/with_eal.hpp"

namespace shunt::pmd {
namespace {

using namespace std::chrono_literals;

class RingPorts : public WithEal {
protected:
    void SetUp() override {
        static int count = 0;
        const std::string name = "ring" + std::to_string(count++);
        auto opened = open_ring_port(name.c_str());
        ASSERT_TRUE(opened) << opened.error().message;
        wire_ = *opened;
        before_ = wire_.port.pool_available();
    }
    void TearDown() override {
        EXPECT_EQ(wire_.port.pool_available(), before_) << "a packet leaked, or was freed twice";
        close_ring_port(wire_);
    }
    Packet* frame(std::uint8_t fill) {
        Packet* packet = wire_.port.allocate();
        std::memset(packet->append(60), fill, 60);
        return packet;
    }
    std::vector<Packet*> receive(Time now = start) {
        std::vector<Packet*> packets(32);
        packets.resize(wire_.port.rx_burst(now, packets));
        return packets;
    }
    std::vector<Packet*> take() {
        std::vector<Packet*> packets;
        while (Packet* packet = wire_.take()) {
            packets.push_back(packet);
        }
        return packets;
    }

    RingPort wire_;
    std::uint32_t before_ = 0;
};

TEST_F(RingPorts, WhatIsGivenIsReceived) {
    EXPECT_TRUE(receive().empty());
    ASSERT_TRUE(wire_.give(frame(1)));
    ASSERT_TRUE(wire_.give(frame(2)));
    const auto packets = receive();
    ASSERT_EQ(packets.size(), 2U);
    EXPECT_EQ(bytes_of(*packets[0]), std::vector<std::uint8_t>(60, 1));
    EXPECT_EQ(bytes_of(*packets[1]), std::vector<std::uint8_t>(60, 2));
    std::ranges::for_each(packets, &Packet::free);
}

TEST_F(RingPorts, WhatIsSentIsTaken) {
    std::vector<Packet*> sent{frame(1), frame(2)};
    EXPECT_EQ(wire_.port.tx_burst(start, sent), 2U);
    const auto packets = take();
    ASSERT_EQ(packets.size(), 2U);
    EXPECT_EQ(bytes_of(*packets[1]), std::vector<std::uint8_t>(60, 2));
    std::ranges::for_each(packets, &Packet::free);
}

TEST_F(RingPorts, WhenTheWireIsFullTheFrameStaysTheGivers) {
    Packet* packet = frame(1);
    std::uint32_t given = 0;
    for (; wire_.give(packet); ++given) {
        packet = frame(1);
        ASSERT_LT(given, 100000U);
    }
    packet->free();
    for (auto packets = receive(); !packets.empty(); packets = receive()) {
        given -= static_cast<std::uint32_t>(packets.size());
        std::ranges::for_each(packets, &Packet::free);
    }
    EXPECT_EQ(given, 0U);
}

TEST_F(RingPorts, WhatAFullWireDoesNotTakeIsFreedAndCounted) {
    std::uint32_t sent = 0, frames = 0;
    while (wire_.port.tx_dropped == 0) {
        std::vector<Packet*> burst{frame(1), frame(2)};
        sent += wire_.port.tx_burst(start, burst);
        frames += 2;
        ASSERT_LT(frames, 100000U);
    }
    const auto packets = take();
    EXPECT_EQ(packets.size(), sent);
    EXPECT_EQ(sent + wire_.port.tx_dropped, frames);
    std::ranges::for_each(packets, &Packet::free);
}

TEST_F(RingPorts, FaultsStandBetweenTheStackAndTheWire) {
    auto faults = std::make_unique<FaultInjector>(FaultOptions{.duplicate = 1, .delay = 10us, .side = FaultSide::both});
    wire_.port.faults = faults.get();
    std::vector<Packet*> sent{frame(1)};
    wire_.port.tx_burst(start, sent);
    wire_.give(frame(2));
    EXPECT_TRUE(receive().empty());
    EXPECT_TRUE(take().empty());
    EXPECT_EQ(wire_.port.next_deadline(), start + 10us);
    const auto received = receive(start + 10us);  // a poll lets go what is due, both ways
    EXPECT_EQ(received.size(), 2U);
    const auto taken = take();
    EXPECT_EQ(taken.size(), 2U);
    EXPECT_EQ(wire_.port.next_deadline(), never);
    std::ranges::for_each(received, &Packet::free);
    std::ranges::for_each(taken, &Packet::free);
    wire_.port.faults = nullptr;
}

}  // namespace
}  // namespace shunt::pmd
