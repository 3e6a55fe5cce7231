// Where data directories are.
#pragma once

#include <string>

namespace ness {

/// Finds a data directory `name` (say "mnist") under the first existing root of: `given` (if not empty),
/// $NESS_DATA, ./data,
/// ../shared/data. Throws FileError that lists where it looked; a given root that lacks it is an error at
/// once.
std::string find_data(const std::string& name, const std::string& given);

}  // namespace ness
