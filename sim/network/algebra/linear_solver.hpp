// Linear systems with a network's dI/dmu. There are three solvers: block elimination of a dense matrix
// (layered and tiny networks), sparse LU, and a preconditioned iteration.
#pragma once

#include <cstdint>
#include <memory>

#include "ness/network/jacobian.hpp"

namespace ness::sim {

/// Used by one thread. What it keeps of one matrix changes a result for another matrix by rounding at most.
class LinearSolver {
 public:
  virtual ~LinearSolver() = default;
  /// False if singular to working precision or not finite.
  virtual bool factor(const Jacobian& matrix) = 0;
  virtual void solve(const Vector& b, Vector& x) = 0;  ///< M x = b; NaN where it cannot be solved
  virtual void solve_transposed(const Vector& b,
                                Vector& x) = 0;  ///< M^T x = b; NaN where it cannot be solved
  /// Network::contracting. May forget the factorisation.
  virtual bool contracting(const Jacobian& jacobian) = 0;
  /// Discards everything kept of earlier matrices: later results do not depend on earlier calls.
  virtual void forget() {}
};

}  // namespace ness::sim
