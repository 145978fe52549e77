// A process died over a change of the stack; whoever takes the lock next puts it right before he goes on.
//
// Of what lies in the arena, three things are believed after any death: what programs have said of their sockets (addresses, options: written once), the ledger
// (counted so that it is right at each moment), and which sets an epoll interest belongs to (written last, taken back first). From these all lists, tables and counts
// are made anew, at the same places: threads of the living that sleep in a call find their connection where it was, closed by ECONNRESET. Listeners listen on,
// datagram sockets stay bound and connected; what was queued for either is lost.
//
// One who died at the port (Doing::at_port) has changed nothing but that and the packet pool; there the stack itself says what is in use.
#include <algorithm>
#include <array>
#include <cerrno>

#include "base/log.hpp"
#include "base/sys.hpp"
#include "pmd/fragments.hpp"
#include "pmd/guest.hpp"
#include "pmd/pool_repair.hpp"
#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {
namespace {

bool is_lent(Layer& layer, const Packet& packet) noexcept {
    const auto row = static_cast<unsigned>(packet.meta().lent_to - 1);
    return row == processes_max || (row < processes_max && layer.ledger.processes()[row].state != Process::State::none);
}

void repair_pool(Layer& layer, bool is_stack_whole) noexcept {
    Stack& stack = *layer.stack;
    pmd::PoolRepair repair(*stack.ipv4().packet_source());
    for (Link* link : stack.links()) {
        repair.visit(link->port);
    }
    const auto keep = [&repair](Packet& packet) { repair.keep(packet); };
    if (layer.guest_queues != nullptr) {
        pmd::empty(*layer.guest_queues);
    }
    repair.for_each_lent([&](Packet& packet) { is_lent(layer, packet) ? repair.keep(packet) : void(packet.meta().lent_to = 0); });
    if (is_stack_whole) {
        stack.drop_output();
        stack.for_each_packet(keep);
        if (stack.fragments() != nullptr) {
            pmd::keep_fragments(*stack.fragments(), repair);
        }
        for (std::uint32_t i = 0; i < layer.sockets.touched(); ++i) {
            const Socket& socket = layer.sockets.at(i);
            if (!is_gone(socket) && socket.connection != nullptr) {
                tcp::Tcp::for_each_packet_of(*socket.connection, keep);  // also one that is in no table any more
            }
            if (!is_gone(socket) && socket.udp != nullptr) {
                std::ranges::for_each(std::array{&socket.udp->rcv_queue, &socket.udp->corked, &socket.udp->error_queue}, [&](const PacketQueue* queue) { queue->for_each(keep); });
            }
        }
    }
    if (!repair.finish()) {
        log::warning("packets that the dead process was at stay out of the pool: the port's driver has some of them, and does not say which");
    }
}

// The ledger counts; only processes without a row have to be believed.
std::uint32_t references(const Ledger& ledger, std::uint32_t counted, std::uint32_t said) noexcept { return ledger.is_complete() ? counted : std::max(counted, said); }

void revive(Layer& layer, Socket& socket, Time now) noexcept {
    tcp::Tcp& tcp = layer.stack->tcp();
    socket.interests = nullptr;
    if (socket.connection != nullptr && !tcp.revive(*socket.connection, &socket, now)) {
        socket.connection = nullptr;
        socket.error = ECONNRESET;
    }
    if (socket.listener != nullptr && !tcp.revive(*socket.listener, &socket)) {
        socket.listener = nullptr;
    }
    if (socket.udp != nullptr && !layer.stack->udp().revive(*socket.udp, &socket)) {
        socket.udp = nullptr;
    }
    if (socket.held_port.port != 0) {
        socket.held_port.options = &socket.options;
        tcp.hold(socket.held_port);
    }
}

void revive_sockets(Layer& layer, Time now) noexcept {
    for (std::uint32_t i = 0; i < layer.sockets.touched(); ++i) {
        Socket& socket = layer.sockets.at(i);
        socket.references = references(layer.ledger, layer.ledger.references_of_socket(i), socket.references);
        if (!is_gone(socket)) {
            revive(layer, socket, now);
        }
    }
    layer.sockets.relink([](const Socket& socket) { return !is_gone(socket); });
    layer.stack->tcp().finish_repair();
    layer.stack->udp().finish_repair();
}

// Everybody is told: what is ready is computed when it is asked for.
void link(Interest& interest) noexcept {
    EpollSet& set = *interest.set;
    Interest*& source = interest.inner != nullptr ? interest.inner->outer : interest.socket->interests;
    interest.next_of_source = source;
    source = &interest;
    interest.next_of_set = set.interests;
    interest.previous_of_set = nullptr;
    if (set.interests != nullptr) {
        set.interests->previous_of_set = &interest;
    }
    set.interests = &interest;
    ++set.count;
    interest.is_ready = false;
    if (!interest.is_disabled) {
        make_ready(set, interest);
    }
}

void revive_sets(Layer& layer) noexcept {
    for (std::uint32_t i = 0; i < layer.sets.touched(); ++i) {
        EpollSet& set = layer.sets.at(i);
        set.references = references(layer.ledger, layer.ledger.references_of_set(i), set.references);
        set.interests = set.ready_head = set.ready_tail = set.outer = nullptr;
        set.count = 0;
    }
    layer.sets.relink([](const EpollSet& set) { return !is_gone(set); });
    const auto lives = [](const auto& pool, const auto* object) { return object != nullptr && pool.has_slot(object) && !is_gone(*object); };
    for (std::uint32_t i = 0; i < layer.interests.touched(); ++i) {
        Interest& interest = layer.interests.at(i);
        if (interest.set == nullptr) {
            continue;
        }
        const bool has_source = interest.inner != nullptr ? lives(layer.sets, interest.inner) : lives(layer.sockets, interest.socket);
        if (lives(layer.sets, interest.set) && has_source) {
            link(interest);
        } else {
            interest.set = nullptr;
        }
    }
    layer.interests.relink([](const Interest& interest) { return interest.set != nullptr; });
}

void recount_sleepers(Layer& layer) noexcept {
    if (!layer.ledger.is_complete()) {
        return;
    }
    std::array<std::uint32_t, sleeper_slots> in_slot{};
    layer.sleepers = layer.guest_sleepers = 0;
    for (Process& process : layer.ledger.processes()) {
        process.sleepers = 0;
        for (unsigned slot = 0; slot < sleeper_slots && process.state != Process::State::none; ++slot) {
            process.sleepers += process.slot_sleepers[slot];
            in_slot[slot] += process.slot_sleepers[slot];
        }
        layer.sleepers += process.sleepers;
        layer.guest_sleepers += process.is_guest ? process.sleepers : 0;
    }
    for (unsigned slot = 0; slot < sleeper_slots; ++slot) {
        layer.slot_sleepers[slot] = static_cast<std::uint16_t>(in_slot[slot]);
    }
}

// Standard error may be a pipe that nobody reads, and we hold the lock.
bool may_write_log() noexcept {
    pollfd waits{2, POLLOUT, 0};
    constexpr timespec at_once{0, 0};
    return sys::ppoll(&waits, 1, &at_once, nullptr) == 1 && (waits.revents & POLLOUT) != 0;
}

void start_over(Layer& layer) noexcept {
    Stack& stack = *layer.stack;
    const Time now = layer.now();
    stack.counters().count(Event::holders_died);
    stack.start_over(now);
    repair_pool(layer, false);
    const std::uint32_t lost = stack.tcp().tell_peers(now);
    revive_sockets(layer, now);
    revive_sets(layer);
    stack.flush(now);
    if (may_write_log()) {
        log::warning("a process died while it changed the stack: {} connections are reset; listeners and datagram sockets go on", lost);
    }
}

// A guest has not the driver, and cannot tell its packets from lost ones: the keeper does it, unless it is dead, too.
void leave_to_keeper(Layer& layer, std::uint32_t tid) noexcept {
    constexpr timespec nap{0, 2'000'000};
    constexpr int patience = 500;
    for (int tries = 0; pmd::is_guest() && layer.stack->has_holder_died() && tries < patience; ++tries) {
        layer.stack->unlock();
        const std::uint64_t token = 1;
        sys::write(layer.keeper_fd, &token, sizeof token);
        sys::call(SYS_nanosleep, sys::word(&nap), 0);
        layer.stack->lock(tid);
    }
}

}  // namespace

void repair(Layer& layer, std::uint32_t tid) noexcept {
    leave_to_keeper(layer, tid);
    if (!layer.stack->has_holder_died()) {
        return;
    }
    if (layer.stack->left_by_dead() == Stack::Doing::changing) {
        start_over(layer);
    } else if (layer.stack->left_by_dead() == Stack::Doing::at_port) {
        repair_pool(layer, true);
    }
    recount_sleepers(layer);
    layer.is_armed = true;  // or half of it
    layer.keeper_listens = true;
    disarm_interrupts(layer);
    send_keeper_to_nap(layer);
    wake_all(layer);
    layer.stack->repaired();
}

void take_back_packets(Layer& layer, int row) noexcept {
    if (layer.lends_packets) {
        pmd::PoolRepair(*layer.stack->ipv4().packet_source()).for_each_lent([row](Packet& packet) {
            if (packet.meta().lent_to == row + 1) {
                packet.meta().lent_to = 0;
                packet.free();
            }
        });
    }
}

}  // namespace shunt::socket
