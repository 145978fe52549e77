#include "base/log.hpp"

#include <fmt/format.h>

#include <atomic>
#include <iterator>

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

void write(Level level, std::string_view text) noexcept {
    char line[1024];
    const auto end = fmt::format_to_n(line, sizeof line - 1, "shunt: {}{}", label(level), text);
    const std::size_t length = std::min(end.size, sizeof line - 1);
    line[length] = '\n';
    sys::write(2, line, length + 1);
}

}  // namespace shunt::log
