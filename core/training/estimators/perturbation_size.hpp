// The size of a perturbation with the smallest error: curvature limits large sizes, noise small ones.
#pragma once

#include "ness/device/vector.hpp"

namespace ness {

/// The size d within [least, most] that minimises (noise / d)^2 + (curvature d^order)^2.
///
/// `at_h` and `at_2h`: the same derivatives [any length] measured with perturbations of size h and 2 h. Their
/// difference gives the curvature (noise makes it larger, and d smaller). `noise`: norm of the error of these
/// derivatives at size 1. `order` of the error in d: 1 one-sided, 2 centred. Without noise, rounding of
/// readings of order 1 (2e-16) limits small sizes.
double best_perturbation_size(const Vector& at_h, const Vector& at_2h, double h, double noise, int order,
                              double least, double most);

}  // namespace ness
