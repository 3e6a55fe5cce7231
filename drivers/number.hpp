// Conversion of numbers to and from the text of instruments.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace ness::drivers {

/// The shortest text that reads back as the same number: "0.1", "1e-06".
inline std::string number(double value) {
  std::array<char, 40> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

/// "(@101,103)".
inline std::string listed(const std::vector<std::uint32_t>& channels) {
  std::string text = "(@";
  for (std::size_t i = 0; i < channels.size(); ++i) text += (i > 0 ? "," : "") + std::to_string(channels[i]);
  return text + ')';
}

/// 9.9E37 and 9.91E37 mean overflow and not a number, but manuals disagree on which is which: both are
/// invalid.
inline bool is_overflow(double value) { return std::abs(std::abs(value) - 9.9e37) < 1e34; }
inline double measured(double value) {
  return std::abs(value) > 9e37 ? std::numeric_limits<double>::quiet_NaN() : value;
}

}  // namespace ness::drivers
