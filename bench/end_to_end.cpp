// The way of a 64-byte message, there and back, on four paths in one run: the bare memif wire, the C++ library, the shim, the kernel's loopback.
// Runs the *_ping programs beside it in pairs, one end a core, round by round, and compares each figure with the wire measured just
// before it, because the host's moods last for minutes. Start reading at main(). docs/measuring.md says how to read the result.
#include <fmt/core.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <optional>

#include "bench/children.hpp"
#include "bench/report.hpp"

namespace {

using bench::Child;
using bench::Figures;
using bench::Seconds;

// Ethernet, IPv4, TCP with time stamps, 64 bytes.
constexpr unsigned frame_bytes = 14 + 20 + 32 + 64;

struct Settings {
    unsigned rounds = 5;
    double seconds = 1;
    std::vector<int> cores;
    std::vector<std::string> paths{"native", "shim", "kernel"};
    std::string json_file;
};

// The two ends of one measurement.
struct Pair {
    std::vector<std::string> server, client;
};

std::string beside_us(const char* name) {
    return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

Pair pair_for(const std::string& path, const std::string& protocol, double seconds) {
    static unsigned number = 0;
    ++number;
    const std::string wire = fmt::format("memif:bench-{}-{}", getpid(), number);
    const std::string port = std::to_string(20000 + (static_cast<unsigned>(getpid()) * 16 + number) % 10000);
    const std::string limit = std::to_string(seconds + 20), time = std::to_string(seconds);
    if (path == "wire") {
        const std::string program = beside_us("wire_ping"), bytes = std::to_string(frame_bytes);
        return {{program, "server", wire, bytes, limit}, {program, "client", wire, bytes, time}};
    }
    if (path == "native") {
        const std::string program = beside_us("native_ping"), at = "10.77.0.1:" + port;
        return {{program, "server", protocol, wire, "10.77.0.1/24", at, limit}, {program, "client", protocol, wire, "10.77.0.2/24", at, time}};
    }
    const std::string address = path == "shim" ? "10.77.0.1" : "127.0.0.1";
    Pair pair;
    if (path == "shim") {
        const std::string shunt = beside_us("shunt");
        pair.server = {shunt, "--profile", "latency", "--require", "--link", wire, "--ip", "10.77.0.1/24", "--"};
        pair.client = {shunt, "--profile", "latency", "--require", "--link", wire, "--ip", "10.77.0.2/24", "--"};
    }
    const std::string program = beside_us("socket_ping");
    pair.server.insert(pair.server.end(), {program, "server", protocol, address, port, limit});
    pair.client.insert(pair.client.end(), {program, "client", protocol, address, port, time});
    return pair;
}

std::optional<Figures> parse_result(const std::string& output) {
    const std::size_t at = output.find("result ");
    Figures f;
    if (at == std::string::npos ||
        std::sscanf(output.c_str() + at, "result %lf %lf %lf %lf %u", &f.p50_ns, &f.p99_ns, &f.p999_ns, &f.messages_per_second, &f.lost) != 5) {
        return std::nullopt;
    }
    return f;
}

std::optional<Figures> measure_once(const Settings& settings, const std::string& path, const std::string& protocol, std::string& complaint) {
    const Pair pair = pair_for(path, protocol, settings.seconds);
    Child server(pair.server, settings.cores[0]);
    if (!server.wait_for_line("ready", Seconds(10))) {
        complaint = fmt::format("the server was not ready: {}", server.output());
        return std::nullopt;
    }
    Child client(pair.client, settings.cores[1]);
    if (!client.wait_for_end(Seconds(settings.seconds + 15))) {
        complaint = fmt::format("the client did not end: {}{}", client.output(), server.output());
        return std::nullopt;
    }
    const auto figures = parse_result(client.output());
    if (!figures) {
        complaint = fmt::format("the client gave no figures: {}{}", client.output(), server.output());
    }
    return figures;
}

// Twice at most; after that the path is left out of this round.
std::optional<Figures> measure(const Settings& settings, const std::string& path, const std::string& protocol) {
    for (int attempt = 0; attempt < 2; ++attempt) {
        std::string complaint;
        if (auto figures = measure_once(settings, path, protocol, complaint)) {
            return figures;
        }
        fmt::print(stderr, "end_to_end: {} {}: {}\n", path, protocol, complaint);
    }
    return std::nullopt;
}

bench::Series& series_of(bench::Run& run, const std::string& path, const std::string& protocol) {
    for (bench::Series& series : run.series) {
        if (series.path == path && series.protocol == protocol) {
            return series;
        }
    }
    return run.series.emplace_back(bench::Series{path, protocol, {}});
}

bool run_round(const Settings& settings, bench::Run& run, unsigned round) {
    bool is_complete = true;
    for (const std::string protocol : {"tcp", "udp"}) {
        double wire_p50 = 0;
        std::vector<std::string> paths{"wire"};
        paths.insert(paths.end(), settings.paths.begin(), settings.paths.end());
        for (const std::string& path : paths) {
            auto figures = measure(settings, path, protocol);
            if (!figures) {
                is_complete = false;
                continue;
            }
            wire_p50 = path == "wire" ? figures->p50_ns : wire_p50;
            figures->wire_ratio = wire_p50 > 0 ? figures->p50_ns / wire_p50 : 0;
            series_of(run, path, protocol).rounds.push_back(*figures);
            fmt::print(stderr, "end_to_end: round {} of {}: {} {}: {:.0f} ns, {:.2f} times the wire\n", round, settings.rounds, path, protocol, figures->p50_ns,
                       figures->wire_ratio);
        }
    }
    return is_complete;
}

double wait_until_idle() {
    double busy = bench::busy_percent();
    for (int i = 0; i < 8 && busy > 10; ++i) {
        fmt::print(stderr, "end_to_end: the processors are {:.0f} % busy; waiting for them\n", busy);
        sleep(1);
        busy = bench::busy_percent();
    }
    return busy;
}

std::vector<int> two_cores() {
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    std::vector<int> cores;
    for (int core = 0; core < CPU_SETSIZE && cores.size() < 2; ++core) {
        if (CPU_ISSET(static_cast<std::size_t>(core), &set)) {
            cores.push_back(core);
        }
    }
    return cores;
}

void describe_machine(bench::Run& run) {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("model name")) {
            run.processor = line.substr(std::min(line.size(), line.find(':') + 2));
            break;
        }
    }
    utsname name{};
    uname(&name);
    run.kernel = name.release;
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    CLI::App app("Half round trips of 64 bytes on the bare wire, the C++ library, the shim and the kernel");
    app.add_option("--rounds", settings.rounds, "rounds of all paths; the table shows medians")->check(CLI::Range(1, 100))->capture_default_str();
    app.add_option("--seconds", settings.seconds, "seconds a measurement")->check(CLI::Range(0.1, 60.0))->capture_default_str();
    app.add_option("--cores", settings.cores, "the server's and the client's core (default: the first two)")->expected(2);
    app.add_option("--paths", settings.paths, "beside the wire, some of native, shim, kernel")->check(CLI::IsMember({"native", "shim", "kernel"}))->capture_default_str();
    app.add_option("--json", settings.json_file, "also write all figures to this file");
    CLI11_PARSE(app, argc, argv);
    if (settings.cores.empty()) {
        settings.cores = two_cores();
    }
    if (settings.cores.size() != 2 || settings.cores[0] == settings.cores[1]) {
        fmt::print(stderr, "end_to_end: two cores are needed, one for each end\n");
        return 1;
    }
    bench::Run run{.rounds = settings.rounds, .seconds = settings.seconds, .frame_bytes = frame_bytes, .cores = {settings.cores[0], settings.cores[1]},
                   .busy_percent = wait_until_idle(), .processor = {}, .kernel = {}, .series = {}, .warnings = {}};
    describe_machine(run);
    if (run.busy_percent > 10) {
        run.warnings.push_back(fmt::format("the processors were {:.0f} % busy before the run: the figures are worse than they should be", run.busy_percent));
    }
    bool is_complete = true;
    for (unsigned round = 1; round <= settings.rounds; ++round) {
        is_complete &= run_round(settings, run, round);
    }
    bench::judge(run);
    if (!is_complete) {
        run.warnings.emplace_back("not every measurement gave figures, see the lines above");
    }
    bench::print_table(run);
    if (!settings.json_file.empty() && !bench::write_json(run, settings.json_file)) {
        fmt::print(stderr, "end_to_end: {} cannot be written\n", settings.json_file);
        return 1;
    }
    return is_complete ? 0 : 1;
}
