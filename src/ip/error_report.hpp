// News for a program that are no data of the peer's, in the error queue of its socket: an ICMP error, a send that was refused here, when a byte was sent or
// acknowledged, that a buffer may be used again. Each waits in a packet: the report, then what it quotes.
#pragma once

#include <cstdint>

#include "base/time.hpp"

namespace shunt {

struct ErrorReport {
    // sock_extended_err's origins, with their numbers.
    enum class Origin : std::uint8_t { local = 1, icmp = 2, timestamping = 4, zerocopy = 5 };
    Origin origin = Origin::icmp;
    std::uint8_t type = 0, code = 0;
    std::uint16_t port = 0;      // of datagrams: where the quoted one was sent to
    int error = 0;
    std::uint32_t info = 0, data = 0;
    std::uint32_t offender = 0;  // of ICMP errors: who sent it, host order
    std::uint32_t address = 0;   // goes with `port`
    Time at{};
};

}  // namespace shunt
