// The options that say how connections come to be: Fast Open and TCP_DEFER_ACCEPT. With the errors that Linux gives, which depend on what the socket is
// by now. For options.cpp.
#pragma once

#include "socket/state.hpp"

namespace shunt::socket {

// TCP_DEFER_ACCEPT counts in time-outs of the SYN-ACK: 1 s, doubled each time, 120 s at most (Linux: secs_to_retrans).
std::uint8_t to_timeouts(int seconds) noexcept;
int to_seconds(std::uint32_t timeouts) noexcept;

long set_fast_open_queue(Layer& layer, Socket& socket, int value) noexcept;
long set_fast_open_connect(Layer& layer, Socket& socket, int value) noexcept;
long set_fast_open_no_cookie(Layer& layer, Socket& socket, int value) noexcept;
// One key, or one and the one before it, of 16 bytes each.
long set_fast_open_keys(Socket& socket, const void* value, std::size_t length) noexcept;
const FastOpenKeys& fast_open_keys_of(const Layer& layer, const Socket& socket) noexcept;

}  // namespace shunt::socket
