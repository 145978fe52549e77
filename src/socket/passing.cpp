// Sockets that go to another process of the same stack: by exec, by a message (SCM_RIGHTS). What arrives there is the kernel socket behind the
// descriptor; its inode tells whose it is.
#include <algorithm>

#include "socket/guard.hpp"

namespace shunt::socket {
void mark(Socket& socket, std::uint64_t inode) noexcept {
    Guard guard(layer());
    socket.inode = inode;
}

// What is never received stays open as long as the stack lives.
void send_away(Socket& socket, std::uint64_t inode) noexcept {
    Guard guard(layer());
    if (is_gone(socket)) {
        return;
    }
    socket.inode = inode;
    ++socket.references;
    guard.layer().ledger.add_socket(in_flight, guard.layer().sockets.index_of(&socket));
}

void call_back(Socket& socket) noexcept {
    Guard guard(layer());
    const std::uint32_t index = guard.layer().sockets.index_of(&socket);
    if (!is_gone(socket) && socket.references > 1 && guard.layer().ledger.sockets_of(in_flight)[index] != 0) {
        guard.layer().ledger.remove_socket(in_flight, index);
        --socket.references;
    }
}

namespace {
Socket* find_and_hold(Layer& layer, std::uint64_t inode) noexcept {
    for (std::uint32_t index = 0; inode != 0 && index < layer.sockets.touched(); ++index) {
        Socket& socket = layer.sockets.at(index);
        if (!is_gone(socket) && socket.inode == inode) {
            hold(layer, socket);
            return &socket;
        }
    }
    return nullptr;
}
}  // namespace

Socket* find_passed(std::uint64_t inode) noexcept {
    Guard guard(layer());
    Layer& layer = guard.layer();
    Socket* const found = find_and_hold(layer, inode);
    if (found == nullptr) {
        return nullptr;
    }
    if (const std::uint32_t index = layer.sockets.index_of(found); layer.ledger.sockets_of(in_flight)[index] != 0) {
        layer.ledger.remove_socket(in_flight, index);
        --found->references;
    }
    return found;
}

void tell_other_processes(Socket& socket, std::uint64_t inode) noexcept {
    Guard guard(layer());
    if (!is_gone(socket) && socket.inode != inode) {
        socket.inode = inode;
        guard.layer().told_to_processes.fetch_add(1, std::memory_order_release);
    }
}

std::uint32_t told_to_other_processes() noexcept { return layer().told_to_processes.load(std::memory_order_acquire); }

Socket* find_told(std::uint64_t inode) noexcept {
    Guard guard(layer());
    return find_and_hold(guard.layer(), inode);
}

namespace {
void bury_departed(Guard& guard, int pid) noexcept {
    const auto rows = guard.layer().ledger.processes();
    for (std::size_t row = 0; row < rows.size(); ++row) {
        if (rows[row].state == Process::State::departed && rows[row].pid == pid) {
            bury(guard, static_cast<int>(row));
        }
    }
}
}  // namespace

void bury_former_self() noexcept {
    Guard guard(layer());
    bury_departed(guard, static_cast<int>(sys::getpid()));
}

void settle_departed(int pid) noexcept {
    Guard guard(layer());
    if (std::ranges::any_of(guard.layer().ledger.processes(), [pid](const Process& each) { return each.state == Process::State::alive && each.pid == pid; })) {
        bury_departed(guard, pid);
    }
}

int enter_departing(int pid) noexcept {
    Guard guard(layer());
    return guard.layer().ledger.enter(Process::State::departed, pid, guard.layer().now());
}

void hold_for(int row, Socket& socket) noexcept {
    Guard guard(layer());
    if (row != no_process && !is_gone(socket)) {
        guard.layer().ledger.processes()[static_cast<std::size_t>(row)].hands_on = true;
        ++socket.references;
        guard.layer().ledger.add_socket(row, guard.layer().sockets.index_of(&socket));
    }
}

}  // namespace shunt::socket
