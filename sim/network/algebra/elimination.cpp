#include "algebra/elimination.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <Eigen/Cholesky>

namespace ness::sim {

namespace {
// A pivot below this fraction of its row or column is not used as a divisor.
constexpr double smallest_pivot = 1e-6;

// Eigen's indexed views copy the indices; for small matrices the copy takes longer than the work.
using Places = std::vector<std::int32_t>;
void gather(const Vector& from, const Places& places, Vector& into) {
  into.resize(static_cast<Eigen::Index>(places.size()));
  for (std::size_t i = 0; i < places.size(); ++i) into[static_cast<Eigen::Index>(i)] = from[places[i]];
}
void gather(const Matrix& from, const Places& rows, const Places& columns, Matrix& into) {
  into.resize(static_cast<Eigen::Index>(rows.size()), static_cast<Eigen::Index>(columns.size()));
  for (std::size_t j = 0; j < columns.size(); ++j) {
    for (std::size_t i = 0; i < rows.size(); ++i)
      into(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) = from(rows[i], columns[j]);
  }
}
void scatter(const Vector& from, const Places& places, Vector& into) {
  for (std::size_t i = 0; i < places.size(); ++i) into[places[i]] = from[static_cast<Eigen::Index>(i)];
}
}  // namespace

Elimination::Order Elimination::Order::of(const std::vector<std::vector<std::uint32_t>>& neighbours) {
  const std::size_t n = neighbours.size();
  std::vector<std::int32_t> by_degree(n);
  std::iota(by_degree.begin(), by_degree.end(), 0);
  std::stable_sort(by_degree.begin(), by_degree.end(),
                   [&](auto i, auto j) { return neighbours[i].size() < neighbours[j].size(); });
  std::vector<bool> blocked(n, false), chosen(n, false);
  for (const auto i : by_degree) {
    if (blocked[i]) continue;
    chosen[i] = true;
    for (const auto k : neighbours[i]) blocked[k] = true;
  }
  Order order;
  for (std::size_t i = 0; i < n; ++i)
    (chosen[i] ? order.first : order.rest).push_back(static_cast<std::int32_t>(i));
  return order;
}

// Rows may differ by many orders of magnitude: capacities and conductances do. Each is divided by a power of
// two, by which no digit changes, so that pivots can be compared with 1.
bool Elimination::factor(const Matrix& given, const Order& order) {
  order_ = &order;
  if (!given.allFinite()) return false;
  scaled_rows_ = false;
  if (given.size() == 0) return factor_balanced(given, 0);
  largest_ = given.col(0).cwiseAbs();
  for (Eigen::Index j = 1; j < given.cols(); ++j) largest_ = largest_.cwiseMax(given.col(j).cwiseAbs());
  const double least = largest_.minCoeff(), scale = largest_.maxCoeff();
  if (!(least > 0)) return false;
  scaled_rows_ = least < 1e-3 * scale;
  if (!scaled_rows_) return factor_balanced(given, scale);
  scale_.resize(given.rows());
  for (Eigen::Index i = 0; i < given.rows(); ++i) scale_[i] = std::ldexp(1.0, -std::ilogb(largest_[i]));
  balanced_ = scale_.asDiagonal() * given;
  return factor_balanced(balanced_, 1);
}

bool Elimination::factor_balanced(const Matrix& matrix, double scale) {
  const Order& order = *order_;
  const auto n_first = static_cast<Eigen::Index>(order.first.size());
  pivot_.resize(n_first);
  gather(matrix, order.first, order.rest, upper_);
  gather(matrix, order.rest, order.first, lower_);
  dense_ = false;
  for (Eigen::Index i = 0; i < n_first && !dense_; ++i) {
    pivot_[i] = matrix(order.first[i], order.first[i]);
    const double largest = order.rest.empty() ? 0.0
                                              : std::max(upper_.row(i).cwiseAbs().maxCoeff(),
                                                         lower_.col(i).cwiseAbs().maxCoeff());
    if (std::abs(pivot_[i]) <= std::max(smallest_pivot * largest, 1e-14 * scale)) dense_ = true;
  }
  if (dense_) {
    lu_.factor(matrix);
    return lu_.pivots().smallest > 1e-14 * scale;
  }
  if (order.rest.empty()) return true;
  gather(matrix, order.rest, order.rest, schur_);
  // Intermediate products have their own buffers: with small matrices, allocation would take most of the
  // time.
  scaled_ = lower_ * pivot_.cwiseInverse().asDiagonal();
  schur_.noalias() -= scaled_ * upper_;
  lu_.factor(schur_);
  return lu_.pivots().smallest > 1e-14 * std::max(scale, schur_.cwiseAbs().maxCoeff());
}

void Elimination::solve(const Vector& given, Vector& x) const {
  if (scaled_rows_) scaled_b_ = scale_.cwiseProduct(given);
  const Vector& b = scaled_rows_ ? scaled_b_ : given;
  if (dense_) {
    lu_.solve(b, x);
    return;
  }
  x.resize(b.size());
  gather(b, order_->first, a_);
  if (!order_->rest.empty()) {
    gather(b, order_->rest, b_);
    c_ = a_.cwiseQuotient(pivot_);
    b_.noalias() -= lower_ * c_;
    lu_.solve(b_, of_rest_);
    a_.noalias() -= upper_ * of_rest_;
    scatter(of_rest_, order_->rest, x);
  }
  c_ = a_.cwiseQuotient(pivot_);
  scatter(c_, order_->first, x);
}

void Elimination::solve_transposed(const Vector& b, Vector& x) const {
  if (dense_) {
    lu_.solve_transposed(b, x);
    if (scaled_rows_) x.array() *= scale_.array();
    return;
  }
  x.resize(b.size());
  a_ = b(order_->first);
  if (!order_->rest.empty()) {
    b_ = b(order_->rest);
    b_.noalias() -= upper_.transpose() * a_.cwiseQuotient(pivot_);
    lu_.solve_transposed(b_, c_);
    a_.noalias() -= lower_.transpose() * c_;
    x(order_->rest) = c_;
  }
  x(order_->first) = a_.cwiseQuotient(pivot_);
  if (scaled_rows_) x.array() *= scale_.array();
}

bool Elimination::positive_definite(const Matrix& matrix, const Order& order) {
  if (!matrix.allFinite()) return false;
  const auto n_first = static_cast<Eigen::Index>(order.first.size());
  pivot_.resize(n_first);
  for (Eigen::Index i = 0; i < n_first; ++i) {
    pivot_[i] = matrix(order.first[i], order.first[i]);
    if (!(pivot_[i] > 0)) return false;
  }
  if (order.rest.empty()) return true;
  const auto n_rest = static_cast<Eigen::Index>(order.rest.size());
  upper_.resize(n_first, n_rest);
  schur_.resize(n_rest, n_rest);
  for (Eigen::Index j = 0; j < n_rest; ++j) {
    const std::int32_t c = order.rest[j];
    for (Eigen::Index i = 0; i < n_first; ++i) {
      const std::int32_t r = order.first[i];
      upper_(i, j) = 0.5 * (matrix(r, c) + matrix(c, r));
    }
    for (Eigen::Index i = j; i < n_rest; ++i) {
      const std::int32_t r = order.rest[i];
      schur_(i, j) = 0.5 * (matrix(r, c) + matrix(c, r));
    }
  }
  scaled_ = pivot_.cwiseInverse().asDiagonal() * upper_;
  schur_.triangularView<Eigen::Lower>() -= upper_.transpose() * scaled_;
  // In place: what is not positive definite shows at a pivot.
  const Eigen::LLT<Eigen::Ref<Matrix>> cholesky(schur_);
  return cholesky.info() == Eigen::Success;
}

bool Elimination::dominated_by_diagonal(const Matrix& matrix, const Order& order) {
  if (!(matrix.diagonal().array() > 0).all()) return false;  // NaN too
  comparison_ = -matrix.cwiseAbs();
  comparison_.diagonal() = matrix.diagonal();
  if (!factor(comparison_, order)) return false;
  solve(Vector::Ones(matrix.rows()), scaling_);
  return (scaling_.array() > 0).all();
}

}  // namespace ness::sim
