// Digests of files: by which a data file is recognised again.
#pragma once

#include <string>

namespace ness {

/// SHA-256 of a file's bytes, 64 lower-case hexadecimal digits. Throws FileError if it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace ness
