// The steady-state solver.
//
// The state reported is the one that the physical relaxation C dmu/dt = F(mu) reaches from the stated start,
// and it has been shown to be stable; an iterate that did not converge is never reported as a steady state.
//
// The relaxation is followed in time by RODAS3 (Sandu et al. 1997: four stages, order 3(2), L-stable) under
// error control, with the true, also potential-dependent, capacities. A step moves no argument of an edge's
// exponentials by more than a few units, so that no well is jumped, however narrow. The errors of the steps
// are followed along the path: where they could have led it past another branch, the relaxation is repeated
// with smaller steps, and where a small disturbance would have decided, it says so. Newton's method takes
// over only where the flow contracts: at every iterate distances shrink along the flow (Network::contracting:
// the symmetric part of G is negative definite, or its diagonal dominates), and the total displacement stays
// below a trust radius. Where that certificate fails at the end, the eigenvalues of C^-1 G decide. A
// relaxation that does not come to rest is reported as a limit cycle only if it returns to the same states
// several times.
#pragma once

#include <cstdint>
#include <string>

#include "ness/network/network.hpp"

namespace ness::sim {

enum class Verdict : std::uint8_t {
  converged,      ///< a stable steady state
  not_converged,  ///< undecided within the limits: the potentials are the last iterate
  limit_cycle,    ///< no stable steady state is reached: the relaxation returns to the same states again and
                  ///< again
  diverged,       ///< no steady state is reached: a potential runs away
};
const char* to_string(Verdict verdict);

struct SteadyStateOptions {
  double path_tolerance = 0.03;  ///< error allowed per step while following the relaxation (kT)
  /// Most that a step may move the argument of an edge's exponentials (EdgeLaw::steepness).
  double path_reach = 4;
  /// Newton may move by this much in total (kT), and by this much relative to the width of the steepest edge.
  double trust = 0.5;
  /// The last Newton correction is at most this (kT); the error left is of its square
  double tolerance = 1e-8;
  std::uint32_t max_steps = 1000;  ///< time steps before the question of a limit cycle is raised
  double escape = 1e4;             ///< a potential further than this from rest (kT) has diverged
  bool newton_first = true;        ///< from a restored state, try Newton at once (same certificate)
  bool eigenvalue = false;  ///< compute max_real_eigenvalue always, not only where the certificate fails
  /// A relaxation that disturbances of this size (kT, in every step) could have led to another branch is
  /// flagged (SteadyState::near_other_branch).
  double margin = 1e-4;
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

struct SteadyState {
  Verdict verdict = Verdict::not_converged;
  Vector potential;         ///< [n_free]
  double time = 0;          ///< time followed before Newton took over
  double residual = 0;      ///< largest |F| at the last evaluation
  double bound = 0;         ///< size of the last Newton correction: the error is of the order of its square
  double displacement = 0;  ///< largest |potential - start|
  double max_real_eigenvalue = 0;  ///< of C^-1 G; NaN where the certificate alone established stability
  /// Disturbances of SteadyStateOptions::margin on the way could have led to another branch.
  bool near_other_branch = false;
  bool followed = false;    ///< the relaxation was followed in time (else Newton from the start)
  bool contracting = true;  ///< restored starts: the flow contracted at the start and after every step. If
                            ///< not, and the state has moved far, it has left its branch
  std::uint32_t steps = 0, evaluations = 0;
};

/// Relaxes a network from `start` [n_free] under a boundary (potentials of held nodes are set to their
/// levels). `restored`: the start is believed to lie near a steady state, so Newton may be tried at once,
/// under the same certificate.
SteadyState relax(const Network& network, const Boundary& boundary, const Vector& start,
                  const SteadyStateOptions& options, bool restored, Network::Workspace& work);
SteadyState relax(const Network& network, const Boundary& boundary, const Vector& start,
                  const SteadyStateOptions& options = {});

/// Largest real part of the eigenvalues of C^-1 G (held nodes left out).
double max_real_eigenvalue(const Network& network, const Boundary& boundary, const Vector& potential);

}  // namespace ness::sim
