// Checks an estimator against central finite differences on the same device.
#pragma once

#include "ness/training/estimator.hpp"

namespace ness {

struct GradientCheck {
  double cosine = 0;          ///< of the angle between estimate and reference, over the parameters compared
  double angle = 0;           ///< that angle, radians
  double relative_error = 0;  ///< |estimate - reference| / |reference|
  double norm = 0, reference_norm = 0;
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
};
/// Throws std::invalid_argument where the device does not meet the needs of the estimator.
GradientCheck check_gradient(Device& device, const Estimator& estimator, const Minibatch& batch,
                             const Loss& loss, const GradientCheckOptions& options,
                             std::stop_token stop = {});

}  // namespace ness
