// See report.hpp.
#include "bench/report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

namespace bench {
namespace {

constexpr double spread_max = 0.3;  // of the median, between the smallest and the largest p50

std::vector<double> sorted(const std::vector<Figures>& rounds, double Figures::*member) {
    std::vector<double> values;
    for (const Figures& figures : rounds) {
        values.push_back(figures.*member);
    }
    std::sort(values.begin(), values.end());
    return values;
}

double kernel_p50(const Run& run, const std::string& protocol) {
    for (const Series& series : run.series) {
        if (series.path == "kernel" && series.protocol == protocol) {
            return median(series.rounds, &Figures::p50_ns);
        }
    }
    return 0;
}

nlohmann::json to_json(const Figures& figures) {
    return {{"p50_ns", figures.p50_ns},
            {"p99_ns", figures.p99_ns},
            {"p99_9_ns", figures.p999_ns},
            {"messages_per_second", figures.messages_per_second},
            {"wire_ratio", figures.wire_ratio},
            {"lost", figures.lost}};
}

Figures medians(const Series& series) {
    Figures result;
    for (const auto member : {&Figures::p50_ns, &Figures::p99_ns, &Figures::p999_ns, &Figures::messages_per_second, &Figures::wire_ratio}) {
        result.*member = median(series.rounds, member);
    }
    for (const Figures& figures : series.rounds) {
        result.lost += figures.lost;
    }
    return result;
}

}  // namespace

double median(const std::vector<Figures>& rounds, double Figures::*member) {
    const std::vector<double> values = sorted(rounds, member);
    if (values.empty()) {
        return 0;
    }
    const std::size_t half = values.size() / 2;
    return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void judge(Run& run) {
    for (const Series& series : run.series) {
        const std::vector<double> p50 = sorted(series.rounds, &Figures::p50_ns);
        const double spread = p50.empty() ? 0 : (p50.back() - p50.front()) / median(series.rounds, &Figures::p50_ns);
        if (spread > spread_max) {
            run.warnings.push_back(fmt::format("{} {}: the rounds disagree ({:.0f} to {:.0f} ns): something else used the processors, or their host moved them",
                                               series.path, series.protocol, p50.front(), p50.back()));
        }
    }
}

void print_table(const Run& run) {
    fmt::print("\n64 bytes there and back, both ends spinning, cores {} and {}; half round trips in ns, medians of {} rounds of {} s; wire: {}-byte frames\n\n",
               run.cores[0], run.cores[1], run.rounds, run.seconds, run.frame_bytes);
    fmt::print("{:<9} {:<8} {:>8} {:>9} {:>10} {:>12} {:>8} {:>9}   {}\n", "protocol", "path", "p50", "p99", "p99.9", "messages/s", "/ wire", "kernel /", "p50 of the rounds");
    for (const Series& series : run.series) {
        const Figures m = medians(series);
        const std::vector<double> p50 = sorted(series.rounds, &Figures::p50_ns);
        const double kernel = kernel_p50(run, series.protocol);
        const std::string gain = kernel > 0 && m.p50_ns > 0 ? fmt::format("{:.1f}", kernel / m.p50_ns) : "-";
        fmt::print("{:<9} {:<8} {:>8.0f} {:>9.0f} {:>10.0f} {:>12.0f} {:>8.2f} {:>9}   {:.0f} to {:.0f}\n", series.protocol, series.path, m.p50_ns, m.p99_ns,
                   m.p999_ns, m.messages_per_second, m.wire_ratio, gain, p50.front(), p50.back());
    }
    fmt::print("\n/ wire: p50 over the p50 of the bare wire measured just before, median of the rounds; kernel /: how many times the kernel's p50\n");
    for (const std::string& warning : run.warnings) {
        fmt::print("warning: {}\n", warning);
    }
}

bool write_json(const Run& run, const std::string& file) {
    nlohmann::json all = {{"rounds", run.rounds},       {"seconds", run.seconds},     {"frame_bytes", run.frame_bytes}, {"payload_bytes", 64},
                          {"cores", run.cores},         {"busy_percent", run.busy_percent}, {"processor", run.processor}, {"kernel", run.kernel},
                          {"warnings", run.warnings},   {"series", nlohmann::json::array()}};
    for (const Series& series : run.series) {
        nlohmann::json rounds = nlohmann::json::array();
        for (const Figures& figures : series.rounds) {
            rounds.push_back(to_json(figures));
        }
        all["series"].push_back({{"path", series.path}, {"protocol", series.protocol}, {"median", to_json(medians(series))}, {"rounds", rounds}});
    }
    std::ofstream stream(file);
    stream << all.dump(2) << '\n';
    stream.close();
    return static_cast<bool>(stream);
}

}  // namespace bench
