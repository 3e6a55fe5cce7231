// The state of a training.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "ness/training/trainer.hpp"

namespace ness {

/// The contents of a checkpoint, and quantities derived from them.
struct Trainer::State {
  std::uint64_t step = 0, epoch = 0, relaxations = 0;
  Parameters theta;
  std::unique_ptr<Optimizer> optimizer;

  // Sums of the current epoch over its steps, weighted by samples used, in units of a full minibatch: equal
  // minibatches then have the weight 1, and their mean has the bits of a mean of steps.
  double loss_sum = 0, correct_sum = 0, weight = 0;
  std::uint64_t epoch_used = 0, last_used = 0;  // samples, in the current epoch and in the last complete one
  // Samples left out in the current epoch and in the last complete one, whose loss is then not that of the
  // whole set.
  std::uint64_t epoch_left_out = 0, last_left_out = 0;

  std::uint64_t left_out = 0, lost = 0, skipped = 0;
  double last_loss = std::numeric_limits<double>::quiet_NaN();  // of the last complete epoch
  double time = 0;                                              // device time of relaxations
  // Time of the last reading. Not in a checkpoint: a resumed device may have another clock.
  double last_read = 0;
  DriftMonitor drift;
  Parameters reference;  // of the reference relaxation
  bool prepared = false;
  // Gradients at this theta below their noise, weighted by the samples used and summed until the sum exceeds
  // its noise.
  std::uint64_t kept = 0;
  Vector kept_sum, kept_squares;
  Best best;
  std::uint64_t waited = 0;  // validations since the best one
  std::shared_ptr<const Vector> best_theta;

  // Not in a checkpoint: derived quantities and reporting.
  std::vector<std::uint64_t> order;  // order of the samples in epoch order_epoch
  std::uint64_t order_epoch = std::numeric_limits<std::uint64_t>::max();
  bool reported = false;  // this state was reported as a checkpoint

  std::uint64_t unusable_steps = 0;  // one after another, in which every sample was left out
  // [training samples] those never used, tried or not; empty: each was used, or it is not known (a checkpoint
  // of before).
  std::vector<bool> unused;
  std::uint64_t unused_count = 0;
  void used(std::uint64_t sample);

  Checkpoint checkpoint() const;
  /// `trained`: samples of the training set.
  void restore(const Vector& numbers, std::uint64_t trained);
};

}  // namespace ness
