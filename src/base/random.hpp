// Randomness without a device: a keyed hash (SipHash-2-4) for what an outsider must not guess, and a small seeded generator.
// The key comes in as an argument when the stack is made (decision 3 of docs/architecture.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace shunt {

struct SecretKey {
    std::uint64_t k0 = 0;
    std::uint64_t k1 = 0;
    friend bool operator==(const SecretKey&, const SecretKey&) = default;
};

// SipHash-2-4 over whole 64-bit words.
constexpr std::uint64_t siphash(SecretKey key, std::span<const std::uint64_t> words) noexcept {
    std::uint64_t v0 = key.k0 ^ 0x736f6d6570736575U, v1 = key.k1 ^ 0x646f72616e646f6dU;
    std::uint64_t v2 = key.k0 ^ 0x6c7967656e657261U, v3 = key.k1 ^ 0x7465646279746573U;
    const auto rotate = [](std::uint64_t x, int n) { return (x << n) | (x >> (64 - n)); };
    const auto round = [&] {
        v0 += v1; v1 = rotate(v1, 13) ^ v0; v0 = rotate(v0, 32);
        v2 += v3; v3 = rotate(v3, 16) ^ v2;
        v0 += v3; v3 = rotate(v3, 21) ^ v0;
        v2 += v1; v1 = rotate(v1, 17) ^ v2; v2 = rotate(v2, 32);
    };
    for (const std::uint64_t word : words) {
        v3 ^= word;
        round();
        round();
        v0 ^= word;
    }
    const std::uint64_t last = static_cast<std::uint64_t>(words.size() * 8) << 56;
    v3 ^= last;
    round();
    round();
    v0 ^= last;
    v2 ^= 0xff;
    for (int i = 0; i < 4; ++i) {
        round();
    }
    return v0 ^ v1 ^ v2 ^ v3;
}

// xorshift64*: fast, seeded, not secret.
class Random {
public:
    explicit constexpr Random(std::uint64_t seed = 1) noexcept : state_(seed != 0 ? seed : 1) {}
    constexpr std::uint64_t next() noexcept {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545F4914F6CDD1DU;
    }
    // In [0, bound).
    constexpr std::uint32_t below(std::uint32_t bound) noexcept {
        return static_cast<std::uint32_t>(((next() >> 32) * bound) >> 32);
    }

private:
    std::uint64_t state_;
};

}  // namespace shunt
