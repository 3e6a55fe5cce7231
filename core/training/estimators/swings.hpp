// Perturbations of all trainable parameters at once, in the coordinates an optimizer steps in.
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

/// The two values between which a parameter is switched, up > down, and what their distance is in its coordinate w (theta, or log theta
/// where the scale is logarithmic).
struct Swing {
  std::uint32_t parameter = 0;
  bool log = false;
  double here = 0;          ///< theta
  double up = 0, down = 0;  ///< theta

  /// w at a value of theta, up to a constant.
  double coordinate(double theta) const;
  /// dL/dtheta here, of a slope dL/dw.
  double slope(double in_coordinate) const { return log ? in_coordinate / here : in_coordinate; }
  /// w at the value that `row` was read to have; at `setpoint` where it was not read.
  double achieved(const Relaxation& row, double setpoint) const;
};

/// Swings by +-size in w of all trainable parameters, and never by less than ten steps of the source's resolution to either side. Where
/// one end would leave the range both are shifted inside: the slope is then that of a point at most `size` away. Parameters that are
/// infinite stay where they are and have none. Throws std::invalid_argument, beginning with `who`, where there is no room.
std::vector<Swing> swings(const std::string& who, const DeviceInfo& info, const Vector& theta, double size);

/// The largest size of swings that there is room for; infinite where nothing is bounded.
double largest_swing(const DeviceInfo& info);

/// theta with many parameters changed: as overrides, or, where they are too many to be passed and logged with each relaxation, as a
/// base of its own.
Parameters with_all(const Parameters& theta, std::vector<std::pair<std::uint32_t, double>> changes);

}  // namespace ness
