// Checks an estimator against central finite differences.
#pragma once

#include <limits>

#include "ness/training/estimator.hpp"

namespace ness {

struct GradientCheck {
  double cosine = 0;          ///< of the angle between estimate and reference, over the parameters compared
  double angle = 0;           ///< that angle, radians
  double relative_error = 0;  ///< |estimate - reference| / |reference|
  double norm = 0, reference_norm = 0;
  /// Norms of the standard errors that the readings leave in either (ness::reading_error), over the
  /// parameters compared; NaN: the readings know none. 0 of a reference that is exact.
  double error = std::numeric_limits<double>::quiet_NaN();
  double reference_error = std::numeric_limits<double>::quiet_NaN();
  bool exact_reference = false;             ///< measured on GradientCheckOptions::reference
  std::uint64_t relaxations = 0;            ///< the estimate's cost
  std::uint64_t reference_relaxations = 0;  ///< the reference's
  std::uint64_t samples = 0, parameters = 0;
  Gradient estimate, reference;
};

struct GradientCheckOptions {
  /// Of the central differences, which are extrapolated once (steps h and 2 h, error h^4)
  double step = 1e-4;
  /// Parameters compared; empty: all trainable ones.
  std::vector<std::uint32_t> parameters;
  /// The same device without noise of its readings and writing, on which the reference is measured. Null: it
  /// is measured on the device itself, where the step of a difference is quickly smaller than the noise, and
  /// carries GradientCheck::reference_error.
  Device* reference = nullptr;
  std::uint32_t error_draws = 32;  ///< redraws of the readings from which the errors are formed
};
/// Throws std::invalid_argument where the device does not meet the needs of the estimator.
GradientCheck check_gradient(Device& device, const Estimator& estimator, const Minibatch& batch,
                             const Loss& loss, const GradientCheckOptions& options,
                             std::stop_token stop = {});

}  // namespace ness
