// One stack for a whole test program, as a process has one; all tests talk to its own address, which loops inside the stack.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>
#include <shunt/shunt.hpp>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace shunt {

inline constexpr std::uint32_t our_address = 0x0a630001;  // 10.99.0.1

inline Stack::Options test_options() {
    Stack::Options options;
    options.links = {"memif:native-test-" + std::to_string(getpid())};
    options.addresses = {"10.99.0.1/24"};
    options.more = {"packets=8192", "connections=1000"};
    options.use_environment = false;
    return options;
}

inline Stack& the_stack() {
    static auto stack = [] {
        auto opened = Stack::open(test_options());
        if (!opened) {
            ADD_FAILURE() << opened.error().message;
            std::abort();
        }
        return std::move(*opened);
    }();
    return stack;
}

class Native : public testing::Test {
protected:
    Instant soon() { return stack.now() + std::chrono::seconds(2); }
    static std::vector<std::byte> pattern(std::size_t size) {
        std::vector<std::byte> bytes(size);
        std::ranges::generate(bytes, [n = 0U]() mutable { return static_cast<std::byte>(n++ * 7 % 251); });
        return bytes;
    }
    void open_pair(const TcpOptions& options = {}) {
        listener = *TcpListener::listen(stack, {our_address, 0}, {.tcp = options});
        auto connecting = TcpSocket::connect(stack, {our_address, listener.local_address().port}, {.local = {}, .tcp = options});
        ASSERT_TRUE(connecting);
        client = std::move(*connecting);
        ASSERT_TRUE(client.wait_connected(soon()));
        ASSERT_TRUE(listener.wait(soon()));
        auto accepted = listener.accept();
        ASSERT_TRUE(accepted);
        server = std::move(*accepted);
    }
    std::vector<std::byte> receive_all(TcpSocket& socket, std::size_t size) {
        std::vector<std::byte> all;
        while (all.size() < size && socket.wait(soon())) {
            const auto buffer = socket.receive();
            if (!buffer || buffer->empty()) {
                break;
            }
            all.insert(all.end(), buffer->bytes().begin(), buffer->bytes().end());
        }
        return all;
    }

    Stack& stack = the_stack();
    TcpListener listener;
    TcpSocket client, server;
};

}  // namespace shunt
