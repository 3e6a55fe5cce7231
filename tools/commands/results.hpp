// Results that several commands report, as they report them.
#pragma once

#include <vector>

#include "ness/runs/evaluations.hpp"
#include "report.hpp"

namespace ness {

/// A list of numbers.
Report report_of(const Vector& values);
/// {"train": {"loss": .., "accuracy": .., "samples": .., "failures": ..}, ..}; accuracy for classifying
/// losses only.
Report report_of(const std::vector<SetEvaluation>& evaluations);

}  // namespace ness
