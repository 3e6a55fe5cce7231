#include "estimators/perturbation_size.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ness {

double best_perturbation_size(const Vector& at_h, const Vector& at_2h, double h, double noise, int order,
                              double least, double most) {
  const double rounding = std::numeric_limits<double>::epsilon() *
                          std::sqrt(static_cast<double>(std::max<Eigen::Index>(at_h.size(), 1)));
  const double noise_at_1 = std::max(noise, rounding);
  // |s(2h) - s(h)| = curvature ((2h)^order - h^order)
  const double curvature = (at_2h - at_h).norm() / ((std::pow(2.0, order) - 1) * std::pow(h, order));
  if (!(curvature > 0)) return most;
  // d/dd: 2 noise^2 / d^3 = 2 order curvature^2 d^(2 order - 1)
  const double best =
      std::pow(noise_at_1 * noise_at_1 / (order * curvature * curvature), 1.0 / (2 * order + 2));
  return std::isfinite(best) ? std::clamp(best, least, most) : most;
}

}  // namespace ness
