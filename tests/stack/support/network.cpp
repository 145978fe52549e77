#include "stack/support/network.hpp"

#include <algorithm>

namespace shunt::test {
namespace {

constexpr Duration heartbeat = 10ms;  // programs get their turn also when the stacks wait for nothing

HostSetup second(HostSetup setup, std::uint64_t seed) {
    setup.index = 1;
    setup.address = ip(10, 0, 0, 2);
    setup.seed = seed + 1000;
    return setup;
}

HostSetup first(HostSetup setup, std::uint64_t seed) {
    setup.seed = seed;
    return setup;
}

}  // namespace

Network::Network(std::uint64_t seed, const WireFaults& faults, HostSetup a_setup, HostSetup b_setup)
    : random(seed), a(first(a_setup, seed)), b(second(b_setup, seed)), faults_(faults), now_(a.now) {
    a.give(ethernet(a.mac(), b.mac(), wire::ethertype_arp, arp(wire::ArpPacket::reply, b.mac(), b.address(), a.mac(), a.address())));
    b.give(ethernet(b.mac(), a.mac(), wire::ethertype_arp, arp(wire::ArpPacket::reply, a.mac(), a.address(), b.mac(), b.address())));
}

void Network::launch(Host& to, Bytes frame, Duration delay) {
    flights_.emplace(now_ + delay, Flight{&to, std::move(frame)});
}

void Network::submit(Host& from, Host& to) {
    for (Bytes& frame : from.take_raw()) {
        ++carried;
        const auto happens = [this](unsigned permille) { return permille != 0 && random.below(1000) < permille; };
        if (happens(faults_.drop_permille)) {
            ++dropped;
            continue;
        }
        Duration delay = faults_.delay;
        if (faults_.jitter > Duration{}) {
            delay += Duration(random.below(static_cast<std::uint32_t>(faults_.jitter.count())));
        }
        if (happens(faults_.reorder_permille)) {
            delay += faults_.reorder_by;
        }
        if (happens(faults_.duplicate_permille)) {
            launch(to, frame, delay + 10us);
        }
        if (happens(faults_.corrupt_permille)) {
            const auto at = random.below(static_cast<std::uint32_t>(frame.size()));
            frame[at] = static_cast<char>(frame[at] ^ (1 << random.below(8)));
        }
        launch(to, std::move(frame), delay);
    }
}

void Network::collect() {
    a.stack().flush(now_);
    b.stack().flush(now_);
    submit(a, b);
    submit(b, a);
}

// To the next thing that happens, and through it. False when nothing does before `end`.
bool Network::advance(Time end) {
    collect();
    Time next = std::min(a.stack().next_deadline(), b.stack().next_deadline());
    next = std::clamp(next, now_ + 20us, now_ + heartbeat);
    if (!flights_.empty()) {
        next = std::min(next, flights_.begin()->first);
    }
    if (next > end) {
        return false;
    }
    now_ = a.now = b.now = std::max(next, now_);
    while (!flights_.empty() && flights_.begin()->first <= now_) {
        Flight& flight = flights_.begin()->second;
        flight.to->enqueue(flight.frame);
        flights_.erase(flights_.begin());
    }
    a.stack().poll(now_);
    b.stack().poll(now_);
    collect();
    return true;
}

}  // namespace shunt::test
