// The error queue of a connection, and what SO_TIMESTAMPING puts there.
#pragma once

#include <cstdint>

#include "ip/error_report.hpp"

namespace shunt::tcp {

using shunt::ErrorReport;

// Bits of SO_TIMESTAMPING, with Linux's numbers, as far as they mean something here.
namespace timestamping {
inline constexpr std::uint32_t tx_software = 1U << 1, rx_software = 1U << 3, software = 1U << 4, opt_id = 1U << 7, tx_sched = 1U << 8, tx_ack = 1U << 9,
                               opt_cmsg = 1U << 10, opt_tsonly = 1U << 11, bind_phc = 1U << 15, opt_id_tcp = 1U << 16, all = (1U << 17) - 1;
inline constexpr std::uint32_t any_tx = tx_software | tx_sched | tx_ack;
}  // namespace timestamping

}  // namespace shunt::tcp
