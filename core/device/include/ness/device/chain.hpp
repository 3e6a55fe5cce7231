// Chains: a sample's free relaxation, then the perturbed relaxations whose drives follow from it.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "ness/device/device.hpp"

namespace ness {

/// Given the relaxations of this sample so far (none at first), the next drive, or nothing when the chain has
/// ended. Perturbed relaxations start from Present; relax_chains turns that into From where the device
/// restores states.
using Chain = std::function<std::optional<Drive>(std::span<const Relaxation> so_far)>;

/// Runs the chains and returns their relaxations, one vector a chain. Breadth-first (all first relaxations,
/// then all second ones, ..) where the device restores states and reads every free potential; else one chain
/// after another, since a bench has one state. Sets Label::position.
std::vector<std::vector<Relaxation>> relax_chains(Device& device, std::span<const Chain> chains,
                                                  std::stop_token stop = {});

}  // namespace ness
