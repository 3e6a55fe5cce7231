// How numbers are written in messages.
#pragma once

#include <string>

#include "ness/device/device.hpp"

namespace ness {

/// The shortest text that names this number and no other: "0.1", "2e+06", "inf", "nan".
std::string number_text(double x);
/// "[low, high]".
std::string range_text(const Range& range);

}  // namespace ness
