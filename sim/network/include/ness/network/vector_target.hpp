// The instruction set the vector code runs on. Equal bits are promised within one target of one binary.
#pragma once

#include <string>
#include <vector>

namespace ness::sim {

/// The target in use, e.g. "AVX3_ZEN4", "AVX2", "SSE2".
std::string vector_target();
/// Targets this binary holds and this machine runs, best first.
std::vector<std::string> vector_targets();
/// Uses the named target from now on, process-wide; call before any evaluation. Throws std::invalid_argument with the list of those
/// available.
void force_vector_target(const std::string& name);

}  // namespace ness::sim
