// RODAS3, the time integrator that follows a relaxation (A. Sandu et al., Atmospheric Environment 31 (1997)
// 3459, table of RODAS3): four stages, order 3(2), L-stable, stiffly accurate; three evaluations of the
// currents and one factorisation a step.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ness/network/network.hpp"

namespace ness::sim {

/// Nodes held in the boundary that was imposed on a workspace, [n_free].
std::vector<bool> held_nodes(const Network::Workspace& work);

class Rosenbrock {
 public:
  /// What flows besides the network's own currents: adds to F (units of current), and to dI/dmu where it is
  /// asked for.
  using Extra = std::function<void(const Vector& state, Vector& unbalanced, Jacobian* jacobian)>;
  Rosenbrock(const Network& network, Network::Workspace& work, Extra extra = {});

  /// Starts at a state; the boundary has been imposed on the workspace.
  void begin(const Vector& start);
  /// One accepted step with a local error of at most `tolerance` (kT) in every potential. False if the step
  /// size vanished or the state is not finite.
  bool step(double tolerance);
  /// Adds to the state, and limits steps to `longest` (or to an earlier, shorter limit) from now on.
  void kick(const Vector& by, double longest);
  /// Limits steps to `longest` from now on; replaces an earlier limit.
  void limit(double longest) { longest_ = longest; }
  /// dmu/dt at the state.
  Vector rate() const;
  /// Rate (inverse time) at which this potential alone would decay, the others held.
  double decay(Eigen::Index k) const { return jacobian.diagonal(k) / C_[k]; }

  Vector y;           ///< the state
  Vector unbalanced;  ///< F = C dmu/dt there
  Jacobian jacobian;  ///< dI/dmu there
  double time = 0;
  std::uint32_t evaluations = 0;

 private:
  void evaluate(const Vector& state, Vector& unbalanced, Jacobian* jacobian);
  const Network& network_;
  Network::Workspace& work_;
  Extra extra_;
  std::vector<bool> enzyme_;
  bool any_enzyme_ = false;
  double h_ = 0, longest_ = 0;
  Vector C_, k1_, k2_, k3_, k4_, stage_, flow_, rhs_, zero_current_;
  Jacobian A_;
};

}  // namespace ness::sim
