#include "ness/device/ramp.hpp"

#include <algorithm>
#include <cmath>

namespace ness {

double ramp_time(const Vector& levels, double rate) {
  return std::isinf(rate) || levels.size() == 0 ? 0 : levels.cwiseAbs().maxCoeff() / rate;
}

double ramp_level(double final, double rate, double t) {
  return std::isinf(rate) ? final : std::copysign(std::min(std::abs(final), rate * t), final);
}

}  // namespace ness
