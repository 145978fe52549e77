// DPDK's environment: started once a process, when the first port is wanted. The program must not notice: its affinity, its signals,
// its low descriptors and its syslog stay what they were; nothing is printed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/arena.hpp"
#include "base/result.hpp"
#include "pmd/link_spec.hpp"

namespace shunt::pmd {

struct EalOptions {
    enum class Hugepages { when_free, never };
    std::uint32_t memory_mib = 128;              // all packet memory; reserved at once, touched lazily (without hugepages)
    Hugepages hugepages = Hugepages::when_free;
    std::vector<LinkSpec> links;                 // only the PCI devices among them are probed; others are created by open_port
};

// Starts EAL; success at once when it runs already (then a PCI device that was not named the first time is an error).
// Never ends the process. On an error EAL cannot be tried again in this process.
Outcome<void> start_eal(const EalOptions& options);
bool is_eal_started() noexcept;
bool has_hugepages() noexcept;                   // what start_eal settled on

// DPDK's memory, as arenas are told of (base/arena.hpp); how many pieces, no more than there is room for.
std::size_t memory_pieces(std::span<SharedPiece> to) noexcept;

// What DPDK logged last at level error, one line without its newline; empty when nothing. For explanations.
std::string last_complaint();
void forget_complaints() noexcept;

}  // namespace shunt::pmd
