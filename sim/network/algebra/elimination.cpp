#include "algebra/elimination.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <Eigen/Cholesky>

namespace ness::sim {

namespace {
// A pivot below this fraction of its row or column is not divided by.
constexpr double smallest_pivot = 1e-6;

bool nonsingular(const Eigen::PartialPivLU<Matrix>& lu, double scale) {
  const auto diagonal = lu.matrixLU().diagonal().array().abs();
  return diagonal.isFinite().all() && (diagonal.size() == 0 || diagonal.minCoeff() > 1e-14 * scale);
}
// Eigen's views by index copy the indices, which costs more than what small matrices do with them.
using Places = std::vector<std::int32_t>;
void gather(const Vector& from, const Places& places, Vector& into) {
  into.resize(static_cast<Eigen::Index>(places.size()));
  for (std::size_t i = 0; i < places.size(); ++i) into[static_cast<Eigen::Index>(i)] = from[places[i]];
}
void gather(const Matrix& from, const Places& rows, const Places& columns, Matrix& into) {
  into.resize(static_cast<Eigen::Index>(rows.size()), static_cast<Eigen::Index>(columns.size()));
  for (std::size_t j = 0; j < columns.size(); ++j) {
    for (std::size_t i = 0; i < rows.size(); ++i) into(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) = from(rows[i], columns[j]);
  }
}
void scatter(const Vector& from, const Places& places, Vector& into) {
  for (std::size_t i = 0; i < places.size(); ++i) into[places[i]] = from[static_cast<Eigen::Index>(i)];
}
}  // namespace

Elimination::Plan Elimination::Plan::of(const std::vector<std::vector<std::uint32_t>>& neighbours) {
  const std::size_t n = neighbours.size();
  std::vector<std::int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto i, auto j) { return neighbours[i].size() < neighbours[j].size(); });
  std::vector<bool> blocked(n, false), chosen(n, false);
  for (const auto i : order) {
    if (blocked[i]) continue;
    chosen[i] = true;
    for (const auto k : neighbours[i]) blocked[k] = true;
  }
  Plan plan;
  for (std::size_t i = 0; i < n; ++i) (chosen[i] ? plan.first : plan.rest).push_back(static_cast<std::int32_t>(i));
  return plan;
}

bool Elimination::factor(const Matrix& matrix, const Plan& plan) {
  plan_ = &plan;
  if (!matrix.allFinite()) return false;
  const double scale = matrix.cwiseAbs().maxCoeff();
  if (!(scale > 0)) return false;
  const auto n_first = static_cast<Eigen::Index>(plan.first.size());
  pivot_.resize(n_first);
  gather(matrix, plan.first, plan.rest, upper_);
  gather(matrix, plan.rest, plan.first, lower_);
  dense_ = false;
  for (Eigen::Index i = 0; i < n_first && !dense_; ++i) {
    pivot_[i] = matrix(plan.first[i], plan.first[i]);
    const double largest = plan.rest.empty() ? 0.0 : std::max(upper_.row(i).cwiseAbs().maxCoeff(), lower_.col(i).cwiseAbs().maxCoeff());
    if (std::abs(pivot_[i]) <= std::max(smallest_pivot * largest, 1e-14 * scale)) dense_ = true;
  }
  if (dense_) {
    lu_.compute(matrix);
    return nonsingular(lu_, scale);
  }
  if (plan.rest.empty()) return true;
  gather(matrix, plan.rest, plan.rest, schur_);
  // Products of products go through buffers of their own: with small matrices most of the time would go into memory fetched and given back.
  scaled_ = lower_ * pivot_.cwiseInverse().asDiagonal();
  schur_.noalias() -= scaled_ * upper_;
  lu_.compute(schur_);
  return nonsingular(lu_, std::max(scale, schur_.cwiseAbs().maxCoeff()));
}

void Elimination::solve(const Vector& b, Vector& x) const {
  if (dense_) {
    x = lu_.solve(b);
    return;
  }
  x.resize(b.size());
  gather(b, plan_->first, a_);
  if (!plan_->rest.empty()) {
    gather(b, plan_->rest, b_);
    c_ = a_.cwiseQuotient(pivot_);
    b_.noalias() -= lower_ * c_;
    c_ = lu_.solve(b_);
    a_.noalias() -= upper_ * c_;
    scatter(c_, plan_->rest, x);
  }
  c_ = a_.cwiseQuotient(pivot_);
  scatter(c_, plan_->first, x);
}

void Elimination::solve_transposed(const Vector& b, Vector& x) const {
  if (dense_) {
    x = lu_.transpose().solve(b);
    return;
  }
  x.resize(b.size());
  a_ = b(plan_->first);
  if (!plan_->rest.empty()) {
    b_ = b(plan_->rest);
    b_.noalias() -= upper_.transpose() * a_.cwiseQuotient(pivot_);
    b_ = lu_.transpose().solve(b_).eval();
    a_.noalias() -= lower_.transpose() * b_;
    x(plan_->rest) = b_;
  }
  x(plan_->first) = a_.cwiseQuotient(pivot_);
}

bool Elimination::positive_definite(const Matrix& matrix, const Plan& plan) {
  if (!matrix.allFinite()) return false;
  const auto n_first = static_cast<Eigen::Index>(plan.first.size());
  pivot_.resize(n_first);
  for (Eigen::Index i = 0; i < n_first; ++i) {
    pivot_[i] = matrix(plan.first[i], plan.first[i]);
    if (!(pivot_[i] > 0)) return false;
  }
  if (plan.rest.empty()) return true;
  upper_ = 0.5 * (matrix(plan.first, plan.rest) + matrix(plan.rest, plan.first).transpose());
  schur_ = matrix(plan.rest, plan.rest);
  schur_ = (0.5 * (schur_ + schur_.transpose())).eval();
  schur_.noalias() -= upper_.transpose() * pivot_.cwiseInverse().asDiagonal() * upper_;
  const Eigen::LLT<Matrix> cholesky(schur_);
  return cholesky.info() == Eigen::Success;
}

bool Elimination::dominated_by_diagonal(const Matrix& matrix, const Plan& plan) {
  if (!(matrix.diagonal().array() > 0).all()) return false;  // NaN too
  comparison_ = -matrix.cwiseAbs();
  comparison_.diagonal() = matrix.diagonal();
  if (!factor(comparison_, plan)) return false;
  solve(Vector::Ones(matrix.rows()), scaling_);
  return (scaling_.array() > 0).all();
}

}  // namespace ness::sim
