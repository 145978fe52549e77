// The ledger, and what becomes of a dead process's references.
#include "socket/processes.hpp"

#include <algorithm>

#include "socket/ancillary.hpp"
#include "socket/guard.hpp"

namespace shunt::socket {

int this_process = no_process;

void Ledger::create(Arena& arena, std::uint32_t sockets, std::uint32_t sets) noexcept {
    sockets_ = static_cast<Count*>(arena.carve(processes_max * sizeof(Count) * sockets, 64));
    sets_ = static_cast<Count*>(arena.carve(processes_max * sizeof(Count) * sets, 64));
    socket_count_ = sockets;
    set_count_ = sets;
}

int Ledger::enter(Process::State state, std::int32_t pid, Time now) noexcept {
    const std::span usable(processes_.data(), static_cast<std::size_t>(in_flight));
    const auto row = std::ranges::find(usable, Process::State::none, &Process::state);
    if (row == usable.end()) {
        is_complete_ = false;
        return no_process;
    }
    *row = Process{};
    row->state = state;
    row->pid = pid;
    row->since = now;
    ++changes_;
    return static_cast<int>(row - usable.begin());
}

void Ledger::claim(int row, std::int32_t pid) noexcept {
    if (row != no_process) {
        Process& process = processes_[static_cast<std::size_t>(row)];
        process.state = Process::State::alive;
        process.pid = pid;
        ++changes_;
    }
}

void Ledger::leave(int row) noexcept {
    if (row != no_process) {
        processes_[static_cast<std::size_t>(row)] = Process{};
        ++changes_;
    }
}

void Ledger::note_sleeper(int row, unsigned slot, bool sleeps) noexcept {
    if (row != no_process) {
        Process& process = processes_[static_cast<std::size_t>(row)];
        process.sleepers += sleeps ? 1U : ~0U;
        process.slot_sleepers[slot] = static_cast<std::uint16_t>(process.slot_sleepers[slot] + (sleeps ? 1 : -1));
    }
}

bool Ledger::is_empty() const noexcept {
    return std::ranges::all_of(processes_, [](const Process& each) { return each.state == Process::State::none || (each.state == Process::State::departed && !each.hands_on); });
}

void Ledger::set_departed(int row, bool has, bool hands_on) noexcept {
    if (row != no_process) {
        Process& process = processes_[static_cast<std::size_t>(row)];
        process.state = has ? Process::State::departed : Process::State::alive;
        process.hands_on = hands_on;
    }
}

void bury(Guard& guard, int row) noexcept {
    Layer& layer = guard.layer();
    Process& process = layer.ledger.processes()[static_cast<std::size_t>(row)];
    layer.sleepers -= process.sleepers;
    layer.guest_sleepers -= process.is_guest ? process.sleepers : 0;
    for (unsigned slot = 0; slot < sleeper_slots; ++slot) {
        layer.slot_sleepers[slot] = static_cast<std::uint16_t>(layer.slot_sleepers[slot] - process.slot_sleepers[slot]);
    }
    // Sets first: they look at sockets no more, and a socket's last reference may go.
    const auto sets = layer.ledger.sets_of(row);
    for (std::uint32_t index = 0; index < layer.sets.touched(); ++index) {
        while (sets[index] != 0) {
            --sets[index];  // first, always: the ledger says what there is, should we die over it (repair.cpp)
            drop_reference_of(layer, layer.sets.at(index));
        }
    }
    const auto sockets = layer.ledger.sockets_of(row);
    for (std::uint32_t index = 0; index < layer.sockets.touched(); ++index) {
        while (sockets[index] != 0) {
            --sockets[index];
            Socket& socket = layer.sockets.at(index);
            if (socket.references == 1) {
                drop_last_reference(guard, socket);
            } else {
                --socket.references;
            }
        }
    }
    layer.ledger.leave(row);
    wake_all(layer);  // it may have died between leaving the lock and waking whom it had to
}

namespace {
void note_guest(Layer& layer) noexcept {
    if (this_process != no_process) {
        layer.ledger.processes()[static_cast<std::size_t>(this_process)].is_guest = pmd::is_guest();
    }
}
}  // namespace

bool enter_process(Layer& layer) noexcept {
    Guard guard(layer);
    if (layer.is_closed) {
        return false;
    }
    this_process = layer.ledger.enter(Process::State::alive, static_cast<std::int32_t>(sys::getpid()), layer.now());
    note_guest(layer);
    return true;
}

void leave_process() noexcept {
    Guard guard(layer());
    if (this_process != no_process) {
        bury(guard, this_process);
        this_process = no_process;
    }
}

void depart(bool departs) noexcept {
    Guard guard(layer());
    Layer& layer = guard.layer();
    const auto has_any = [&] {
        return std::ranges::any_of(layer.ledger.sockets_of(this_process).first(layer.sockets.touched()), [](std::uint32_t each) { return each != 0; });
    };
    layer.ledger.set_departed(this_process, departs, departs && this_process != no_process && has_any());
}

namespace {
int child = no_process;
}

void expect_child() noexcept {
    Guard guard(layer());
    child = guard.layer().ledger.enter(Process::State::expected, 0, guard.layer().now());
    if (child == no_process) {
        log::warning("more than {} processes share this stack: what this child holds when it is killed stays open", processes_max);
    }
}

void retain_for_child(Socket& socket) noexcept {
    Guard guard(layer());
    ++socket.references;
    guard.layer().ledger.add_socket(child, guard.layer().sockets.index_of(&socket));
}

void retain_for_child(EpollSet& set) noexcept {
    Guard guard(layer());
    ++set.references;
    guard.layer().ledger.add_set(child, guard.layer().sets.index_of(&set));
}

void name_child(int pid) noexcept {
    Guard guard(layer());
    if (child == no_process) {
        return;
    }
    Process& process = guard.layer().ledger.processes()[static_cast<std::size_t>(child)];
    if (pid < 0) {
        bury(guard, child);
    } else if (process.state == Process::State::expected) {
        guard.layer().ledger.claim(child, pid);
    }
}

void become_child() noexcept {
    Guard guard(layer());
    this_process = child;
    guard.layer().ledger.claim(child, static_cast<std::int32_t>(sys::getpid()));
    note_guest(guard.layer());
}

}  // namespace shunt::socket
