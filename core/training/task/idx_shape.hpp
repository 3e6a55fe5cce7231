// The shape of an IDX file, as text and as a number of values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ness {

/// "60000 x 28 x 28".
std::string shape_text(const std::vector<std::uint32_t>& shape);
/// The product of the sizes. Throws FileError if it exceeds 2^40.
std::uint64_t value_count(const std::vector<std::uint32_t>& shape, const std::string& path);

}  // namespace ness
