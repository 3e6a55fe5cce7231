// Results as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "ness/runs/evaluations.hpp"

namespace ness {

/// A number, or null where it is none: JSON has no NaN.
nlohmann::ordered_json json_number(double number);
nlohmann::ordered_json json_vector(const Vector& values);
/// {"train": {"loss": .., "accuracy": .., "samples": .., "failures": ..}, ..}; accuracy for classifying losses only.
nlohmann::ordered_json json_of(const std::vector<SetEvaluation>& evaluations);
}  // namespace ness
