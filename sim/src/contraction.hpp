// Proofs that the flow of a large network contracts at a state.
#pragma once

#include <functional>
#include <memory>

#include "sparse_solvers.hpp"

namespace ness::sim {

/// Looks for a positive vector d with M d > 0 (or d^T M > 0), M the comparison matrix: then the diagonal of dI/dmu dominates after a
/// scaling. Whatever proposes d, the inequalities are checked row by row with their rounding. Otherwise a Cholesky factorisation decides
/// whether the symmetric part is positive definite. A node whose row is empty beside its diagonal (a held one) is left out: it does not
/// move with the others, and a large weight in the norm silences its column.
class Contraction {
 public:
  explicit Contraction(std::shared_ptr<const Ordering> ordering);
  ~Contraction();
  /// `solve` solves M d = 1, roughly; false if it cannot.
  using Solve = std::function<bool(const Slope& comparison, Vector& d)>;
  bool shown(const Slope& slope, const Solve& solve, SolverCounts& counts);
  void forget() { scaling_.resize(0); }

 private:
  bool positive_definite(const Slope& slope);
  struct Cholesky;
  std::shared_ptr<const Ordering> ordering_;
  Slope comparison_;
  Vector scaling_;
  std::unique_ptr<Cholesky> cholesky_;
};

}  // namespace ness::sim
