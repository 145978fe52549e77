// Plans that are worth a try, from a seed: mostly calls on what can take them, now and then any call on anything.
#pragma once

#include "differential/plan.hpp"

namespace differential {

Plan generate(std::uint64_t seed, int steps);

}  // namespace differential
