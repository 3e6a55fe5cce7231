// Where a training stands.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "ness/training/trainer.hpp"

namespace ness {

/// What a checkpoint holds, and what follows from it.
struct Trainer::State {
  std::uint64_t step = 0, epoch = 0, relaxations = 0;
  Parameters theta;
  std::unique_ptr<Optimizer> optimizer;

  // Sums of the running epoch over its steps that had a loss.
  double loss_sum = 0, correct_sum = 0;
  std::uint64_t counted = 0;
  // Samples that were left out of the running epoch, and of the last complete one: its loss is not that of the set then.
  std::uint64_t epoch_left_out = 0, last_left_out = 0;

  std::uint64_t left_out = 0, lost = 0, skipped = 0;
  double last_loss = std::numeric_limits<double>::quiet_NaN();  // of the last complete epoch
  double time = 0;       // device time of relaxations
  double last_read = 0;  // when the last was read; not in a checkpoint: a resumed device may have another clock
  DriftMonitor drift;
  Parameters reference;            // of the reference relaxation
  // Gradients at this theta that noise wins over, summed with the samples used, until it does not.
  bool prepared = false;
  std::uint64_t kept = 0;
  Vector kept_sum, kept_squares;
  bool has_best = false;
  double best_loss = std::numeric_limits<double>::quiet_NaN();
  std::uint64_t waited = 0;  // validations since the best
  std::shared_ptr<const Vector> best_theta;

  // Not in a checkpoint: derived, or about reporting.
  std::vector<std::uint64_t> order;  // of the samples in epoch order_epoch
  std::uint64_t order_epoch = std::numeric_limits<std::uint64_t>::max();
  bool reported = false;  // as a checkpoint

  Checkpoint checkpoint() const;
  void restore(const Vector& numbers);
};

}  // namespace ness
