// Files read whole.
#pragma once

#include <string>

namespace ness {

/// The text of a file. Throws FileError where it cannot be read; `expected` says what it should be.
std::string text_of_file(const std::string& path, const std::string& expected);

}  // namespace ness
