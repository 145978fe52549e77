// Stations on one segment, in virtual time. Each has a wire to the switch and a wire from it; a bottleneck that several share is the wire from the
// switch to their peer. Frames go by their destination's MAC address. ARP is known from the start and never spoiled: a bit turned round in it has no
// checksum that would tell.
#pragma once

#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "simulator/station.hpp"
#include "simulator/wire.hpp"

namespace shunt::simulator {

class Network {
public:
    explicit Network(std::uint64_t seed) noexcept : seed_(seed) {}
    Station& add(const StationSetup& setup, const WireSpec& to_switch, const WireSpec& from_switch);
    // After the last add: everybody knows everybody's MAC address.
    void introduce();

    // Carries frames and time on until `limit` or until `done()`; calls `step()` whenever something has happened.
    template <class Done, class Step>
    bool run(Duration limit, Done done, Step step) {
        const Time end = now_ + limit;
        while (!done()) {
            if (!advance(end)) {
                return false;
            }
            step();
        }
        return true;
    }
    // step() shall be called at `at` although nothing else happens.
    void wake_at(Time at) { events_.push({at, ++order_, none, 0}); }
    // What calls between the steps have produced goes onto the wires.
    void collect();
    void restart(unsigned index);

    Time now() const noexcept { return now_; }
    Station& station(unsigned index) noexcept { return *nodes_[index].station; }
    Wire& to_switch(unsigned index) noexcept { return nodes_[index].to_switch; }
    std::uint64_t corrupted() const noexcept {
        std::uint64_t sum = 0;
        for (const Node& node : nodes_) {
            sum += node.to_switch.counters.corrupted + node.from_switch.counters.corrupted;
        }
        return sum;
    }
    Wire& from_switch(unsigned index) noexcept { return nodes_[index].from_switch; }
    unsigned size() const noexcept { return static_cast<unsigned>(nodes_.size()); }

    // Sees each frame that a station sends, before the wire does.
    std::function<void(unsigned from, const Bytes& frame)> on_sent;
    // A test's own loss: true, and the frame is gone.
    std::function<bool(unsigned from, const Bytes& frame)> loses;
    // And what became of it ("lost", "arrives at ..."), for a trace.
    std::function<void(unsigned from, unsigned to, const Bytes& frame, const Wire::Fate& fate)> on_carried;

private:
    static constexpr unsigned none = ~0U;
    struct Node {
        std::unique_ptr<Station> station;
        Wire to_switch, from_switch;
        unsigned given = 0;  // frames since the last poll
    };
    struct Arrival {
        Time at;
        std::uint64_t order;
        unsigned to;
        std::uint32_t slot;
        bool at_switch = false;  // else at the station
        friend bool operator<(const Arrival& a, const Arrival& b) noexcept { return a.at != b.at ? a.at > b.at : a.order > b.order; }
    };

    bool advance(Time end);
    void arrive(const Arrival& event);
    void submit(unsigned from);
    void send(unsigned from, Bytes& frame);
    void refuse(unsigned from, const Bytes& frame, std::uint16_t mtu);
    void carry(Wire& wire, unsigned from, unsigned to, bool at_switch, Bytes& frame);
    std::uint32_t keep(const Bytes& frame);

    std::uint64_t seed_;
    Time now_ = beginning;
    std::vector<Node> nodes_;
    std::priority_queue<Arrival> events_;
    std::vector<Bytes> frames_;
    std::vector<std::uint32_t> free_slots_;
    std::uint64_t order_ = 0;
    Bytes scratch_;
};

}  // namespace shunt::simulator
