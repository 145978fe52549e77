// Whether a thread that has to wait spins before it sleeps. That pays when what it waits for comes meanwhile. Where it comes later, or from somebody who wants this
// processor, or where the scheduler takes the processor away, the thread spins ever more rarely: after a miss not in the next wait, then not in 2, 4, up to 64.
#pragma once

#include <algorithm>

namespace shunt::socket {

class SpinHabit {
public:
    // Asked once a wait.
    bool spins_now() noexcept {
        const bool now = pause_left_ == 0;
        pause_left_ -= now ? 0 : 1;
        return now;
    }
    void hit() noexcept { next_pause_ = 1; }
    void miss() noexcept {
        pause_left_ = next_pause_;
        next_pause_ = std::min(2 * next_pause_, 64);
    }

private:
    int pause_left_ = 0, next_pause_ = 1;
};

}  // namespace shunt::socket
