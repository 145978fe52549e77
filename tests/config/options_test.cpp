#include "config/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "config/values.hpp"

namespace shunt::config {
namespace {

using testing::HasSubstr;

// The message that `value` of --name is answered with; empty when it is taken.
std::string refusal(std::string_view name, std::string_view value) {
    const Option& option = *find_option(name);
    Config config;
    const auto done = option.set(config, option, value);
    return done ? std::string() : done.error().message;
}

Outcome<Setting> parse(std::vector<std::string> arguments) {
    std::size_t index = 0;
    return parse_option(arguments, index);
}

TEST(Options, EachIsCompleteAndItsExampleAndDefaultAreTaken) {
    std::set<std::string_view> names;
    for (const Option& option : options) {
        EXPECT_TRUE(names.insert(option.name).second) << option.name << " is there twice";
        EXPECT_FALSE(option.sentence.empty()) << option.name;
        EXPECT_EQ(option.kind == Kind::flag, option.placeholder.empty()) << option.name;
        EXPECT_EQ(refusal(option.name, option.example), "") << option.name;
        if (!option.default_value.empty()) {
            EXPECT_EQ(refusal(option.name, option.default_value), "") << option.name;
        }
    }
}

TEST(Options, EachIsInTheHelpAndInTheDocument) {
    for (const Option& option : options) {
        EXPECT_THAT(help_text(), HasSubstr("--" + std::string(option.name)));
        EXPECT_THAT(markdown(), HasSubstr("`" + variable_name(option) + "`"));
    }
}

TEST(Options, EachIsFoundByItsThreeNames) {
    for (const Option& option : options) {
        EXPECT_EQ(find_option(option.name), &option);
        EXPECT_EQ(from_variable(variable_name(option)), &option);
        EXPECT_EQ(from_key(key_name(option)), &option);
    }
    EXPECT_EQ(variable_name(*find_option("memory-mib")), "SHUNT_MEMORY_MIB");
    EXPECT_EQ(key_name(*find_option("memory-mib")), "memory_mib");
}

TEST(Options, NumbersKeepTheirRange) {
    for (const Option& option : options) {
        if (option.kind == Kind::number) {
            EXPECT_EQ(refusal(option.name, std::to_string(option.minimum)), "") << option.name;
            EXPECT_EQ(refusal(option.name, std::to_string(option.maximum)), "") << option.name;
            EXPECT_THAT(refusal(option.name, std::to_string(option.minimum - 1)), HasSubstr("is out of range; give"));
            EXPECT_THAT(refusal(option.name, std::to_string(option.maximum + 1)), HasSubstr("is out of range; give"));
            EXPECT_THAT(refusal(option.name, "many"), HasSubstr("is not a number; give"));
        }
    }
}

TEST(Options, AValueFollowsOrStandsBehindTheEqualsSign) {
    for (const auto& setting : {parse({"--mtu", "9000"}), parse({"--mtu=9000"})}) {
        ASSERT_TRUE(setting);
        EXPECT_EQ(setting->option, find_option("mtu"));
        EXPECT_EQ(setting->value, "9000");
        EXPECT_EQ(setting->origin, "--mtu 9000");
    }
    EXPECT_EQ(parse({"--sysctl=net.ipv4.tcp_sack=0"})->value, "net.ipv4.tcp_sack=0");
    EXPECT_EQ(parse({"--mtu"}).error().message, "--mtu: a value must follow; give N, such as 9000");
}

TEST(Options, AFlagTakesNoSecondWord) {
    std::vector<std::string> arguments{"--require", "ls"};
    std::size_t index = 0;
    EXPECT_EQ(parse_option(arguments, index)->value, "yes");
    EXPECT_EQ(index, 1U);
}

TEST(Options, AMistypedNameIsAnsweredWithTheClosest) {
    EXPECT_EQ(parse({"--lnik", "x"}).error().message,
              "--lnik: there is no such option; did you mean --link?; shunt --help shows them all");
    EXPECT_EQ(parse({"--zzzzzzzzz"}).error().message, "--zzzzzzzzz: there is no such option; shunt --help shows them all");
    EXPECT_THAT(parse({"-x"}).error().message, HasSubstr("there is no such option"));
}

TEST(Options, LinkNeedsAKindAndAPort) {
    for (const char* good : {"pci:0000:03:02.0", "memif:wire", "tap:tap0", "xdp:eth0", "packet:eth0", "dpdk:net_null0,size=64", "loop"}) {
        EXPECT_EQ(refusal("link", good), "");
    }
    EXPECT_EQ(refusal("link", "eth0"),
              "is no kind of link; give one of pci:ADDRESS memif:NAME tap:IFNAME xdp:IFNAME packet:IFNAME dpdk:DEVARGS loop");
    EXPECT_EQ(refusal("link", "loop:"), "give loop alone, without a colon: it has no port");
    EXPECT_EQ(refusal("link", "memif:"), "give a name of 1 to 64 letters, digits, '-', '_' or '.', such as memif:wire0");
}

TEST(Options, IpIsAHostAddressWithAPrefixLength) {
    EXPECT_EQ(refusal("ip", "10.0.0.1/24"), "");
    EXPECT_EQ(refusal("ip", "10.0.0.0/31"), "");
    EXPECT_EQ(refusal("ip", "10.0.0.1/32"), "");
    EXPECT_EQ(refusal("ip", "10.0.0.1"), "lacks the length of the network's prefix; give ADDR/LEN, such as 10.0.0.1/24");
    EXPECT_THAT(refusal("ip", "10.0.0.1/33"), HasSubstr("no prefix length of 1 to 32"));
    EXPECT_THAT(refusal("ip", "10.0.0.0/24"), HasSubstr("network's own or its broadcast address"));
    EXPECT_THAT(refusal("ip", "10.0.0.255/24"), HasSubstr("network's own or its broadcast address"));
    for (const char* bad : {"0.0.0.0/0", "127.0.0.1/8", "224.0.0.1/24", "10.0.0/24", ""}) {
        EXPECT_THAT(refusal("ip", bad), HasSubstr("is not an address that a host can have")) << bad;
    }
    EXPECT_EQ(refusal("ip", "fe80::1/64"), "IPv6 is not carried yet; give an IPv4 address, such as 10.0.0.1/24");
}

TEST(Options, GatewayIsAHostAddress) {
    EXPECT_EQ(refusal("gateway", "10.0.0.254"), "");
    EXPECT_THAT(refusal("gateway", "10.0.0.254/24"), HasSubstr("give ADDR, such as 10.0.0.254"));
    EXPECT_THAT(refusal("gateway", "fe80::1"), HasSubstr("IPv6 is not carried yet"));
}

TEST(Options, ChoicesAreNamedWhenNoneFits) {
    EXPECT_EQ(refusal("profile", "fast"), "is unknown; give one of: latency balanced throughput");
    EXPECT_EQ(refusal("log", "loud"), "is unknown; give one of: error warning info debug");
    EXPECT_EQ(refusal("require", "maybe"), "is neither yes nor no; give yes or no");
}

TEST(Options, ChoicesBecomeTheirEnumeration) {
    Config config;
    ASSERT_TRUE(setters::profile(config, *find_option("profile"), "throughput"));
    ASSERT_TRUE(setters::log_level(config, *find_option("log"), "debug"));
    ASSERT_TRUE(setters::require(config, *find_option("require"), "on"));
    EXPECT_EQ(config.profile, Profile::throughput);
    EXPECT_EQ(config.log, log::Level::debug);
    EXPECT_TRUE(config.require);
}

TEST(Options, MacBelongsToOnePort) {
    EXPECT_EQ(refusal("mac", "02:00:00:00:00:01"), "");
    for (const char* bad : {"01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "02:00"}) {
        EXPECT_THAT(refusal("mac", bad), HasSubstr("is not the hardware address of one port")) << bad;
    }
}

TEST(Options, FaultTakesWhatTheInjectorKnows) {
    EXPECT_EQ(refusal("fault", "drop=0.01,duplicate=0.01,reorder=0.01,corrupt=0.001,delay_us=100,jitter_us=20,seed=7,side=rx"), "");
    EXPECT_EQ(refusal("fault", "drop=1.5"), "\"drop=1.5\" is no rate; give one from 0 to 1, such as drop=0.01");
    EXPECT_THAT(refusal("fault", "lose=0.1"), HasSubstr("\"lose=0.1\" is none of drop= duplicate= reorder="));
}

TEST(Options, SysctlIsANameAndAValue) {
    EXPECT_EQ(refusal("sysctl", "net.ipv4.tcp_rmem=4096 131072 6291456"), "");
    EXPECT_THAT(refusal("sysctl", "net.ipv4.tcp_sack"), HasSubstr("lacks \"=\""));
    EXPECT_EQ(refusal("sysctl", "net.ipv4.tcp_smem=1"),
              "net.ipv4.tcp_smem is not a tunable that Shunt knows; did you mean net.ipv4.tcp_rmem or net.ipv4.tcp_wmem?");
}

}  // namespace
}  // namespace shunt::config
