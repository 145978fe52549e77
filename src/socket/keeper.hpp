// The keeper: polls the stack while the program does not, so that ACKs, retransmissions and handshakes never wait for it. Private to src/socket/.
#pragma once

#include "socket/state.hpp"

namespace shunt::socket {

// Starts the keeper's thread. A failure is logged; the stack then moves only when the program calls.
void start_keeper(Layer& layer);

}  // namespace shunt::socket
