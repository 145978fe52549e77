// Plays plans of socket calls and says what each call gave; differential.py runs it twice, on Linux and on Shunt, and compares.
//   differential ADDRESS SECOND_ADDRESS     commands on standard input, logs on standard output, "end" after each
//     seed SEED STEPS      plays the plan of the seed
//     plan                 plays the steps on the lines that follow, up to a line "."
//     pace MICROSECONDS    how long to wait for quiet between steps
//   differential --print SEED STEPS         the plan of the seed as text
#include <arpa/inet.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "differential/generate.hpp"
#include "differential/player.hpp"

namespace {

using namespace differential;

void write_out(std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
        if (n <= 0) {
            _exit(1);
        }
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

Plan read_plan() {
    Plan plan;
    for (std::string line; std::getline(std::cin, line) && line != ".";) {
        if (line.empty() || line[0] == '#') {
            continue;
        }
        if (const auto step = step_of(line)) {
            plan.push_back(*step);
        } else {
            write_out("not a step: " + line + "\n");
        }
    }
    return plan;
}

void serve(Player& player) {
    for (std::string word; std::cin >> word;) {
        if (word == "pace") {
            int us = 0;
            std::cin >> us;
            player.set_pace(us);
            continue;
        }
        Plan plan;
        if (word == "seed") {
            std::uint64_t seed = 0;
            int steps = 0;
            std::cin >> seed >> steps;
            plan = generate(seed, steps);
        } else {
            std::cin.ignore(1);
            plan = read_plan();
        }
        player.play(plan, write_out);
        write_out("end\n");
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count == 4 && std::string_view(arguments[1]) == "--print") {
        for (const Step& step : generate(std::strtoull(arguments[2], nullptr, 10), std::atoi(arguments[3]))) {
            std::cout << text_of(step) << "\n";
        }
        return 0;
    }
    Hosts hosts;
    if (count != 3 || inet_aton(arguments[1], &hosts.one) == 0 || inet_aton(arguments[2], &hosts.two) == 0) {
        std::cerr << "usage: differential ADDRESS SECOND_ADDRESS | differential --print SEED STEPS\n";
        return 2;
    }
    Player player(hosts);
    serve(player);
    return 0;
}
