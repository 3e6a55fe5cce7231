#include "serial_noise.hpp"

#include <cmath>
#include <vector>

namespace ness {

namespace {

// Two octaves of the 1/f noise are one process here: the spectrum of the sum stays within 5 % of theirs.
constexpr int processes = 10;
double correlation_time(int j) { return 1.5 * std::ldexp(1.0, 2 * j); }

}  // namespace

double whiten(std::span<const std::uint64_t> ordinals, const SerialNoise& noise, RowMatrix& columns) {
  if (!noise.correlated() || columns.rows() == 0) return 0;
  // Processes that outlast the log many times are an offset and a walk to it, and one state with the walk.
  const double span = static_cast<double>(ordinals.back() - ordinals.front()) + 1;
  const double share = noise.flicker * noise.flicker / processes;
  std::vector<double> times;
  double constant = 0, walk = noise.walk * noise.walk;
  for (int j = 0; j < processes && noise.flicker > 0; ++j) {
    if (correlation_time(j) < 8 * span) {
      times.push_back(correlation_time(j));
      continue;
    }
    constant += share;
    walk += 2 * share / correlation_time(j);
  }
  const auto k = static_cast<Eigen::Index>(times.size()) + 1;  // the last is the walk
  Matrix covariance = Matrix::Zero(k, k);
  for (Eigen::Index j = 0; j + 1 < k; ++j) covariance(j, j) = share;
  covariance(k - 1, k - 1) = constant + noise.walk * noise.walk * (static_cast<double>(ordinals.front()) + 1);
  RowMatrix state = RowMatrix::Zero(k, columns.cols());
  Vector keep = Vector::Ones(k), added = Vector::Zero(k), gain(k);
  Eigen::RowVectorXd innovation(columns.cols());
  double log_determinant = 0;
  std::uint64_t known_step = 0;
  for (std::size_t i = 0; i < ordinals.size(); ++i) {
    if (i > 0) {
      const std::uint64_t step = ordinals[i] - ordinals[i - 1];
      if (step != known_step) {
        known_step = step;
        for (Eigen::Index j = 0; j + 1 < k; ++j) {
          const double by = static_cast<double>(step) / times[static_cast<std::size_t>(j)];
          keep[j] = std::exp(-by);
          added[j] = -share * std::expm1(-2 * by);
        }
        added[k - 1] = walk * static_cast<double>(step);
      }
      for (Eigen::Index j = 0; j + 1 < k; ++j) state.row(j) *= keep[j];
      covariance.array().colwise() *= keep.array();
      covariance.array().rowwise() *= keep.transpose().array();
      covariance.diagonal() += added;
    }
    gain = covariance.rowwise().sum();
    const double variance = gain.sum() + 1;
    const auto row = columns.row(static_cast<Eigen::Index>(i));
    innovation = row;
    for (Eigen::Index j = 0; j < k; ++j) innovation -= state.row(j);
    for (Eigen::Index j = 0; j < k; ++j) state.row(j) += gain[j] / variance * innovation;
    covariance.noalias() -= gain * (gain.transpose() / variance);
    log_determinant += std::log(variance);
    columns.row(static_cast<Eigen::Index>(i)) = innovation / std::sqrt(variance);
  }
  return log_determinant;
}

}  // namespace ness
