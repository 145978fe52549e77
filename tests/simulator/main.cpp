// The network simulator by hand; see docs/simulator.md.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>

#include "simulator/scenario.hpp"
#include "simulator/station.hpp"
#include "simulator/tables.hpp"

namespace shunt::simulator {
namespace {

struct Arguments {
    std::uint64_t seed = 0, seeds = 0, first = 1;
    Overrides overrides;
    bool goodput = false, fairness = false;
    TableOptions table;
    std::string golden, write;
};

// How to see a failure again, in one line.
std::string replay(std::uint64_t seed, const Overrides& o) {
    std::string line = fmt::format("simulator --seed={}", seed);
    const auto add = [&line](const char* name, const auto& value) {
        if (value) {
            line += fmt::format(" --{}={}", name, *value);
        }
    };
    add("loss", o.loss);
    add("reorder", o.reorder);
    add("duplicate", o.duplicate);
    add("corrupt", o.corrupt);
    add("bytes", o.bytes);
    return line;
}

int run_seeds(const Arguments& arguments) {
    constexpr int failures_max = 20;
    const auto start = std::chrono::steady_clock::now();
    Tally tally;
    int failures = 0;
    for (std::uint64_t seed = arguments.first; seed < arguments.first + arguments.seeds && failures < failures_max; ++seed) {
        try {
            run_scenario(seed, arguments.overrides, tally);
        } catch (const Violation& violation) {
            std::printf("%s\n    %s\n", replay(seed, arguments.overrides).c_str(), violation.what());
            ++failures;
        }
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%lu scenarios in %.1f s, %d against the rules: %lu connections, %lu bytes, %lu frames, of which lost %lu, corrupted %lu, reordered %lu, duplicated %lu; "
                "%lu sent again, %lu time-outs, %lu tail loss probes, %lu window probes; %lu with a reset, %lu with a restart, %lu opened at both ends\n",
                tally.scenarios, seconds, failures, tally.flows, tally.bytes, tally.frames, tally.lost, tally.corrupted, tally.reordered, tally.duplicated, tally.retransmits,
                tally.timeouts, tally.probes, tally.window_probes, tally.resets, tally.restarts, tally.simultaneous);
    return failures == 0 ? 0 : 1;
}

std::vector<std::string> read_lines(const std::string& file) {
    std::ifstream in(file);
    if (!in) {
        throw Violation("cannot read " + file);
    }
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

int run_table(const Arguments& arguments) {
    const auto lines = arguments.goodput ? goodput_table(arguments.table) : fairness_table(arguments.table);
    if (!arguments.write.empty()) {
        std::ofstream out(arguments.write);
        for (const std::string& line : lines) {
            out << line << "\n";
        }
        return out.good() ? 0 : 1;
    }
    if (arguments.golden.empty()) {
        for (const std::string& line : lines) {
            std::puts(line.c_str());
        }
        return 0;
    }
    const auto wrong = compare(read_lines(arguments.golden), lines, arguments.goodput ? goodput_tolerance : fairness_tolerance);
    for (const std::string& line : wrong) {
        std::puts(line.c_str());
    }
    std::printf("%zu rows, %zu beyond the tolerance; if the change is meant, write the golden file anew: docs/simulator.md\n", lines.size() - 1, wrong.size());
    return wrong.empty() ? 0 : 1;
}

int run(int argc, char** argv) {
    CLI::App app("Stacks talk over bad wires, in virtual time. See docs/simulator.md.");
    Arguments arguments;
    Overrides& o = arguments.overrides;
    app.add_option("--seed", arguments.seed, "run this one scenario");
    app.add_option("--seeds", arguments.seeds, "run so many scenarios");
    app.add_option("--first", arguments.first, "and begin with this seed");
    app.add_option("--loss", o.loss, "share of frames lost on every wire, instead of the seed's");
    app.add_option("--reorder", o.reorder, "share of frames that come later");
    app.add_option("--duplicate", o.duplicate, "share of frames that come twice");
    app.add_option("--corrupt", o.corrupt, "share of frames with a bit turned round");
    app.add_option("--bytes", o.bytes, "what each end writes");
    app.add_flag("--trace", o.trace, "print each frame and what becomes of it");
    app.add_flag("--goodput", arguments.goodput, "the table of goodput");
    app.add_flag("--fairness", arguments.fairness, "the table of fairness");
    app.add_option("--only", arguments.table.only, "only the rows of a table that begin so: --only=reno,0.01,20,256");
    app.add_option("--every", arguments.table.every, "only each so-manieth row");
    app.add_option("--dice", arguments.table.seed, "other dice for a table");
    app.add_flag("--detail", arguments.table.detail, "print the window now and then");
    app.add_option("--golden", arguments.golden, "compare the table with this file");
    app.add_option("--write", arguments.write, "write the table to this file");
    CLI11_PARSE(app, argc, argv);
    arguments.table.trace = o.trace;
    if (arguments.goodput || arguments.fairness) {
        return run_table(arguments);
    }
    if (arguments.seed != 0) {
        arguments.first = arguments.seed;
        arguments.seeds = 1;
    }
    return run_seeds(arguments);
}

}  // namespace
}  // namespace shunt::simulator

int main(int argc, char** argv) { return shunt::simulator::run(argc, argv); }
