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
  /// The same, with strayed() and late(): of the errors of the steps, and of a disturbance of this size
  /// (energy) in every step.
  void begin(const Vector& start, double disturbance);
  /// One accepted step with a local error of at most `tolerance` (kT; at a node with edges steeper than 6/kT:
  /// six times the tolerance in widths of the steepest) in every potential, which moves no
  /// argument of an edge's exponentials by more than `reach` (Network::steepness): the stages of a longer
  /// step could all lie outside a well that it crosses. False if the step size vanished or the state is not
  /// finite.
  bool step(double tolerance, double reach = default_reach);
  static constexpr double default_reach = 4;
  /// Adds to the state, and limits steps to `longest` (or to an earlier, shorter limit) from now on.
  void kick(const Vector& by, double longest);
  /// Limits steps to `longest` from now on; replaces an earlier limit.
  void limit(double longest) { longest_ = longest; }
  /// dmu/dt at the state.
  Vector rate() const;
  /// How far, in arguments of an edge's exponentials, the errors of all steps may have carried the state away
  /// from the path that starts there, at the time when they had carried it furthest. They are followed along
  /// the flow, where they grow near unstable states. What is parallel to the flow is a delay, and harmless
  /// but where an unstable state is left: there the delay counts, in units of the time in which errors grow
  /// e-fold. Much less than 1: the path has passed every parting of the ways on the right side. 0 as long as
  /// the flow contracts at every state, where errors die out.
  double strayed() const { return strayed_; }
  /// The longest of these delays wherever errors grew: also where the flow only speeds up, as beyond a fold.
  double late() const { return late_; }
  /// How steep each node's edges are at most (Network::steepness), [n_free].
  const Vector& steepness() const { return steepness_; }
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
  // One attempt at a step: if shorter < 1, it is to be repeated with a step shorter by this factor.
  struct Trial {
    double shorter = 1, error = 0, moved = 0, growth = 1;
  };
  Trial attempt(double tolerance, double reach);
  bool factor_for_step();
  void to_present_capacity(const Vector& state, Vector& flow) const;
  double defect_of_step(double tolerance);
  double relative(const Vector& error) const;
  double carry_errors();
  double growth_at_end();
  double growth_rate(const Vector& error, const Jacobian& at);
  void add_errors_of_step(Vector& errors);
  void note_errors(double growth_rate);
  double h_ = 0, longest_ = 0, strayed_ = 0, late_ = 0, speed_ = 0, slowest_ = 0;
  bool errors_ = false, contracts_ = true;  // follow errors; the flow contracted at every state so far
  Vector steepness_, per_error_, error_, carried_, defect_, across_, disturbed_;
  Vector C_, C_h_, k1_, k2_, k3_, k4_, stage_, flow_, rhs_, zero_current_;
  Jacobian A_, ahead_;
};

}  // namespace ness::sim
