// The socket layer's own state, in the stack's arena: descriptions, epoll sets, who sleeps for what. Private to src/socket/.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/pool.hpp"
#include "pmd/clock.hpp"
#include "pmd/guest.hpp"
#include "socket/processes.hpp"
#include "socket/socket.hpp"
#include "stack/stack.hpp"

namespace shunt::socket {

struct Interest;

// A slot's bit in a mask says that somebody there wants to know.
using SleeperMask = std::uint64_t;

// Who hears of a socket by signal: of urgent data always, of all else with O_ASYNC.
struct SignalOwner {
    int type = 0;    // F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP
    int id = 0;      // 0: nobody
    int signal = 0;  // F_SETSIG; 0: SIGIO
    int fd = -1;     // for siginfo
    bool is_async = false;
};
inline constexpr std::uint8_t shut_for_receive = 1, shut_for_send = 2;

// A call looks at the descriptor table before it has the lock, and another thread may have closed what it found. So in a free slot of a pool `references` stays
// readable, and 0; the pool's link takes the place in front of it.
struct Socket {
    void* pool_link = nullptr;
    std::uint32_t references = 1;
    int type = SOCK_STREAM;
    bool is_v6 = false;           // the program's family is AF_INET6: addresses are shown v4-mapped
    bool is_both = false;
    bool nonblocking = false;
    bool was_connecting = false;  // a connect() has been started and its end not been told
    bool is_disconnecting = false;  // Linux's SS_DISCONNECTING: nothing but connect(AF_UNSPEC) leads on
    bool is_bound = false;
    bool has_own_port = false;    // bind() named it: it outlives a connection
    bool is_bound_anew = false;   // since its connection ended, which had given up its port
    std::uint8_t shut = 0;        // shut_for_... of a TCP socket that is not connected
    int error = 0;                // pending, of a TCP socket that is not connected
    std::uint32_t unsent_gap = 0;   // of one that was disconnected: Linux moves its write_seq on, and counts that as not sent (TCP_NOTSENT_LOWAT)
    std::uint32_t last_window = 0;  // the largest that the old peer had offered
    bool v6only = false;
    bool is_on_device = false;    // bound to our interface
    tcp::Connection* connection = nullptr;
    tcp::Listener* listener = nullptr;
    UdpEndpoint* udp = nullptr;
    std::uint32_t bound_address = 0;
    std::uint16_t bound_port = 0;
    std::uint64_t inode = 0;         // of the kernel's socket behind it, once it has left a process (passing.cpp)
    tcp::BoundPort held_port;        // port 0: a program has not bound it
    tcp::ConnectionOptions options;  // for connections yet to be made
    FastOpenKeys fast_open_keys{};   // for the listener that it may become
    bool reuse_port = false;
    bool broadcast = false;
    struct {                      // what recvmsg tells beside the data
        bool is_any() const noexcept { return pktinfo || pktinfo_v6 || ttl || tos || destination || drops || timestamp || timestamp_ns; }
        bool pktinfo : 1 = false;
        bool pktinfo_v6 : 1 = false;
        bool ttl : 1 = false;
        bool tos : 1 = false;
        bool destination : 1 = false;  // IP_RECVORIGDSTADDR
        bool drops : 1 = false;        // SO_RXQ_OVFL
        bool timestamp : 1 = false;    // SO_TIMESTAMP
        bool timestamp_ns : 1 = false; // SO_TIMESTAMPNS
    } receives;
    bool inq = false;             // TCP_INQ: recvmsg says how much is left
    bool zerocopy = false;        // SO_ZEROCOPY: MSG_ZEROCOPY counts
    SignalOwner signals;
    int linger_s = -1;            // -1: off
    std::uint32_t rcvlowat = 1;
    Duration rcvtimeo = Duration::max();
    Duration sndtimeo = Duration::max();
    Interest* interests = nullptr;
    SleeperMask sleepers = 0;
};

// One socket, or one set, in one set under one descriptor.
struct Interest {
    Socket* socket = nullptr;
    EpollSet* inner = nullptr;    // when it is no socket
    EpollSet* set = nullptr;
    int fd = -1;
    std::uint32_t events = 0;
    epoll_data_t data{};
    bool is_ready = false;        // on the set's ready list
    bool is_disabled = false;     // EPOLLONESHOT has fired
    bool is_in_kernel = false;    // the kernel's set has the descriptor too, with this as its data
    Interest* next_of_source = nullptr;  // of the socket, or of the inner set
    Interest* next_of_set = nullptr;
    Interest* previous_of_set = nullptr;
    Interest* next_ready = nullptr;
    Interest* previous_ready = nullptr;
};

struct EpollSet {
    void* pool_link = nullptr;
    std::uint32_t references = 1;
    std::uint32_t count = 0;
    Interest* interests = nullptr;
    Interest* ready_head = nullptr;
    Interest* ready_tail = nullptr;
    Interest* outer = nullptr;    // in the sets that this one is in
    SleeperMask sleepers = 0;
    Time kernel_asked{};          // when the kernel's part of the set was last looked at
    bool kernel_took_all = false; // of the caller's room: our turn
};

template <class T>
bool is_gone(const T& object) noexcept {
    return object.references == 0;
}
template <class T>
void put_back(Pool<T>& pool, T& object) noexcept {
    pool.destroy(&object);
    __atomic_store_n(&object.references, 0, __ATOMIC_RELAXED);  // an atomic one is not left out as a store to what is dead
}

struct Layer {
    Stack* stack = nullptr;
    pmd::TscClock clock;
    Duration spin{};              // how long a waiting call polls before it sleeps
    bool has_interrupts = false;  // every port can wake a sleeper
    bool is_armed = false;        // receive interrupts are on
    int rx_events = -1;           // epoll fd over the ports' interrupts
    int keeper_fd = -1;           // eventfd: ends the keeper's listening
    bool keeper_listens = false;  // the keeper sleeps on rx_events
    std::uint32_t sleepers = 0;   // program threads asleep
    std::uint32_t guest_sleepers = 0;  // those of them that cannot hear a port: the keeper listens for them
    pmd::GuestQueues* guest_queues = nullptr;
    std::array<std::atomic<std::uint16_t>, sleeper_slots> slot_sleepers{};  // changes under the lock; whoever wakes has left it
    std::array<int, sleeper_slots> slot_fds{};
    unsigned next_slot = 0;
    SleeperMask pending_wakes = 0;
    Pool<Socket> sockets;
    Pool<EpollSet> sets;
    Pool<Interest> interests;
    Ledger ledger;
    std::int32_t keeper_pid = 0;
    std::atomic<std::uint32_t> told_to_processes{0};  // sockets that the others of a fork may find by their inode
    bool is_closed = false;       // the keeper leaves: who has just been invited comes too late
    bool lends_packets = false;   // to programs that link the library
    std::array<unsigned, Ipv4::links_max> interface_indices{};  // of the stack's links, see interfaces.hpp
    std::uint64_t accelerated = 0;  // descriptions ever made

    Time now() const noexcept { return clock.now(); }
};

inline Layer& layer_of(Stack& stack) noexcept { return *static_cast<Layer*>(stack.layer_above); }
// The process's only stack's layer; set by the runtime.
Layer& layer() noexcept;
void set_layer(Layer* layer) noexcept;

Layer* create_layer(Stack& stack, const pmd::TscClock& clock, Duration spin, std::uint32_t sockets_max);
std::size_t layer_bytes(std::uint32_t sockets_max) noexcept;

// Tells epoll sets and sleepers what polling has brought. With the lock held.
void dispatch(Layer& layer) noexcept;
// SIGURG and SIGIO, for the owner of the socket.
void send_signals(const Socket& socket, std::uint8_t news) noexcept;
// The wall clock, at the moment of the layer's time.
timespec wall_time(const Layer& layer) noexcept;
// What poll(2) would say of our side.
short readiness_of(const Layer& layer, const Socket& socket) noexcept;
void detach_from_sets(Layer& layer, Socket& socket) noexcept;
short readiness_of(const Layer& layer, const EpollSet& set) noexcept;
void make_ready(EpollSet& set, Interest& interest) noexcept;
// Something happened: onto the ready list, and everybody is woken who waits for the set, or for a set that it is in.
void tell(Layer& layer, Interest& interest) noexcept;
void tell(Layer& layer, Socket& socket) noexcept;
// A datagram has left: as on Linux an edge for who waits for room, though there was room before.
void tell_sent(Layer& layer, Socket& socket) noexcept;
// The only ways to and from a reference but the first one's end (drop_last_reference in ancillary.hpp): this process's ledger has it, too.
Socket* create_socket(Layer& layer) noexcept;   // null: the table is full
EpollSet* create_set(Layer& layer) noexcept;
void hold(Layer& layer, Socket& socket) noexcept;
void hold(Layer& layer, EpollSet& set) noexcept;
void drop_reference(Layer& layer, EpollSet& set) noexcept;
// The same, when the ledger knows already.
void drop_reference_of(Layer& layer, EpollSet& set) noexcept;
// What bind has reserved, if anything.
void give_up_port(Stack& stack, Socket& socket) noexcept;
std::uint32_t events_of(const Layer& layer, const Interest& interest) noexcept;

// getpeername's answer. With the lock held.
long name_of_peer(const Socket& socket, sockaddr* address, socklen_t* length) noexcept;

// ---- addresses
struct Address {
    std::uint32_t address = 0;
    std::uint16_t port = 0;
};
// EAFNOSUPPORT, EINVAL as Linux; v4-mapped and :: are understood for AF_INET6.
Result<Address> read_address(const sockaddr* address, socklen_t length, bool is_v6) noexcept;
// Nothing where the program has no room for it; -EINVAL for a negative length.
long write_address(Address from, bool is_v6, sockaddr* address, socklen_t* length) noexcept;

}  // namespace shunt::socket
