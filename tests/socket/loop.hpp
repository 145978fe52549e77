// A stack over --link loop in this process, and its addresses, for tests of the socket layer.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstdint>

#include "config/config.hpp"
#include "config/options.hpp"
#include "socket/runtime.hpp"
#include "socket/socket.hpp"

namespace shunt::socket::loop {

inline Stack& the_stack() {
    static Stack* stack = [] {
        config::Inputs inputs;
        inputs.command_line.push_back({config::find_option("link"), "loop", "--link loop"});
        Runtime::instance().configure(config::load(inputs).value());
        return Runtime::instance().stack().value();
    }();
    return *stack;
}

inline sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
}
inline const sockaddr* as_any(const sockaddr_in& address) { return reinterpret_cast<const sockaddr*>(&address); }

// To a port that the stack chooses; which one.
inline std::uint16_t bind_somewhere(Socket& socket) {
    sockaddr_in address = loopback(0);
    EXPECT_EQ(bind(socket, as_any(address), sizeof address), 0);
    socklen_t length = sizeof address;
    EXPECT_EQ(local_name(socket, reinterpret_cast<sockaddr*>(&address), &length), 0);
    return ntohs(address.sin_port);
}

}  // namespace shunt::socket::loop
