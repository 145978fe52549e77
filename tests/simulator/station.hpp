// One stack on a port in memory: what a computer is to the simulated network. Knows no test framework, so that the fuzzers use it too.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "pmd/ring_port.hpp"
#include "stack/stack.hpp"
#include "stack/support/frame.hpp"

namespace shunt::simulator {

using namespace std::chrono_literals;
using test::Bytes;

// What must never happen has happened; the text says what, where and when.
struct Violation : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline constexpr unsigned stations_max = 9;
inline constexpr Time beginning{1h};

struct StationSetup {
    Tunables tunables{};
    std::uint16_t mtu = 1500;
    Duration lan_rto_min{};
    bool has_card = false;  // checksums and TSO
    std::uint64_t key = 1;
    std::uint32_t connections_max = 256;
};

class Station {
public:
    Station(unsigned index, const StationSetup& setup);
    ~Station();
    Station(const Station&) = delete;
    Station& operator=(const Station&) = delete;

    Stack& stack() noexcept { return *stack_; }
    tcp::Tcp& tcp() noexcept { return stack_->tcp(); }
    std::uint32_t address() const noexcept;
    const wire::Mac& mac() const noexcept { return ring_.port.mac; }
    std::uint64_t events(Event event) const noexcept { return stack_->counters().of(event); }
    std::uint64_t drops(DropReason reason) const noexcept { return stack_->counters().of(reason); }
    // The machine is switched off and on: all it knew is gone.
    void restart(Time now);

    void give(const void* frame, std::size_t size);
    // The next frame that the stack sent, now the caller's; null: none.
    Packet* take() noexcept { return ring_.take(); }
    std::uint64_t not_sent() const noexcept { return stack_->links()[0]->port.tx_dropped; }

    // Packets free in the pool that all stations share.
    static std::uint32_t packets_free();

private:
    void start(Time now);
    void stop() noexcept;

    unsigned index_;
    StationSetup setup_;
    pmd::RingPort& ring_;
    Stack* stack_ = nullptr;
};

}  // namespace shunt::simulator
