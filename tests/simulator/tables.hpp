// The tables: goodput of one flow over loss, delay and buffer; fairness between several. Each is text, one row a line, which a golden file keeps.
#pragma once

#include <string>
#include <vector>

#include "base/tunables.hpp"
#include "base/time.hpp"

namespace shunt::simulator {

struct TableOptions {
    std::string only;       // the row that begins so; empty: all
    unsigned every = 1;     // each so-manieth row, where time is short
    std::uint64_t seed = 1;
    bool detail = false;    // print the window now and then, and when nothing was sent for long
    bool trace = false;     // print every frame
};

// Lines with a heading; numbers separated by commas.
std::vector<std::string> goodput_table(const TableOptions& options);
std::vector<std::string> fairness_table(const TableOptions& options);

// Compares the rows that are in `now` with those of `golden`, and says what is wrong, a line each. The columns before `value` name the row. A row may
// differ by `of_row`, the geometric mean over a group of rows with the same first two columns by `of_group`.
struct Tolerance {
    std::size_t value;
    double of_row, of_group;
};
std::vector<std::string> compare(const std::vector<std::string>& golden, const std::vector<std::string>& now, const Tolerance& tolerance);

inline constexpr Tolerance goodput_tolerance{4, 0.35, 0.10};
inline constexpr Tolerance fairness_tolerance{2, 0.10, 0.10};

}  // namespace shunt::simulator
