// The steady states of a network under one boundary, stable and unstable ones.
#pragma once

#include <cstdint>
#include <vector>

#include "ness/network/network.hpp"

namespace ness::sim {

struct AllStatesOptions {
  std::uint32_t starts = 200;  ///< from which Newton's method sets out
  std::uint64_t seed = 1;      ///< of the starts
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

struct FoundState {
  Vector potential;  ///< [n_free]
  /// Largest real part of the eigenvalues of C^-1 G: the state is stable where it is negative. NaN: not
  /// known.
  double max_real_eigenvalue = 0;
};

/// Searches for steady states: Newton's method, at most so far in a step that no well is jumped, from starts
/// spread over the potentials to which the levels, leak references and injected currents can lead; states
/// that are known repel it (deflation: P. E. Farrell, A. Birkisson, S. W. Funke, SIAM J. Sci. Comput. 37
/// (2015) A2026). `known` [n_free] each are steady states that belong to the list. In order of the first free
/// node's potential, then the second's, and so on. There is no proof that there are no others.
std::vector<FoundState> all_steady_states(const Network& network, const Boundary& boundary,
                                          const std::vector<Vector>& known = {},
                                          const AllStatesOptions& options = {});

}  // namespace ness::sim
