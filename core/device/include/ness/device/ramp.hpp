// The ramp from rest: clamped levels that move from 0 to their values at one rate (Rest::rate).
#pragma once

#include "ness/device/vector.hpp"

namespace ness {

/// When the last of the levels (kT) has arrived, in the device's time unit; 0 for a step (infinite `rate`)
/// and where there are no levels. `rate` > 0, kT per unit of time.
double ramp_time(const Vector& levels, double rate);

/// A level at time `t` >= 0 of its ramp to `final`: it moves at the rate until it has arrived, and stays
/// there.
double ramp_level(double final, double rate, double t);

}  // namespace ness
