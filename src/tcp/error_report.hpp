// News for a program that are no data of the peer's: when a byte was sent or acknowledged, that a buffer may be used again, an ICMP error. They wait in
// the connection's error queue, each in a packet: the report, then what it quotes.
#pragma once

#include <cstdint>

#include "base/time.hpp"

namespace shunt::tcp {

struct ErrorReport {
    // sock_extended_err's origins, with their numbers.
    enum class Origin : std::uint8_t { icmp = 2, timestamping = 4, zerocopy = 5 };
    Origin origin = Origin::icmp;
    std::uint8_t type = 0, code = 0;
    int error = 0;
    std::uint32_t info = 0, data = 0;
    std::uint32_t offender = 0;  // of ICMP errors: who sent it, host order
    Time at{};
};

// Bits of SO_TIMESTAMPING, with Linux's numbers, as far as they mean something here.
namespace timestamping {
inline constexpr std::uint32_t tx_software = 1U << 1, rx_software = 1U << 3, software = 1U << 4, opt_id = 1U << 7, tx_sched = 1U << 8, tx_ack = 1U << 9,
                               opt_cmsg = 1U << 10, opt_tsonly = 1U << 11, bind_phc = 1U << 15, opt_id_tcp = 1U << 16, all = (1U << 17) - 1;
inline constexpr std::uint32_t any_tx = tx_software | tx_sched | tx_ack;
}  // namespace timestamping

}  // namespace shunt::tcp
