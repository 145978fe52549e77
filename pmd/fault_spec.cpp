// Reading --fault. See fault_spec.hpp.
#include "pmd/fault_spec.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

namespace shunt::pmd {
namespace {

constexpr std::int64_t span_us_max = 10'000'000;

std::unexpected<Error> refuse(std::string_view piece, std::string_view remedy) {
    return explain(EINVAL, fmt::format("\"{}\" {}", piece, remedy));
}

template <class T>
std::optional<T> parse(std::string_view text) {
    T value{};
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    return error == std::errc{} && stopped == end ? std::optional<T>(value) : std::nullopt;
}

Outcome<void> set_rate(double& rate, std::string_view piece, std::string_view value) {
    const auto parsed = parse<double>(value);
    if (!parsed || !(*parsed >= 0 && *parsed <= 1)) {
        return refuse(piece, "is no rate; give one from 0 to 1, such as drop=0.01");
    }
    rate = *parsed;
    return {};
}

Outcome<void> set_span(Duration& span, std::string_view piece, std::string_view value) {
    const auto parsed = parse<std::int64_t>(value);
    if (!parsed || *parsed < 0 || *parsed > span_us_max) {
        return refuse(piece, fmt::format("is no time; give 0 to {} microseconds, such as delay_us=100", span_us_max));
    }
    span = std::chrono::microseconds(*parsed);
    return {};
}

Outcome<void> set_seed(std::uint64_t& seed, std::string_view piece, std::string_view value) {
    const auto parsed = parse<std::uint64_t>(value);
    if (!parsed) {
        return refuse(piece, "is no seed; give a whole number from 0, such as seed=7");
    }
    seed = *parsed;
    return {};
}

Outcome<void> set_side(FaultSide& side, std::string_view piece, std::string_view value) {
    if (value != "rx" && value != "tx" && value != "both") {
        return refuse(piece, "is no side; give one of: rx tx both");
    }
    side = value == "rx" ? FaultSide::rx : value == "tx" ? FaultSide::tx : FaultSide::both;
    return {};
}

struct RateName {
    std::string_view name;
    double FaultOptions::*rate;
};
constexpr RateName rates[] = {{"drop", &FaultOptions::drop}, {"duplicate", &FaultOptions::duplicate},
                              {"reorder", &FaultOptions::reorder}, {"corrupt", &FaultOptions::corrupt}};

Outcome<void> set(FaultOptions& options, std::string_view piece) {
    const std::size_t equals = piece.find('=');
    const std::string_view name = piece.substr(0, equals);
    const std::string_view value = equals == piece.npos ? std::string_view() : piece.substr(equals + 1);
    for (const RateName& each : rates) {
        if (name == each.name) {
            return set_rate(options.*each.rate, piece, value);
        }
    }
    if (name == "delay_us" || name == "jitter_us") {
        return set_span(name == "delay_us" ? options.delay : options.jitter, piece, value);
    }
    if (name == "seed") {
        return set_seed(options.seed, piece, value);
    }
    if (name == "side") {
        return set_side(options.side, piece, value);
    }
    return refuse(piece, "is none of drop= duplicate= reorder= corrupt= (0 to 1), delay_us= jitter_us= seed= side=");
}

}  // namespace

Outcome<FaultOptions> parse_fault_options(std::string_view text) {
    FaultOptions options;
    for (std::string_view rest = text;;) {
        const std::size_t comma = rest.find(',');
        if (auto done = set(options, rest.substr(0, comma)); !done) {
            return std::unexpected(done.error());
        }
        if (comma == rest.npos) {
            return options;
        }
        rest.remove_prefix(std::min(rest.find_first_not_of(' ', comma + 1), rest.size()));
    }
}

}  // namespace shunt::pmd
