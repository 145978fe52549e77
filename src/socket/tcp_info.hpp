// What a program may ask of a connection besides its options: TCP_INFO, TCP_CC_INFO, SO_MEMINFO. Private to src/socket/.
#pragma once

#include <cstddef>

#include "socket/state.hpp"

namespace shunt::socket {

// linux/tcp.h's struct tcp_info, which is longer than this system's headers may have it. Returns its size; `to` has room for tcp_info_bytes_max.
inline constexpr std::size_t tcp_info_bytes_max = 512, congestion_info_bytes_max = 64;
std::size_t fill_tcp_info(const Layer& layer, const Socket& socket, std::byte* to) noexcept;
// The congestion control that the socket's connection runs, or will run.
CongestionControl congestion_of(const Layer& layer, const Socket& socket) noexcept;
// tcp_bbr_info where that is BBR, all zeros before there is a connection, as on Linux; the other algorithms have no numbers of their own to show. At most
// congestion_info_bytes_max.
std::size_t fill_congestion_info(const Layer& layer, const Socket& socket, std::byte* to) noexcept;

}  // namespace shunt::socket
