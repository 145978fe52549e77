// Prints every frame that a station sends, and what its wire makes of it.
#pragma once

#include "simulator/network.hpp"

namespace shunt::simulator {

void print_frames(Network& network);

}  // namespace shunt::simulator
