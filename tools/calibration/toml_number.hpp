#pragma once

#include <string>

namespace ness {

/// 17 digits, as TOML writes a number that is no integer.
std::string toml_number(double x);

}  // namespace ness
