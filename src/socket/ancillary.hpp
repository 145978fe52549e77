// Control messages of recvmsg, and the last reference of a description. Private to src/socket/.
#pragma once

#include "socket/guard.hpp"

namespace shunt::socket {

// IP_PKTINFO, SO_TIMESTAMP, SO_TIMESTAMPNS of a datagram; sets msg_controllen and MSG_CTRUNC.
void write_ancillary(Layer& layer, const Socket& socket, const Packet& packet, msghdr& message) noexcept;

// Gives up the last reference of `socket` with the lock held.
void drop_last_reference(Guard& guard, Socket& socket) noexcept;

}  // namespace shunt::socket
