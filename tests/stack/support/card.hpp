// The part of a network card that ports in memory lack: fills in checksums and cuts large frames into segments (TSO), and insists on what real cards rely on.
#pragma once

#include <vector>

#include "pmd/port.hpp"
#include "stack/support/frame.hpp"

namespace shunt::test {

// What a port with this card offers.
pmd::Offloads card_offloads(std::uint16_t tx_pieces_max = 64);

// The frames that come out when the stack hands over `packet`, which stays the caller's. A frame that asks for nothing comes out as it is. Stops the program where a
// request is not as a driver wants it.
std::vector<Bytes> on_the_wire(const Packet& packet);

}  // namespace shunt::test
