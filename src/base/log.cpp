#include "base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <string_view>

#include "base/sys.hpp"

namespace shunt::log {
namespace {

std::atomic<Level> current{Level::warning};

constexpr std::string_view label(Level level) noexcept {
    switch (level) {
        case Level::error: return "error: ";
        case Level::warning: return "warning: ";
        case Level::info: return "";
        case Level::debug: return "debug: ";
    }
    return "";
}

}  // namespace

Level threshold() noexcept {
    return current.load(std::memory_order_relaxed);
}

void set_threshold(Level level) noexcept {
    current.store(level, std::memory_order_relaxed);
}

void write(Level level, fmt::string_view format, fmt::format_args args) noexcept {
    char line[1024] = "shunt: ";
    char* const end = line + sizeof line - 1;
    char* at = std::ranges::copy(label(level), line + 7).out;
    const auto room = static_cast<std::size_t>(end - at);
    at += std::min(fmt::vformat_to_n(at, room, format, args).size, room);
    *at = '\n';
    sys::write(2, line, static_cast<std::size_t>(at + 1 - line));
}

}  // namespace shunt::log
