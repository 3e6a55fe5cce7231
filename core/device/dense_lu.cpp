#include "ness/device/dense_lu.hpp"

#include <Eigen/LU>
#include <limits>

namespace ness {

struct DenseLu::Impl {
  Eigen::PartialPivLU<Matrix> lu;
};

DenseLu::DenseLu() : impl_(std::make_unique<Impl>()) {}
DenseLu::~DenseLu() = default;
void DenseLu::factor(const Matrix& matrix) { impl_->lu.compute(matrix); }
DenseLu::Pivots DenseLu::pivots() const {
  const auto pivots = impl_->lu.matrixLU().diagonal().array().abs();
  if (pivots.size() == 0) return {std::numeric_limits<double>::infinity(), 0};
  if (!pivots.isFinite().all())
    return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  return {pivots.minCoeff(), pivots.maxCoeff()};
}
double DenseLu::rcond() const { return impl_->lu.rcond(); }
void DenseLu::solve(const Vector& b, Vector& x) const {
  // As Eigen's solve(), without its temporary: small systems take less time than an allocation.
  x.resize(b.size());
  const auto& row = impl_->lu.permutationP().indices();
  for (Eigen::Index i = 0; i < b.size(); ++i) x[row[i]] = b[i];
  impl_->lu.matrixLU().triangularView<Eigen::UnitLower>().solveInPlace(x);
  impl_->lu.matrixLU().triangularView<Eigen::Upper>().solveInPlace(x);
}
void DenseLu::solve_transposed(const Vector& b, Vector& x) const { x = impl_->lu.transpose().solve(b); }
Matrix DenseLu::solve(const Matrix& b) const { return impl_->lu.solve(b); }

}  // namespace ness
