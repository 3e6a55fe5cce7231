// Linear systems with a network's dI/dmu. Three solvers answer the same questions: block elimination of a dense matrix (layered networks, tiny
// ones), sparse LU, and a preconditioned iteration.
#pragma once

#include <cstdint>
#include <memory>

#include "ness/network/jacobian.hpp"

namespace ness::sim {

/// Of one thread. What it remembers of one matrix never changes an answer about another beyond rounding.
class LinearSolver {
 public:
  virtual ~LinearSolver() = default;
  /// False if singular to working precision or not finite.
  virtual bool factor(const Jacobian& matrix) = 0;
  virtual void solve(const Vector& b, Vector& x) = 0;             ///< M x = b; NaN where it cannot be solved
  virtual void solve_transposed(const Vector& b, Vector& x) = 0;  ///< M^T x = b; NaN where it cannot be solved
  /// Network::contracting. May forget the factorisation.
  virtual bool contracting(const Jacobian& jacobian) = 0;
  /// Forgets what it remembers of earlier matrices: results depend on nothing before this.
  virtual void forget() {}
};

}  // namespace ness::sim
