// EAL's interrupt loop: alarms, link events, and the connections of memif. EAL starts it as a thread, which it needs while ports start (iavf waits for
// its answers). Once the keeper lives, the loop runs there, in its only thread, and the keeper's own waiting takes the place of the loop's.
// Knows nothing of DPDK.
#pragma once

namespace shunt::pmd {

// False where EAL's thread was not recognised (another release of DPDK): then it stays a thread of the program's.
bool has_control_loop() noexcept;

// Ends EAL's thread between two turns; returns when it has ended. False when it is stuck in a handler: then it goes on.
bool stop_control_loop() noexcept;

// In the keeper, after stop_control_loop() in the process it comes from. Instead of sleeping the loop calls `wait` with a descriptor that
// becomes readable when there is something for it to do; `wait` returns then, or earlier.
[[noreturn]] void run_control_loop(void (*wait)(int fd) noexcept) noexcept;

// What DPDK's epoll_wait is; see driver_calls.cpp. Returns once there is something for the loop, or at once outside of it.
void wait_in_control_loop(int epfd) noexcept;

}  // namespace shunt::pmd
