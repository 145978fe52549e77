// A bug of ours names itself: a failed check writes file, line and expression to standard error and traps.
// For caller's mistakes use errno, for bad packets a drop reason; checks are for what cannot happen.
#pragma once

#include "base/log.hpp"

namespace shunt {

[[noreturn, gnu::cold]] inline void check_failed(const char* expression, const char* file, int line) noexcept {
    log::error("bug: {} does not hold at {}:{}", expression, file, line);
    __builtin_trap();
}

}  // namespace shunt

#define SHUNT_CHECK(expression) \
    (__builtin_expect(static_cast<bool>(expression), true) ? void(0) : ::shunt::check_failed(#expression, __FILE__, __LINE__))
