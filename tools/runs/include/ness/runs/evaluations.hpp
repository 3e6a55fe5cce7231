// Evaluations of a task's sets, and how they are told.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/files/experiment.hpp"
#include "ness/training/trainer.hpp"

namespace ness {

struct SetEvaluation {
  std::string name;           ///< "train", "validation", "test"
  bool has_accuracy = false;  ///< Loss::has_accuracy
  /// The training set, which is also what the task has for a test set: nothing was held out, and there is no
  /// set "test".
  bool is_test_too = false;
  Evaluation evaluation;
  Matrix inputs, targets;  ///< [n x ..] of sets small enough to be shown whole; else empty
};

/// Evaluates every set of the task that is not empty, from cold starts; the training set only where `train`,
/// or where it is the test set too: that is evaluated once, as what it is.
/// `says` is told before each. Rows are labelled with the set and with `step`; those of the training set are
/// labelled `none`, for they are not training.
std::vector<SetEvaluation> evaluate_sets(Device& device, const Vector& theta, const Experiment& experiment,
                                         bool train, std::uint64_t step, std::stop_token stop,
                                         const std::function<void(const std::string&)>& says = {});

/// For people, a line a set; of a set that is small enough each sample too: inputs, outputs, targets. `name`
/// names the terminals at which samples failed.
std::string text_of(const std::vector<SetEvaluation>& evaluations, const TerminalName& name = {});

}  // namespace ness
