#include "ness/device/number_text.hpp"

#include <array>
#include <charconv>

namespace ness {

std::string number_text(double x) {
  std::array<char, 32> text;  // the shortest text of a double has at most 24 characters
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), x);
  return {text.data(), end};
}

std::string range_text(const Range& range) {
  std::string text = "[";
  return text.append(number_text(range.low)).append(", ").append(number_text(range.high)).append("]");
}

}  // namespace ness
