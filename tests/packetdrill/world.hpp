// One stack with its socket layer on a port in memory, in a time that moves only when the driver says so. The core of the script interpreter and of the
// adapter for the real packetdrill. Packets in and out are IP packets; the Ethernet around them, and ARP, are played here.
//
// Threads: the one that makes a World drives it. Others may call the socket layer and block there; they never run beside the driver: when time or a
// packet has made their call ready, the driver waits until each of them blocks again or has ended its call (end_call). So every run is the same.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/result.hpp"
#include "base/time.hpp"
#include "base/tunables.hpp"
#include "pmd/ring_port.hpp"
#include "socket/guard.hpp"
#include "stack/stack.hpp"

namespace shunt::packetdrill {

using Bytes = std::string;

struct Emission {
    Time at;
    Bytes packet;
};

struct WorldSetup {
    std::uint32_t local = 0xC0A80001;  // 192.168.0.1, as the tool's default
    std::uint8_t prefix = 16;
    std::uint16_t mtu = 1500;
    Tunables tunables{};
};

class World {
public:
    // The process has one at a time. Starts EAL when it is the first.
    static Outcome<World*> create(const WorldSetup& setup);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    static World* current() noexcept;

    Stack& stack() noexcept { return *stack_; }
    Time now() const noexcept { return now_; }
    const WorldSetup& setup() const noexcept { return setup_; }
    Outcome<void> set_tunable(std::string_view name, std::string_view value);
    void read_tunables(const std::string& folder);  // laid out as /proc/sys

    // ---- the driver's
    void advance_to(Time until);
    // To the moment at which the next packet leaves the stack; false when none does by `limit`, or nothing is left that could bring one.
    bool advance_to_packet(Time limit);
    void inject(const Bytes& ip_packet);
    bool has_packet() const noexcept { return !emissions_.empty(); }
    const Emission& front() const { return emissions_.front(); }
    Emission take();
    void settle();          // after calls: what they have sent is collected, whom they have woken runs
    bool is_driver() const noexcept { return std::this_thread::get_id() == driver_; }

    // ---- other threads'
    void begin_call();      // the driver hands a call to a thread, which counts as running from now on ...
    void adopt_call();      // ... and knows it
    void end_call();        // that thread, or one that was woken, has its result and the time
    void wait_until_idle(); // the driver waits for all of them
    void interrupt_all();   // whoever blocks returns with EINTR, now and from now on: the end is near

    // What src/socket's wait() is in virtual time.
    socket::Wake wait(socket::Guard& guard, const socket::WaitFor& what, bool (*ready)(void*) noexcept, void* context);
    bool is_stuck() const noexcept { return is_stuck_; }  // a call of the driver's waited for what could not come

private:
    struct Waiter {
        Time deadline;
        bool (*ready)(void*) noexcept;
        void* context;
        std::optional<socket::Wake> outcome;
    };

    World(const WorldSetup& setup, pmd::RingPort& ring);
    Time next_time() const;
    void step(Time to);           // takes the lock, runs whom it wakes
    void work(Time to);           // with the lock held
    void collect();
    bool release_waiters();
    socket::Wake drive_until(socket::Guard& guard, const Waiter& waiter);

    WorldSetup setup_;
    pmd::RingPort& ring_;
    Stack* stack_ = nullptr;
    socket::Layer* layer_ = nullptr;
    Time now_{std::chrono::hours(1)};
    std::deque<Emission> emissions_;
    std::thread::id driver_ = std::this_thread::get_id();
    bool is_stuck_ = false;
    bool is_ending_ = false;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::list<Waiter*> waiters_;
    unsigned running_ = 0;        // threads other than the driver that are neither blocked nor done
};

}  // namespace shunt::packetdrill
