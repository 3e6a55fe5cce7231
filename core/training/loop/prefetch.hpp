// Prefetches the states of samples into the processor's cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ness/device/vector.hpp"

namespace ness {

/// Fetches the states of the next few samples. Call it for every sample of a minibatch, in order, with the
/// samples from this one on. `last` holds the state of each sample, or null.
void prefetch_states(const std::vector<std::shared_ptr<Vector>>& last,
                     std::span<const std::uint64_t> samples);

}  // namespace ness
