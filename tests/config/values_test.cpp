#include "config/values.hpp"

#include <gtest/gtest.h>

namespace shunt::config {
namespace {

TEST(Values, IntegersAreReadWholeOrNotAtAll) {
    EXPECT_EQ(parse_integer("0"), 0);
    EXPECT_EQ(parse_integer("-7"), -7);
    EXPECT_EQ(parse_integer("9000"), 9000);
    for (const char* bad : {"", " 1", "1 ", "0x10", "1k", "99999999999999999999"}) {
        EXPECT_EQ(parse_integer(bad), std::nullopt) << bad;
    }
}

TEST(Values, AddressesAreFourDecimalOctets) {
    EXPECT_EQ(parse_ipv4("10.1.2.255"), 0x0a0102ffU);
    EXPECT_EQ(ipv4_text(0x0a0102ffU), "10.1.2.255");
    for (const char* bad : {"", "10", "10.1.2", "10.1.2.256", "10.1.2.3.4", "10..2.3", "a.b.c.d", "10.1.2.3 ", "0010.1.2.3"}) {
        EXPECT_EQ(parse_ipv4(bad), std::nullopt) << bad;
    }
}

TEST(Values, HardwareAddressesAreSixPairs) {
    const std::array<std::uint8_t, 6> expected{0x02, 0x00, 0xab, 0xCD, 0x00, 0x01};
    EXPECT_EQ(parse_mac("02:00:ab:CD:00:01"), expected);
    for (const char* bad : {"", "02:00:ab:cd:00", "02:00:ab:cd:00:0g", "02-00-ab-cd-00-01", "2:00:ab:cd:00:011"}) {
        EXPECT_EQ(parse_mac(bad), std::nullopt) << bad;
    }
}

TEST(Values, SplittingTrimsAndLeavesOutWhatIsEmpty) {
    EXPECT_EQ(split(" a , b,,c ", ','), (std::vector<std::string_view>{"a", "b", "c"}));
    EXPECT_EQ(split("1\t2  3\n", ' '), (std::vector<std::string_view>{"1", "2", "3"}));
    EXPECT_TRUE(split("  ", ' ').empty());
}

TEST(Values, AFileThatIsNotThereIsAnErrno) {
    const auto text = read_file("/no/such/file");
    ASSERT_FALSE(text);
    EXPECT_EQ(code_of(text.error()), ENOENT);
}

}  // namespace
}  // namespace shunt::config
