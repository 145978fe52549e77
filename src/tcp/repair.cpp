// After a process died while it changed the stack, nothing that it may have been at is believed: queues, lists, counts and windows. What a program said (its
// options, its addresses) was written once and is. Connections end as after an RST, and their peers are told; listeners go on.
//
// A peer believes an RST at its RCV.NXT only, answers others in its window by a challenge ACK (RFC 5961, 3.2) and takes no notice of the rest; a segment below its
// window it answers by an ACK (RFC 9293, 3.10.7.4), and an ACK for a connection that is no more is answered by the RST that fits. So it gets both.
#include <algorithm>
#include <cerrno>
#include <new>

#include "pmd/port_inline.hpp"
#include "tcp/tcp.hpp"

namespace shunt::tcp {
namespace {

constexpr std::uint32_t ports = 65536;

}  // namespace

void Tcp::start_over(Time now) noexcept {
    std::fill_n(buckets_, bucket_mask_ + 1, nullptr);
    std::fill_n(listeners_by_port_, ports, nullptr);
    std::fill_n(bound_by_port_, ports, nullptr);
    std::fill_n(connections_by_port_, ports, 0U);
    for (std::uint32_t i = 0; i < connections_.touched(); ++i) {
        connections_.at(i).owner = nullptr;
    }
    for (std::uint32_t i = 0; i < listeners_.touched(); ++i) {
        listeners_.at(i).owner = nullptr;
    }
    time_wait_head_ = time_wait_tail_ = held_ = nullptr;
    time_wait_count_ = ooo_packets_ = 0;
    more_follows_ = memory_pressure_ = is_exhausted_ = false;
    written_since_look_ = 0;
    challenge_second_ = now;
    challenges_left_ = context_.tunables.tcp_challenge_ack_limit;
    fast_open_cache_.clear();
}

std::uint32_t Tcp::tell_peers(Time now) noexcept {
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < connections_.touched(); ++i) {
        Connection& c = connections_.at(i);
        if (!c.is_hashed) {
            continue;
        }
        c.is_hashed = false;
        if (c.state == State::closed || c.state >= State::time_wait) {
            continue;
        }
        ++count;
        const auto path = context_.ipv4.route(c.remote_address, c.local_address);
        if (!path || path->is_local() || c.state == State::syn_sent) {  // our own end is reset here; a SYN-ACK is answered by an RST
            continue;
        }
        context_.counters.count(Event::tcp_resets_sent);
        send_bare(*path, c.local_port, c.remote_port, c.snd_nxt, c.rcv_nxt, wire::tcp_flag::rst | wire::tcp_flag::ack, now);
        send_bare(*path, c.local_port, c.remote_port, c.snd_una - 1, c.rcv_nxt, wire::tcp_flag::ack, now);
    }
    context_.counters.count(Event::tcp_lost_by_death, count);
    return count;
}

bool Tcp::revive(Connection& c, void* owner, Time now) noexcept {
    if (!connections_.has_slot(&c) || c.owner != nullptr) {
        return false;
    }
    const std::uint32_t local_address = c.local_address, remote_address = c.remote_address;
    const std::uint16_t local_port = c.local_port, remote_port = c.remote_port;
    const ConnectionOptions options = c.options;
    const bool was_over = c.state == State::closed || c.state >= State::time_wait;
    const bool is_read = was_over && c.fin_received && c.rcv_queued == 0;
    const bool rcv_shut = c.rcv_shut;
    const int error = c.error;
    const std::uint16_t mss = c.mss;
    auto* anew = new (&c) Connection();
    anew->local_address = local_address;
    anew->remote_address = remote_address;
    anew->local_port = local_port;
    anew->remote_port = remote_port;
    anew->options = options;
    anew->mss = mss;
    anew->timer.kind = timer_kind;
    anew->timer.owner = anew;
    anew->last_heard = anew->last_sent_at = now;
    anew->owner = owner;
    // One that had ended, all of it read, stays as it was; in any other case an end of file would be a lie.
    anew->error = is_read || error != 0 ? error : ECONNRESET;
    anew->fin_received = is_read;
    anew->rcv_shut = is_read && rcv_shut;
    return true;
}

bool Tcp::revive(Listener& listener, void* owner) noexcept {
    if (!listeners_.has_slot(&listener) || listener.owner != nullptr) {
        return false;
    }
    const Listener& old = listener;
    const std::uint32_t address = old.local_address, backlog = old.backlog;
    const std::uint16_t port = old.local_port;
    const ConnectionOptions options = old.options;
    const FastOpenKeys keys = old.fast_open_keys;
    const bool reuse_port = old.reuse_port, rcv_shut = old.rcv_shut, snd_shut = old.snd_shut;
    auto* anew = new (&listener) Listener();
    anew->local_address = address;
    anew->local_port = port;
    anew->backlog = backlog;
    anew->options = options;
    anew->fast_open_keys = keys;
    anew->reuse_port = reuse_port;
    anew->rcv_shut = rcv_shut;
    anew->snd_shut = snd_shut;
    anew->owner = owner;
    anew->next = listeners_by_port_[port];
    listeners_by_port_[port] = anew;
    return true;
}

void Tcp::finish_repair() noexcept {
    connections_.relink([](const Connection& each) { return each.owner != nullptr; });
    listeners_.relink([](const Listener& each) { return each.owner != nullptr; });
}

}  // namespace shunt::tcp
