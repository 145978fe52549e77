// What the keeper does for ports beside polling them. Defined in memif_wire.cpp, since memif is what wants it.
#pragma once

#include <cstdint>

namespace shunt::pmd {

// In the process that it comes from: the keeper connects from now on.
void give_up_links() noexcept;
// At its birth: connections come and go here from now on.
void take_over_links() noexcept;
// Another value after each connection that has come or gone.
std::uint64_t links_state() noexcept;
// After each turn of EAL's loop: a link may have come up.
void look_at_links() noexcept;

}  // namespace shunt::pmd
