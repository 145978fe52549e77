// What latency and latency_native share: options, the measurement, its table.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace latency {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

struct Settings {
    std::string address = "127.0.0.1";
    std::uint16_t port = 7000;
    bool udp = false;
    bool spin = false;
    std::size_t size = 64;  // bytes
    std::uint64_t count = 100000;
    std::uint64_t warm_up = 10000;
    std::uint64_t timeout_s = 10;
    bool json = false;
};

[[noreturn]] inline void fail(std::string_view what, std::string_view why) {
    std::fprintf(stderr, "latency: %.*s: %.*s\n", static_cast<int>(what.size()), what.data(), static_cast<int>(why.size()),
                 why.data());
    std::exit(1);
}

inline void print_help(const char* program) {
    std::printf(
        "%s: ping-pong with an echo server; prints half round trips\n\n"
        "usage: %s [options] ADDRESS\n\n"
        "  --udp           datagrams instead of a TCP connection\n"
        "  --port N        the server's port (7000)\n"
        "  --size N        bytes a message, 8 to 65000 (64)\n"
        "  --count N       messages that are measured, at most 100000000 (100000)\n"
        "  --warm-up N     messages before those (10000)\n"
        "  --timeout N     seconds to wait for the connection and for an answer (10; UDP answers: 1 at most)\n"
        "  --spin          do not sleep: non-blocking calls in a loop\n"
        "  --json          one line of JSON instead of the table; times in ns\n"
        "  --help          this\n\n"
        "exit status: 0, or 1 when something failed or datagrams were lost\n",
        program, program);
}

inline std::uint64_t number(std::string_view option, const char* text, std::uint64_t least, std::uint64_t most) {
    std::uint64_t value = 0;
    const char* const end = text == nullptr ? nullptr : text + std::strlen(text);
    const auto parsed =
        text == nullptr ? std::from_chars_result{nullptr, std::errc::invalid_argument} : std::from_chars(text, end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end || value < least || value > most) {
        fail(option, "give a number of " + std::to_string(least) + " to " + std::to_string(most));
    }
    return value;
}

inline Settings read_settings(int argc, char** argv, const char* program) {
    Settings settings;
    bool has_address = false;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        const char* const value = i + 1 < argc ? argv[i + 1] : nullptr;
        const auto take = [&](std::uint64_t least, std::uint64_t most) {
            ++i;
            return number(option, value, least, most);
        };
        if (option == "--help") {
            print_help(program);
            std::exit(0);
        } else if (option == "--udp") {
            settings.udp = true;
        } else if (option == "--spin") {
            settings.spin = true;
        } else if (option == "--json") {
            settings.json = true;
        } else if (option == "--port") {
            settings.port = static_cast<std::uint16_t>(take(1, 65535));
        } else if (option == "--size") {
            settings.size = take(8, 65000);
        } else if (option == "--count") {
            settings.count = take(1, 100'000'000);
        } else if (option == "--warm-up") {
            settings.warm_up = take(0, 100'000'000);
        } else if (option == "--timeout") {
            settings.timeout_s = take(1, 3600);
        } else if (option.starts_with("-") || has_address) {
            fail(option, "is not known here; see --help");
        } else {
            settings.address = option;
            has_address = true;
        }
    }
    if (!has_address) {
        fail("ADDRESS", "is missing; see --help");
    }
    return settings;
}

// A message begins with its number, so that a late answer is known as such.
template <class Bytes>
void stamp(Bytes& message, std::uint64_t sequence) {
    std::memcpy(message.data(), &sequence, sizeof sequence);
}
template <class Bytes>
bool is_answer(const Bytes& message, std::uint64_t sequence) {
    return message.size() >= sizeof sequence && std::memcmp(message.data(), &sequence, sizeof sequence) == 0;
}

class Meter {
public:
    explicit Meter(const Settings& settings) : settings_(settings) { half_ns_.reserve(settings.count); }

    bool has_more() const { return sequence_ < settings_.warm_up + settings_.count; }
    std::uint64_t sequence() const { return sequence_; }
    // How long an answer may take.
    std::chrono::seconds patience() const { return std::chrono::seconds(settings_.udp ? 1 : settings_.timeout_s); }

    void add(Time sent, Time received) {
        if (sequence_++ < settings_.warm_up) {
            first_ = received;
            return;
        }
        last_ = received;
        if (half_ns_.empty() && settings_.warm_up == 0) {
            first_ = sent;
        }
        const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(received - sent).count() / 2;
        half_ns_.push_back(static_cast<std::uint32_t>(std::min<std::int64_t>(ns, 0xffff'ffff)));
    }
    // Gives up after many: the server is not there. What the warm-up loses, while the path is being set up, does not count.
    void add_loss() {
        if (++unanswered_ == 10 && half_ns_.empty()) {
            fail("receive", "no answer to ten datagrams; is the server running, and the address right?");
        }
        lost_ += sequence_++ < settings_.warm_up ? 0U : 1U;
    }

    // Prints; the program's exit status.
    int report() {
        std::sort(half_ns_.begin(), half_ns_.end());
        if (half_ns_.empty()) {
            fail("receive", "nothing was measured");
        }
        const double seconds = std::chrono::duration<double>(last_ - first_).count();
        const double rate = seconds > 0 ? static_cast<double>(half_ns_.size()) / seconds : 0;
        constexpr std::pair<const char*, double> points[] = {{"p50", 0.5},     {"p90", 0.9},       {"p99", 0.99},
                                                             {"p99.9", 0.999}, {"p99.99", 0.9999}, {"max", 1.0}};
        if (settings_.json) {
            std::printf("{\"protocol\": \"%s\", \"size\": %zu, \"count\": %zu, \"lost\": %llu", name(), settings_.size,
                        half_ns_.size(), lost());
            for (const auto& [label, share] : points) {
                std::printf(", \"%s\": %u", label, at(share));
            }
            std::printf(", \"messages_per_second\": %.0f}\n", rate);
        } else {
            std::printf("%s, %zu bytes, %zu messages, half round trip in microseconds\n", name(), settings_.size,
                        half_ns_.size());
            for (const auto& [label, share] : points) {
                std::printf("  %-7s %9.3f\n", label, at(share) / 1000.0);
            }
            std::printf("  messages a second %.0f\n", rate);
            if (lost_ != 0) {
                std::printf("  lost %llu\n", lost());
            }
        }
        return lost_ == 0 ? 0 : 1;
    }

private:
    const char* name() const { return settings_.udp ? "UDP" : "TCP"; }
    unsigned long long lost() const { return lost_; }
    std::uint32_t at(double share) const {
        const auto index = static_cast<std::size_t>(share * static_cast<double>(half_ns_.size()));
        return half_ns_[std::min(index, half_ns_.size() - 1)];
    }

    Settings settings_;
    std::vector<std::uint32_t> half_ns_;
    std::uint64_t sequence_ = 0;
    std::uint64_t unanswered_ = 0;
    std::uint64_t lost_ = 0;
    Time first_{}, last_{};
};

}  // namespace latency
