// The keeper's own keeper: a process cloned from it that waits for its end and does nothing else; when the keeper is killed, it goes on in its place. What it has of DPDK's state is
// of the moment of its birth, so it is born anew when a link's connection has come or gone. Private to src/socket/.
#pragma once

#include "socket/state.hpp"

namespace shunt::socket {

class Spare {
public:
    // In each turn of the keeper's: sees that there is one.
    void tend(Layer& layer, Time now) noexcept;
    // The keeper leaves.
    void end() noexcept;

private:
    void bear(Layer& layer) noexcept;

    long pid_ = 0;                // 0: there is none
    std::uint64_t links_ = 0;     // as they were at its birth
    Time changed_{};
};

}  // namespace shunt::socket
