#include "simulator/tables.hpp"

#include <fmt/core.h>

#include <cmath>
#include <map>
#include <optional>
#include <sstream>

#include "simulator/bulk.hpp"
#include "simulator/theory.hpp"
#include "tcp/congestion.hpp"

namespace shunt::simulator {
namespace {

constexpr std::uint64_t link_bps = 100'000'000;
constexpr std::uint64_t transfer_bytes = 40'000'000, short_transfer_bytes = 20'000'000;  // where losses are frequent, fewer bytes see as many

// What there is now; another algorithm gets its rows as soon as TCP_CONGESTION knows it.
std::vector<CongestionControl> algorithms() {
    std::vector<CongestionControl> found;
    for (const auto each : {CongestionControl::reno, CongestionControl::cubic, CongestionControl::bbr}) {
        if (!tcp::congestion::name_of(each).empty()) {
            found.push_back(each);
        }
    }
    return found;
}

std::string goodput_row(const std::string& name, CongestionControl algorithm, const WireSpec& wire, const TableOptions& options) {
    BulkSetup setup;
    setup.bottleneck = wire;
    setup.flows = {{.algorithm = algorithm, .bytes = wire.loss < 0.01 ? transfer_bytes : short_transfer_bytes}};
    setup.limit = 24h;
    setup.seed = options.seed;
    setup.detail = options.detail;
    setup.trace = options.trace;
    const BulkResult result = run_bulk(setup).front();
    if (!result.is_complete) {
        throw Violation(fmt::format("{} does not come to an end: {} bytes", name, result.bytes));
    }
    const double theory = theory_mbps(algorithm, wire);
    return fmt::format("{},{:.3f},{:.2f},{},{},{:.3f},{:.2f}", name, result.goodput_mbps(), std::chrono::duration<double>(result.lasted).count(), result.retransmits, result.timeouts,
                       theory, result.goodput_mbps() / theory);
}

// Jain's index: 1 when all have the same, 1/n when one has all.
double jain(const std::vector<BulkResult>& results) {
    double sum = 0, squares = 0;
    for (const BulkResult& each : results) {
        const auto x = static_cast<double>(each.counted_bytes);
        sum += x;
        squares += x * x;
    }
    return sum * sum / (static_cast<double>(results.size()) * squares);
}

std::string fairness_row(const std::string& name, const std::vector<CongestionControl>& kinds, unsigned flows, const TableOptions& options) {
    constexpr Duration runs = 120s, counts_from = 30s;
    BulkSetup setup;
    setup.bottleneck = {.rate_bps = 20'000'000, .delay = 20ms, .buffer_bytes = 100'000};  // a bandwidth-delay product
    for (unsigned i = 0; i < flows; ++i) {
        setup.flows.push_back({.algorithm = kinds[i % kinds.size()], .starts_after = 100ms * i});
    }
    setup.limit = runs;
    setup.counts_from = counts_from;
    setup.seed = options.seed;
    setup.detail = options.detail;
    setup.trace = options.trace;
    const auto results = run_bulk(setup);
    double total = 0, first_kind = 0;
    for (unsigned i = 0; i < flows; ++i) {
        const double mbps = static_cast<double>(results[i].counted_bytes) * 8e3 / static_cast<double>((runs - counts_from).count());
        total += mbps;
        first_kind += i % kinds.size() == 0 ? mbps : 0;
    }
    return fmt::format("{},{:.3f},{:.2f},{:.2f}", name, jain(results), total, first_kind / total);
}

bool is_wanted(const std::string& name, std::size_t index, const TableOptions& options) {
    return name.starts_with(options.only) && index % options.every == 0;
}

std::vector<std::string> fields_of(const std::string& line) {
    std::vector<std::string> fields;
    std::istringstream in(line);
    for (std::string field; std::getline(in, field, ',');) {
        fields.push_back(field);
    }
    return fields;
}

std::string key_of(const std::vector<std::string>& fields, std::size_t count) {
    std::string key;
    for (std::size_t i = 0; i < count && i < fields.size(); ++i) {
        key += (i == 0 ? "" : ",") + fields[i];
    }
    return key;
}

}  // namespace

std::vector<std::string> goodput_table(const TableOptions& options) {
    std::vector<std::string> lines{"congestion,loss,delay_ms,buffer_kb,goodput_mbps,seconds,sent_again,timeouts,theory_mbps,share"};
    std::size_t index = 0;
    for (const CongestionControl algorithm : algorithms()) {
        for (const double loss : {0.0, 0.001, 0.01, 0.05, 0.1}) {
            for (const Duration delay : {100us, 2000us, 20000us, 100000us}) {
                for (const std::uint32_t buffer_kb : {32U, 256U, 2048U}) {
                    const std::string name = fmt::format("{},{},{},{}", tcp::congestion::name_of(algorithm), loss, std::chrono::duration<double, std::milli>(delay).count(), buffer_kb);
                    if (is_wanted(name, index++, options)) {
                        const WireSpec wire{.rate_bps = link_bps, .delay = delay, .buffer_bytes = buffer_kb * 1000, .loss = loss};
                        lines.push_back(goodput_row(name, algorithm, wire, options));
                    }
                }
            }
        }
    }
    return lines;
}

std::vector<std::string> fairness_table(const TableOptions& options) {
    std::vector<std::string> lines{"congestion,flows,jain,total_mbps,share_of_first"};
    const auto known = algorithms();
    std::size_t index = 0;
    for (std::size_t first = 0; first < known.size(); ++first) {
        for (std::size_t second = first; second < known.size(); ++second) {
            for (const unsigned flows : {2U, 4U, 8U}) {
                const std::string one(tcp::congestion::name_of(known[first])), other(tcp::congestion::name_of(known[second]));
                const std::string name = fmt::format("{},{}", first == second ? one : one + "+" + other, flows);
                if (is_wanted(name, index++, options)) {
                    lines.push_back(fairness_row(name, {known[first], known[second]}, flows, options));
                }
            }
        }
    }
    return lines;
}

std::vector<std::string> compare(const std::vector<std::string>& golden, const std::vector<std::string>& now, const Tolerance& tolerance) {
    constexpr std::size_t group_columns = 2;
    std::map<std::string, std::string> wanted;
    for (const std::string& line : golden) {
        wanted[key_of(fields_of(line), tolerance.value)] = line;
    }
    struct Group {
        double logarithms = 0;
        unsigned rows = 0;
    };
    std::map<std::string, Group> groups;
    std::vector<std::string> wrong;
    for (std::size_t i = 1; i < now.size(); ++i) {
        const auto fields = fields_of(now[i]);
        const auto at = wanted.find(key_of(fields, tolerance.value));
        if (at == wanted.end()) {
            wrong.push_back("no golden row for " + now[i]);
            continue;
        }
        const double ratio = std::stod(fields.at(tolerance.value)) / std::stod(fields_of(at->second).at(tolerance.value));
        if (std::abs(ratio - 1) > tolerance.of_row) {
            wrong.push_back(fmt::format("{} was {}", now[i], at->second));
        }
        Group& group = groups[key_of(fields, group_columns)];
        group.logarithms += std::log(ratio);
        ++group.rows;
    }
    for (const auto& [name, group] : groups) {
        const double mean = std::exp(group.logarithms / group.rows);
        if (std::abs(mean - 1) > tolerance.of_group) {
            wrong.push_back(fmt::format("the rows {} are {:.3f} times what they were, on average", name, mean));
        }
    }
    return wrong;
}

}  // namespace shunt::simulator
