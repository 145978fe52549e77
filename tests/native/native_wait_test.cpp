// Sessions, threads, waiting, and that nothing is kept.
#include <atomic>

#include "native/one_stack.hpp"

namespace shunt {
namespace {

using namespace std::chrono_literals;

TEST_F(Native, CallsInASessionNeedNoLockOfTheirOwn) {
    open_pair();
    const Session session(stack);
    const Session within(stack);
    ASSERT_TRUE(client.send(pattern(10)));
    EXPECT_EQ(receive_all(server, 10).size(), 10U);
}

TEST_F(Native, ASessionThatPollsLetsOtherThreadsIn) {
    open_pair();
    std::atomic<bool> has_sent = false;
    std::thread other([&] { has_sent = client.send(pattern(10)).has_value(); });
    {
        const Session session(stack);
        const Instant deadline = soon();
        while (!server.receive() && stack.now() < deadline) {
        }
    }
    other.join();
    EXPECT_TRUE(has_sent);
}

TEST_F(Native, ASleeperIsWokenByAnotherThread) {
    open_pair();
    std::thread other([&] {
        std::this_thread::sleep_for(20ms);
        EXPECT_TRUE(client.send(pattern(10)));
    });
    const Instant start = stack.now();
    EXPECT_TRUE(stack.wait(start + 2s, listener, server));
    EXPECT_LT(stack.now() - start, 1s);
    other.join();
}

TEST_F(Native, AWaitEndsAtItsDeadline) {
    open_pair();
    const Instant start = stack.now();
    EXPECT_FALSE(server.wait(start + 5ms));
    EXPECT_GE(stack.now() - start, 5ms);
    EXPECT_FALSE(server.wait(at_once));
    EXPECT_FALSE(stack.wait(stack.now() + 1ms));
    const Handle* const handles[] = {&listener, nullptr, &server};
    EXPECT_FALSE(stack.wait(at_once, handles));
}

TEST_F(Native, NothingIsKept) {
    open_pair();  // what is allocated once is allocated
    client.close();
    server.close();
    listener.close();
    std::this_thread::sleep_for(50ms);
    const std::size_t before = stack.packets_free();
    for (int i = 0; i < 100; ++i) {
        open_pair();
        ASSERT_TRUE(client.send(pattern(3000)));
        ASSERT_EQ(receive_all(server, 3000).size(), 3000U);
        const auto unused = client.claim(10);
        const auto udp = UdpSocket::open(stack);
        ASSERT_TRUE(udp);
        server.close();
        client.abort();
        listener.close();
    }
    std::this_thread::sleep_for(50ms);
    EXPECT_EQ(stack.packets_free(), before);
}

}  // namespace
}  // namespace shunt
