#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/config.hpp"
#include "config/options.hpp"

namespace shunt::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Load : public testing::Test {
protected:
    Load() {
        char name[] = "/tmp/shunt_load_XXXXXX";
        folder_ = mkdtemp(name);
        inputs_.sysctl_root = folder_;  // no host's values
    }
    ~Load() override { std::filesystem::remove_all(folder_); }

    void file(const std::string& text) {
        std::ofstream(path()) << text;
        command("config", path());
    }
    void command(const std::string& name, const std::string& value) {
        inputs_.command_line.push_back({find_option(name), value, "--" + name + " " + value});
    }
    void environment(const std::string& entry) { inputs_.environment.push_back(entry); }
    std::string path() const { return folder_ + "/shunt.toml"; }
    Config loaded() {
        auto config = load(inputs_);
        EXPECT_TRUE(config) << config.error().message;
        return config ? *config : Config{};
    }
    std::string refusal() {
        const auto config = load(inputs_);
        return config ? std::string() : config.error().message;
    }

    std::string folder_;
    Inputs inputs_;
};

TEST_F(Load, RulesKeepTheirOrder) {
    file("rule = [\"shunt peer=10.0.0.9\", \"kernel\"]\n");
    EXPECT_THAT(loaded().rules, testing::ElementsAre(testing::Field(&Rule::text, "shunt peer=10.0.0.9"), testing::Field(&Rule::text, "kernel")));
    environment("SHUNT_RULE=kernel tcp; shunt");
    EXPECT_THAT(loaded().rules, testing::ElementsAre(testing::Field(&Rule::text, "kernel tcp"), testing::Field(&Rule::text, "shunt")));
}

TEST_F(Load, NothingGivenIsTheDefaultsOfTheTable) {
    const Config config = loaded();
    EXPECT_THAT(config.links, IsEmpty());
    EXPECT_THAT(config.addresses, IsEmpty());
    EXPECT_EQ(config.profile, Profile::balanced);
    EXPECT_EQ(config.log, log::Level::warning);
    EXPECT_EQ(config.mtu, 1500U);
    EXPECT_EQ(config.packets, 32768U);
    EXPECT_EQ(config.memory_mib, 0U);
    EXPECT_EQ(config.connections, 65536U);
    EXPECT_FALSE(config.require);
    EXPECT_FALSE(config.gateway);
    EXPECT_FALSE(config.mac);
    EXPECT_EQ(config.tunables, Tunables{});
}

TEST_F(Load, TheCommandLineWinsOverTheEnvironmentAndThatOverTheFile) {
    file("mtu = 1000\npackets = 2000\nconnections = 100\n");
    environment("SHUNT_MTU=2000");
    environment("SHUNT_PACKETS=3000");
    environment("SHUNT_MEMORY_MIB=256");
    command("mtu", "3000");
    const Config config = loaded();
    EXPECT_EQ(config.mtu, 3000U);
    EXPECT_EQ(config.packets, 3000U);
    EXPECT_EQ(config.memory_mib, 256U);
    EXPECT_EQ(config.connections, 100U);
}

TEST_F(Load, AHigherSourceReplacesAllValuesOfARepeatableOption) {
    file("ip = [\"10.0.0.1/24\", \"10.0.1.1/24\"]\nlink = \"memif:a\"\n");
    environment("SHUNT_IP=10.0.2.1/24, 10.0.3.1/25");
    EXPECT_THAT(loaded().addresses, ElementsAre(Ipv4Prefix{0x0a000201, 24}, Ipv4Prefix{0x0a000301, 25}));
    EXPECT_THAT(loaded().links, ElementsAre("memif:a"));
    command("ip", "10.0.4.1/24");
    EXPECT_THAT(loaded().addresses, ElementsAre(Ipv4Prefix{0x0a000401, 24}));
}

TEST_F(Load, LinksAreSeparatedByBlanksInTheEnvironment) {
    environment("SHUNT_LINK=dpdk:net_null0,size=64 memif:b");
    EXPECT_THAT(loaded().links, ElementsAre("dpdk:net_null0,size=64", "memif:b"));
}

TEST_F(Load, TunablesAddUpOneByOne) {
    file("[sysctl]\nnet.ipv4.tcp_sack = 0\n\"net.ipv4.tcp_rmem\" = [4096, 5000, 6000]\nnet.ipv4.tcp_fin_timeout = 5\n");
    environment("SHUNT_SYSCTL=net.ipv4.tcp_fin_timeout=6,net.ipv4.tcp_wmem=1 2 3");
    command("sysctl", "net.ipv4.tcp_wmem=4 5 6");
    const Tunables tunables = loaded().tunables;
    EXPECT_EQ(tunables.tcp_sack, 0);
    EXPECT_EQ(tunables.tcp_rmem, (MemoryLimits{4096, 5000, 6000}));
    EXPECT_EQ(tunables.tcp_fin_timeout, 6);
    EXPECT_EQ(tunables.tcp_wmem, (MemoryLimits{4, 5, 6}));
}

TEST_F(Load, EveryOptionIsAKeyOfTheFile) {
    for (const Option& option : options) {
        if (option.name != "config" && option.name != "sysctl") {
            std::ofstream(path()) << key_name(option) << " = \"" << option.example << "\"\n";
            inputs_.command_line.clear();
            command("config", path());
            EXPECT_EQ(refusal(), "") << option.name;
        }
    }
}

TEST_F(Load, AMistakeInTheFileIsNamedWithItsLine) {
    file("mtu = 1500\nprofil = \"latency\"\n");
    EXPECT_EQ(refusal(), path() + ":2: profil: there is no such key; did you mean profile?; docs/options.md lists them");
    std::ofstream(path()) << "\n\nmtu = 9\n";
    EXPECT_EQ(refusal(), path() + ":3: mtu = 9: is out of range; give 576 to 9216 bytes");
    std::ofstream(path()) << "mtu = = 9\n";
    EXPECT_THAT(refusal(), HasSubstr(path() + ":1: "));
    std::ofstream(path()) << "[sysctl]\nnet.ipv4.tcp_sac = 1\n";
    EXPECT_EQ(refusal(), path() +
                             ":2: net.ipv4.tcp_sac = 1: net.ipv4.tcp_sac is not a tunable that Shunt knows; "
                             "did you mean net.ipv4.tcp_sack?");
    std::ofstream(path()) << "[mtu]\nsize = 1\n";
    EXPECT_THAT(refusal(), HasSubstr("mtu: is not a value; give N, such as mtu = \"9000\""));
}

TEST_F(Load, AFileThatCannotBeReadIsAnError) {
    environment("SHUNT_CONFIG=/no/such.toml");
    EXPECT_EQ(refusal(), "SHUNT_CONFIG=/no/such.toml: No such file or directory; give a file that can be read");
}

TEST_F(Load, AnErrorSaysWhereTheValueCameFrom) {
    environment("SHUNT_MTU=70000");
    EXPECT_EQ(refusal(), "SHUNT_MTU=70000: is out of range; give 576 to 9216 bytes");
    command("mtu", "1");
    EXPECT_EQ(refusal(), "--mtu 1: is out of range; give 576 to 9216 bytes");
}

TEST_F(Load, AnUnknownVariableIsAWarningUnlessTheLauncherHasShownIt) {
    environment("SHUNT_PROFIEL=latency");
    environment("HOME=/");
    EXPECT_THAT(loaded().warnings,
                ElementsAre("SHUNT_PROFIEL is in the environment, but there is no such option; did you mean SHUNT_PROFILE?"));
    environment("SHUNT_CHECKED=1");
    EXPECT_THAT(loaded().warnings, IsEmpty());
}

TEST_F(Load, ATunableThatNothingFollowsIsAWarning) {
    command("sysctl", "net.ipv4.tcp_min_tso_segs=3");
    command("sysctl", "net.ipv4.tcp_sack=1");
    EXPECT_THAT(loaded().warnings, ElementsAre("net.ipv4.tcp_min_tso_segs is known, but nothing in Shunt follows it yet"));
}

TEST_F(Load, AnEmptyVariableIsAsIfNotThere) {
    environment("SHUNT_MTU=");
    environment("SHUNT_IP=");
    EXPECT_EQ(loaded().mtu, 1500U);
}

TEST_F(Load, OneAddressCannotBeGivenTwice) {
    command("ip", "10.0.0.1/24");
    command("ip", "10.0.0.1/16");
    EXPECT_EQ(refusal(), "--ip 10.0.0.1/16: is given twice; leave one out");
}

std::string incomplete(const Config& config) {
    const auto done = check_complete(config);
    return done ? std::string() : done.error().message;
}

TEST_F(Load, AStackNeedsALinkAnAddressAndAGatewayWithinReach) {
    EXPECT_EQ(incomplete(loaded()), "--link is missing: no port to work on; give one, such as --link memif:wire");
    command("link", "memif:wire");
    EXPECT_EQ(incomplete(loaded()), "--ip is missing: the port needs an address; give one, such as --ip 10.0.0.1/24");
    command("ip", "10.0.0.1/24");
    EXPECT_EQ(incomplete(loaded()), "");
    command("gateway", "10.0.0.254");
    EXPECT_EQ(incomplete(loaded()), "");
    command("gateway", "10.0.1.254");
    EXPECT_EQ(incomplete(loaded()), "--gateway 10.0.1.254 is in no network of ours; give one within 10.0.0.1/24");
    command("gateway", "10.0.0.1");
    EXPECT_EQ(incomplete(loaded()), "--gateway 10.0.0.1 is our own address; give the router's");
}

TEST_F(Load, ALoopNeedsNoAddressAndHasNoWireAndNoGateway) {
    command("link", "loop");
    EXPECT_EQ(incomplete(loaded()), "");
    EXPECT_TRUE(loaded().has_loop);
    EXPECT_FALSE(loaded().has_port());
    command("ip", "10.0.0.1/24");
    EXPECT_EQ(incomplete(loaded()), "");
    command("gateway", "10.0.0.254");
    EXPECT_EQ(incomplete(loaded()), "--gateway needs a port that leads there, and --link loop has none; leave it out");
    command("fault", "drop=0.1");
    EXPECT_EQ(incomplete(loaded()), "--fault spoils a port's wire, and --link loop has none; leave it out, or give --link memif:wire");
    command("link", "memif:wire");
    EXPECT_EQ(incomplete(loaded()), "");
    command("link", "loop");
    EXPECT_EQ(refusal(), "--link loop: is given twice; leave one out");
}

TEST_F(Load, AHigherSourcesLinksReplaceALoop) {
    environment("SHUNT_LINK=loop");
    command("link", "memif:wire");
    EXPECT_FALSE(loaded().has_loop);
}

TEST_F(Load, AHardwareAddressIsForOneLink) {
    command("link", "memif:wire");
    command("ip", "10.0.0.1/24");
    command("mac", "02:00:00:00:00:01");
    EXPECT_EQ(incomplete(loaded()), "");
    command("link", "memif:other");
    EXPECT_EQ(incomplete(loaded()), "--mac is for one port, and there are 2; leave it out");
}

}  // namespace
}  // namespace shunt::config
