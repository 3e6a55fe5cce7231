// Random damage to valid input: a parser must return a result or throw its own error, nothing else.
#pragma once

#include <algorithm>
#include <string>

#include "ness/device/error.hpp"
#include "ness/device/random.hpp"

namespace fuzz {

/// `text` with 1 to 8 changes: a byte replaced, removed or doubled, or a sequence removed, moved or repeated;
/// sometimes truncated.
inline std::string damaged(std::string text, ness::Random& random) {
  const std::uint64_t changes = 1 + random.below(8);
  for (std::uint64_t k = 0; k < changes && !text.empty(); ++k) {
    const std::size_t at = random.below(text.size()),
                      length = 1 + random.below(std::min<std::size_t>(16, text.size() - at));
    switch (random.below(7)) {
      case 0: text[at] = static_cast<char>(random.below(256)); break;
      case 1: text[at] = "[]{}\"=,.:-+e019\n\0\xff"[random.below(18)]; break;
      case 2: text.erase(at, 1); break;
      case 3: text.insert(at, 1, text[at]); break;
      case 4: text.erase(at, length); break;
      case 5: text.insert(random.below(text.size()), text.substr(at, length)); break;
      default: text.resize(at); break;
    }
  }
  return text;
}

/// Runs a parser and counts its refusals; anything but a result or a FileError fails the test.
template <class Parse>
void answered(Parse parse, int& refused) {
  try {
    parse();
  } catch (const ness::FileError&) {
    ++refused;
  }
}

}  // namespace fuzz
