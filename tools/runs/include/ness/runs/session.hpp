// A run from its first step to its last evaluation, on whichever device it is told to use.
#pragma once

#include <optional>
#include <stop_token>
#include <vector>

#include "ness/runs/evaluations.hpp"
#include "ness/files/experiment.hpp"
#include "ness/training/trainer.hpp"
#include "ness/runs/progress.hpp"
#include "ness/runs/run.hpp"

namespace ness {

struct Outcome {
  TrainingSummary summary;
  /// Of the last parameters; none where training was cancelled, or ended since nothing could be used
  std::vector<SetEvaluation> evaluations;
  /// Of the best ones, where they are others ([evaluation] best)
  std::vector<SetEvaluation> of_best;
  bool best_is_last = true;  ///< or there is no best
  SafeReport safe;           ///< how the device was left
  bool cancelled() const { return summary.end == TrainingSummary::End::cancelled; }
};

/// Trains and evaluates. The same calls in the same order whether the device records, is a log, or both in
/// turn: that is why a replay meets the drives that were recorded.
class Session {
 public:
  /// Keeps references to all. Throws as Trainer does.
  Session(Device& device, Run& run, const Experiment& experiment, Progress& progress);
  Trainer& trainer() { return trainer_; }
  /// From the initial parameters, or from a checkpoint. Throws Cancelled if stopped while evaluating.
  Outcome run(const std::optional<Checkpoint>& from, std::stop_token stop);

 private:
  Device& device_;
  Run& run_;
  const Experiment& experiment_;
  Progress& progress_;
  Trainer trainer_;
};

}  // namespace ness
