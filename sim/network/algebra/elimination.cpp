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
  scale_.resize(given.rows());
  bool graded = false;
  const double scale = given.cwiseAbs().maxCoeff();
  for (Eigen::Index i = 0; i < given.rows(); ++i) {
    const double largest = given.row(i).cwiseAbs().maxCoeff();
    if (!(largest > 0)) return false;
    graded = graded || largest < 1e-3 * scale;
    scale_[i] = std::ldexp(1.0, -std::ilogb(largest));
  }
  if (!graded) scale_.resize(0);
  else balanced_ = scale_.asDiagonal() * given;
  return factor_balanced(graded ? balanced_ : given, graded ? 1 : scale);
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
  if (scale_.size() > 0) scaled_b_ = scale_.cwiseProduct(given);
  const Vector& b = scale_.size() > 0 ? scaled_b_ : given;
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
    lu_.solve(b_, c_);
    a_.noalias() -= upper_ * c_;
    scatter(c_, order_->rest, x);
  }
  c_ = a_.cwiseQuotient(pivot_);
  scatter(c_, order_->first, x);
}

void Elimination::solve_transposed(const Vector& b, Vector& x) const {
  if (dense_) {
    lu_.solve_transposed(b, x);
    if (scale_.size() > 0) x.array() *= scale_.array();
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
  if (scale_.size() > 0) x.array() *= scale_.array();
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
  upper_ = 0.5 * (matrix(order.first, order.rest) + matrix(order.rest, order.first).transpose());
  schur_ = matrix(order.rest, order.rest);
  schur_ = (0.5 * (schur_ + schur_.transpose())).eval();
  schur_.noalias() -= upper_.transpose() * pivot_.cwiseInverse().asDiagonal() * upper_;
  const Eigen::LLT<Matrix> cholesky(schur_);
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
