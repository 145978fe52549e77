#include "packetdrill/world.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "config/sysctl.hpp"
#include "pmd/eal.hpp"
#include "pmd/port_inline.hpp"
#include "wire/ethernet.hpp"

namespace shunt::packetdrill {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t connections_max = 4096;
constexpr Duration smallest_step = 10us;   // a deadline of now or before is met that much later
constexpr Duration patience = 24h;         // virtual; longer than any timer of TCP's
constexpr wire::Mac our_mac{2, 0, 0, 0, 0, 1}, their_mac{2, 0, 0, 0, 0, 9};

World* current_world = nullptr;
thread_local bool is_counted = false;      // this thread is in World::running_

// The port stays for the life of the process: DPDK likes neither EAL nor a port to be started twice.
Outcome<pmd::RingPort*> ring_port() {
    static std::optional<pmd::RingPort> port;
    if (!port) {
        if (auto started = pmd::start_eal({.memory_mib = 96, .hugepages = pmd::EalOptions::Hugepages::never, .links = {}}); !started) {
            return std::unexpected(started.error());
        }
        pmd::borrow_lcore(127);
        pmd::PortOptions options;
        options.packets = 16383;
        auto opened = pmd::open_ring_port("packetdrill", options);
        if (!opened) {
            return std::unexpected(opened.error());
        }
        opened->port.mac = our_mac;
        port = *opened;
    }
    return &*port;
}

template <class T>
Bytes bytes_of(const T& header) {
    return Bytes(reinterpret_cast<const char*>(&header), sizeof header);
}

Bytes ethernet(const wire::Mac& to, std::uint16_t type, const Bytes& payload) {
    wire::EthernetHeader header;
    header.destination = to;
    header.source = their_mac;
    header.type = type;
    return bytes_of(header) + payload;
}

// A script's segments may be larger than a packet buffer, as those that a NIC has put together.
void give(pmd::RingPort& ring, const Bytes& frame) {
    Packet* whole = nullptr;
    Packet* last = nullptr;
    for (std::size_t at = 0; at < frame.size();) {
        Packet* piece = ring.port.allocate();
        SHUNT_CHECK(piece != nullptr);
        const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(piece->tailroom(), frame.size() - at));
        std::memcpy(piece->append(n), frame.data() + at, n);
        at += n;
        if (whole == nullptr) {
            whole = piece;
        } else {
            auto* head = whole->mbuf();
            head->pkt_len += n;
            ++head->nb_segs;
            last->mbuf()->next = piece->mbuf();
        }
        last = piece;
    }
    SHUNT_CHECK(ring.give(whole));
}

// Everybody else on the wire is one station, which answers for all addresses.
void answer_arp(pmd::RingPort& ring, const wire::ArpPacket& request) {
    wire::ArpPacket reply = request;
    reply.operation = wire::ArpPacket::reply;
    reply.sender_mac = their_mac;
    reply.sender_address = request.target_address;
    reply.target_mac = request.sender_mac;
    reply.target_address = request.sender_address;
    give(ring, ethernet(our_mac, wire::ethertype_arp, bytes_of(reply)));
}

Bytes take_bytes(Packet& packet) {
    Bytes bytes(packet.size(), '\0');
    packet.copy_out(0, bytes.data(), packet.size());
    packet.free();
    return bytes;
}

}  // namespace

World* World::current() noexcept { return current_world; }

Outcome<World*> World::create(const WorldSetup& setup) {
    auto ring = ring_port();
    if (!ring) {
        return std::unexpected(ring.error());
    }
    auto* world = new World(setup, **ring);
    pmd::Port port = (*ring)->port;
    port.mtu = setup.mtu;
    const Ipv4Address address{setup.local, setup.prefix, 0};
    StackOptions options;
    options.ports = std::span(&port, 1);
    options.addresses = std::span(&address, 1);
    options.gateway = (setup.local & 0xffff'0000) | 0xfffe;
    options.tunables = setup.tunables;
    options.key = {0x9E3779B97F4A7C15U, 0x2545F4914F6CDD1DU};
    options.connections_max = connections_max;
    options.extra_bytes = socket::layer_bytes(connections_max);
    auto stack = Stack::create(options, world->now_);
    if (!stack) {
        delete world;
        return std::unexpected(stack.error());
    }
    world->stack_ = *stack;
    world->layer_ = socket::create_layer(**stack, pmd::TscClock::standing_at(world->now_), Duration{}, connections_max);
    socket::set_layer(world->layer_);
    world->step(world->now_);
    world->emissions_.clear();
    return world;
}

World::World(const WorldSetup& setup, pmd::RingPort& ring) : setup_(setup), ring_(ring) {
    SHUNT_CHECK(current_world == nullptr);
    current_world = this;
}

World::~World() {
    if (stack_ != nullptr) {
        for (const int fd : layer_->slot_fds) {
            ::close(fd);
        }
        ::close(layer_->rx_events);
        ::close(layer_->keeper_fd);
        socket::set_layer(nullptr);
        Stack::destroy(stack_);
        while (Packet* packet = ring_.take()) {
            packet->free();
        }
        std::array<Packet*, 32> left;
        while (const std::uint16_t count = ring_.port.rx_burst(now_, left)) {
            std::for_each_n(left.begin(), count, [](Packet* packet) { packet->free(); });
        }
    }
    current_world = nullptr;
}

Outcome<void> World::set_tunable(std::string_view name, std::string_view value) {
    // Scripts change them while the stack runs, as `sysctl` does on Linux. The stack's own copy is not const; only its readers see it so.
    return config::set_sysctl(const_cast<Tunables&>(stack_->tunables()), name, value);
}

void World::read_tunables(const std::string& folder) { config::read_host(const_cast<Tunables&>(stack_->tunables()), folder); }

Time World::next_time() const {
    Time next = stack_->next_deadline();
    for (const Waiter* waiter : waiters_) {
        next = std::min(next, waiter->deadline);
    }
    return next == never ? never : std::max(next, now_ + smallest_step);
}

void World::advance_to(Time until) {
    for (Time next = next_time(); next < until; next = next_time()) {
        step(next);
    }
    if (until > now_) {
        step(until);
    }
}

bool World::advance_to_packet(Time limit) {
    settle();
    while (emissions_.empty()) {
        const Time next = next_time();
        if (next > limit || next > now_ + patience) {
            if (limit != never && limit > now_) {
                step(limit);
            }
            return !emissions_.empty();
        }
        step(next);
    }
    return true;
}

void World::inject(const Bytes& ip_packet) {
    give(ring_, ethernet(our_mac, wire::ethertype_ipv4, ip_packet));
    step(now_);
}

Emission World::take() {
    Emission first = std::move(emissions_.front());
    emissions_.pop_front();
    return first;
}

void World::settle() { step(now_); }

void World::step(Time to) {
    bool woke = false;
    {
        socket::Guard guard(*layer_);
        work(to);
        woke = release_waiters();
    }
    while (woke) {
        wait_until_idle();
        socket::Guard guard(*layer_);
        work(now_);
        woke = release_waiters();
    }
}

void World::work(Time to) {
    now_ = std::max(now_, to);
    layer_->clock = pmd::TscClock::standing_at(now_);
    stack_->poll(now_);
    collect();
    socket::dispatch(*layer_);
}

void World::collect() {
    bool answered = false;
    while (Packet* packet = ring_.take()) {
        const Bytes frame = take_bytes(*packet);
        const auto& header = *reinterpret_cast<const wire::EthernetHeader*>(frame.data());
        if (header.type == wire::ethertype_ipv4) {
            emissions_.push_back({now_, frame.substr(sizeof header)});
            continue;
        }
        const auto& arp = *reinterpret_cast<const wire::ArpPacket*>(frame.data() + sizeof header);
        if (header.type == wire::ethertype_arp && arp.operation == wire::ArpPacket::request && arp.target_address != setup_.local) {
            answer_arp(ring_, arp);
            answered = true;
        }
    }
    if (answered) {
        stack_->poll(now_);
        collect();
    }
}

bool World::release_waiters() {
    const std::scoped_lock lock(mutex_);
    bool any = false;
    for (auto it = waiters_.begin(); it != waiters_.end();) {
        Waiter& waiter = **it;
        const bool is_ready = waiter.ready(waiter.context);
        if (!is_ready && now_ < waiter.deadline && !is_ending_) {
            ++it;
            continue;
        }
        waiter.outcome = is_ready ? socket::Wake::ready : is_ending_ ? socket::Wake::interrupted : socket::Wake::timed_out;
        ++running_;
        any = true;
        it = waiters_.erase(it);
    }
    changed_.notify_all();
    return any;
}

void World::begin_call() {
    const std::scoped_lock lock(mutex_);
    ++running_;
}

void World::adopt_call() { is_counted = true; }

void World::end_call() {
    const std::scoped_lock lock(mutex_);
    if (!is_driver() && is_counted) {
        is_counted = false;
        --running_;
        changed_.notify_all();
    }
}

void World::interrupt_all() {
    is_ending_ = true;
    settle();
}

void World::wait_until_idle() {
    std::unique_lock lock(mutex_);
    constexpr auto real_limit = 2s;  // a thread that never takes its time must not stop the rest for ever
    if (!changed_.wait_for(lock, real_limit, [this] { return running_ == 0; })) {
        running_ = 0;
    }
}

socket::Wake World::wait(socket::Guard& guard, const socket::WaitFor& what, bool (*ready)(void*) noexcept, void* context) {
    work(now_);
    if (ready(context)) {
        return socket::Wake::ready;
    }
    if (now_ >= what.deadline) {
        return socket::Wake::timed_out;
    }
    if (is_ending_) {
        return socket::Wake::interrupted;
    }
    Waiter waiter{what.deadline, ready, context, {}};
    if (is_driver()) {
        return drive_until(guard, waiter);
    }
    guard.leave(false);
    {
        std::unique_lock lock(mutex_);
        waiters_.push_back(&waiter);
        if (is_counted) {
            --running_;
        }
        changed_.notify_all();
        changed_.wait(lock, [&waiter] { return waiter.outcome.has_value(); });
        is_counted = true;
    }
    guard.enter();
    return *waiter.outcome;
}

// The driver itself blocks: it moves time on until its call is ready.
socket::Wake World::drive_until(socket::Guard& guard, const Waiter& waiter) {
    const Time end = now_ + patience;
    while (true) {
        const Time next = std::min(next_time(), waiter.deadline);
        if (next > end) {
            is_stuck_ = true;
            return socket::Wake::interrupted;
        }
        guard.leave(false);
        step(next);
        guard.enter();
        if (waiter.ready(waiter.context)) {
            return socket::Wake::ready;
        }
        if (now_ >= waiter.deadline) {
            return socket::Wake::timed_out;
        }
    }
}

}  // namespace shunt::packetdrill
