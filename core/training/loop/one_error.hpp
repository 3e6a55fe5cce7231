// The one standard error that steps of logs before format 5 went by, for their replay and continuation.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ness/training/estimator.hpp"

namespace ness {

/// Sets Gradient::reading_error of `gradient` to that figure: the scatter between SPSA's directions, or what
/// `draws` gradients of readings redrawn by whole standard errors differ by, nudges and levels as they were.
void state_one_error(Gradient& gradient, const Estimator& estimator, const DeviceInfo& info,
                     const Minibatch& batch, const Loss& loss, std::span<const std::vector<Relaxation>> rows,
                     std::uint32_t draws, std::uint64_t seed);

/// The mean of passes; its reading_error is the larger of that from the passes' own and of their scatter.
Gradient mean_with_one_error(std::span<const Gradient> passes);

}  // namespace ness
