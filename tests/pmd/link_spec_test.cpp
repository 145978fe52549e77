// What --link takes, and the exact line that says why it does not.
#include "pmd/link_spec.hpp"

#include <gtest/gtest.h>

namespace shunt::pmd {
namespace {

using Kind = LinkSpec::Kind;

std::string refusal(std::string_view text) {
    const auto parsed = parse_link_spec(text);
    return parsed ? "" : parsed.error().message;
}

TEST(LinkSpec, EveryKindIsReadAndWrittenBack) {
    for (const auto& [text, kind, value] : {std::tuple{"pci:0000:03:02.0", Kind::pci, "0000:03:02.0"}, std::tuple{"memif:wire0", Kind::memif, "wire0"},
                                            std::tuple{"tap:shunt0", Kind::tap, "shunt0"}, std::tuple{"xdp:eth0", Kind::xdp, "eth0"},
                                            std::tuple{"packet:eth0", Kind::packet, "eth0"}, std::tuple{"dpdk:net_ring0,a=b", Kind::dpdk, "net_ring0,a=b"}, std::tuple{"loop", Kind::loop, ""}}) {
        const auto parsed = parse_link_spec(text);
        ASSERT_TRUE(parsed) << parsed.error().message;
        EXPECT_EQ(*parsed, (LinkSpec{kind, value}));
        EXPECT_EQ(to_string(*parsed), text);
    }
}

TEST(LinkSpec, AShortPciAddressIsMadeLong) {
    const auto parsed = parse_link_spec("pci:0A:1f.7");
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->value, "0000:0a:1f.7");
}

TEST(LinkSpec, WhatIsWrongIsSaidWithTheRemedy) {
    const std::string kinds = "is no kind of link; give one of pci:ADDRESS memif:NAME tap:IFNAME xdp:IFNAME packet:IFNAME dpdk:DEVARGS loop";
    EXPECT_EQ(refusal("eth0"), kinds);
    EXPECT_EQ(refusal(""), kinds);
    EXPECT_EQ(refusal("pci:03:02.8"), "give the address that lspci -D shows, such as pci:0000:03:02.0");
    EXPECT_EQ(refusal("memif:a/b"), "give a name of 1 to 64 letters, digits, '-', '_' or '.', such as memif:wire0");
    EXPECT_EQ(refusal("tap:"), "give an interface name of 1 to 15 characters, such as tap:shunt0");
    EXPECT_EQ(refusal("xdp:a234567890123456"), "give an interface name that ip link shows, such as xdp:eth0");
    EXPECT_EQ(refusal("packet:a,b"), "give an interface name that ip link shows, such as packet:eth0");
    EXPECT_EQ(refusal("dpdk:--vdev"), "give DPDK's device arguments, such as dpdk:net_ring0");
    EXPECT_EQ(refusal("loop:x"), "give loop alone, without a colon: it has no port");
}

}  // namespace
}  // namespace shunt::pmd
