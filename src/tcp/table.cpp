// Who is where: lookup by addresses and ports, choice of ports (RFC 6056), life and death of a connection, TIME_WAIT.
#include <algorithm>
#include <bit>

#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::uint32_t ports = 65536;
constexpr Duration time_wait_time = std::chrono::seconds(60);  // Linux: TCP_TIMEWAIT_LEN

std::uint32_t bucket_count(std::uint32_t connections_max) noexcept {
    return std::bit_ceil(std::max(connections_max, 1024U));
}

bool overlap(std::uint32_t a, std::uint32_t b) noexcept {
    return a == 0 || b == 0 || a == b;
}

}  // namespace

std::size_t Tcp::arena_bytes(std::uint32_t connections_max, std::uint32_t listeners_max) noexcept {
    return Pool<Connection>::bytes_for(connections_max) + Pool<Listener>::bytes_for(listeners_max) + bucket_count(connections_max) * sizeof(Connection*) +
           ports * (sizeof(Listener*) + sizeof(BoundPort*) + sizeof(std::uint32_t)) + FastOpenCache::arena_bytes() + 6 * 64;
}

Tcp::Tcp(const Context& context, Arena& arena, std::uint32_t connections_max, std::uint32_t listeners_max) noexcept
    : context_(context),
      connections_(arena.carve(Pool<Connection>::bytes_for(connections_max), 64), connections_max),
      listeners_(arena.carve(Pool<Listener>::bytes_for(listeners_max), 64), listeners_max),
      buckets_(arena.carve_array<Connection*>(bucket_count(connections_max))),
      listeners_by_port_(arena.carve_array<Listener*>(ports)),
      bound_by_port_(arena.carve_array<BoundPort*>(ports)),
      connections_by_port_(arena.carve_array<std::uint32_t>(ports)),
      bucket_mask_(bucket_count(connections_max) - 1),
      fast_open_cache_(arena, context.key) {
    const std::uint64_t first[] = {0x746666, 0}, second[] = {0x746666, 1};
    own_fast_open_keys_ = {{SecretKey{siphash(context.key, first), siphash(context.key, second)}}, 1};
}

// Keyed, so that an outsider cannot aim many connections at one bucket.
std::uint32_t Tcp::bucket_of(std::uint32_t local, std::uint16_t local_port, std::uint32_t remote, std::uint16_t remote_port) const noexcept {
    const std::uint64_t a = (static_cast<std::uint64_t>(local) << 32 | remote) ^ context_.key.k0;
    const std::uint64_t b = (static_cast<std::uint64_t>(local_port) << 16 | remote_port) ^ context_.key.k1;
    const auto product = static_cast<unsigned __int128>(a) * (b | 1);
    const std::uint64_t mixed = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    const auto again = static_cast<unsigned __int128>(mixed ^ context_.key.k1) * 0x9E3779B97F4A7C15U;
    return static_cast<std::uint32_t>((static_cast<std::uint64_t>(again) ^ static_cast<std::uint64_t>(again >> 64)) >> 16) & bucket_mask_;
}

Connection* Tcp::find(std::uint32_t local, std::uint16_t local_port, std::uint32_t remote, std::uint16_t remote_port) const noexcept {
    for (Connection* c = buckets_[bucket_of(local, local_port, remote, remote_port)]; c != nullptr; c = c->hash_next) {
        if (c->remote_address == remote && c->remote_port == remote_port && c->local_port == local_port && c->local_address == local) {
            return c;
        }
    }
    return nullptr;
}

// An exact address goes before the wildcard; of several with SO_REUSEPORT the flow's hash chooses.
Listener* Tcp::find_listener(const Segment& seg) const noexcept {
    const std::uint16_t port = seg.destination_port;
    for (const std::uint32_t wanted : {seg.destination, std::uint32_t{0}}) {
        unsigned count = 0;
        for (Listener* l = listeners_by_port_[port]; l != nullptr; l = l->next) {
            count += l->local_address == wanted;
        }
        if (count == 0) {
            continue;
        }
        unsigned nth = ((seg.source * 31 + seg.source_port) * 0x9E3779B1U >> 8) % count;
        for (Listener* l = listeners_by_port_[port]; l != nullptr; l = l->next) {
            if (l->local_address == wanted && nth-- == 0) {
                return l;
            }
        }
    }
    return nullptr;
}

void Tcp::insert(Connection& c) noexcept {
    Connection*& head = buckets_[bucket_of(c.local_address, c.local_port, c.remote_address, c.remote_port)];
    c.hash_next = head;
    head = &c;
    c.is_hashed = true;
    ++connections_by_port_[c.local_port];
}

void Tcp::erase(Connection& c) noexcept {
    if (!c.is_hashed) {
        return;
    }
    Connection** link = &buckets_[bucket_of(c.local_address, c.local_port, c.remote_address, c.remote_port)];
    while (*link != &c) {
        link = &(*link)->hash_next;
    }
    *link = c.hash_next;
    c.is_hashed = false;
    --connections_by_port_[c.local_port];
}

Connection* Tcp::create(Time now) noexcept {
    Connection* c = connections_.try_create();
    if (c == nullptr && time_wait_head_ != nullptr) {  // the longest waiting goes, as under Linux's tcp_max_tw_buckets
        finish(*time_wait_head_, 0);
        c = connections_.try_create();
    }
    if (c != nullptr) {
        c->timer.kind = timer_kind;
        c->timer.owner = c;
        c->last_heard = c->last_sent_at = now;
    }
    return c;
}

void Tcp::drop_buffers(Connection& c) noexcept {
    c.rcv_queue.clear();
    c.snd_queue.clear();
    clear_out_of_order(c);
    c.error_queue.clear();
    c.error_reports = 0;
    c.rcv_queued = c.rcv_packets = 0;
    c.send_head = c.last_sent = nullptr;
    c.sacked_out = c.lost_out = c.retrans_out = 0;
    c.write_seq = c.snd_nxt;
}

void Tcp::destroy(Connection& c) noexcept {
    drop_buffers(c);
    context_.wheel.cancel(c.timer);
    context_.changed.remove(c);
    detach_from_listener(c);
    leave_time_wait_list(c);
    erase(c);
    leave_path(c);
    if (held_ == &c) {
        held_ = nullptr;
    }
    connections_.destroy(&c);
    __atomic_store_n(&c.is_hashed, false, __ATOMIC_RELAXED);  // for tell_peers(); an atomic one is not left out as a store to what is dead
}

void Tcp::leave_path(Connection& c) noexcept {
    if (c.path.neighbour != nullptr) {
        --c.path.neighbour->references;
    }
}

void Tcp::finish(Connection& c, int error) noexcept {
    c.state = State::closed;
    if (c.opening.is_early) {
        end_early(c);
    }
    c.retransmit_at = c.delack_at = c.keepalive_at = c.reorder_at = never;
    if (c.owner == nullptr && !c.in_accept_queue) {
        destroy(c);
        return;
    }
    context_.wheel.cancel(c.timer);
    leave_time_wait_list(c);
    erase(c);
    c.snd_queue.clear();
    clear_out_of_order(c);
    c.send_head = c.last_sent = nullptr;
    c.sacked_out = c.lost_out = c.retrans_out = 0;
    c.write_seq = c.snd_nxt = c.snd_una;
    if (error != 0) {
        c.error = error;
    }
    note(c, ready::input | ready::output | ready::hangup | ready::peer_shut | (error != 0 ? ready::error : 0));
}

void Tcp::enter_time_wait(Connection& c, Time now) noexcept {
    c.state = State::time_wait;
    c.retransmit_at = c.delack_at = c.reorder_at = never;
    c.keepalive_at = now + time_wait_time;
    c.snd_queue.clear();
    c.send_head = c.last_sent = nullptr;
    c.sacked_out = c.lost_out = c.retrans_out = 0;
    if (!c.in_time_wait_list) {
        if (time_wait_count_ >= static_cast<std::uint32_t>(context_.tunables.tcp_max_tw_buckets) && time_wait_head_ != nullptr) {
            context_.counters.count(Event::tcp_time_wait_overflows);
            finish(*time_wait_head_, 0);
        }
        c.in_time_wait_list = true;
        c.list_previous = time_wait_tail_;
        c.list_next = nullptr;
        (time_wait_tail_ != nullptr ? time_wait_tail_->list_next : time_wait_head_) = &c;
        time_wait_tail_ = &c;
        ++time_wait_count_;
    }
    arm(c);
    note(c, ready::input | ready::output | ready::hangup | ready::peer_shut);
}

void Tcp::leave_time_wait_list(Connection& c) noexcept {
    if (!c.in_time_wait_list) {
        return;
    }
    (c.list_previous != nullptr ? c.list_previous->list_next : time_wait_head_) = c.list_next;
    (c.list_next != nullptr ? c.list_next->list_previous : time_wait_tail_) = c.list_previous;
    c.list_next = c.list_previous = nullptr;
    c.in_time_wait_list = false;
    --time_wait_count_;
}

// RFC 6191: with timestamps, a port in TIME_WAIT may be used again once the clock has moved on; where tcp_tw_reuse allows it.
bool Tcp::is_reusable_time_wait(const Connection& c, Time now) const noexcept {
    const std::int32_t mode = context_.tunables.tcp_tw_reuse;
    const bool is_allowed = mode == 1 || (mode == 2 && wire::is_loopback(c.remote_address));
    return is_allowed && is_safe_time_wait(c) && now - c.ts_recent_at > std::chrono::seconds(1);
}

// The timestamps keep the segments of the old connection and of a new one apart: enough for a program that asks for this very port, as on Linux.
bool Tcp::is_safe_time_wait(const Connection& c) noexcept { return c.state == State::time_wait && c.has_timestamps; }

void Tcp::hold(BoundPort& bound) noexcept {
    bound.next = bound_by_port_[bound.port];
    bound_by_port_[bound.port] = &bound;
}

void Tcp::let_go(BoundPort& bound) noexcept {
    BoundPort** link = &bound_by_port_[bound.port];
    while (*link != &bound) {
        link = &(*link)->next;
    }
    *link = bound.next;
}

bool Tcp::has_listener_in_the_way(std::uint32_t address, std::uint16_t port, bool reuse_port) const noexcept {
    for (const Listener* l = listeners_by_port_[port]; l != nullptr; l = l->next) {
        if (overlap(address, l->local_address) && !(reuse_port && l->reuse_port)) {
            return true;
        }
    }
    return false;
}

bool Tcp::is_port_free(std::uint32_t address, std::uint16_t port, const ConnectionOptions& options) const noexcept {
    const auto is_in_the_way = [&](std::uint32_t other, const ConnectionOptions& others) {
        const bool may_share = (options.reuse_address && others.reuse_address) || (options.reuse_port && others.reuse_port);
        return overlap(address, other) && !may_share;
    };
    if (has_listener_in_the_way(address, port, options.reuse_port)) {
        return false;
    }
    for (const BoundPort* bound = bound_by_port_[port]; bound != nullptr; bound = bound->next) {
        if (is_in_the_way(bound->address, *bound->options)) {
            return false;
        }
    }
    const bool shares_nothing = !options.reuse_address && !options.reuse_port;
    if (address == 0 && shares_nothing) {
        return connections_by_port_[port] == 0;
    }
    bool is_free = true;
    if (connections_by_port_[port] != 0) {
        for_each_connection([&](const Connection& c) { is_free = is_free && !(c.local_port == port && is_in_the_way(c.local_address, c.options)); });
    }
    return is_free;
}

// RFC 6056, algorithm 4, as Linux: a secret offset for each destination, and a counter that destinations share by another part of the same hash. A
// connection tries the ports of the range's parity first, a bind the others, so that the two seldom meet.
Result<std::uint16_t> Tcp::pick_port(std::uint32_t local, std::uint32_t remote, std::uint16_t remote_port, Time now) noexcept {
    const auto first = static_cast<std::uint32_t>(context_.tunables.ip_local_port_range.first);
    const std::uint32_t all = static_cast<std::uint32_t>(context_.tunables.ip_local_port_range.last) - first + 1;
    const std::uint32_t range = all > 1 ? all & ~1U : all;
    const std::uint64_t words[] = {static_cast<std::uint64_t>(local) << 32 | remote, remote_port};
    const std::uint64_t hash = siphash(context_.key, words);
    std::uint32_t& counter = port_counters_[hash % port_counters_.size()];
    const std::uint32_t start = (static_cast<std::uint32_t>(hash >> 32) + counter) % range & ~1U;
    const std::uint32_t first_parity = remote_port != 0 ? 0 : 1;
    for (std::uint32_t i = 0; i < range; ++i) {
        const std::uint32_t parity = i < (range + 1) / 2 ? first_parity : 1 - first_parity;
        const auto port = static_cast<std::uint16_t>(first + (start + 2 * (i % ((range + 1) / 2)) + parity) % range);
        const bool is_bind = remote_port == 0;
        if (is_bind ? !is_port_free(local, port, {}) : listeners_by_port_[port] != nullptr || bound_by_port_[port] != nullptr) {
            continue;
        }
        Connection* holder = is_bind ? nullptr : find(local, port, remote, remote_port);
        if (holder != nullptr && !is_reusable_time_wait(*holder, now)) {
            continue;
        }
        if (holder != nullptr) {
            finish(*holder, 0);
        }
        counter += 2 * (i + 1);
        return port;
    }
    return fail(EADDRNOTAVAIL);
}

void Tcp::free_packets() noexcept {
    for (std::uint32_t i = 0; i <= bucket_mask_; ++i) {
        for (Connection* c = buckets_[i]; c != nullptr; c = c->hash_next) {
            drop_buffers(*c);
        }
    }
    for_each_listener([this](const Listener& listener) {
        for (Connection* c = listener.accept_head; c != nullptr; c = c->list_next) {
            drop_buffers(*c);
        }
    });
}

std::uint32_t Tcp::orphans_with_data() const noexcept {
    std::uint32_t count = 0;
    for_each_connection([&](const Connection& c) {
        count += c.owner == nullptr && c.listener == nullptr && c.state != State::time_wait && c.state != State::fin_wait_2 && c.state != State::closed;
    });
    return count;
}

}  // namespace shunt::tcp
