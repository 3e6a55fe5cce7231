// Linear systems of networks that are small and dense enough for a dense matrix.
#pragma once

#include <cstdint>
#include <vector>

#include "ness/device/dense_lu.hpp"
#include "algebra/linear_solver.hpp"
#include "ness/device/vector.hpp"

namespace ness::sim {

/// Factors a matrix with a known sparsity pattern. An independent set of nodes is eliminated first: there are
/// no edges between them, so their block is diagonal, and only the Schur complement on the other nodes is
/// factored densely (regression 1-32-2-1: 2 of 35 nodes remain; MNIST with 30 hidden nodes: 10 of 40). If a
/// pivot of the set is too small, the whole matrix is factored densely with pivoting.
class Elimination {
 public:
  struct Order {
    std::vector<std::int32_t> first, rest;  ///< nodes eliminated first, and the others
    /// A large independent set of the graph with these neighbours (greedy: fewest neighbours first, ties by
    /// number).
    static Order of(const std::vector<std::vector<std::uint32_t>>& neighbours);
  };

  /// False if singular to working precision or not finite.
  bool factor(const Matrix& matrix, const Order& order);
  void solve(const Vector& b, Vector& x) const;             ///< M x = b
  void solve_transposed(const Vector& b, Vector& x) const;  ///< M^T x = b

  /// True if the symmetric part of the matrix is positive definite.
  bool positive_definite(const Matrix& matrix, const Order& order);
  /// True if the diagonal is positive and, after the columns are scaled by some positive vector, strictly
  /// dominates each row. Equivalently, the comparison matrix M (same diagonal, -|a_ij| elsewhere) is an
  /// M-matrix; a positive solution d of M d = 1 proves it. Discards a factorisation.
  bool dominated_by_diagonal(const Matrix& matrix, const Order& order);

 private:
  const Order* order_ = nullptr;
  bool dense_ = false;
  bool factor_balanced(const Matrix& matrix, double scale);
  bool scaled_rows_ = false;
  Vector scale_, largest_;  // of the rows: their factors, where they have any, and their largest entries
  Matrix balanced_, comparison_;
  Vector scaling_;
  Matrix upper_, lower_, schur_;  // M(first, rest), M(rest, first), Schur complement
  Vector pivot_;
  DenseLu lu_;
  Matrix scaled_;  // lower x 1/pivot
  mutable Vector a_, b_, c_, of_rest_, scaled_b_;
};

/// Block elimination as a linear solver; the order must outlive it.
class EliminationSolver final : public LinearSolver {
 public:
  explicit EliminationSolver(const Elimination::Order& order) : order_(order) {}
  bool factor(const Jacobian& matrix) override { return elimination_.factor(matrix.full(), order_); }
  void solve(const Vector& b, Vector& x) override { elimination_.solve(b, x); }
  void solve_transposed(const Vector& b, Vector& x) override { elimination_.solve_transposed(b, x); }
  bool contracting(const Jacobian& jacobian) override {
    return elimination_.positive_definite(jacobian.full(), order_) ||
           elimination_.dominated_by_diagonal(jacobian.full(), order_);
  }

 private:
  const Elimination::Order& order_;
  Elimination elimination_;
};

}  // namespace ness::sim
