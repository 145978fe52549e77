// The one place that reads the process's environment.
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "base/sys.hpp"
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

char* const* all_variables() noexcept {
    return environ;
}

std::string program_path() {
    char path[4096];
    const long length = sys::call(SYS_readlink, sys::word("/proc/self/exe"), sys::word(path), sizeof path);
    return length > 0 ? std::string(path, static_cast<std::size_t>(length)) : std::string();
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
