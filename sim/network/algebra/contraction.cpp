#include "algebra/contraction.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ness::sim {

namespace {
// Operations (of a Cholesky factorisation) above which elimination is not tried: it would take about 10 s and
// gigabytes. The eigenvalues decide then.
constexpr double costliest_elimination = 1e11;
constexpr double epsilon = std::numeric_limits<double>::epsilon();

bool alone(const JacobianPattern& pattern, const std::vector<double>& a, std::size_t row) {
  for (std::int32_t p = pattern.begin[row]; p < pattern.begin[row + 1]; ++p) {
    if (p != pattern.diagonal[row] && a[p] != 0) return false;
  }
  return true;
}

// True if w^T M > 0 for w = 1 (for a node whose row is empty beside the diagonal: w as large as its column
// requires). In floating point, a sum of k terms errs by at most (k - 1) epsilon/2 of the sum of magnitudes;
// a margin of twice that is required.
bool columns_dominate(const JacobianPattern& pattern, const std::vector<double>& a) {
  const std::size_t n = pattern.nodes();
  for (std::size_t j = 0; j < n; ++j) {
    // The entries of column j are the mirror images of those of row j.
    double sum = a[pattern.diagonal[j]], magnitude = sum;
    if (!(sum > 0)) return false;
    for (std::int32_t p = pattern.begin[j]; p < pattern.begin[j + 1]; ++p) {
      if (p == pattern.diagonal[j]) continue;
      const double entry = std::abs(a[pattern.mirror[p]]);
      sum -= entry;
      magnitude += entry;
    }
    if (sum > epsilon * magnitude * static_cast<double>(pattern.begin[j + 1] - pattern.begin[j])) continue;
    if (!std::isfinite(magnitude) || !alone(pattern, a, j)) return false;
  }
  return true;
}

// True if M d > 0, with the same margin.
bool rows_dominate(const JacobianPattern& pattern, const std::vector<double>& a, const Vector* d) {
  const auto weight = [&](std::size_t k) { return d == nullptr ? 1.0 : (*d)[static_cast<Eigen::Index>(k)]; };
  for (std::size_t i = 0; i < pattern.nodes(); ++i) {
    if (!(weight(i) > 0) || !std::isfinite(weight(i))) return false;
    double sum = a[pattern.diagonal[i]] * weight(i), magnitude = sum;
    for (std::int32_t p = pattern.begin[i]; p < pattern.begin[i + 1]; ++p) {
      if (p == pattern.diagonal[i]) continue;
      const double entry = std::abs(a[p]) * weight(static_cast<std::size_t>(pattern.column[p]));
      sum -= entry;
      magnitude += entry;
    }
    if (!(sum > epsilon * magnitude * static_cast<double>(pattern.begin[i + 1] - pattern.begin[i] + 1)))
      return false;
  }
  return true;
}
}  // namespace

bool Contraction::positive_definite(const Jacobian& jacobian, const Definite& definite) {
  const JacobianPattern& pattern = *jacobian.pattern();
  const std::vector<double>& a = jacobian.values();
  const std::size_t n = pattern.nodes();
  std::vector<bool> silent(n);
  for (std::size_t k = 0; k < n; ++k) silent[k] = alone(pattern, a, k);
  const auto coupling = [&](std::size_t i, std::int32_t p) {
    const auto j = static_cast<std::size_t>(pattern.column[p]);
    return i == j ? a[p] : silent[i] || silent[j] ? 0.0 : 0.5 * (a[p] + a[pattern.mirror[p]]);
  };
  // Most matrices that are not positive definite already fail for some pair of nodes.
  for (std::size_t i = 0; i < n; ++i) {
    for (std::int32_t p = pattern.diagonal[i] + 1; p < pattern.begin[i + 1]; ++p) {
      const double s = coupling(i, p);
      if (!(s * s < a[pattern.diagonal[i]] * a[pattern.diagonal[pattern.column[p]]])) return false;
    }
  }
  if (ordering_->first_flops() > costliest_elimination && ordering_->flops() > costliest_elimination)
    return false;
  changed_.clear(jacobian.size(), jacobian.pattern());
  double* m = changed_.data();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::int32_t p = pattern.begin[i]; p < pattern.begin[i + 1]; ++p) m[p] = coupling(i, p);
  }
  return definite(changed_);
}

bool Contraction::shown(const Jacobian& jacobian, const Solve& solve, const Definite& definite,
                        SolverCounts& counts) {
  const JacobianPattern& pattern = *jacobian.pattern();
  const std::vector<double>& a = jacobian.values();
  for (const std::int32_t p : pattern.diagonal) {
    if (!(a[p] > 0)) return ++counts.uncertified, false;  // NaN too
  }
  if (!jacobian.finite()) return ++counts.uncertified, false;
  if (columns_dominate(pattern, a)) return ++counts.by_columns, true;
  if (rows_dominate(pattern, a, nullptr)) return ++counts.by_rows, true;
  if (scaling_.size() == jacobian.size() && rows_dominate(pattern, a, &scaling_))
    return ++counts.by_remembered, true;
  changed_.clear(jacobian.size(), jacobian.pattern());
  double* m = changed_.data();
  for (std::size_t p = 0; p < a.size(); ++p) m[p] = -std::abs(a[p]);
  for (const std::int32_t p : pattern.diagonal) m[p] = a[p];
  Vector d;
  if (solve(changed_, d) && rows_dominate(pattern, a, &d)) {
    scaling_ = std::move(d);
    return ++counts.by_solution, true;
  }
  if (positive_definite(jacobian, definite)) return ++counts.by_pivots, true;
  return ++counts.uncertified, false;
}

}  // namespace ness::sim
