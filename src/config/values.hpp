// Reading single values from text: numbers, addresses. Strict: all of the text, no blanks, no octal.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace shunt::config {

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept;
std::optional<std::uint32_t> parse_ipv4(std::string_view text) noexcept;  // host order
std::optional<std::array<std::uint8_t, 6>> parse_mac(std::string_view text) noexcept;
std::string ipv4_text(std::uint32_t address_host_order);

std::string_view trim(std::string_view text) noexcept;
// Pieces between separators, trimmed; empty ones are left out. ' ' stands for any blank.
std::vector<std::string_view> split(std::string_view text, char separator);

// A whole file, by system calls of our own: the shim's names must not see it, and no descriptor stays.
Result<std::string> read_file(const std::string& path);

}  // namespace shunt::config
