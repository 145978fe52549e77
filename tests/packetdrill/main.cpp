// Runs scripts: packetdrill_scripts [--known FILE] [--root FOLDER] FILE|FOLDER...
// With --known, exactly the scripts of that list (paths below the root) must fail; one that passes is a failure as well.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "packetdrill/session.hpp"

namespace {

namespace fs = std::filesystem;
using namespace shunt::packetdrill;

std::set<std::string> read_list(const std::string& path) {
    std::set<std::string> names;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
        const std::string name = line.substr(0, line.find_first_of(" \t#"));
        if (!name.empty()) {
            names.insert(name);
        }
    }
    return names;
}

std::vector<std::string> scripts_in(const std::string& path) {
    if (!fs::is_directory(path)) {
        return {path};
    }
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
        if (entry.path().extension() == ".pkt") {
            found.push_back(entry.path().string());
        }
    }
    std::ranges::sort(found);
    return found;
}

// What went wrong; empty when nothing did.
std::string failure_of(const std::string& path) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    if (!in) {
        return path + ": cannot be read";
    }
    try {
        run_script(parse_script(path, text.str()));
    } catch (const ScriptError& error) {
        return fmt::format("{}:{}: {}", path, error.line, error.what());
    }
    return "";
}

}  // namespace

int main(int count, char** arguments) {
    std::set<std::string> known;
    std::string root;
    std::vector<std::string> scripts;
    for (int i = 1; i < count; ++i) {
        const std::string argument = arguments[i];
        if ((argument == "--known" || argument == "--root") && i + 1 < count) {
            ++i;
            argument == "--known" ? void(known = read_list(arguments[i])) : void(root = arguments[i]);
            continue;
        }
        const auto found = scripts_in(argument);
        scripts.insert(scripts.end(), found.begin(), found.end());
    }
    unsigned bad = 0, expected = 0;
    for (const std::string& name : known) {
        if (!fs::exists(fs::path(root) / name)) {
            ++bad;
            fmt::print(stderr, "{}: known to fail, but not there\n", name);
        }
    }
    for (const std::string& script : scripts) {
        const auto from = std::chrono::steady_clock::now();
        const std::string failure = failure_of(script);
        const bool is_known = known.contains(fs::path(script).lexically_relative(root).string());
        if (failure.empty() == is_known) {
            ++bad;
            fmt::print(stderr, "{}\n", is_known ? script + ": passes by now; take it off the list of known failures" : failure);
        }
        expected += is_known;
        const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - from);
        fmt::print("{} {} ({} ms)\n", failure.empty() ? "pass" : is_known ? "known" : "FAIL", script, took.count());
    }
    fmt::print("{} scripts, {} of them known to fail, {} not as they should be\n", scripts.size(), expected, bad);
    return bad == 0 && !scripts.empty() ? 0 : 1;
}
