// A plan: a sequence of socket calls over a small set of slots that hold descriptors. As text, one step a line, it can be kept and replayed.
// It is a table of operations and of the values that an argument may take; how a call is made is in calls.hpp, which plans are worth a try in generate.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace differential {

inline constexpr int slot_count = 10;
inline constexpr int worker_count = 2;
inline constexpr int in_child = worker_count;  // in place of a worker: the second process, see child.hpp
inline constexpr int argument_max = 5;

// A value that an argument may have, by name; the weight says how often the generator takes it.
struct Value {
    const char* name;
    long number;
    int weight = 1;
};
using Kind = std::span<const Value>;

// What a slot may hold, as far as the generator follows.
enum Role : unsigned {
    empty = 1, tcp_fresh = 2, tcp_bound = 4, listener = 8, tcp_open = 16, tcp_failed = 32, udp_bound = 64, pipe_in = 128, pipe_out = 256, event = 512,
    timer = 1024, pair = 2048, epoll = 4096, file = 8192, udp_fresh = 16384,
    tcp = tcp_fresh | tcp_bound | listener | tcp_open | tcp_failed,
    udp = udp_fresh | udp_bound,
    inet = tcp | udp,
    any_socket = inet | pair,
    any_role = 0x7fff,
};

struct Argument {
    Kind kind;           // one of the kinds of plan.cpp
    unsigned roles = 0;  // a slot: what it had better hold
};

struct World;
struct Outcome;

struct Operation {
    const char* name;
    int weight;                       // how often the generator takes it by itself
    bool may_block;                   // a watch interrupts it; a worker may do it
    std::vector<Argument> arguments;
    void (*run)(World&, const long* arguments, Outcome& outcome);
    bool writes = false;              // bytes, whose fate is unknown once a buffer has been filled
    Role makes = empty;               // what the first slot holds afterwards, when it is a new one
};

struct Step {
    const Operation* operation = nullptr;
    int worker = -1;                           // -1: the main thread; in_child
    std::array<std::uint8_t, argument_max> choices{};  // indexes into the arguments' kinds
    std::array<long, argument_max> numbers() const;
};
using Plan = std::vector<Step>;

std::span<const Operation> operations();  // calls.cpp
const Operation* find_operation(std::string_view name);

std::string text_of(const Step& step);
std::optional<Step> step_of(std::string_view text);

namespace kinds {
extern const Kind slot, worker, domain, type, socket_flags, pair_type, host, port, name_length, backlog, destination, how, size, send_flags, recv_flags, shape,
    option, option_value, option_length, control, epoll_operation, epoll_events, count, timeout, descriptor_flags, event_flags, event_value, file_size, splice_flags, signal;
}
inline bool is_slot(const Argument& argument) { return argument.kind.data() == kinds::slot.data(); }

// An option of setsockopt by the number in kinds::option.
struct Option {
    const char* name;
    int level, number;
    enum class Shape : std::uint8_t { number, linger, interval, text } shape = Shape::number;
    // Which values are compared: always; before the socket is connected (the kernel tunes them after); never (the machine's own).
    enum class Compared : std::uint8_t { always, unconnected, never } compared = Compared::always;
};
std::span<const Option> options();

}  // namespace differential
