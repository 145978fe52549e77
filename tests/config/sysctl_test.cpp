#include "config/sysctl.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

namespace shunt::config {
namespace {

using testing::HasSubstr;

std::string refusal(std::string_view name, std::string_view value) {
    Tunables tunables;
    const auto done = set_sysctl(tunables, name, value);
    return done ? std::string() : done.error().message;
}

TEST(Sysctl, EveryMemberOfTunablesIsInTheTableOnce) {
    std::size_t bytes = 0;
    std::set<std::string_view> names;
    for (const Sysctl& sysctl : sysctls()) {
        EXPECT_TRUE(names.insert(sysctl.name).second) << sysctl.name;
        bytes += sysctl.limits != nullptr  ? sizeof(MemoryLimits)
                 : sysctl.ports != nullptr ? sizeof(PortRange)
                 : sysctl.keys != nullptr  ? sizeof(FastOpenKeys)
                                           : sizeof(std::int32_t);
    }
    EXPECT_EQ((bytes + alignof(Tunables) - 1) / alignof(Tunables) * alignof(Tunables), sizeof(Tunables));
}

TEST(Sysctl, AKeyOfFastOpenIsReadAsLinuxReadsIt) {
    Tunables tunables;
    const std::string text = "00112233-44556677-8899aabb-ccddeeff,a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4";
    ASSERT_TRUE(set_sysctl(tunables, "net.ipv4.tcp_fastopen_key", text));
    EXPECT_EQ(tunables.tcp_fastopen_key.count, 2U);
    EXPECT_EQ(tunables.tcp_fastopen_key.keys[0].k0, 0x4455667700112233U);
    EXPECT_EQ(tunables.tcp_fastopen_key.keys[0].k1, 0xccddeeff8899aabbU);
    EXPECT_EQ(sysctl_text(tunables, *find_sysctl("net.ipv4.tcp_fastopen_key")), text);
    EXPECT_THAT(refusal("net.ipv4.tcp_fastopen_key", "00112233-44556677-8899aabb"), HasSubstr("takes one or two keys"));
    EXPECT_THAT(refusal("net.ipv4.tcp_fastopen_key", "x0112233-44556677-8899aabb-ccddeeff"), HasSubstr("takes one or two keys"));
}

TEST(Sysctl, NumbersMayBeHexadecimalAsUnderProcSys) {
    Tunables tunables;
    ASSERT_TRUE(set_sysctl(tunables, "net.ipv4.tcp_fastopen", "0x402"));
    EXPECT_EQ(tunables.tcp_fastopen, 0x402);
    EXPECT_FALSE(refusal("net.ipv4.tcp_fastopen", "0x").empty());
}

TEST(Sysctl, EveryOneTakesItsOwnText) {
    const Tunables defaults;
    for (const Sysctl& sysctl : sysctls()) {
        Tunables tunables;
        const std::string text = sysctl_text(defaults, sysctl);
        EXPECT_TRUE(set_sysctl(tunables, sysctl.name, text)) << sysctl.name << " = " << text;
        EXPECT_EQ(tunables, defaults) << sysctl.name;
    }
}

TEST(Sysctl, ValuesAreOfTheRightNumberRangeAndOrder) {
    EXPECT_EQ(refusal("net.ipv4.tcp_sack", "2"), "net.ipv4.tcp_sack takes 0 to 1, not \"2\"");
    EXPECT_EQ(refusal("net.ipv4.tcp_rmem", "4096"), "net.ipv4.tcp_rmem takes 3 numbers separated by blanks, not \"4096\"");
    EXPECT_THAT(refusal("net.ipv4.tcp_rmem", "4096 2048 8192"), HasSubstr("rising order"));
    EXPECT_THAT(refusal("net.ipv4.tcp_fin_timeout", "soon"), HasSubstr("takes 1 to 32767"));
    EXPECT_THAT(refusal("net.ipv4.ip_local_port_range", "1024 70000"), HasSubstr("takes 1 to 65535"));
    EXPECT_EQ(refusal("net.ipv4.tcp_congestion_control", "vegas"),
              "net.ipv4.tcp_congestion_control takes reno, cubic or bbr, not \"vegas\"");
}

TEST(Sysctl, AnUnknownNameIsAnsweredWithTheClosest) {
    EXPECT_EQ(refusal("net.ipv4.tcp_keepalive_tim", "1"),
              "net.ipv4.tcp_keepalive_tim is not a tunable that Shunt knows; did you mean net.ipv4.tcp_keepalive_time?");
}

class SysctlOfAHost : public testing::Test {
protected:
    SysctlOfAHost() {
        char name[] = "/tmp/shunt_sysctl_XXXXXX";
        root_ = mkdtemp(name);
        std::filesystem::create_directories(root_ + "/net/ipv4");
    }
    ~SysctlOfAHost() override { std::filesystem::remove_all(root_); }
    void has(const std::string& name, const std::string& text) { std::ofstream(root_ + "/net/ipv4/" + name) << text << '\n'; }

    std::string root_;
};

TEST_F(SysctlOfAHost, IsTakenOverAndTheRestStaysAsItIs) {
    has("tcp_rmem", "4096\t87380\t16777216");
    has("tcp_fin_timeout", "15");
    has("tcp_congestion_control", "reno");
    has("tcp_notsent_lowat", "4294967295");
    Tunables expected, actual;
    expected.tcp_rmem = {4096, 87380, 16777216};
    expected.tcp_fin_timeout = 15;
    expected.tcp_congestion_control = CongestionControl::reno;
    read_host(actual, root_);
    EXPECT_EQ(actual, expected);
}

TEST_F(SysctlOfAHost, WhatMakesNoSenseHereIsLeftOut) {
    has("tcp_ecn", "99");
    has("tcp_congestion_control", "dctcp");
    Tunables expected, actual;
    expected.tcp_congestion_control = CongestionControl::other;
    read_host(actual, root_);
    EXPECT_EQ(actual, expected);
}

}  // namespace
}  // namespace shunt::config
