// Perturbations of all trainable parameters at once, in the coordinates of the optimizer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/device/drive.hpp"
#include "ness/device/relaxation.hpp"

namespace ness {

/// The two values between which a parameter is switched, up > down, with conversion to its coordinate w
/// (theta, or log theta if the scale is logarithmic).
struct Swing {
  std::uint32_t parameter = 0;
  bool log = false;
  double here = 0;          ///< theta
  double up = 0, down = 0;  ///< theta

  /// w at a value of theta, up to a constant.
  double coordinate(double theta) const;
  /// dL/dtheta at `here` from dL/dw.
  double slope(double in_coordinate) const { return log ? in_coordinate / here : in_coordinate; }
  /// w of the parameter's readback in `row`, or of `setpoint` if it was not read back.
  double achieved(const Relaxation& row, double setpoint) const;
};

/// Swings of all trainable parameters by +-size in w, but at least by ten steps of the source's resolution to
/// either side. If one end would leave the range, both are shifted inside: the derivative then belongs to a
/// point at most `size` away. Infinite parameters are not changed and have no swing. Throws
/// std::invalid_argument, beginning with `who`, if there is no room.
std::vector<Swing> swings(const std::string& who, const DeviceInfo& info, const Vector& theta, double size);

/// The largest size of swings within all ranges; infinite if no parameter is bounded.
double largest_swing(const DeviceInfo& info);

/// theta with many parameters changed: as overrides, or as a new base if there are too many to pass and log
/// with each relaxation.
Parameters with_all(const Parameters& theta, std::vector<std::pair<std::uint32_t, double>> changes);

}  // namespace ness
