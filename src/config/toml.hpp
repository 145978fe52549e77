// A TOML file as settings: keys of options.hpp's table at the top, Linux's names under [sysctl].
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"

namespace shunt::config {

Outcome<std::vector<Setting>> read_toml(const std::string& path);

}  // namespace shunt::config
