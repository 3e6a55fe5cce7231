// Network files: a network edge by edge, in JSON.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "ness/network/network.hpp"

namespace ness {

/// Reads {"nodes": [..], "edges": [..], "outputs": [..], "kT": 1, "c_ref": 1} as described by `ness solve
/// --help`. `path` names the text in messages. Throws FileError naming node or edge, field, value and what
/// was expected: a text that is no JSON, an unknown or missing field, a number that is not finite or out of
/// range, a network that cannot be solved (NetworkSpec::problem). `given` receives for each edge which
/// parameters the text names, in the order of sim::EdgeLaw::parameters.
sim::NetworkSpec network_from_json(const std::string& text, const std::string& path,
                                   std::vector<std::array<bool, 4>>* given = nullptr);

}  // namespace ness
