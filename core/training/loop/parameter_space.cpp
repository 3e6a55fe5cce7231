#include "ness/training/parameter_space.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "ness/device/number_text.hpp"
#include "ness/device/vector_loops.hpp"

namespace ness {
namespace {

// The intersection of the device's range with the range of the rule.
Range common_range(const ParameterInfo& parameter, const ParameterRule& rule) {
  const std::string where = "rule for parameter " + parameter.name + ": ";
  const auto not_negative = [](double x) { return x >= 0 && std::isfinite(x); };
  if (!not_negative(rule.decay))
    throw std::invalid_argument(where + "decay " + number_text(rule.decay) + "; it must be finite and >= 0");
  if (!not_negative(rule.rate))
    throw std::invalid_argument(where + "rate " + number_text(rule.rate) + "; it must be finite and >= 0");
  if (!(rule.range.low <= rule.range.high))
    throw std::invalid_argument(where + "range " + range_text(rule.range) + " is empty");
  const Range common{std::max(rule.range.low, parameter.range.low),
                     std::min(rule.range.high, parameter.range.high)};
  if (common.low <= common.high) return common;
  throw std::invalid_argument(where + "range " + range_text(rule.range) + " lies outside the device's, " +
                              range_text(parameter.range));
}

}  // namespace

ParameterSpace::ParameterSpace(const DeviceInfo& info, std::vector<ParameterRule> rules)
    : rules_(std::move(rules)) {
  const std::size_t count = info.parameters.size();
  if (rules_.empty()) rules_.resize(count);
  if (rules_.size() != count) {
    throw std::invalid_argument(std::to_string(rules_.size()) + " parameter rules; the device has " +
                                std::to_string(count) + " parameters");
  }
  scale_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const ParameterInfo& parameter = info.parameters[i];
    rules_[i].range = common_range(parameter, rules_[i]);
    rules_[i].trainable = rules_[i].trainable && parameter.trainable;
    scale_.push_back(parameter.scale);
    const ParameterRule& rule = rules_[i];
    constexpr double infinite = std::numeric_limits<double>::infinity();
    // A parameter that is not trained is not limited: it keeps its value.
    const Run here{i,
                   i + 1,
                   parameter.scale,
                   rule.trainable,
                   rule.decay > 0,
                   rule.trainable ? rule.range : Range{-infinite, infinite}};
    if (!runs_.empty() && runs_.back().continues(here)) {
      ++runs_.back().end;
    } else {
      runs_.push_back(here);
    }
  }
}

std::size_t ParameterSpace::trainable() const {
  return static_cast<std::size_t>(
      std::count_if(rules_.begin(), rules_.end(), [](const ParameterRule& rule) { return rule.trainable; }));
}

DeviceInfo ParameterSpace::narrowed(DeviceInfo info) const {
  for (std::size_t i = 0; i < size(); ++i) {
    info.parameters[i].trainable = rules_[i].trainable;
    if (rules_[i].trainable) info.parameters[i].range = rules_[i].range;
  }
  return info;
}

Vector ParameterSpace::errors(const Vector& theta, const Vector& standard_error) const {
  Vector in_coordinates = Vector::Zero(theta.size());
  for (std::size_t k = 0; k < size(); ++k) {
    const auto i = static_cast<Eigen::Index>(k);
    if (rules_[k].trainable && std::isfinite(theta[i]))
      in_coordinates[i] = scale_[k] == Scale::log ? theta[i] * standard_error[i] : standard_error[i];
  }
  return in_coordinates;
}

template <class Body>
void ParameterSpace::for_runs(Part part, const Body& body) const {
  auto run =
      std::partition_point(runs_.begin(), runs_.end(), [&](const Run& r) { return r.end <= part.begin; });
  for (; run != runs_.end() && run->begin < part.end; ++run)
    body(*run, std::max(run->begin, part.begin), std::min(run->end, part.end));
}

void ParameterSpace::gradient(Part part, const double* theta, const double* gradient,
                              double* in_coordinates) const {
  for_runs(part, [&](const Run& run, std::size_t from, std::size_t to) {
    const std::size_t begin = from - part.begin, end = to - part.begin;
    if (!run.trainable) {
      std::fill(in_coordinates + begin, in_coordinates + end, 0.0);
      return;
    }
    // An infinite parameter (no inhibition: Ki = inf) keeps its value, since no step leads back from
    // infinity.
    if (run.scale == Scale::log) {
      vector_loops::product_of_finite(end - begin, theta + begin, gradient + begin, in_coordinates + begin);
    } else {
      vector_loops::where_not_infinite(end - begin, theta + begin, gradient + begin, in_coordinates + begin);
    }
    if (!run.decays) return;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isinf(theta[i]))
        in_coordinates[i] +=
            rules_[part.begin + i].decay * (run.scale == Scale::log ? std::log(theta[i]) : theta[i]);
    }
  });
}

void ParameterSpace::stepped(Part part, const double* theta, const double* dw, double* moved) const {
  for_runs(part, [&](const Run& run, std::size_t from, std::size_t to) {
    const std::size_t begin = from - part.begin, end = to - part.begin;
    if (!run.trainable) {
      std::copy(theta + begin, theta + end, moved + begin);
    } else if (run.scale == Scale::log) {
      vector_loops::grow(end - begin, theta + begin, dw + begin, moved + begin);
    } else {
      vector_loops::sum(end - begin, theta + begin, dw + begin, moved + begin);
    }
    vector_loops::limit(end - begin, moved + begin, run.range.low, run.range.high, moved + begin);
  });
}

Vector ParameterSpace::gradient(const Vector& theta, const Vector& of) const {
  Vector in_coordinates(theta.size());
  gradient({0, size()}, theta.data(), of.data(), in_coordinates.data());
  return in_coordinates;
}

Vector ParameterSpace::stepped(const Vector& theta, const Vector& dw) const {
  Vector moved(theta.size());
  stepped({0, size()}, theta.data(), dw.data(), moved.data());
  return moved;
}

Vector ParameterSpace::projected(const Vector& theta) const {
  Vector inside(theta.size());
  for_runs({0, size()}, [&](const Run& run, std::size_t begin, std::size_t end) {
    vector_loops::limit(end - begin, theta.data() + begin, run.range.low, run.range.high,
                        inside.data() + begin);
  });
  return inside;
}

}  // namespace ness
