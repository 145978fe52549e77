#include "config/rules.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shunt::config {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr std::uint32_t address(unsigned a, unsigned b, unsigned c, unsigned d) {
    return a << 24 | b << 16 | c << 8 | d;
}

Rule rule(const char* text) {
    auto parsed = parse_rule(text);
    EXPECT_TRUE(parsed) << text << ": " << parsed.error().message;
    return parsed ? *parsed : Rule{};
}

std::string refusal(const char* text) {
    const auto parsed = parse_rule(text);
    EXPECT_FALSE(parsed) << text;
    return parsed ? std::string() : parsed.error().message;
}

bool matches(const char* text, const Question& question) {
    return first_match({rule(text)}, question) != nullptr;
}

constexpr Question ssh{true, End::peer, address(10, 0, 0, 9), 22};
constexpr Question feed{false, End::local, address(10, 0, 0, 1), 9050};

TEST(Rules, ASideAloneMatchesEverything) {
    EXPECT_TRUE(rule("kernel").is_for_kernel);
    EXPECT_FALSE(rule("shunt").is_for_kernel);
    EXPECT_TRUE(matches("kernel", ssh));
    EXPECT_TRUE(matches("kernel", feed));
}

TEST(Rules, EveryWordNarrows) {
    EXPECT_TRUE(matches("kernel tcp", ssh));
    EXPECT_FALSE(matches("kernel udp", ssh));
    EXPECT_TRUE(matches("kernel peer=10.0.0.9", ssh));
    EXPECT_TRUE(matches("kernel peer=10.0.0.9:22 tcp", ssh));
    EXPECT_FALSE(matches("kernel peer=10.0.0.9:23", ssh));
    EXPECT_FALSE(matches("kernel peer=10.0.0.8:22", ssh));
    EXPECT_TRUE(matches("kernel peer=10.0.0.0/24:22", ssh));
    EXPECT_FALSE(matches("kernel peer=10.0.1.0/24:22", ssh));
    EXPECT_TRUE(matches("kernel peer=*:1-1023", ssh));
    EXPECT_FALSE(matches("kernel peer=*:23-1023", ssh));
    EXPECT_TRUE(matches("kernel local=*:9000-9099 udp", feed));
}

TEST(Rules, OneEndsRuleSaysNothingOfTheOther) {
    EXPECT_FALSE(matches("kernel local=10.0.0.9:22", ssh));
    EXPECT_FALSE(matches("kernel peer=10.0.0.1", feed));
}

TEST(Rules, TheFirstThatMatchesDecides) {
    const std::vector<Rule> rules = {rule("shunt peer=10.0.0.9:22"), rule("kernel peer=10.0.0.0/24"), rule("shunt")};
    EXPECT_EQ(first_match(rules, ssh), &rules[0]);
    EXPECT_EQ(first_match(rules, {true, End::peer, address(10, 0, 0, 9), 80}), &rules[1]);
    EXPECT_EQ(first_match(rules, feed), &rules[2]);
    EXPECT_EQ(first_match({}, feed), nullptr);
}

TEST(Rules, AProgramIsItsNameItsFileOrItsPath) {
    const std::vector<Rule> rules = {rule("kernel program=ssh"), rule("kernel program=python3*"), rule("kernel program=/opt/*/bin/gateway"), rule("shunt")};
    EXPECT_THAT(rules_for(rules, "ssh", "/usr/bin/ssh"), testing::ElementsAre(rules[0], rules[3]));
    EXPECT_THAT(rules_for(rules, "worker", "/usr/bin/python3.11"), testing::ElementsAre(rules[1], rules[3]));
    EXPECT_THAT(rules_for(rules, "gateway", "/opt/acme/bin/gateway"), testing::ElementsAre(rules[2], rules[3]));
    EXPECT_THAT(rules_for(rules, "gateway", "/opt/acme/old/bin/gateway"), testing::ElementsAre(rules[3]));
    EXPECT_THAT(rules_for(rules, "sshd", "/usr/sbin/sshd"), testing::ElementsAre(rules[3]));
}

TEST(Rules, AMistakeNamesTheWord) {
    EXPECT_THAT(refusal(""), HasSubstr("is no side"));
    EXPECT_THAT(refusal("tcp kernel"), StartsWith("\"tcp\" is no side"));
    EXPECT_THAT(refusal("kernel tpc"), StartsWith("\"tpc\" is not understood"));
    EXPECT_THAT(refusal("kernel tcp udp"), StartsWith("\"udp\" is one too many"));
    EXPECT_THAT(refusal("kernel peer=10.0.0.256"), StartsWith("\"peer=10.0.0.256\" has no IPv4 address"));
    EXPECT_THAT(refusal("kernel peer=10.0.0.0/33"), HasSubstr("has no IPv4 address"));
    EXPECT_THAT(refusal("kernel peer="), HasSubstr("has no IPv4 address"));
    EXPECT_THAT(refusal("kernel peer=*:"), HasSubstr("has no port"));
    EXPECT_THAT(refusal("kernel peer=*:65536"), HasSubstr("has no port"));
    EXPECT_THAT(refusal("kernel peer=*:90-80"), HasSubstr("has no port"));
    EXPECT_THAT(refusal("kernel peer=* local=*"), StartsWith("\"local=*\" is one too many"));
    EXPECT_THAT(refusal("kernel program="), StartsWith("\"program=\" is empty"));
    EXPECT_THAT(refusal("kernel program=a program=b"), StartsWith("\"program=b\""));
}

}  // namespace
}  // namespace shunt::config
