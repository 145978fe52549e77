// What a call gives back: a value or a reason.
// Errno is a caller's mistake or an operating condition, numbered as <errno.h> does; Error adds a line for a human.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <utility>

namespace shunt {

enum class Errno : int {};

inline std::unexpected<Errno> fail(int code) noexcept {
    return std::unexpected(static_cast<Errno>(code));
}
constexpr int code_of(Errno e) noexcept {
    return static_cast<int>(e);
}

template <class T>
using Result = std::expected<T, Errno>;

// A configuration or start-up error: `message` names what was wrong, the value, and the remedy, in one line.
struct Error {
    int code = EINVAL;
    std::string message;
};

template <class T>
using Outcome = std::expected<T, Error>;

inline std::unexpected<Error> explain(int code, std::string message) {
    return std::unexpected(Error{code, std::move(message)});
}

}  // namespace shunt
