// Nonlinear least squares.
#pragma once

#include <cstddef>
#include <functional>

#include "ness/device/vector.hpp"

namespace ness {

/// Residuals at y, and their derivatives unless `jacobian` is null: [n_residuals x n_unknowns], row after
/// row. False where there are none: the step was too long.
using ResidualsAt = std::function<bool(const Vector& y, double* residuals, double* jacobian)>;

/// Moves `y` towards the least sum of squares, in at most 15 steps of Levenberg and Marquardt. False, and `y`
/// of no use, where not even the start has residuals.
bool improve(Vector& y, std::size_t residuals, const ResidualsAt& at);

}  // namespace ness
