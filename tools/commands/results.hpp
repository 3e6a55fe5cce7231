// Results that several commands report, as they report them.
#pragma once

#include <vector>

#include "ness/runs/evaluations.hpp"
#include "report.hpp"

namespace ness {

/// A list of numbers.
Report report_of(const Vector& values);
/// {"train": {"loss": .., "accuracy": .., "samples": .., "failures": ..}, ..}; the loss where some sample has
/// one, accuracy where the loss has one. A loss over fewer samples than the set has is marked
/// ("loss_is_of_a_part", "left_out_for"), and so is a training set that is the test set as well
/// ("is_test_set_too"). `name` names terminals.
Report report_of(const std::vector<SetEvaluation>& evaluations, const TerminalName& name = {});

}  // namespace ness
