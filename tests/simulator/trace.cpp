#include "simulator/trace.hpp"

#include <fmt/core.h>

#include <cstdio>
#include <sstream>

namespace shunt::simulator {

void print_frames(Network& network) {
    network.on_carried = [&network](unsigned from, unsigned to, const Bytes& frame, const Wire::Fate& fate) {
        std::ostringstream text;
        text << test::decode(frame, Time{network.now() - beginning});
        std::string fates = fate.count == 0 ? " LOST" : "";
        for (unsigned i = 0; i < fate.count; ++i) {
            fates += fmt::format(" -> {}{}", count_us(fate.copies[i].arrives - beginning), fate.copies[i].is_corrupt ? " CORRUPT" : "");
        }
        std::printf("%s%u %s%s\n", from < network.size() ? fmt::format("{}>", from).c_str() : "switch>", to, text.str().c_str(), fates.c_str());
    };
}

}  // namespace shunt::simulator
