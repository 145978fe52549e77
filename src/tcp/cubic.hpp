// CUBIC (RFC 9438) with HyStart++ (RFC 9406). For congestion.cpp only.
#pragma once

#include <cstdint>

#include "tcp/connection.hpp"

namespace shunt::tcp::cubic {

void grow(Connection& c, std::uint32_t acked, Time now) noexcept;
std::uint32_t ssthresh_after_loss(Connection& c) noexcept;

}  // namespace shunt::tcp::cubic
