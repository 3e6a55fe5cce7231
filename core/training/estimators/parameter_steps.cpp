#include "estimators/parameter_steps.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ness/device/number_text.hpp"

namespace ness {

double ParameterStep::slope(double free, double at_first, double at_second) const {
  const double d1 = first - here;
  if (!central) return (at_first - free) / d1;
  const double d2 = second - here;
  if ((d1 > 0) != (d2 > 0)) return (at_first - at_second) / (first - second);
  return (d2 * d2 * (at_first - free) - d1 * d1 * (at_second - free)) / (d1 * d2 * (d2 - d1));
}

ParameterStep achieved(const ParameterStep& step, const Relaxation& here, const Relaxation& first,
                       const Relaxation& second) {
  const auto readback = [&](const Relaxation& row, double setpoint) {
    const bool known = row.theta_readback.size() > 0 && std::isfinite(row.theta_readback[step.parameter]);
    return known ? row.theta_readback[step.parameter] : setpoint;
  };
  const ParameterStep done{step.parameter, readback(here, step.here), readback(first, step.first),
                           readback(second, step.second), step.central};
  // The source did not move: use the requested step.
  return done.first == done.here || (step.central && (done.second == done.here || done.second == done.first))
             ? step
             : done;
}

ParameterStep parameter_step(const std::string& who, const ParameterInfo& info, std::uint32_t parameter,
                             double here, double size, bool central) {
  constexpr double resolutions = 10;
  const double step =
      std::max(info.scale == Scale::log ? size * std::abs(here) : size, resolutions * info.resolution);
  if (!std::isfinite(here) || here + step == here) {
    throw std::invalid_argument(who + ": parameter " + info.name + " = " + number_text(here) +
                                " cannot be stepped by " + number_text(step));
  }
  const auto reached = [&](double first, double second) {
    return info.range.contains(first) && info.range.contains(second);
  };
  const double up = here + step, down = here - step;
  if (central) {
    if (reached(up, down)) return {parameter, here, up, down, true};
    if (reached(up, here + 2 * step)) return {parameter, here, up, here + 2 * step, true};
    if (reached(down, here - 2 * step)) return {parameter, here, down, here - 2 * step, true};
  } else {
    if (reached(up, up)) return {parameter, here, up, up, false};
    if (reached(down, down)) return {parameter, here, down, down, false};
  }
  throw std::invalid_argument(who + ": the range " + range_text(info.range) + " of parameter " + info.name +
                              " has no room for a step of " + number_text(step));
}

std::vector<std::uint32_t> trainable_parameters(const DeviceInfo& info) {
  std::vector<std::uint32_t> all;
  for (std::uint32_t i = 0; i < info.parameters.size(); ++i) {
    if (info.parameters[i].trainable) all.push_back(i);
  }
  return all;
}

}  // namespace ness
