// A multilevel preconditioner for matrices of networks: smoothed aggregation (P. Vanek, J. Mandel, M.
// Brezina, Computing 56 (1996) 179).
#pragma once

#include <vector>

#include <Eigen/SparseCore>

#include "ness/device/dense_lu.hpp"
#include "ness/device/vector.hpp"

namespace ness::sim {

/// One V-cycle: a fixed linear operator that approximates the inverse of a matrix whose diagonal nearly
/// dominates most rows or columns.
class Multilevel {
 public:
  using Sparse = Eigen::SparseMatrix<double, Eigen::RowMajor, std::int32_t>;

  /// The matrix must outlive its use. False if it is not finite, or if the coarsest matrix is singular.
  bool set_up(const Sparse& matrix);
  void apply(const Vector& b, Vector& x) const;
  std::size_t levels() const { return levels_.size() + 1; }

 private:
  struct Level {
    Sparse own;                      // of coarse levels
    const Sparse* matrix = nullptr;  // the finest's is the caller's
    Sparse prolongation, restriction;
    Vector inverse;  // factor for the residual of each row in a sweep
    mutable Vector b, x, residual;
  };
  const Sparse& at(std::size_t level) const {
    return levels_[level].matrix != nullptr ? *levels_[level].matrix : levels_[level].own;
  }
  void cycle(std::size_t level, const Vector& b, Vector& x) const;
  std::vector<Level> levels_;
  Sparse coarsest_;
  DenseLu direct_;
  bool dense_coarsest_ = false;
};

}  // namespace ness::sim
