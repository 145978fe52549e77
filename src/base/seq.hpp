// A TCP sequence number: compares modulo 2^32 (RFC 9293, section 3.4), cannot be added to another, has no total order
// and so cannot be a map key.
#pragma once

#include <cstdint>

namespace shunt {

class Seq {
public:
    constexpr Seq() noexcept = default;
    constexpr explicit Seq(std::uint32_t value) noexcept : value_(value) {}
    constexpr std::uint32_t raw() const noexcept { return value_; }

    friend constexpr bool operator==(Seq, Seq) noexcept = default;
    friend constexpr bool operator<(Seq a, Seq b) noexcept { return static_cast<std::int32_t>(a.value_ - b.value_) < 0; }
    friend constexpr bool operator>(Seq a, Seq b) noexcept { return b < a; }
    friend constexpr bool operator<=(Seq a, Seq b) noexcept { return !(b < a); }
    friend constexpr bool operator>=(Seq a, Seq b) noexcept { return !(a < b); }

    friend constexpr Seq operator+(Seq a, std::uint32_t n) noexcept { return Seq(a.value_ + n); }
    friend constexpr Seq operator-(Seq a, std::uint32_t n) noexcept { return Seq(a.value_ - n); }
    // Distance from b to a, in bytes, modulo 2^32.
    friend constexpr std::uint32_t operator-(Seq a, Seq b) noexcept { return a.value_ - b.value_; }
    constexpr Seq& operator+=(std::uint32_t n) noexcept { value_ += n; return *this; }

private:
    std::uint32_t value_ = 0;
};

constexpr Seq later(Seq a, Seq b) noexcept { return a < b ? b : a; }
constexpr Seq earlier(Seq a, Seq b) noexcept { return a < b ? a : b; }

}  // namespace shunt
