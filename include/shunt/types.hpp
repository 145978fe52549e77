// What all of the library's headers speak of: errors, addresses, time.
//
//     const auto to = shunt::SocketAddress::parse("10.0.0.2:7000");
//     if (!to) { std::puts("not an address"); }
//
// Everything in include/shunt/ is C++23 and the standard library; no header of DPDK's is needed. Nothing here throws.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#define SHUNT_API __attribute__((visibility("default")))

namespace shunt::inline v0 {

// Why a call failed. Each function lists its codes; they are <errno.h>'s. No heap: the message is static text.
struct [[nodiscard]] Error {
    int code = 0;

    // "Connection refused"; for EAGAIN and the like the C library's words.
    SHUNT_API std::string_view message() const noexcept;
    friend bool operator==(Error, Error) noexcept = default;
};

// Why the stack did not start: one line with what was wrong, the value, and the remedy.
struct StartError {
    int code = 0;
    std::string message;
};

template <class T>
using Expected = std::expected<T, Error>;

// An IPv4 address and a port, both in host order. Port 0: any; address 0: any of ours.
struct SocketAddress {
    std::uint32_t ipv4 = 0;
    std::uint16_t port = 0;

    // "10.0.0.2:7000", "10.0.0.2" (port 0) or ":7000" (any address); nothing when the text is none of these.
    SHUNT_API static std::optional<SocketAddress> parse(std::string_view text) noexcept;
    // "10.0.0.2:7000". Allocates: not for the data path.
    SHUNT_API std::string to_string() const;
    friend bool operator==(SocketAddress, SocketAddress) noexcept = default;
};

// The stack's clock: steady, in nanoseconds, from an arbitrary point. Read it with Stack::now(); it costs one rdtsc.
struct Clock {
    using rep = std::int64_t;
    using period = std::nano;
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<Clock>;
    static constexpr bool is_steady = true;
};
using Instant = Clock::time_point;
inline constexpr Instant forever = Instant::max();  // a deadline that never comes
inline constexpr Instant at_once = Instant{};       // a deadline that has passed: look, do not wait

// Does this send end a batch? yes: more follows at once, so a partial TCP segment (or the frame) may be held back until the next
// send with More::no, or the next poll for UDP.
enum class More : bool { no, yes };

}  // namespace shunt::inline v0
