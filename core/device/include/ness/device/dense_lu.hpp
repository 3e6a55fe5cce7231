// LU of a dense matrix with row exchanges (Eigen's PartialPivLU). Compiled once, because it adds seconds to
// every source that uses it.
#pragma once

#include <limits>
#include <memory>

#include "ness/device/vector.hpp"

namespace ness {

class DenseLu {
 public:
  DenseLu();
  explicit DenseLu(const Matrix& matrix) : DenseLu() { factor(matrix); }
  ~DenseLu();
  void factor(const Matrix& matrix);
  /// Magnitudes of the pivots; NaN where one is not finite. Of an empty matrix: infinity and 0.
  struct Pivots {
    double smallest, largest;
  };
  Pivots pivots() const;
  /// Estimate of the reciprocal condition number.
  double rcond() const;
  /// Below machine precision no digit of a solution is right. Also false for NaN.
  bool solvable() const { return rcond() > std::numeric_limits<double>::epsilon(); }
  void solve(const Vector& b, Vector& x) const;             ///< M x = b; x is not b
  void solve_transposed(const Vector& b, Vector& x) const;  ///< M^T x = b
  Matrix solve(const Matrix& b) const;                      ///< for each column

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ness
