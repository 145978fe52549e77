// The shim's lock: over changes of several words of the table, and epoll registrations. Never held across anything that blocks.
// The program's signal handlers wait while a thread holds it (signals.cpp): they may call us.
#pragma once

namespace shunt::preload {

class Locked {
public:
    Locked() noexcept;
    ~Locked();
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
};

// For fork, which takes it in the parent and lets go in both.
void lock_for_fork() noexcept;
void unlock_after_fork() noexcept;

// This thread holds it: a handler must not run now.
bool is_lock_held() noexcept;

}  // namespace shunt::preload
