// Steps of one parameter: the values, the steps achieved, and the derivative that they show.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/device/relaxation.hpp"

namespace ness {

/// The values at which one parameter is probed: one for forward differences, two for central differences.
struct ParameterStep {
  std::uint32_t parameter = 0;
  double here = 0;
  double first = 0, second = 0;
  bool central = true;

  /// dL/dtheta from the parabola through the three points, or from the line through two.
  double slope(double free, double at_first, double at_second) const;
};

/// A step of `size` (absolute on a linear scale, relative on a logarithmic one), but at least ten steps of
/// the source's resolution; in the other direction if it would leave the range. Central differences without
/// room on one side step to h and 2 h on the other: the error remains of order h^2. Throws
/// std::invalid_argument, beginning with `who`, if there is no room.
ParameterStep parameter_step(const std::string& who, const ParameterInfo& info, std::uint32_t parameter,
                             double here, double size, bool central);

/// The step with values as read back, where the device reads parameters back.
ParameterStep achieved(const ParameterStep& step, const Relaxation& here, const Relaxation& first,
                       const Relaxation& second);

/// Indices of the trainable parameters.
std::vector<std::uint32_t> trainable_parameters(const DeviceInfo& info);

}  // namespace ness
