// Prints docs/options.md from the table of options.
#include <cstdio>

#include "config/options.hpp"

int main() {
    std::fputs(shunt::config::markdown().c_str(), stdout);
}
