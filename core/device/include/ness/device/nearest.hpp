// The known name that an unknown one was probably meant to be.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ness {

/// The name among `known` with the fewest single-letter edits to `name`, if those are few (one in three
/// letters; two for short names, one for very short ones); else empty.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

/// What to say of an unknown name: "did you mean 'rate'?", or the list of those known ("known here: batch,
/// epochs").
std::string suggestion(std::string_view name, const std::vector<std::string>& known);

/// "'a', 'b' or 'c'".
std::string one_of(const std::vector<std::string>& names);

}  // namespace ness
