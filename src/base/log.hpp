// Log lines to standard error, one write(2) each, prefix "shunt: ". Never called on the data path.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace shunt::log {

enum class Level : int { error = 0, warning = 1, info = 2, debug = 3 };

// The process's threshold; lines above it are not formatted. Default: warning.
Level threshold() noexcept;
void set_threshold(Level level) noexcept;

// Writes "shunt: [level: ]text\n" in one system call; never throws, never allocates (the keeper has no heap). What is longer than a line of
// 1,000 characters is cut.
void write(Level level, fmt::string_view format, fmt::format_args args) noexcept;

template <class... Args>
void at(Level level, fmt::format_string<Args...> format, Args&&... args) {
    if (level <= threshold()) {
        write(level, format, fmt::make_format_args(args...));
    }
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    at(Level::error, format, std::forward<Args>(args)...);
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    at(Level::warning, format, std::forward<Args>(args)...);
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    at(Level::info, format, std::forward<Args>(args)...);
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    at(Level::debug, format, std::forward<Args>(args)...);
}

}  // namespace shunt::log
