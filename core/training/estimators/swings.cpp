#include "estimators/swings.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "ness/device/number_text.hpp"
#include "estimators/parameter_steps.hpp"

namespace ness {
namespace {

// The range of a parameter in its coordinate w.
Range coordinates(const ParameterInfo& info) {
  if (info.scale == Scale::linear) return info.range;
  return {std::log(std::max(info.range.low, 0.0)), std::log(info.range.high)};
}

}  // namespace

double Swing::coordinate(double theta) const { return log ? std::log(theta / here) : theta; }

double Swing::achieved(const Relaxation& row, double setpoint) const {
  if (row.theta_readback.size() == 0) return coordinate(setpoint);
  const double read = row.theta_readback[parameter];
  return coordinate(std::isfinite(read) && (!log || read > 0) ? read : setpoint);
}

std::vector<Swing> swings(const std::string& who, const DeviceInfo& info, const Vector& theta, double size) {
  constexpr double resolutions = 10;
  std::vector<Swing> all;
  for (const std::uint32_t p : trainable_parameters(info)) {
    const ParameterInfo& parameter = info.parameters[p];
    const bool log = parameter.scale == Scale::log;
    const double here = theta[p];
    if (std::isinf(here)) continue;
    if (std::isnan(here) || (log && !(here > 0)))
      throw std::invalid_argument(who + ": parameter " + parameter.name + " = " + number_text(here) +
                                  " cannot be perturbed");
    const double least = resolutions * parameter.resolution;
    // exp(h) - exp(-h) = 2 sinh(h): on a logarithmic scale, too, up and down are then 2 `least` apart.
    const double half = std::max(size, log ? std::asinh(least / here) : least);
    const Range range = coordinates(parameter);
    if (!(range.low + half <= range.high - half)) {
      throw std::invalid_argument(who + ": the range " + range_text(parameter.range) + " of parameter " +
                                  parameter.name + " has no room for steps of +-" + number_text(half) +
                                  (log ? " of its logarithm" : ""));
    }
    const double w = log ? std::log(here) : here;
    const double shift = std::clamp(w, range.low + half, range.high - half) - w;
    const auto moved = [&](double by) {
      return std::clamp(log ? here * std::exp(by) : here + by, parameter.range.low, parameter.range.high);
    };
    const Swing swing{p, log, here, moved(shift + half), moved(shift - half)};
    if (!(swing.up > swing.down))
      throw std::invalid_argument(who + ": parameter " + parameter.name + " = " + number_text(here) +
                                  " cannot be stepped by " + number_text(half));
    all.push_back(swing);
  }
  return all;
}

double largest_swing(const DeviceInfo& info) {
  double largest = std::numeric_limits<double>::infinity();
  for (const std::uint32_t p : trainable_parameters(info)) {
    const Range range = coordinates(info.parameters[p]);
    largest = std::min(largest, (range.high - range.low) / 2);
  }
  return largest;
}

Parameters with_all(const Parameters& theta, std::vector<std::pair<std::uint32_t, double>> changes) {
  constexpr std::size_t most_overrides = 4096;
  if (changes.size() <= most_overrides) {
    Parameters changed = theta;
    if (changed.overrides.empty()) changed.overrides = std::move(changes);
    else changed.overrides.insert(changed.overrides.end(), changes.begin(), changes.end());
    return changed;
  }
  Vector values = theta.values();
  for (const auto& [parameter, value] : changes) values[parameter] = value;
  return Parameters::of(std::move(values));
}

}  // namespace ness
