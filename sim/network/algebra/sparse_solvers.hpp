// Solvers for large networks: sparse LU, and a multilevel iteration that falls back to it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "algebra/linear_solver.hpp"

namespace ness::sim {

struct Fronts;

/// The order in which the nodes of a pattern are eliminated, and the operations this takes: minimum degree,
/// or nested dissection where minimum degree is costly and nested dissection takes fewer. Computed once per
/// network, at first use.
class Ordering {
 public:
  explicit Ordering(std::shared_ptr<const JacobianPattern> pattern) : pattern_(std::move(pattern)) {}
  const std::shared_ptr<const JacobianPattern>& pattern() const { return pattern_; }
  /// [n] the node eliminated k-th. Throws std::bad_alloc if memory is insufficient.
  const std::vector<std::int32_t>& order() const;
  double flops() const;  ///< of a Cholesky factorisation in that order; an LU takes twice as many
  /// The fronts of an LU in that order. Throws std::bad_alloc.
  const std::shared_ptr<const Fronts>& fronts() const;
  /// flops() of minimum degree alone, which is computed quickly.
  double first_flops() const;

 private:
  struct Analysis {
    std::vector<std::int32_t> order;
    double flops = 0;
  };
  Analysis analyse(int method) const;
  const Analysis& best() const;
  std::shared_ptr<const JacobianPattern> pattern_;
  mutable std::once_flag once_first_, once_best_, once_fronts_;
  mutable Analysis first_, best_;
  mutable std::shared_ptr<const Fronts> fronts_;
};

/// LU of the pattern in a given order, with pivots on the diagonal. If entries then grow too much, KLU
/// factors with a search for pivots.
std::unique_ptr<LinearSolver> sparse_lu(std::shared_ptr<const Ordering> ordering);
/// BiCGSTAB, preconditioned by smoothed aggregation. A residual is at most 1e-11 of the right side; if that
/// is not reached, LU solves.
std::unique_ptr<LinearSolver> multilevel_iteration(std::shared_ptr<const Ordering> ordering);

/// Counts of the methods used, so that tests can check that the intended method ran.
struct SolverCounts {
  /// LU: factored with pivots on the diagonal; with a search for pivots; factors of the same matrix reused.
  std::uint64_t factored = 0, pivoted = 0, reused = 0;
  /// multilevel iteration
  std::uint64_t set_up = 0, solved = 0, cycles = 0, fallbacks = 0;
  /// How contraction was shown, or that it was not.
  std::uint64_t by_columns = 0, by_rows = 0, by_remembered = 0, by_solution = 0, by_pivots = 0,
                uncertified = 0;
};
/// Counts of a solver made by one of the functions above; null for other solvers.
const SolverCounts* counts_of(const LinearSolver& solver);

}  // namespace ness::sim
