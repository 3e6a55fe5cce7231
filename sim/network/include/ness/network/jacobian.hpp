// The Jacobian of a network's currents, dI/dmu, in the form in which its linear algebra needs it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <Eigen/SparseCore>

#include "ness/device/vector.hpp"

namespace ness::sim {

/// Which places of a large network's dI/dmu can differ from zero: those of its edges, both ways, and the
/// diagonal. Compressed rows, columns ascending in each; the pattern is symmetric.
struct JacobianPattern {
  std::vector<std::int32_t> begin;     ///< [n + 1] where each row begins
  std::vector<std::int32_t> column;    ///< [entries]
  std::vector<std::int32_t> diagonal;  ///< [n] place of each diagonal entry
  std::vector<std::int32_t> mirror;    ///< [entries] place of the entry (j, i) of each (i, j)

  /// From the ends of edges (free indices; parallel edges and both directions may occur). Throws
  /// std::invalid_argument where places outgrow 32 bits.
  static JacobianPattern of(std::size_t n, const std::vector<std::pair<std::uint32_t, std::uint32_t>>& edges);
  std::size_t nodes() const { return diagonal.size(); }
  std::size_t entries() const { return column.size(); }
  /// Place of the entry (row, column); it must be in the pattern.
  std::int32_t place(std::uint32_t row, std::uint32_t column) const;
};

/// dI/dmu [n_free x n_free] of one network: a dense matrix for a small network, for a large one the values in
/// its fixed pattern.
class Jacobian {
 public:
  using Compressed = Eigen::Map<const Eigen::SparseMatrix<double, Eigen::RowMajor, std::int32_t>>;

  Jacobian() = default;
  explicit Jacobian(Matrix full) : full_(std::move(full)) {}

  Eigen::Index size() const { return pattern_ ? static_cast<Eigen::Index>(pattern_->nodes()) : full_.rows(); }
  bool sparse() const { return pattern_ != nullptr; }
  double diagonal(Eigen::Index k) const {
    return pattern_ ? values_[static_cast<std::size_t>(pattern_->diagonal[k])] : full_(k, k);
  }
  double& diagonal(Eigen::Index k) {
    return pattern_ ? values_[static_cast<std::size_t>(pattern_->diagonal[k])] : full_(k, k);
  }
  void add_to_diagonal(const Vector& by);
  /// Sum of the magnitudes of a row.
  double row_magnitude(Eigen::Index k) const;
  /// True if in every column the diagonal is positive and larger than the magnitudes of the others together:
  /// then the flow contracts there (Network::contracting; rounding is not allowed for).
  bool columns_dominate() const;
  bool finite() const;
  Vector operator*(const Vector& x) const;

  const Matrix& full() const { return full_; }  ///< of a dense one
  /// As a dense matrix. Throws std::invalid_argument stating the memory where that would be more than 8 GB.
  Matrix dense() const;
  const std::shared_ptr<const JacobianPattern>& pattern() const {
    return pattern_;
  }                                                              ///< of a sparse one, else null
  const std::vector<double>& values() const { return values_; }  ///< of a sparse one, in the pattern's places
  Compressed compressed() const;  ///< of a sparse one; lives as long as this does

  /// All entries zero: of a dense matrix [n x n], or in a pattern where one is given.
  void clear(Eigen::Index n, const std::shared_ptr<const JacobianPattern>& pattern);
  Matrix& full() { return full_; }
  double* data() { return values_.data(); }

 private:
  Matrix full_;
  std::shared_ptr<const JacobianPattern> pattern_;
  std::vector<double> values_;
};

}  // namespace ness::sim
