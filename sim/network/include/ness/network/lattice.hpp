// Lattices of quantum dots with random parameters: large networks to measure with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/network/network.hpp"

namespace ness::sim {

struct LatticeOptions {
  std::vector<std::uint32_t> sides{10, 10};  ///< nodes along each direction: two or three of them
  std::uint32_t clamped = 8;                 ///< clamped nodes, spread evenly over the boundary; at least 1
  double leak = 0.01;                        ///< every free node's leak conductance, to 0 kT; >= 0
  double b = 1;  ///< standard deviation of the dots' b, mean 0: NDC where it is large and potentials differ
                 ///< by more than kT
  double mu_ref = 0;        ///< standard deviation of the leaks' reference potentials (kT)
  double log_gamma = 0.5;   ///< standard deviation of log gamma, mean 0
  double log_capacity = 0;  ///< standard deviation of log C, mean 0
  std::uint64_t seed = 1;
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

/// A square or cubic lattice: node (x, y, z) is number x + side_0 (y + side_1 z), dots lead to the next node
/// in each direction, a ~ N(0, 1). The one output is the free node nearest the middle. Throws
/// std::invalid_argument.
NetworkSpec lattice(const LatticeOptions& options);

}  // namespace ness::sim
