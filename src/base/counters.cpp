#include "base/counters.hpp"

namespace shunt {

std::string_view name_of(DropReason reason) noexcept {
    static constexpr std::string_view names[] = {
#define SHUNT_NAME(name, sentence) #name,
        SHUNT_DROP_REASONS(SHUNT_NAME)
#undef SHUNT_NAME
    };
    return names[static_cast<std::size_t>(reason)];
}

std::string_view name_of(Event event) noexcept {
    static constexpr std::string_view names[] = {
#define SHUNT_NAME(name, sentence) #name,
        SHUNT_EVENTS(SHUNT_NAME)
#undef SHUNT_NAME
    };
    return names[static_cast<std::size_t>(event)];
}

}  // namespace shunt
