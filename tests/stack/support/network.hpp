// Two hosts and a bad wire between them, in virtual time. Everything follows from the seed.
#pragma once

#include <map>

#include "base/random.hpp"
#include "stack/support/host.hpp"

namespace shunt::test {

struct WireFaults {
    unsigned drop_permille = 0, duplicate_permille = 0, reorder_permille = 0, corrupt_permille = 0;
    Duration delay = 50us, jitter{}, reorder_by = 500us;
};

class Network {
public:
    Network(std::uint64_t seed, const WireFaults& faults, HostSetup a_setup = {}, HostSetup b_setup = {});

    // Carries frames and time on until `limit` or until `done()`; calls `each_step` after each.
    template <class Done, class EachStep>
    bool run(Duration limit, Done done, EachStep each_step) {
        const Time end = now_ + limit;
        while (!done()) {
            if (!advance(end)) {
                return false;
            }
            each_step();
        }
        return true;
    }
    void set_faults(const WireFaults& faults) { faults_ = faults; }
    Time now() const { return now_; }
    void collect();  // what calls between the steps have produced

    Random random;
    Host a, b;
    std::uint64_t carried = 0, dropped = 0;

private:
    struct Flight {
        Host* to;
        Bytes frame;
    };
    bool advance(Time end);
    void submit(Host& from, Host& to);
    void launch(Host& to, Bytes frame, Duration delay);

    WireFaults faults_;
    Time now_;
    std::multimap<Time, Flight> flights_;
};

}  // namespace shunt::test
