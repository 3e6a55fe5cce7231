#include "ness/network/jacobian.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace ness::sim {

JacobianPattern JacobianPattern::of(std::size_t n,
                                    const std::vector<std::pair<std::uint32_t, std::uint32_t>>& edges) {
  if (2 * edges.size() + n > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw std::invalid_argument("network: " + std::to_string(edges.size()) + " edges between " +
                                std::to_string(n) + " free nodes; dI/dmu can have at most 2^31 - 1 entries");
  }
  // Counting sort, in linear time: the neighbours of each node with repetitions; then each row is sorted and
  // made unique.
  std::vector<std::int32_t> first(n + 1, 0);
  for (const auto& [s, t] : edges) {
    ++first[s + 1];
    ++first[t + 1];
  }
  for (std::size_t k = 0; k < n; ++k) first[k + 1] += first[k] + 1;  // and the diagonal
  std::vector<std::int32_t> neighbour(static_cast<std::size_t>(first[n])),
      next(first.begin(), first.end() - 1);
  for (std::size_t k = 0; k < n; ++k) neighbour[next[k]++] = static_cast<std::int32_t>(k);
  for (const auto& [s, t] : edges) {
    neighbour[next[s]++] = static_cast<std::int32_t>(t);
    neighbour[next[t]++] = static_cast<std::int32_t>(s);
  }
  JacobianPattern pattern;
  pattern.begin.reserve(n + 1);
  pattern.begin.push_back(0);
  pattern.column.reserve(neighbour.size());
  pattern.diagonal.reserve(n);
  for (std::size_t k = 0; k < n; ++k) {
    const auto from = neighbour.begin() + first[k], to = neighbour.begin() + first[k + 1];
    std::sort(from, to);
    const auto end = std::unique(from, to);
    pattern.diagonal.push_back(
        static_cast<std::int32_t>(pattern.column.size()) +
        static_cast<std::int32_t>(std::lower_bound(from, end, static_cast<std::int32_t>(k)) - from));
    pattern.column.insert(pattern.column.end(), from, end);
    pattern.begin.push_back(static_cast<std::int32_t>(pattern.column.size()));
  }
  // Rows are visited in ascending order, so the entries of each column appear in order, too.
  pattern.mirror.resize(pattern.column.size());
  std::vector<std::int32_t> met(pattern.begin.begin(), pattern.begin.end() - 1);
  for (std::size_t p = 0; p < pattern.column.size(); ++p) pattern.mirror[p] = met[pattern.column[p]]++;
  return pattern;
}

std::int32_t JacobianPattern::place(std::uint32_t row, std::uint32_t col) const {
  const auto from = column.begin() + begin[row], to = column.begin() + begin[row + 1];
  return static_cast<std::int32_t>(std::lower_bound(from, to, static_cast<std::int32_t>(col)) -
                                   column.begin());
}

void Jacobian::clear(Eigen::Index n, const std::shared_ptr<const JacobianPattern>& pattern) {
  pattern_ = pattern;
  if (pattern_) {
    values_.assign(pattern_->entries(), 0.0);
  } else {
    full_.setZero(n, n);
  }
}

void Jacobian::add_to_diagonal(const Vector& by) {
  if (!pattern_) {
    full_.diagonal() += by;
    return;
  }
  for (std::size_t k = 0; k < pattern_->nodes(); ++k)
    values_[pattern_->diagonal[k]] += by[static_cast<Eigen::Index>(k)];
}

double Jacobian::row_magnitude(Eigen::Index k) const {
  if (!pattern_) return full_.row(k).cwiseAbs().sum();
  double sum = 0;
  for (std::int32_t p = pattern_->begin[k]; p < pattern_->begin[k + 1]; ++p) sum += std::abs(values_[p]);
  return sum;
}

bool Jacobian::columns_dominate() const {
  if (!pattern_) {
    for (Eigen::Index j = 0; j < full_.cols(); ++j) {
      double others = -std::abs(full_(j, j));
      for (Eigen::Index i = 0; i < full_.rows(); ++i) others += std::abs(full_(i, j));
      if (!(full_(j, j) > others)) return false;
    }
    return true;
  }
  for (std::size_t j = 0; j < pattern_->nodes(); ++j) {
    const double own = values_[static_cast<std::size_t>(pattern_->diagonal[j])];
    double others = -std::abs(own);
    // The entries of column j are the mirror images of those of row j.
    for (std::int32_t p = pattern_->begin[j]; p < pattern_->begin[j + 1]; ++p)
      others += std::abs(values_[static_cast<std::size_t>(pattern_->mirror[static_cast<std::size_t>(p)])]);
    if (!(own > others)) return false;
  }
  return true;
}

bool Jacobian::finite() const {
  if (!pattern_) return full_.allFinite();
  return std::all_of(values_.begin(), values_.end(), [](double value) { return std::isfinite(value); });
}

Jacobian::Compressed Jacobian::compressed() const {
  return {size(),
          size(),
          static_cast<Eigen::Index>(pattern_->entries()),
          pattern_->begin.data(),
          pattern_->column.data(),
          values_.data()};
}

Vector Jacobian::operator*(const Vector& x) const {
  if (!pattern_) return full_ * x;
  return compressed() * x;
}

Matrix Jacobian::dense() const {
  if (!pattern_) return full_;
  const double gigabytes = 8e-9 * static_cast<double>(size()) * static_cast<double>(size());
  if (gigabytes > 8) {
    throw std::invalid_argument("network: a dense matrix of " + std::to_string(size()) + " x " +
                                std::to_string(size()) + " conductances would take " +
                                std::to_string(static_cast<long long>(std::ceil(gigabytes))) +
                                " GB; at most 8 are allowed");
  }
  return Matrix(compressed());
}

}  // namespace ness::sim
