// Solvers for large networks: sparse LU, and a multilevel iteration that falls back to it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "algebra/linear_solver.hpp"

namespace ness::sim {

struct Fronts;

/// In which order the nodes of a pattern are eliminated, and what that costs. Minimum degree, or nested dissection where that is costly
/// and nested dissection cheaper. Computed once per network, when first asked for.
class Ordering {
 public:
  explicit Ordering(std::shared_ptr<const JacobianPattern> pattern) : pattern_(std::move(pattern)) {}
  const std::shared_ptr<const JacobianPattern>& pattern() const { return pattern_; }
  /// [n] the node eliminated k-th. Throws std::bad_alloc where memory does not suffice.
  const std::vector<std::int32_t>& order() const;
  double flops() const;    ///< of a Cholesky factorisation in that order; an LU takes twice as many
  /// How an LU in that order goes. Throws std::bad_alloc.
  const std::shared_ptr<const Fronts>& fronts() const;
  /// flops() by minimum degree alone: cheap to know.
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

/// LU of the pattern in a given order, with pivots on the diagonal; where that lets entries grow, by KLU, which looks for pivots.
std::unique_ptr<LinearSolver> sparse_lu(std::shared_ptr<const Ordering> ordering);
/// BiCGSTAB, preconditioned by smoothed aggregation. A solution's residual is at most 1e-11 of the right side, else LU answers.
std::unique_ptr<LinearSolver> multilevel_iteration(std::shared_ptr<const Ordering> ordering);

/// How many times each way was taken: tests see that the way they mean is taken.
struct SolverCounts {
  std::uint64_t factored = 0, pivoted = 0, reused = 0;                                            ///< LU: on the diagonal; with pivots looked for; same matrix
  std::uint64_t set_up = 0, solved = 0, cycles = 0, fallbacks = 0;                                 ///< iteration
  std::uint64_t by_columns = 0, by_rows = 0, by_remembered = 0, by_solution = 0, by_pivots = 0, uncertified = 0;  ///< contraction shown by
};
/// Of a solver made by one of the above; null of another.
const SolverCounts* counts_of(const LinearSolver& solver);

}  // namespace ness::sim
