// SipHash against its authors' vectors; the small generator.
#include "base/random.hpp"

#include <gtest/gtest.h>

#include <array>

namespace shunt {
namespace {

// Key bytes 00 01 .. 0f, input bytes 00 01 02 ..: the first entries of whole words in the reference's table.
TEST(SipHash, agrees_with_the_reference_vectors) {
    constexpr SecretKey key{0x0706050403020100U, 0x0f0e0d0c0b0a0908U};
    constexpr std::array<std::uint64_t, 2> words{0x0706050403020100U, 0x0f0e0d0c0b0a0908U};
    EXPECT_EQ(siphash(key, std::span(words).first(0)), 0x726fdb47dd0e0e31U);
    EXPECT_EQ(siphash(key, std::span(words).first(1)), 0x93f5f5799a932462U);
    EXPECT_EQ(siphash(key, words), 0x3f2acc7f57c29bdbU);
}

TEST(SipHash, depends_on_every_bit_of_the_key) {
    const std::array<std::uint64_t, 1> words{42};
    const std::uint64_t base = siphash({1, 2}, words);
    for (int bit = 0; bit < 64; ++bit) {
        EXPECT_NE(siphash({1 ^ (std::uint64_t{1} << bit), 2}, words), base);
        EXPECT_NE(siphash({1, 2 ^ (std::uint64_t{1} << bit)}, words), base);
    }
}

TEST(Random, repeats_itself_from_the_same_seed_only) {
    Random a(7), b(7), c(8);
    bool differs = false;
    for (int i = 0; i < 100; ++i) {
        const std::uint64_t value = a.next();
        ASSERT_EQ(value, b.next());
        differs |= value != c.next();
    }
    EXPECT_TRUE(differs);
}

TEST(Random, takes_zero_as_a_seed) {
    Random random(0);
    EXPECT_NE(random.next(), random.next());
}

TEST(Random, stays_below_its_bound_and_reaches_every_value) {
    Random random(3);
    std::array<int, 10> hits{};
    for (int i = 0; i < 10'000; ++i) {
        ++hits.at(random.below(10));
    }
    for (const int count : hits) {
        EXPECT_NEAR(count, 1000, 200);
    }
}

}  // namespace
}  // namespace shunt
