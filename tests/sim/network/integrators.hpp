// Two independent integrators of y' = f(t, y), as second and third opinion on relaxations in time, and the
// equations of a network of quantum dots written down a second time: they use nothing of the solver's.
//
// CVODE (SUNDIALS): variable-order BDF. Radau: the implicit Runge-Kutta method Radau IIA of order 5 (E.
// Hairer and G. Wanner, Solving Ordinary Differential Equations II, 2nd edition (Springer 1996), section
// IV.8).
#pragma once

#include <Eigen/Dense>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "ness/network/network.hpp"

namespace integrators {

using Eigen::MatrixXd;
using Eigen::VectorXd;

struct System {
  /// dy/dt at a time and state [n]; not finite: the state is outside the system's range.
  std::function<VectorXd(double t, const VectorXd& y)> rate;
  /// Its derivatives by the state, n x n.
  std::function<MatrixXd(double t, const VectorXd& y)> jacobian;
};

struct Tolerance {
  double relative = 1e-10, absolute = 1e-10;
  long steps = 10'000'000;
};

/// Integrates a system piece by piece. Throws std::runtime_error with the reason if it cannot go on.
class Integrator {
 public:
  virtual ~Integrator() = default;
  /// Continues from the present state to exactly `t`, with no evaluation beyond it.
  virtual void advance(double t) = 0;
  /// Forgets the past: f has a kink here.
  virtual void restart() = 0;
  virtual VectorXd state() const = 0;
};

std::unique_ptr<Integrator> cvode(const System& system, const VectorXd& start, const Tolerance& tolerance);
std::unique_ptr<Integrator> radau(const System& system, const VectorXd& start, const Tolerance& tolerance);

/// Quantum dots between nodes (Eqs. 15-17, with the common-mode lever arm d), leaks and capacities, in the
/// network's own units; clamped levels rise from 0 at `rate` (infinite: at once) to `level` [n_clamped].
System dots(const ness::sim::NetworkSpec& spec, const VectorXd& level,
            double rate = std::numeric_limits<double>::infinity());
/// Times at which a level arrives, ascending.
std::vector<double> arrivals(const VectorXd& level, double rate);

/// The end of a relaxation.
struct Rest {
  enum class Kind { stable, unstable, moving, failed } kind = Kind::failed;
  VectorXd state;
};
/// Follows a system from `start` until it is at rest. stable: all eigenvalues have a negative real part, and
/// Newton's method finds the same state to 1e-6. moving: it still moves at time `longest`.
Rest follow_to_rest(const System& system, const VectorXd& start, const std::vector<double>& kinks,
                    std::unique_ptr<Integrator> (*make)(const System&, const VectorXd&, const Tolerance&),
                    double longest = 1e7, const Tolerance& tolerance = {});

}  // namespace integrators
