// What DPDK gets in place of libbsd's and libatomic's functions.
#include <gtest/gtest.h>

#include <cstddef>

extern "C" {
std::size_t shunt_driver_strlcpy(char* to, const char* from, std::size_t room);
std::size_t shunt_driver_strlcat(char* to, const char* from, std::size_t room);
__extension__ typedef unsigned __int128 Wide;
Wide shunt_driver_atomic_load_16(Wide* from, int order);
void shunt_driver_atomic_store_16(Wide* to, Wide value, int order);
}

namespace {

TEST(LibraryCalls, StrlcpyCutsAndSaysHowLongItWouldHaveBeen) {
    char text[4] = {'x', 'x', 'x', 'x'};
    EXPECT_EQ(shunt_driver_strlcpy(text, "abcdef", sizeof text), 6U);
    EXPECT_STREQ(text, "abc");
    EXPECT_EQ(shunt_driver_strlcpy(text, "ab", sizeof text), 2U);
    EXPECT_STREQ(text, "ab");
    EXPECT_EQ(shunt_driver_strlcpy(text, "zz", 0), 2U);
    EXPECT_STREQ(text, "ab");
}

TEST(LibraryCalls, StrlcatCutsAndSaysHowLongItWouldHaveBeen) {
    char text[6] = "ab";
    EXPECT_EQ(shunt_driver_strlcat(text, "cd", sizeof text), 4U);
    EXPECT_STREQ(text, "abcd");
    EXPECT_EQ(shunt_driver_strlcat(text, "efg", sizeof text), 7U);
    EXPECT_STREQ(text, "abcde");
    EXPECT_EQ(shunt_driver_strlcat(text, "x", 3), 4U);   // no end within the room: nothing is written
    EXPECT_STREQ(text, "abcde");
}

TEST(LibraryCalls, SixteenBytesAreStoredAndLoaded) {
    alignas(16) Wide place = 0;
    const Wide value = (Wide{0x0123456789abcdefU} << 64) | 0xfedcba9876543210U;
    shunt_driver_atomic_store_16(&place, value, __ATOMIC_SEQ_CST);
    EXPECT_TRUE(place == value);
    EXPECT_TRUE(shunt_driver_atomic_load_16(&place, __ATOMIC_SEQ_CST) == value);
    shunt_driver_atomic_store_16(&place, 0, __ATOMIC_SEQ_CST);
    EXPECT_TRUE(shunt_driver_atomic_load_16(&place, __ATOMIC_SEQ_CST) == 0);
}

}  // namespace
