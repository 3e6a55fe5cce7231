#include "algebra/multilevel.hpp"

#include <algorithm>
#include <cmath>

namespace ness::sim {

namespace {
using Sparse = Multilevel::Sparse;

constexpr Eigen::Index coarsest = 300;  // nodes that a dense LU solves
constexpr double strong = 0.08;         // a coupling is strong if (a_ij a_ji) > strong^2 a_ii a_jj
// a row whose diagonal is this many times the sum of the other entries is solved by smoothing alone
constexpr double dominated = 5;
constexpr int sweeps_if_not_coarsened = 8;  // on a coarsest matrix that is too large for a dense LU

// One Gauss-Seidel sweep, rows in ascending or descending order.
void sweep(const Sparse& A, const Vector& inverse, const Vector& b, Vector& x, bool up) {
  const auto n = static_cast<std::int32_t>(A.rows());
  const std::int32_t *begin = A.outerIndexPtr(), *column = A.innerIndexPtr();
  const double* a = A.valuePtr();
  for (std::int32_t k = 0; k < n; ++k) {
    const std::int32_t i = up ? k : n - 1 - k;
    double left = b[i];
    for (std::int32_t p = begin[i]; p < begin[i + 1]; ++p) left -= a[p] * x[column[p]];
    x[i] += left * inverse[i];
  }
}

// The first ascending sweep, from x = 0: entries on and above the diagonal multiply zeros.
void first_sweep(const Sparse& A, const Vector& inverse, const Vector& b, Vector& x) {
  const auto n = static_cast<std::int32_t>(A.rows());
  const std::int32_t *begin = A.outerIndexPtr(), *column = A.innerIndexPtr();
  const double* a = A.valuePtr();
  x.resize(n);
  for (std::int32_t i = 0; i < n; ++i) {
    double left = b[i];
    for (std::int32_t p = begin[i]; p < begin[i + 1] && column[p] < i; ++p) left -= a[p] * x[column[p]];
    x[i] = left * inverse[i];
  }
}

struct Aggregation {
  std::vector<std::int32_t> of;  // -1: solved by smoothing alone
  std::int32_t count = 0;
};

// Each node whose strong neighbours are all free forms an aggregate with them. Each remaining node joins a
// neighbour's aggregate, or forms a new one.
Aggregation aggregate(const Sparse& A, const std::vector<bool>& is_strong, const std::vector<bool>& easy) {
  const auto n = static_cast<std::int32_t>(A.rows());
  const std::int32_t *begin = A.outerIndexPtr(), *column = A.innerIndexPtr();
  constexpr std::int32_t none = -2;
  Aggregation found;
  found.of.assign(static_cast<std::size_t>(n), none);
  for (std::int32_t i = 0; i < n; ++i) {
    if (easy[i]) found.of[i] = -1;
  }
  const auto each_strong = [&](std::int32_t i, auto&& act) {
    for (std::int32_t p = begin[i]; p < begin[i + 1]; ++p) {
      if (is_strong[p] && !easy[column[p]]) act(column[p], p);
    }
  };
  for (std::int32_t i = 0; i < n; ++i) {
    if (found.of[i] != none) continue;
    bool untouched = true;
    each_strong(i, [&](std::int32_t j, std::int32_t) { untouched = untouched && found.of[j] == none; });
    if (!untouched) continue;
    found.of[i] = found.count;
    each_strong(i, [&](std::int32_t j, std::int32_t) { found.of[j] = found.count; });
    ++found.count;
  }
  const std::vector<std::int32_t> roots = found.of;
  for (std::int32_t i = 0; i < n; ++i) {
    if (found.of[i] != none) continue;
    double strongest = 0;
    each_strong(i, [&](std::int32_t j, std::int32_t p) {
      if (roots[j] >= 0 && std::abs(A.valuePtr()[p]) > strongest) {
        strongest = std::abs(A.valuePtr()[p]);
        found.of[i] = roots[j];
      }
    });
  }
  for (std::int32_t i = 0; i < n; ++i) {
    if (found.of[i] != none) continue;
    found.of[i] = found.count;
    each_strong(i, [&](std::int32_t j, std::int32_t) {
      if (found.of[j] == none) found.of[j] = found.count;
    });
    ++found.count;
  }
  return found;
}

// (1 - omega_i D^-1 A_F) T: the piecewise constant prolongation T, smoothed by one damped Jacobi step. A_F is
// the matrix with weak couplings lumped into the diagonal.
Sparse prolongation_of(const Sparse& A, const std::vector<bool>& is_strong, const Aggregation& aggregation,
                       const std::vector<std::int32_t>* mirror) {
  const auto n = static_cast<std::int32_t>(A.rows());
  const std::int32_t *begin = A.outerIndexPtr(), *column = A.innerIndexPtr();
  const double* a = A.valuePtr();
  Sparse P(n, aggregation.count);
  std::int32_t* outer = P.outerIndexPtr();
  std::vector<std::int32_t> inner;
  std::vector<double> values;
  inner.reserve(static_cast<std::size_t>(A.nonZeros()) / 2);
  values.reserve(inner.capacity());
  std::vector<std::pair<std::int32_t, double>> row;
  for (std::int32_t i = 0; i < n; ++i) {
    outer[i] = static_cast<std::int32_t>(inner.size());
    if (aggregation.of[i] < 0) continue;
    const auto entry = [&](std::int32_t p) { return mirror != nullptr ? a[(*mirror)[p]] : a[p]; };
    double diagonal = 0, strong_sum = 0;
    for (std::int32_t p = begin[i]; p < begin[i + 1]; ++p) {
      if (column[p] == i || !is_strong[p]) {
        diagonal += entry(p);
      } else {
        strong_sum += std::abs(entry(p));
      }
    }
    if (!(diagonal > 0.5 * strong_sum)) diagonal = std::max(0.5 * strong_sum, 1e-300);
    // 4/3 over a bound of the row of D^-1 A_F. A node without strong couplings keeps its weight of 1.
    const double omega =
        strong_sum > 0 ? std::min(2.0 / 3.0, (4.0 / 3.0) / (1 + strong_sum / diagonal)) : 0.0;
    row.clear();
    row.emplace_back(aggregation.of[i], 1 - omega);
    for (std::int32_t p = begin[i]; p < begin[i + 1]; ++p) {
      if (column[p] != i && is_strong[p] && aggregation.of[column[p]] >= 0)
        row.emplace_back(aggregation.of[column[p]], -omega * entry(p) / diagonal);
    }
    std::sort(row.begin(), row.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
    for (std::size_t k = 0; k < row.size(); ++k) {
      if (k > 0 && row[k].first == row[k - 1].first) {
        values.back() += row[k].second;
      } else {
        inner.push_back(row[k].first);
        values.push_back(row[k].second);
      }
    }
  }
  outer[n] = static_cast<std::int32_t>(inner.size());
  P.resizeNonZeros(static_cast<Eigen::Index>(inner.size()));
  std::copy(inner.begin(), inner.end(), P.innerIndexPtr());
  std::copy(values.begin(), values.end(), P.valuePtr());
  return P;
}

// Position of (j, i) for each (i, j) of a matrix with a symmetric pattern and sorted rows.
std::vector<std::int32_t> mirror_of(const Sparse& A) {
  std::vector<std::int32_t> mirror(static_cast<std::size_t>(A.nonZeros())),
      met(A.outerIndexPtr(), A.outerIndexPtr() + A.rows());
  for (std::size_t p = 0; p < mirror.size(); ++p) mirror[p] = met[A.innerIndexPtr()[p]]++;
  return mirror;
}
}  // namespace

bool Multilevel::set_up(const Sparse& matrix) {
  levels_.clear();
  dense_coarsest_ = false;
  const Sparse* A = &matrix;
  Sparse coarse;
  for (;;) {
    const auto n = static_cast<std::int32_t>(A->rows());
    const std::int32_t *begin = A->outerIndexPtr(), *column = A->innerIndexPtr();
    const double* a = A->valuePtr();
    std::vector<double> diagonal(static_cast<std::size_t>(n), 0.0), rest(static_cast<std::size_t>(n), 0.0);
    for (std::int32_t i = 0; i < n; ++i) {
      for (std::int32_t p = begin[i]; p < begin[i + 1]; ++p)
        (column[p] == i ? diagonal[i] : rest[i]) += column[p] == i ? a[p] : std::abs(a[p]);
      if (!std::isfinite(diagonal[i] + rest[i])) return false;
    }
    if (n <= coarsest) {
      direct_.factor(Matrix(*A));
      dense_coarsest_ = true;
      if (const auto [smallest, largest] = direct_.pivots(); !(smallest > 1e-15 * largest)) return false;
      if (levels_.empty()) coarsest_ = *A;
      return true;
    }
    const std::vector<std::int32_t> mirror = mirror_of(*A);
    std::vector<bool> is_strong(static_cast<std::size_t>(A->nonZeros())), easy(static_cast<std::size_t>(n));
    std::vector<double> column_rest(static_cast<std::size_t>(n), 0.0);
    for (std::int32_t i = 0; i < n; ++i) {
      for (std::int32_t p = begin[i]; p < begin[i + 1]; ++p) {
        if (column[p] != i) column_rest[column[p]] += std::abs(a[p]);
      }
    }
    // Gauss-Seidel would diverge where a node's own conductance is negative or nearly so. The sweep is damped
    // there; the iteration corrects the error at these few nodes.
    Vector inverse(n);
    for (std::int32_t i = 0; i < n; ++i) {
      const double least = 0.25 * std::max(rest[i], column_rest[i]);
      inverse[i] = 1 / std::max({diagonal[i], least, 1e-300});
      diagonal[i] = std::max(diagonal[i], least);
    }
    for (std::int32_t i = 0; i < n; ++i) {
      easy[i] = diagonal[i] > dominated * std::max(rest[i], column_rest[i]);
      for (std::int32_t p = begin[i]; p < begin[i + 1]; ++p) {
        const double coupling = 0.5 * (std::abs(a[p]) + std::abs(a[mirror[p]]));
        is_strong[p] = column[p] != i && a[p] + a[mirror[p]] < 0 &&
                       coupling * coupling > strong * strong * diagonal[i] * diagonal[column[p]];
      }
    }
    const Aggregation aggregation = aggregate(*A, is_strong, easy);
    Level level;
    level.inverse = std::move(inverse);
    if (!levels_.empty()) level.own = std::move(coarse);
    else level.matrix = A;
    if (aggregation.count > 0.8 * n || aggregation.count == 0) {  // nothing left to coarsen
      levels_.push_back(std::move(level));
      return true;
    }
    const Sparse& here = level.matrix != nullptr ? *level.matrix : level.own;
    level.prolongation = prolongation_of(here, is_strong, aggregation, nullptr);
    level.restriction = prolongation_of(here, is_strong, aggregation, &mirror).transpose();
    const Sparse product = here * level.prolongation;
    coarse = level.restriction * product;
    // The pattern must stay symmetric, but the product may drop an entry on one side only.
    const Sparse other = coarse.transpose();
    coarse = coarse + 0.0 * other;
    levels_.push_back(std::move(level));
    A = &coarse;
  }
}

void Multilevel::cycle(std::size_t level, const Vector& b, Vector& x) const {
  if (level == levels_.size()) {
    direct_.solve(b, x);
    return;
  }
  const Level& here = levels_[level];
  const Sparse& A = at(level);
  first_sweep(A, here.inverse, b, x);
  if (here.prolongation.cols() == 0) {
    for (int i = 0; i < sweeps_if_not_coarsened; ++i) sweep(A, here.inverse, b, x, i % 2 == 1);
    return;
  }
  here.residual = b;
  here.residual.noalias() -= A * x;
  here.b.noalias() = here.restriction * here.residual;
  cycle(level + 1, here.b, here.x);
  x.noalias() += here.prolongation * here.x;
  sweep(A, here.inverse, b, x, false);
}

void Multilevel::apply(const Vector& b, Vector& x) const { cycle(0, b, x); }

}  // namespace ness::sim
