// CVODE (SUNDIALS) as an independent integrator of relaxations in time: variable-order BDF with the exact
// Jacobian.
#pragma once

#include <span>
#include <vector>

#include "ness/network/transient.hpp"

/// The result of ness::sim::follow, computed by CVODE.
std::vector<ness::Vector> follow_by_cvode(const ness::sim::Network& network,
                                          const ness::sim::Boundary& boundary, const ness::Vector& start,
                                          std::span<const double> times,
                                          const ness::sim::TransientOptions& options = {});
