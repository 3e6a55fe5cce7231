// LU on a network's pattern.
#pragma once

#include <memory>

#include "algebra/sparse_solvers.hpp"

namespace ness::sim {

struct Counting {
  SolverCounts counts;
};

class SparseLu {
 public:
  SparseLu(std::shared_ptr<const Ordering> ordering, SolverCounts& counts);
  ~SparseLu();
  /// False if singular to working precision or not finite. Throws std::bad_alloc where the factors need too
  /// much memory.
  bool factor(const Jacobian& matrix);
  void solve(const Vector& b, Vector& x);
  void solve_transposed(const Vector& b, Vector& x);
  /// True if all pivots of a symmetric matrix, taken on the diagonal, are positive. Discards the
  /// factorisation.
  bool positive_definite(const Jacobian& symmetric);
  void forget();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  SolverCounts& counts_;
};

}  // namespace ness::sim
