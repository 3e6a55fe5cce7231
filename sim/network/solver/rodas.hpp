// RODAS, the method for transients: E. Hairer and G. Wanner, Solving Ordinary Differential Equations II, 2nd
// edition (Springer 1996), section IV.7, with the coefficients of their program rodas.f (first set). Six
// stages, order 4(3), L-stable, stiffly accurate, dense output of order 3. One step takes six evaluations of
// the currents, one of the Jacobian, and one factorisation.
//
// (Steady states use RODAS3, rosenbrock.hpp: it is faster, and the path need not be exact there.)
#pragma once

#include <array>

#include "ness/network/network.hpp"

namespace ness::sim {

class Rodas {
 public:
  /// Solves C dmu/dt = F(mu, t) of a network under a boundary whose clamped levels may move.
  Rodas(const Network& network, const Boundary& boundary);
  Rodas(const Rodas&) = delete;
  Rodas& operator=(const Rodas&) = delete;

  /// Starts at a state at `time`. The clamped levels are `levels` [n_clamped] at that time and change at the
  /// rates `velocity` [n_clamped] (kT per unit time; empty: constant). Held nodes are set to their levels.
  void begin(double time, const Vector& state, const Vector& levels, const Vector& velocity);
  /// Computes a step of length h > 0 from the state. False if the matrix is singular or a number is not
  /// finite.
  bool attempt(double h);
  /// How far the step attempted moves the arguments of edges' exponentials (Network::steepness), at most:
  /// that of free nodes, and of levels, at the steepest edges.
  double way() const;
  /// End of the step attempted, and its difference from the embedded method of order 3, [n_free].
  const Vector& end() const { return end_; }
  const Vector& error() const { return u_[5]; }
  /// Accepts the step attempted: its end becomes the state, at `time` (time() + h up to rounding). False if F
  /// is not finite there.
  bool accept(double time);
  /// The potentials at a time within the step last accepted.
  Vector at(double time) const;

  double time() const { return time_; }
  const Vector& state() const { return y_; }
  /// dmu/dt at the state.
  Vector rate() const { return unbalanced_.cwiseQuotient(C_); }

 private:
  void evaluate(double time, const Vector& state, Vector& unbalanced, Jacobian* jacobian);
  bool look_around();
  const Network& network_;
  Boundary boundary_;
  Network::WorkspacePtr evaluation_, algebra_;  // imposing levels on a workspace discards its factors
  std::vector<bool> pool_;
  bool any_pool_ = false, moving_ = false;
  double time_ = 0, h_ = 0, began_ = 0, standing_ = 0;
  Vector levels_, velocity_;             // at began_
  Vector y_, unbalanced_, by_time_, C_;  // the state, F, dF/dt and the capacities there
  Jacobian jacobian_, matrix_;
  std::array<Vector, 6> u_;
  Vector steepness_;
  double steepest_ = 0;
  Vector stage_, flow_, rhs_, ahead_, end_;
  // The step last accepted, for dense output.
  double before_ = 0, length_ = 0;
  Vector from_, third_, fourth_;
};

}  // namespace ness::sim
