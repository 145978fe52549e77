// The stack: everything about one set of ports and addresses, in one shared arena. Start reading here.
//
//   poll(now):  take frames from the ports -> Ethernet -> ARP | IPv4 -> ICMP | UDP | TCP, run timers that are due, send what came of it.
//
// Whoever holds the lock does the work; below it nothing blocks, allocates from the heap, or makes a system call. Time, randomness and packets come
// in as arguments. Nothing in here points outside the arena and the packet memory, so a forked child uses the same stack at the same addresses.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <span>

#include "base/arena.hpp"
#include "base/counters.hpp"
#include "base/lock.hpp"
#include "base/random.hpp"
#include "base/timer_wheel.hpp"
#include "base/tunables.hpp"
#include "ip/icmp.hpp"
#include "ip/ipv4.hpp"
#include "link/link.hpp"
#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"
#include "udp/udp.hpp"

namespace shunt {

struct StackOptions {
    std::span<const pmd::Port> ports;          // none only where `owns_loopback`
    const pmd::Port* packet_source = nullptr;  // whose pool packets come from; null: the first port's
    std::span<const Ipv4Address> addresses;
    std::uint32_t gateway = 0;                 // host order; 0: none
    Tunables tunables;
    SecretKey key;                             // from a random device, by the caller
    std::uint32_t connections_max = 65536;
    bool owns_loopback = false;                // 127.0.0.0/8 is ours
    Duration lan_rto_min{};                    // instead of tcp_rto_min_us, for peers on our own networks; 0: the same for all
    unsigned lcore = 127;                      // whose packet caches the lock's holder borrows
    std::size_t extra_bytes = 0;               // arena space for the layer above
    std::uint32_t fragments_max = 1024;        // datagrams in reassembly
};

class Stack {
public:
    // Maps the arena and builds the stack in it. EINVAL, ENOMEM with the reason.
    static Outcome<Stack*> create(const StackOptions& options, Time now);
    // Frees all packets and the arena; the ports are the caller's.
    static void destroy(Stack* stack) noexcept;

    // ---- the lock
    void lock(std::uint32_t tid) noexcept {
        if (lock_.lock(tid) == RobustLock::Outcome::taken_from_dead) [[unlikely]] {
            holder_died_ = true;
            left_by_dead_ = std::max(left_by_dead_, doing_);
        }
        change();
        pmd::borrow_lcore(lcore_);
    }
    void unlock() noexcept {
        rest();
        lock_.unlock();
    }
    // What the holder is at: if it dies, whoever comes next knows how much there is to repair (socket/repair.cpp). Taking the lock is the beginning of a
    // change; whoever goes on holding it over a state that others may find says so by rest(), and by change() when that is over. poll() works from either.
    // At the port: frames come and go, and the packet pool changes, but nothing else.
    enum class Doing : std::uint8_t { resting, at_port, changing };
    void change() noexcept { set_doing(Doing::changing); }
    void rest() noexcept { set_doing(Doing::resting); }
    bool has_holder_died() const noexcept { return holder_died_; }
    Doing left_by_dead() const noexcept { return left_by_dead_; }
    void repaired() noexcept {
        left_by_dead_ = Doing::resting;
        holder_died_ = false;
    }
    bool is_locked() const noexcept { return lock_.holder() != 0; }  // by somebody, a moment ago
    bool is_wanted() const noexcept { return lock_.is_wanted(); }
    void forget_spinners() noexcept { lock_.forget_spinners(); }

    // ---- with the lock held
    // One round of work. True when a frame arrived or a timer fired.
    bool poll(Time now) noexcept;
    // Sends what calls have produced since the last poll, and delivers what they sent to ourselves.
    void flush(Time now) noexcept {
        if (ipv4_.has_looped()) {
            input_looped(now);
        }
        const Doing before = doing_;
        set_doing(Doing::at_port);
        ipv4_.flush(now);
        set_doing(before);
    }
    // For socket/repair.cpp. The packets of a stack that is whole, but for what sockets alone know.
    template <class F>
    void for_each_packet(F f) const noexcept {
        ipv4_.for_each_packet(f);
        tcp_.for_each_packet(f);
    }
    void drop_output() noexcept { std::ranges::for_each(links(), &Link::drop_output); }
    pmd::Fragments* fragments() noexcept { return fragments_; }
    // Empties all tables and forgets all packets, which are the caller's to find again. Addresses, routes, counters and the layer above stay.
    void start_over(Time now) noexcept;
    // When poll wants to be called at the latest, for timers.
    Time next_deadline() const noexcept;

    Ipv4& ipv4() noexcept { return ipv4_; }
    Udp& udp() noexcept { return udp_; }
    tcp::Tcp& tcp() noexcept { return tcp_; }
    ChangedList& changed() noexcept { return changed_; }
    const Counters& counters() const noexcept { return counters_; }
    Counters& counters() noexcept { return counters_; }
    const Tunables& tunables() const noexcept { return tunables_; }
    std::span<Link* const> links() const noexcept { return ipv4_.links(); }
    bool has_port() const noexcept { return !ipv4_.links().empty(); }  // false: --link loop alone
    Arena& arena() noexcept { return arena_; }
    Time last_poll() const noexcept { return last_poll_; }
    bool is_valid() const noexcept { return wheel_.is_valid(); }
    void* layer_above = nullptr;  // the socket layer's state, in the arena

private:
    friend struct StackBuilder;
    Stack(const StackOptions& options, Arena arena, std::span<Link* const> links, pmd::Fragments* fragments, Time now) noexcept;

    bool receive(Link& link, Time now) noexcept;
    void input_frame(Link& link, Packet* packet, Time now) noexcept;
    void input_arp(Link& link, Packet* packet, Time now) noexcept;
    enum class Arrival : std::uint8_t { to_us, to_group, looped };  // by the link's address; looped: from ourselves
    void input_ip(Packet* packet, Arrival arrival, Time now) noexcept;
    void input_looped(Time now) noexcept;
    void input_icmp(Packet* packet, const Ipv4Verdict& ip, Time now) noexcept;
    void report(const IcmpError& error, Time now) noexcept;
    bool run_timers(Time now) noexcept;
    void keep_house(Time now) noexcept;
    void drop(Packet* packet, DropReason reason) noexcept {
        counters_.count(reason);
        packet->free();
    }

    // Nothing else may be moved across it.
    void set_doing(Doing what) noexcept {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        doing_ = what;
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }

    RobustLock lock_;
    unsigned lcore_;
    Doing doing_ = Doing::resting;
    bool holder_died_ = false;
    Doing left_by_dead_ = Doing::resting;
    Arena arena_;
    Counters counters_;
    Tunables tunables_;
    TimerWheel wheel_;
    ChangedList changed_;
    pmd::Fragments* fragments_;
    Ipv4 ipv4_;
    Icmp icmp_;
    Udp udp_;
    tcp::Tcp tcp_;
    Time last_poll_{};
    Time house_at_{};
    std::array<bool, Ipv4::links_max> link_was_up_{};
};

}  // namespace shunt
