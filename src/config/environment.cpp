// The one place that reads the process's environment.
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "config/config.hpp"

namespace shunt::config {

std::vector<std::string> shunt_environment() {
    std::vector<std::string> found;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        if (std::string_view(*entry).starts_with("SHUNT_")) {
            found.emplace_back(*entry);
        }
    }
    return found;
}

std::optional<std::string> variable(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

Outcome<Config> from_environment() {
    Inputs inputs;
    inputs.environment = shunt_environment();
    return load(inputs);
}

}  // namespace shunt::config
