// Figures of end_to_end, gathered by round: medians, spread, the table and the JSON file.
#pragma once

#include <string>
#include <vector>

namespace bench {

// One measurement: half round trips in nanoseconds.
struct Figures {
    double p50_ns = 0, p99_ns = 0, p999_ns = 0;
    double messages_per_second = 0;
    unsigned lost = 0;
    double wire_ratio = 0;  // p50 over that of the wire measured just before
};

// What was measured on one path, a figure a round. The wire stands as its own path under each protocol.
struct Series {
    std::string path, protocol;
    std::vector<Figures> rounds;
};

struct Run {
    unsigned rounds = 0;
    double seconds = 0;          // a measurement
    unsigned frame_bytes = 0;
    int cores[2] = {0, 1};
    double busy_percent = 0;     // before
    std::string processor, kernel;
    std::vector<Series> series;
    std::vector<std::string> warnings;
};

// The middle one of the values that `member` names.
double median(const std::vector<Figures>& rounds, double Figures::*member);

// Adds a warning for each series whose rounds' p50 disagree.
void judge(Run& run);
void print_table(const Run& run);
// False when the file cannot be written.
bool write_json(const Run& run, const std::string& file);

}  // namespace bench
