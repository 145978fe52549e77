#include "config/values.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <charconv>
#include <cstdlib>

#include "base/sys.hpp"

namespace shunt::config {
namespace {

constexpr std::string_view blanks = " \t\r\n";

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
    std::int64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

std::optional<std::uint32_t> parse_ipv4(std::string_view text) noexcept {
    std::uint32_t address = 0;
    for (int octets = 0; octets < 4; ++octets) {
        const std::size_t dot = octets < 3 ? text.find('.') : text.size();
        if (dot == std::string_view::npos || dot == 0 || dot > 3) {
            return std::nullopt;
        }
        std::uint8_t octet = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + dot, octet);
        if (failure != std::errc{} || end != text.data() + dot) {
            return std::nullopt;
        }
        address = address << 8 | octet;
        text.remove_prefix(octets < 3 ? dot + 1 : dot);
    }
    return address;
}

std::optional<std::array<std::uint8_t, 6>> parse_mac(std::string_view text) noexcept {
    std::array<std::uint8_t, 6> mac{};
    if (text.size() != 17) {
        return std::nullopt;
    }
    for (std::size_t i = 0; i < 6; ++i) {
        const char* const digits = text.data() + 3 * i;
        const auto [end, failure] = std::from_chars(digits, digits + 2, mac[i], 16);
        if (failure != std::errc{} || end != digits + 2 || (i < 5 && *end != ':')) {
            return std::nullopt;
        }
    }
    return mac;
}

std::string ipv4_text(std::uint32_t a) {
    return fmt::format("{}.{}.{}.{}", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

std::string_view trim(std::string_view text) noexcept {
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    const std::string_view separators = separator == ' ' ? blanks : std::string_view(&separator, 1);
    std::vector<std::string_view> pieces;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of(separators), text.size());
        if (const std::string_view piece = trim(text.substr(0, end)); !piece.empty()) {
            pieces.push_back(piece);
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return pieces;
}

Result<std::string> read_file(const std::string& path) {
    const long fd = sys::call(SYS_openat, AT_FDCWD, sys::word(path.c_str()), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail(static_cast<int>(-fd));
    }
    std::string text;
    char piece[4096];
    long got = 0;
    while ((got = sys::read(static_cast<int>(fd), piece, sizeof piece)) > 0) {
        text.append(piece, static_cast<std::size_t>(got));
    }
    sys::close(static_cast<int>(fd));
    if (got < 0) {
        return fail(static_cast<int>(-got));
    }
    return text;
}

}  // namespace shunt::config
