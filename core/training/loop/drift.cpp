#include "ness/training/drift.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace ness {
namespace {
// Weights of the newest offset and of its rate of change: after a change of rate the offset lags by a few
// references, and its noise stays below that of a reading.
constexpr double level_weight = 0.5, slope_weight = 0.3;
}  // namespace

void DriftMonitor::begin(std::span<const Relaxation> first) {
  Vector sum;
  double used = 0;
  for (const Relaxation& row : first) {
    if (!row.quality.usable()) continue;
    if (sum.size() == 0) sum = Vector::Zero(row.potential.size());
    sum += row.potential;
    used += 1;
  }
  if (used == 0)
    throw std::invalid_argument("drift: the reference relaxation gave no reading that can be used");
  origin_ = sum / used;
  level_ = slope_ = Vector::Zero(origin_.size());
  time_ = 0;
  observed_ = 0;
}

void DriftMonitor::observe(const Relaxation& row, double time) {
  if (!row.quality.usable() || row.potential.size() != origin_.size() || !(time > time_)) return;
  const Vector seen = row.potential - origin_;
  const double passed = time - time_;
  if (observed_ == 0) {
    slope_ = seen / passed;
    level_ = seen;
  } else {
    const Vector predicted = level_ + passed * slope_;
    const Vector level = predicted + level_weight * (seen - predicted);
    slope_ += slope_weight * ((level - level_) / passed - slope_);
    level_ = level;
  }
  time_ = time;
  ++observed_;
}

Vector DriftMonitor::offset(double time) const { return level_ + (time - time_) * slope_; }

void DriftMonitor::correct(Relaxation& row, double time) const {
  if (begun() && row.potential.size() == origin_.size()) row.potential -= offset(time);
}

Vector DriftMonitor::state() const {
  if (!begun()) return {};
  Vector all(2 + 3 * origin_.size());
  all << time_, static_cast<double>(observed_), origin_, level_, slope_;
  return all;
}

void DriftMonitor::restore(const Vector& state) {
  if (state.size() == 0) {
    *this = {};
    return;
  }
  if (state.size() < 5 || (state.size() - 2) % 3 != 0)
    throw std::invalid_argument("drift: a state of " + std::to_string(state.size()) + " numbers");
  const Eigen::Index n = (state.size() - 2) / 3;
  time_ = state[0];
  observed_ = static_cast<std::uint64_t>(state[1]);
  origin_ = state.segment(2, n);
  level_ = state.segment(2 + n, n);
  slope_ = state.tail(n);
}

}  // namespace ness
