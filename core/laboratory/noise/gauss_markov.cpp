#include "noise/gauss_markov.hpp"

#include <cmath>
#include <utility>

#include "ness/device/random.hpp"

namespace ness {

GaussMarkov::GaussMarkov(std::uint64_t seed, std::uint32_t channel, Eigen::Index size,
                         double correlation_time)
    : seed_(seed), channel_(channel), size_(size), correlation_time_(correlation_time) {}

double GaussMarkov::memory(std::uint64_t distance) const {
  return std::exp(-static_cast<double>(distance) / correlation_time_);
}

// Variance of x(t + distance) given x(t).
double GaussMarkov::variance(std::uint64_t distance) const {
  const auto steps = static_cast<double>(distance);
  return correlation_time_ == walk ? steps : -std::expm1(-2 * steps / correlation_time_);
}

GaussMarkov::Value GaussMarkov::later(const Vector& before, std::uint64_t distance,
                                      std::uint64_t time) const {
  const double kept = memory(distance), deviation = std::sqrt(variance(distance));
  Vector value(size_);
  for (Eigen::Index k = 0; k < size_; ++k) {
    value[k] =
        kept * before[k] + deviation * normal_at(seed_, time, channel_ + static_cast<std::uint32_t>(k));
  }
  return std::make_shared<const Vector>(std::move(value));
}

// The value in the middle, given both ends at distance d, with r = exp(-d / tau): mean (x(low) + x(high)) r /
// (1 + r^2), variance (1 - r^2) / (1 + r^2). For the random walk the limits are 1 / 2 and d / 2, for unit
// steps.
GaussMarkov::Value GaussMarkov::between(const Interval& interval, std::uint64_t middle) const {
  const double r = memory(middle - interval.low), weight = r / (1 + r * r);
  const double deviation = std::sqrt(variance(middle - interval.low) / (1 + r * r));
  Vector value(size_);
  for (Eigen::Index k = 0; k < size_; ++k) {
    value[k] = weight * ((*interval.at_low)[k] + (*interval.at_high)[k]) +
               deviation * normal_at(seed_, middle, channel_ + static_cast<std::uint32_t>(k));
  }
  return std::make_shared<const Vector>(std::move(value));
}

// Starts with the interval between two powers of two that contains the time.
void GaussMarkov::enclose(std::uint64_t time) {
  Vector first(size_);
  for (Eigen::Index k = 0; k < size_; ++k)
    first[k] = normal_at(seed_, 1, channel_ + static_cast<std::uint32_t>(k));
  Interval interval{1, 2, std::make_shared<const Vector>(std::move(first)), nullptr, nullptr};
  interval.at_high = later(*interval.at_low, 1, 2);
  while (interval.high < time) {
    interval.low = interval.high;
    interval.at_low = std::move(interval.at_high);
    interval.high = 2 * interval.low;
    interval.at_high = later(*interval.at_low, interval.low, interval.high);
  }
  intervals_.assign(1, std::move(interval));
}

const Vector& GaussMarkov::at(std::uint64_t time) {
  while (!intervals_.empty() && (time < intervals_.back().low || time > intervals_.back().high))
    intervals_.pop_back();
  if (intervals_.empty()) enclose(time);
  while (true) {
    Interval& interval = intervals_.back();
    if (time == interval.low) return *interval.at_low;
    if (time == interval.high) return *interval.at_high;
    const std::uint64_t middle = interval.low + (interval.high - interval.low) / 2;
    if (!interval.at_middle) interval.at_middle = between(interval, middle);
    if (time <= middle) {
      intervals_.push_back({interval.low, middle, interval.at_low, interval.at_middle, nullptr});
    } else {
      intervals_.push_back({middle, interval.high, interval.at_middle, interval.at_high, nullptr});
    }
  }
}

}  // namespace ness
