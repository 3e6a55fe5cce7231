// Relaxations followed in time, by RODAS (Hairer and Wanner 1996: order 4(3), L-stable) with the exact
// Jacobian and dense output.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include "ness/network/network.hpp"

namespace ness::sim {

struct TransientOptions {
  /// The error of a step is kept below relative_tolerance |mu_k| + absolute_tolerance in every potential.
  double relative_tolerance = 1e-8;
  double absolute_tolerance = 1e-10;  ///< kT
  /// Clamped levels move from 0 to their values at this rate (kT per unit time), all at once; infinite: they
  /// step.
  double clamp_rate = std::numeric_limits<double>::infinity();
  long max_steps = 1'000'000;  ///< from one of the times asked for to the next
  std::string problem() const;
};

/// The potentials [n_free] at each of `times` (ascending, >= 0) after the boundary was imposed at time 0 on
/// the state `start`. Throws std::invalid_argument for times out of order, std::runtime_error where the step
/// size vanishes or max_steps do not suffice.
std::vector<Vector> follow(const Network& network, const Boundary& boundary, const Vector& start,
                           std::span<const double> times, const TransientOptions& options = {});

}  // namespace ness::sim
