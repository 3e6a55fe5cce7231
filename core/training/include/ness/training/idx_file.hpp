// IDX files: the format of MNIST.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ness {

/// An IDX file of unsigned bytes: `shape` sizes, values in row-major order. Reads .gz as well. Throws
/// FileError for a file that is truncated, too long, not an IDX file, or of another element type; the message
/// says what was expected and found.
struct IdxFile {
  std::string path;
  std::vector<std::uint32_t> shape;
  std::vector<std::uint8_t> values;
};
IdxFile read_idx(const std::string& path);

}  // namespace ness
