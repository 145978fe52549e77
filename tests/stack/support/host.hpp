// A stack on a port in memory, in a time that the test makes.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "pmd/ring_port.hpp"
#include "stack/stack.hpp"
#include "stack/support/frame.hpp"

namespace shunt::test {

using namespace std::chrono_literals;

struct HostSetup {
    std::uint32_t address = ip(10, 0, 0, 1);
    std::uint8_t length = 24;
    std::uint32_t gateway = 0;
    Tunables tunables{};
    std::uint32_t connections_max = 256;
    bool owns_loopback = false;
    bool has_port = true;  // false: packets only, as under --link loop
    unsigned index = 0;  // which of the process's ports in memory
    std::uint64_t seed = 1;
    Duration lan_rto_min{};
    std::uint16_t mtu = 1500;
    pmd::Offloads offloads{};  // card_offloads(): frames come out as a card makes them
};

class Host {
public:
    explicit Host(const HostSetup& setup = {});
    ~Host();
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    Stack& stack() { return *stack_; }
    tcp::Tcp& tcp() { return stack_->tcp(); }
    Udp& udp() { return stack_->udp(); }
    Link& link() { return *stack_->links()[0]; }
    std::uint32_t address() const { return setup_.address; }
    wire::Mac mac() const { return ring_->port.mac; }
    std::uint64_t drops(DropReason reason) const { return stack_->counters().of(reason); }
    std::uint64_t events(Event event) const { return stack_->counters().of(event); }
    std::uint32_t packets_available() const { return ring_->port.pool_available(); }
    Packet* allocate();

    // A frame for the stack, which polls at once. give_ip puts Ethernet in front.
    void give(const Bytes& frame);
    void give_ip(const Bytes& packet);
    void enqueue(const Bytes& frame);  // without a poll
    bool gathers = false;  // frames given wait for step(): a burst
    // One poll, and what it sent goes into `sent`.
    void step();
    // What calls have produced is sent and collected.
    void flush();
    // Time passes; the stack is polled whenever it wants to be.
    void advance(Duration duration);
    std::vector<Bytes> take_raw();
    unsigned frames_handed_over = 0;  // to the port, before a card cuts them

    Time now{1h};
    std::deque<Frame> sent;
    std::optional<Frame> next();
    std::map<std::uint32_t, wire::Mac> stations;  // who answers ARP; their ARP frames do not show up in `sent`

private:
    void collect();

    HostSetup setup_;
    pmd::RingPort* ring_;
    std::uint32_t available_before_;
    Stack* stack_ = nullptr;
};

inline std::span<const std::byte> as_bytes(const Bytes& text) { return std::as_bytes(std::span(text)); }

}  // namespace shunt::test
