// The instruction set the vector code runs on. Equal bits are promised within one target of one binary.
#pragma once

#include <string>
#include <vector>

namespace ness::sim {

/// The target in use: "AVX3" (AVX-512), "AVX2" or "SCALAR" (no vector instructions).
std::string vector_target();
/// Targets this binary holds and this machine runs, best first.
std::vector<std::string> vector_targets();
/// Uses the named target from now on, process-wide; call before any evaluation. Throws std::invalid_argument
/// with the list of those available.
void force_vector_target(const std::string& name);
/// The target of this binary and machine that computes the same bits as the one named in a log: the same
/// target, or AVX3 for a log of "AVX3_DL", which adds instructions that no kernel uses. Empty: there is none,
/// and results agree within tolerances, not bit for bit
/// ("SSE4" and "SSSE3", which earlier programs had: sums over 4 lanes, without fused operations).
std::string equal_vector_target(const std::string& recorded);

}  // namespace ness::sim
