// Proofs that the flow of a large network contracts at a state.
#pragma once

#include <functional>
#include <memory>

#include "algebra/sparse_solvers.hpp"

namespace ness::sim {

/// First looks for a positive vector d with M d > 0 (or d^T M > 0), where M is the comparison matrix of
/// dI/dmu: the diagonal of dI/dmu then dominates after a scaling. Wherever d comes from, the inequalities are
/// checked row by row, with their rounding errors. If no d is found, an elimination decides whether the
/// symmetric part is positive definite. A node whose row is empty beside the diagonal (a held node) is left
/// out: it does not move with the others, and a large weight in the norm makes its column negligible.
class Contraction {
 public:
  explicit Contraction(std::shared_ptr<const Ordering> ordering) : ordering_(std::move(ordering)) {}
  /// `solve` solves M d = 1, roughly; false if it cannot.
  using Solve = std::function<bool(const Jacobian& comparison, Vector& d)>;
  /// True if all pivots of a symmetric matrix are positive, that is, the matrix is positive definite.
  using Definite = std::function<bool(const Jacobian& symmetric)>;
  bool shown(const Jacobian& jacobian, const Solve& solve, const Definite& definite, SolverCounts& counts);
  void forget() { scaling_.resize(0); }

 private:
  bool positive_definite(const Jacobian& jacobian, const Definite& definite);
  std::shared_ptr<const Ordering> ordering_;
  Jacobian changed_;  // the comparison matrix, or the symmetric part
  Vector scaling_;
};

}  // namespace ness::sim
