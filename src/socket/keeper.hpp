// The keeper: a process that polls the stack while no program does, so that ACKs, retransmissions and handshakes never wait for one; that notices when a
// program ends, however it does, and closes what it held; and that outlives the last of them until all is delivered. Private to src/socket/.
#pragma once

#include <vector>

#include "base/address_space.hpp"
#include "base/result.hpp"
#include "socket/state.hpp"

namespace shunt::socket {

// What is the program's and not ours: taken before the stack starts, so that the keeper can let go of it.
struct Belongings {
    std::vector<AddressRange> memory;
    std::vector<int> descriptors;
};
Belongings take_stock();

// Clones the keeper. `all_but_ours`: whatever descriptor was not opened by us is closed there; else (drivers open their own, behind our back) what the
// stock-taking has found. EAGAIN, ENOMEM with the remedy.
Outcome<void> start_keeper(Layer& layer, const Belongings& belongings, bool all_but_ours);
// In a program that has joined a stack with a keeper.
void know_keeper(const Layer& layer) noexcept;
// False when it was killed, and no spare has taken its place: then nothing moves while the programs do not call.
bool is_keeper_alive() noexcept;

// Its life, from birth on (keeper_birth.cpp calls it).
[[noreturn]] void run_keeper(Layer& layer) noexcept;

}  // namespace shunt::socket
