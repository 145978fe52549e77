// Socket options: one table (options.cpp), and the calls that go through it (option_calls.cpp). Private to src/socket/.
#pragma once

#include <span>
#include <string_view>

#include "socket/state.hpp"

namespace shunt::socket {

// Where the value of an option goes.
struct Value {
    void* data;
    socklen_t* length;  // in: room, not negative; out: bytes given
    bool is_ip;         // level IPPROTO_IP: a number for less room than an int is a byte

    // As much as fits.
    long give(const void* from, std::size_t size) const noexcept;
    long give(int value) const noexcept;
};

struct Row {
    int level;
    int name;
    long (*get)(Layer&, Socket&, Value) noexcept;      // null: ENOPROTOOPT
    long (*set)(Layer&, Socket&, int value) noexcept;  // integers; null: read-only
    bool imported;                                     // a socket that becomes ours takes it over from the kernel's
};

std::span<const Row> option_rows() noexcept;

// What is larger than an int, or has several shapes.
long set_congestion(Layer& layer, Socket& socket, std::string_view name) noexcept;
long set_pacing(Layer& layer, Socket& socket, std::uint64_t rate) noexcept;

// Takes over what the program has set on the kernel's socket so far.
void import_options(Socket& socket, int fd) noexcept;

}  // namespace shunt::socket
