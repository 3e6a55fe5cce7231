#include "sim/network/cvode.hpp"

#include <algorithm>
#include <cmath>

#include "ness/network/rosenbrock.hpp"
#include "sim/network/integrators.hpp"

using namespace ness;
using namespace ness::sim;

namespace {
// A network under a boundary whose clamped levels may still move.
struct Motion {
  const Network& network;
  Boundary now;  // levels at the time last evaluated
  Vector final_levels;
  double rate;
  Network::WorkspacePtr work;

  void set_time(double t) {
    if (std::isinf(rate)) return;
    for (Eigen::Index i = 0; i < final_levels.size(); ++i)
      now.clamp[i] = std::copysign(std::min(std::abs(final_levels[i]), rate * t), final_levels[i]);
    network.impose(now, *work);
  }
  Vector flow(double t, const Vector& potential) {
    set_time(t);
    Vector unbalanced;
    network.evaluate(*work, potential, unbalanced, nullptr);
    return unbalanced.cwiseQuotient(network.capacity(potential));
  }
  Matrix flow_by_potential(double t, const Vector& potential) {
    set_time(t);
    Vector unbalanced;
    Matrix jacobian;
    network.evaluate(*work, potential, unbalanced, &jacobian);
    const Vector C = network.capacity(potential);
    const std::vector<bool> enzyme = network.potential_dependent_capacity(), held = held_nodes(*work);
    Matrix J = C.cwiseInverse().asDiagonal() * -jacobian;
    for (Eigen::Index k = 0; k < potential.size(); ++k) {
      if (held[k]) J.row(k).setZero();
      else if (enzyme[k]) J(k, k) -= unbalanced[k] / (C[k] * network.spec().kT);
    }
    return J;
  }
};
}  // namespace

std::vector<Vector> follow_by_cvode(const Network& network, const Boundary& boundary, const Vector& start,
                                    std::span<const double> times, const TransientOptions& options) {
  Motion motion{network, boundary, boundary.clamp, options.clamp_rate, network.workspace()};
  Vector from = start;
  for (const auto& [k, level] : boundary.held) from[k] = level;
  motion.network.impose(motion.now, *motion.work);
  const integrators::System system{[&](double t, const Vector& y) { return motion.flow(t, y); },
                                   [&](double t, const Vector& y) { return motion.flow_by_potential(t, y); }};
  const auto cvode = integrators::cvode(
      system, from, {options.relative_tolerance, options.absolute_tolerance, options.max_steps});
  const std::vector<double> kinks = integrators::arrivals(boundary.clamp, options.clamp_rate);
  std::vector<Vector> states;
  auto kink = kinks.begin();
  for (const double t : times) {
    for (; kink != kinks.end() && *kink <= t; ++kink) {
      cvode->advance(*kink);
      if (*kink > 0) cvode->restart();
    }
    cvode->advance(t);
    states.push_back(cvode->state());
  }
  return states;
}
