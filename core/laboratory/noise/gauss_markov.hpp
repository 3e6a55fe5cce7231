// Gaussian processes with memory, computed at any time without computing all earlier times.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "ness/device/vector.hpp"

namespace ness {

/// Independent Gaussian processes at the times 1, 2, 3, ..: with a finite correlation time tau, the
/// stationary Ornstein-Uhlenbeck process of unit variance, <x(t) x(t')> = exp(-|t - t'| / tau); without, the
/// random walk with unit steps that begins with x(1) ~ N(0, 1).
///
/// Every value is a function of (seed, channel, time) alone, with one normal number per time, by Levy's
/// construction: x at a power of two follows from x at the previous power of two. Between two powers of two,
/// the middle of the interval is drawn given both ends, then the middles of the halves. A time in arbitrary
/// order takes 2 log2(time) numbers, the time after the last one takes about one.
class GaussMarkov {
 public:
  static constexpr double walk = std::numeric_limits<double>::infinity();
  /// Uses the channels [channel, channel + size) of the normal numbers. `correlation_time` > 0, or `walk`.
  GaussMarkov(std::uint64_t seed, std::uint32_t channel, Eigen::Index size, double correlation_time);

  /// [size]. Valid until the next call. 1 <= `time` < 2^63.
  const Vector& at(std::uint64_t time);

 private:
  using Value = std::shared_ptr<const Vector>;
  struct Interval {
    std::uint64_t low = 0, high = 0;
    Value at_low, at_high, at_middle;  // at_middle: empty until needed
  };
  double memory(std::uint64_t distance) const;
  double variance(std::uint64_t distance) const;
  Value later(const Vector& before, std::uint64_t distance, std::uint64_t time) const;
  Value between(const Interval& interval, std::uint64_t middle) const;
  void enclose(std::uint64_t time);

  std::uint64_t seed_;
  std::uint32_t channel_;
  Eigen::Index size_;
  double correlation_time_;
  std::vector<Interval> intervals_;  // each is one half of the interval before
};

}  // namespace ness
