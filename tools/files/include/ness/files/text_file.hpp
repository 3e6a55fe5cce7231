// Files read and written whole.
#pragma once

#include <string>

namespace ness {

/// The text of a file. Throws FileError where it cannot be read; `expected` says what it should be.
std::string text_of_file(const std::string& path, const std::string& expected);
/// Writes a file. Throws FileError where it cannot be written.
void write_text_file(const std::string& path, const std::string& text);

}  // namespace ness
