// Steps of a parameter: to where, how far as achieved, and the slope they show.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/device/relaxation.hpp"

namespace ness {

/// The values at which one parameter is probed. One for forward differences, two for central ones.
struct ParameterStep {
  std::uint32_t parameter = 0;
  double here = 0;
  double first = 0, second = 0;
  bool central = true;

  /// dL/dtheta from the parabola through the three points, or from the line through two.
  double slope(double free, double at_first, double at_second) const;
};

/// A step of `size` (absolute on a linear scale, relative on a logarithmic one), never below ten steps of the source's resolution; to the
/// other side where it would leave the range. One-sided ones of central differences are at h and 2 h: the error stays of the order of h^2.
/// Throws std::invalid_argument, beginning with `who`, where there is no room.
ParameterStep parameter_step(const std::string& who, const ParameterInfo& info, std::uint32_t parameter, double here, double size, bool central);

/// The step as the device read it back, where it does.
ParameterStep achieved(const ParameterStep& step, const Relaxation& here, const Relaxation& first, const Relaxation& second);

/// Indices of the trainable parameters.
std::vector<std::uint32_t> trainable_parameters(const DeviceInfo& info);

}  // namespace ness
