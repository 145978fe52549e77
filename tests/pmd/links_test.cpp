// From a configuration to a stack with its ports: several links, the port's address, the fault injector's place.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "pmd/fault.hpp"
#include "socket/runtime.hpp"
#include "stack/stack.hpp"

namespace shunt::socket {
namespace {

// A process has one stack.
template <class Body>
void in_a_process(Body body) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        body();
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

std::string wire_name(const char* test) {
    return std::string("memif:pmdlinks") + test + std::to_string(getpid());
}

config::Config one_link(const std::string& link) {
    config::Config config;
    config.links = {link};
    config.addresses = {{.address_host_order = 0x0a620001, .length = 24}};
    config.packets = 4096;
    config.connections = 100;
    config.mtu = 1500;
    return config;
}

Stack* start(const config::Config& config) {
    Runtime::instance().configure(config);
    const auto stack = Runtime::instance().stack();
    EXPECT_TRUE(stack) << stack.error().message;
    return stack ? *stack : nullptr;
}

TEST(Links, TwoOfAKindAreTwoPorts) {
    in_a_process([] {
        config::Config config = one_link(wire_name("a"));
        config.links.push_back(wire_name("b"));
        config.addresses.push_back({.address_host_order = 0x0a630001, .length = 24});
        Stack* stack = start(config);
        ASSERT_NE(stack, nullptr);
        ASSERT_EQ(stack->links().size(), 2U);
        EXPECT_NE(stack->links()[0]->port.id, stack->links()[1]->port.id);
        EXPECT_NE(stack->links()[0]->port.mac, stack->links()[1]->port.mac);
    });
}

TEST(Links, ThePortHasTheAddressThatIsConfigured) {
    in_a_process([] {
        config::Config config = one_link(wire_name("mac"));
        config.mac = {2, 0, 0, 0, 9, 1};
        const Stack* stack = start(config);
        ASSERT_NE(stack, nullptr);
        EXPECT_EQ(stack->links()[0]->port.mac, *config.mac);
    });
}

TEST(Links, AForkedChildUsesTheSameFaultInjector) {
    in_a_process([] {
        config::Config config = one_link(wire_name("fault"));
        config.faults = "drop=0.5,jitter_us=20,side=both";
        const Stack* stack = start(config);
        ASSERT_NE(stack, nullptr);
        pmd::FaultInjector* faults = stack->links()[0]->port.faults;
        ASSERT_NE(faults, nullptr);
        EXPECT_EQ(faults->options.drop, 0.5);
        const pid_t child = fork();
        if (child == 0) {
            faults->counters.overflowed += 77;
            _exit(0);
        }
        waitpid(child, nullptr, 0);
        EXPECT_EQ(faults->counters.overflowed, 77U);
    });
}

}  // namespace
}  // namespace shunt::socket
