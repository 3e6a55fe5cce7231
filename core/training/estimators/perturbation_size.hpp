// The size of a perturbation at which its error is least: larger ones see curvature, smaller ones noise.
#pragma once

#include "ness/device/vector.hpp"

namespace ness {

/// The size d that makes (noise / d)^2 + (curvature d^order)^2 least, within [least, most].
///
/// `at_h` and `at_2h`: the same slopes [any length] measured with perturbations of size h and 2 h; their difference is curvature (and noise:
/// the curvature is then overestimated, and d chosen small). `noise`: norm of the error of such slopes at size 1. `order` of the
/// error in d: 1 one-sided, 2 centred. Without noise the smallest size is where rounding of readings of order 1 (2e-16) is the noise.
double best_perturbation_size(const Vector& at_h, const Vector& at_2h, double h, double noise, int order, double least, double most);

}  // namespace ness
