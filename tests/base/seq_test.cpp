// Sequence numbers compare modulo 2^32 (RFC 9293, 3.4).
#include <gtest/gtest.h>

#include <concepts>

#include "base/random.hpp"
#include "base/seq.hpp"

namespace shunt {
namespace {

template <class T>
concept CanAddItself = requires(T a) { a + a; };
static_assert(!CanAddItself<Seq>, "two sequence numbers cannot be added");

TEST(Seq, is_before_what_follows_it_also_across_the_wrap) {
    const Seq before(0xffff'fff0U);
    const Seq after = before + 0x20;
    EXPECT_EQ(after.raw(), 0x10U);
    EXPECT_TRUE(before < after);
    EXPECT_TRUE(after > before);
    EXPECT_TRUE(before <= after);
    EXPECT_FALSE(before >= after);
}

TEST(Seq, gives_the_distance_also_across_the_wrap) {
    EXPECT_EQ(Seq(5) - Seq(0xffff'fffbU), 10U);
    EXPECT_EQ((Seq(5) - 10U).raw(), 0xffff'fffbU);
}

TEST(Seq, orders_neighbours_wherever_they_are) {
    Random random(1);
    for (int i = 0; i < 10'000; ++i) {
        const Seq a(static_cast<std::uint32_t>(random.next()));
        const std::uint32_t distance = 1 + random.below(0x7fff'fffe);
        const Seq b = a + distance;
        ASSERT_TRUE(a < b);
        ASSERT_FALSE(b < a);
        ASSERT_EQ(b - a, distance);
        ASSERT_EQ(later(a, b), b);
        ASSERT_EQ(earlier(a, b), a);
    }
}

TEST(Seq, is_equal_to_itself_only) {
    EXPECT_TRUE(Seq(7) == Seq(7));
    EXPECT_TRUE(Seq(7) <= Seq(7));
    EXPECT_TRUE(Seq(7) >= Seq(7));
    EXPECT_FALSE(Seq(7) < Seq(7));
    EXPECT_FALSE(Seq(7) == Seq(8));
}

TEST(Seq, moves_on_in_place) {
    Seq a(0xffff'ffffU);
    a += 2;
    EXPECT_EQ(a.raw(), 1U);
}

}  // namespace
}  // namespace shunt
