// BBR (draft-cardwell-iccrg-bbr-congestion-control-00, version 1 as in Linux): a model of the path, its bandwidth and round-trip time, sets pace and window;
// losses do not. Without Linux's guards against policers and for aggregated ACKs. For congestion.cpp only.
#pragma once

#include "tcp/connection.hpp"
#include "tcp/rate.hpp"

namespace shunt::tcp::bbr {

struct Gains {
    float pacing = 1, cwnd = 1;
};
// By which it multiplies what the model says, now.
Gains gains_of(const Connection& c) noexcept;

void start(Connection& c) noexcept;
// Each ACK, after loss detection; `cwnd` is the window before it.
void on_ack(Connection& c, const RateSample& sample, std::uint32_t cwnd, Time now) noexcept;
// Data leave after nothing was under way.
void on_restart(Connection& c, Time now) noexcept;
void on_loss(Connection& c) noexcept;     // recovery or a time-out begins
void on_timeout(Connection& c) noexcept;
void on_undo(Connection& c) noexcept;

}  // namespace shunt::tcp::bbr
