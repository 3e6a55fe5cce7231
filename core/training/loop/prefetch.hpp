// States of samples, brought into the processor's cache before they are needed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ness/device/vector.hpp"

namespace ness {

/// Call once for every sample of a minibatch, in order, with the samples from this one on: fetches the states of the next few. `last`
/// holds the state of each sample, or null.
void prefetch_states(const std::vector<std::shared_ptr<Vector>>& last, std::span<const std::uint64_t> samples);

}  // namespace ness
