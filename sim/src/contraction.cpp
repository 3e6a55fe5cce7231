#include "contraction.hpp"

#include <cholmod.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace ness::sim {

namespace {
// A Cholesky factorisation that takes longer than this is not tried: the eigenvalues decide (some 10 s; 2-D lattices of 10^6 nodes: 1.3e10).
constexpr double costliest_cholesky = 3e10;
constexpr double epsilon = std::numeric_limits<double>::epsilon();

bool alone(const SlopePattern& pattern, const std::vector<double>& a, std::size_t row) {
  for (std::int32_t p = pattern.begin[row]; p < pattern.begin[row + 1]; ++p) {
    if (p != pattern.diagonal[row] && a[p] != 0) return false;
  }
  return true;
}

// w^T M > 0 for w = 1 (where a row is alone: w as large as its column asks for). A sum of k terms in floating point errs by at most (k - 1) epsilon/2
// of the sum of magnitudes; twice that is demanded.
bool columns_dominate(const SlopePattern& pattern, const std::vector<double>& a) {
  const std::size_t n = pattern.nodes();
  for (std::size_t j = 0; j < n; ++j) {
    // Column j is row j's places mirrored.
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

// M d > 0, likewise.
bool rows_dominate(const SlopePattern& pattern, const std::vector<double>& a, const Vector* d) {
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
    if (!(sum > epsilon * magnitude * static_cast<double>(pattern.begin[i + 1] - pattern.begin[i] + 1))) return false;
  }
  return true;
}
}  // namespace

// The symmetric part in CHOLMOD's form: the lower triangle by columns, which is the upper one by rows.
struct Contraction::Cholesky {
  cholmod_common common;
  cholmod_factor* factor = nullptr;
  std::vector<std::int32_t> begin, row, place;
  std::vector<double> value;
  cholmod_sparse matrix{};

  explicit Cholesky(const Ordering& ordering) {
    cholmod_start(&common);
    common.nmethods = 1;
    common.method[0].ordering = CHOLMOD_GIVEN;
    common.postorder = 0;
    common.supernodal = CHOLMOD_SIMPLICIAL;  // no BLAS: the verdict depends on no library's threads
    common.final_ll = 1;
    common.quick_return_if_not_posdef = 1;
    common.print = 0;
    const SlopePattern& pattern = *ordering.pattern();
    const std::size_t n = pattern.nodes();
    begin.push_back(0);
    for (std::size_t k = 0; k < n; ++k) {
      for (std::int32_t p = pattern.diagonal[k]; p < pattern.begin[k + 1]; ++p) {
        row.push_back(pattern.column[p]);
        place.push_back(p);
      }
      begin.push_back(static_cast<std::int32_t>(row.size()));
    }
    value.resize(row.size());
    matrix.nrow = matrix.ncol = n;
    matrix.nzmax = row.size();
    matrix.p = begin.data();
    matrix.i = row.data();
    matrix.x = value.data();
    matrix.stype = -1;
    matrix.itype = CHOLMOD_INT;
    matrix.xtype = CHOLMOD_REAL;
    matrix.dtype = CHOLMOD_DOUBLE;
    matrix.sorted = matrix.packed = 1;
    std::vector<std::int32_t> order = ordering.order();
    factor = cholmod_analyze_p(&matrix, order.data(), nullptr, 0, &common);
  }
  ~Cholesky() {
    cholmod_free_factor(&factor, &common);
    cholmod_finish(&common);
  }
  Cholesky(const Cholesky&) = delete;
  Cholesky& operator=(const Cholesky&) = delete;
};

Contraction::Contraction(std::shared_ptr<const Ordering> ordering) : ordering_(std::move(ordering)) {}
Contraction::~Contraction() = default;

bool Contraction::positive_definite(const Slope& slope) {
  const SlopePattern& pattern = *slope.pattern();
  const std::vector<double>& a = slope.values();
  const std::size_t n = pattern.nodes();
  std::vector<bool> silent(n);
  for (std::size_t k = 0; k < n; ++k) silent[k] = alone(pattern, a, k);
  const auto coupling = [&](std::size_t i, std::int32_t p) {
    const auto j = static_cast<std::size_t>(pattern.column[p]);
    return i == j ? a[p] : silent[i] || silent[j] ? 0.0 : 0.5 * (a[p] + a[pattern.mirror[p]]);
  };
  // Two nodes alone often tell that it is not.
  for (std::size_t i = 0; i < n; ++i) {
    for (std::int32_t p = pattern.diagonal[i] + 1; p < pattern.begin[i + 1]; ++p) {
      const double s = coupling(i, p);
      if (!(s * s < a[pattern.diagonal[i]] * a[pattern.diagonal[pattern.column[p]]])) return false;
    }
  }
  if (ordering_->first_flops() > costliest_cholesky && ordering_->flops() > costliest_cholesky) return false;
  if (!cholesky_) cholesky_ = std::make_unique<Cholesky>(*ordering_);
  Cholesky& c = *cholesky_;
  if (c.factor == nullptr) return false;
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::int32_t k = c.begin[i]; k < c.begin[i + 1]; ++k) c.value[at++] = coupling(i, c.place[static_cast<std::size_t>(k)]);
  }
  cholmod_factorize(&c.matrix, c.factor, &c.common);
  return c.common.status == CHOLMOD_OK && c.factor->minor == n;
}

bool Contraction::shown(const Slope& slope, const Solve& solve, SolverCounts& counts) {
  const SlopePattern& pattern = *slope.pattern();
  const std::vector<double>& a = slope.values();
  for (const std::int32_t p : pattern.diagonal) {
    if (!(a[p] > 0)) return ++counts.uncertified, false;  // NaN too
  }
  if (!slope.finite()) return ++counts.uncertified, false;
  if (columns_dominate(pattern, a)) return ++counts.by_columns, true;
  if (rows_dominate(pattern, a, nullptr)) return ++counts.by_rows, true;
  if (scaling_.size() == slope.size() && rows_dominate(pattern, a, &scaling_)) return ++counts.by_remembered, true;
  comparison_.clear(slope.size(), slope.pattern());
  double* m = comparison_.data();
  for (std::size_t p = 0; p < a.size(); ++p) m[p] = -std::abs(a[p]);
  for (const std::int32_t p : pattern.diagonal) m[p] = a[p];
  Vector d;
  if (solve(comparison_, d) && rows_dominate(pattern, a, &d)) {
    scaling_ = std::move(d);
    return ++counts.by_solution, true;
  }
  if (positive_definite(slope)) return ++counts.by_cholesky, true;
  return ++counts.uncertified, false;
}

}  // namespace ness::sim
