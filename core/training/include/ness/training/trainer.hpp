// The training loop.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "ness/training/dataset.hpp"
#include "ness/training/drift.hpp"
#include "ness/training/estimator.hpp"
#include "ness/training/optimizer.hpp"

namespace ness {

struct TrainingOptions {
  std::uint64_t seed = 0;  ///< order of the samples, variants
  std::uint64_t epochs = 100;
  std::uint64_t batch = 0;  ///< samples a step; 0: all
  /// For what is done with many parameters (0: all cores); the results do not depend on it
  unsigned threads = 1;
  /// Where free relaxations start. rest: always from rest (train on the state that will be used). last: from
  /// where the sample settled last time, from rest at first and every `restart_every` epochs (0: never
  /// again). present: from the device's present state.
  enum class StartFrom : std::uint8_t { rest, last, present } start = StartFrom::rest;
  std::uint64_t restart_every = 0;
  double rest_rate = std::numeric_limits<double>::infinity();  ///< Rest::rate
  /// When every relaxation of the training and of its evaluations is read. At a time: perturbed relaxations
  /// start as their free relaxation does, and the test that a branch was kept is off, since no state is a
  /// steady one.
  Observe observe = Settled{};
  /// Epochs between validations (from rest); 0: only at the end, if there is a set
  std::uint64_t validate_every = 0;
  std::uint64_t patience = 0;  ///< validations without a better loss before stopping early; 0: off
  /// Stop after an epoch whose mean training loss is below; 0: off. With one step an epoch the theta that was
  /// measured is kept. The mean is over samples. An epoch in which a sample was left out has not shown the
  /// loss of the set, and does not count.
  double target_loss = 0;
  std::uint64_t max_relaxations = 0;  ///< training stops before a step that would exceed it; 0: no limit
  /// Stop before a step once relaxations have taken this long, in the device's time; 0: no limit. Where the
  /// device's clock runs on from relaxation to relaxation, that is the time from reading to reading; where
  /// each has a clock of its own, from start to reading.
  double max_time = 0;
  std::uint64_t checkpoint_every = 1;  ///< epochs
  double max_left_out = 0.5;  ///< the step is skipped if a larger fraction of its samples is left out
  /// Training ends after this many steps, one after another, in which every sample was left out; 0: never
  std::uint64_t max_unusable_steps = 10;
  /// Training ends after this many epochs in none of which some sample could be used; 0: never. A run that
  /// ends with such a sample has failed, whichever way it ends (TrainingSummary::failed).
  std::uint64_t max_unused_epochs = 100;

  /// Errors of gradients from readings are computed from this many draws of the readings
  /// (ness::reading_error); 0: not computed. Without effect where readings have no standard errors.
  std::uint32_t error_draws = 8;
  /// A minibatch is relaxed again, and its gradients averaged, until the norm of the error from readings
  /// (Gradient::reading_error, in coordinates) is at most this share of the gradient's norm; at most
  /// `max_repeats` times in all. 0: it is relaxed once. Refused where the estimator does not state that
  /// error.
  double target_error = 0;
  std::uint32_t max_repeats = 8;
  /// For a gradient whose error from readings still exceeds its norm. step: the step is made. skip: no step.
  /// average: no step until the mean with the gradients of the next minibatches, at the same theta, exceeds
  /// its error from readings. skip and average are refused where the estimator does not state that error;
  /// on a deterministic device noise never wins.
  enum class OnNoise : std::uint8_t { step, skip, average } on_noise = OnNoise::step;

  /// Decisions go by the one standard error of logs before format 5: for their replay and continuation, bit
  /// for bit. Errors are then those of redraws by whole standard errors, or the scatter between SPSA's
  /// directions or between passes where it is larger; nothing is refused, and no whole error is stated.
  bool one_error = false;

  /// Before every so many steps a reference is relaxed (the first sample, with the run's initial parameters,
  /// from rest), and the drift of its readings is subtracted from all readings; 0: never.
  std::uint64_t reference_every = 0;
  std::string problem() const;
};

/// Why samples were left out.
struct LeftOut {
  std::int64_t terminal = -1;  ///< whose reading or source it was; -1: the relaxation as a whole
  /// Quality flags; 0: none of the relaxations was flagged, and no gradient could be formed from them
  std::uint16_t flags = 0;
  std::uint64_t samples = 0;  ///< left out for it; one may be for several
  bool operator==(const LeftOut&) const = default;
};
/// Names a terminal: "terminal 4 (node-4)", or on a bench the wire.
using TerminalName = std::function<std::string(std::uint32_t)>;
/// "timed out and drifting at terminal 4 (2 samples), in compliance at terminal 0 (1 sample)".
std::string left_out_text(std::span<const LeftOut> causes, const TerminalName& name = {});

/// One training step: a row of the log.
struct StepReport {
  std::uint64_t step = 0;   ///< from 0
  std::uint64_t epoch = 0;  ///< from 0
  /// Before the step, mean over the samples of the minibatch that could be used; NaN: none could
  double loss = 0;
  double correct = 0;        ///< fraction, classifying losses
  double gradient_norm = 0;  ///< in coordinates, before clipping
  double rate = 0;           ///< learning rate
  /// Norms, in coordinates, of Gradient::reading_error and whole_error; NaN: not stated
  double reading_error = std::numeric_limits<double>::quiet_NaN();
  double whole_error = std::numeric_limits<double>::quiet_NaN();
  double asymmetry = std::numeric_limits<double>::quiet_NaN();  ///< Gradient::asymmetry
  /// Largest drift of a reading of the reference, kT; NaN: there is no reference.
  double offset = std::numeric_limits<double>::quiet_NaN();
  std::uint64_t relaxations = 0;  ///< made since the start of training, this step included
  std::uint32_t repeats = 1;      ///< times the minibatch was relaxed
  std::uint32_t left_out = 0;
  std::uint32_t samples = 0;    ///< that `loss` is the mean of. Not logged: `left_out` is
  std::vector<LeftOut> causes;  ///< why samples were left out. Not logged: the flags of the rows are
  std::uint32_t lost = 0;       ///< Gradient::lost
  std::uint32_t skipped = 0;    ///< 1: theta was not stepped
  std::uint16_t worst = 0;      ///< the quality flags of all its relaxations, combined
  std::uint64_t theta_before = 0, theta_after = 0;  ///< digests
};

/// A loss over a set.
struct Evaluation {
  double loss =
      0;  ///< mean over `samples`; NaN: there are none. The loss of the set if there are no failures
  double accuracy = 0;         ///< where the loss has one
  std::uint64_t samples = 0;   ///< with a usable relaxation
  std::uint64_t failures = 0;  ///< without: they count as wrong in the accuracy, and are not in the loss
  std::vector<LeftOut> causes = {};  ///< why those have none
  Matrix outputs;                    ///< [n x n_outputs]; NaN where not usable
};
/// How the relaxations of an evaluation begin, and when they are read.
struct EvaluationPath {
  Start start = Rest{};
  Observe observe = Settled{};
};
Evaluation evaluate(Device& device, const Parameters& theta, const Dataset& data, const Loss& loss,
                    const EvaluationPath& path, Label::Purpose purpose, std::uint64_t step,
                    std::stop_token stop = {});

/// What the best parameters of a run are chosen by: the loss of the validation set where there is one, else
/// the mean training loss of an epoch in which every sample was used. Never the test set.
enum class BestBy : std::uint8_t { none, training_loss, validation_loss };
const char* to_string(BestBy by);

/// The best parameters so far.
struct Best {
  static constexpr std::uint64_t unknown = std::numeric_limits<std::uint64_t>::max();
  BestBy by = BestBy::none;  ///< none: no epoch has shown a loss of the whole set
  double loss = std::numeric_limits<double>::quiet_NaN();
  /// Steps made to them. With one step an epoch they are those at which the epoch's loss was measured; with
  /// several, those after its last step. `unknown`: in checkpoints of logs before format 5.
  std::uint64_t step = unknown;
  std::uint64_t epoch = 0;  ///< that showed the loss
};

/// After an epoch. Losses are means over samples.
struct EpochReport {
  std::uint64_t epoch = 0;  ///< from 0: the one that just ended
  /// Mean over `samples`, each at the parameters of its step; NaN: there are none
  double loss = 0;
  double correct = 0;
  std::uint64_t samples = 0;   ///< uses of samples that the loss is the mean of
  std::uint64_t left_out = 0;  ///< > 0: the loss is not that of the training set
  double validation_loss = std::numeric_limits<double>::quiet_NaN();
  double validation_accuracy = std::numeric_limits<double>::quiet_NaN();
  std::uint64_t validation_left_out = 0;  ///< > 0: likewise
  bool validated = false;
  bool best = false;      ///< this epoch showed the best loss so far, by `best_so_far.by`
  Best best_so_far = {};  ///< the best parameters after this epoch
};

/// All that is needed to continue after a step, bit for bit.
struct Checkpoint {
  std::uint64_t step = 0;         ///< the next step
  std::uint64_t epoch = 0;        ///< its epoch
  std::uint64_t relaxations = 0;  ///< rows made before it
  Vector theta = {};
  Vector optimizer = {};  ///< Optimizer::state
  Vector trainer = {};    ///< of the trainer: sums of the running epoch, best parameters, patience, drift
  Vector estimator = {};  ///< Estimator::state
};

/// The best parameters that a checkpoint holds, and their vector; empty where it holds none. Throws
/// std::invalid_argument for numbers of no trainer.
std::pair<Best, Vector> best_of(const Checkpoint& checkpoint);

/// Receives reports during training, as things happen. Implemented by the log, by progress displays, and by
/// the comparison of a replay with the record.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void on_step(const StepReport&, const Vector& theta) { static_cast<void>(theta); }
  virtual void on_epoch(const EpochReport&) {}
  virtual void on_checkpoint(const Checkpoint&) {}
};

struct TrainingSummary {
  enum class End : std::uint8_t {
    epochs,       ///< all epochs were made
    target,       ///< the target loss was reached
    patience,     ///< validation no longer improved
    relaxations,  ///< the budget of relaxations is spent
    time,         ///< the budget of device time is spent
    unusable,     ///< TrainingOptions::max_unusable_steps
    unused,       ///< TrainingOptions::max_unused_epochs
    cancelled,    ///< it was asked to stop
  } end = End::epochs;
  std::uint64_t steps = 0, epochs = 0, relaxations = 0, left_out = 0, lost = 0, skipped = 0;
  double time = 0;  ///< device time of the relaxations
  /// Mean over the samples of the last complete epoch; NaN: there is none, or none of its samples was used
  double loss = 0;
  std::uint64_t loss_samples = 0;   ///< that it is the mean of
  std::uint64_t loss_left_out = 0;  ///< > 0: it is not the loss of the training set
  Vector theta;                     ///< the last
  Best best;
  Vector best_theta;  ///< the last where there is no best
  double best_validation_loss = 0;
  /// Training samples that were tried and never used; the reasons of the last step that left any out
  std::vector<std::uint64_t> never_used;
  std::vector<LeftOut> causes;
  /// True if nothing could be learned from some sample, or from any: what was minimised is not the task's
  /// loss.
  bool failed() const { return end == End::unusable || end == End::unused || !never_used.empty(); }
  std::string message(const TerminalName& name = {}) const;  ///< one line
};
/// "epochs", "target", ..: the name of the enumerator.
const char* to_string(TrainingSummary::End end);

/// Trains a device on a task. Reads no clock; draws every random number from (seed, epoch).
class Trainer {
 public:
  /// Throws std::invalid_argument for unusable options, shapes that do not fit (pattern width against clamped
  /// terminals, targets against outputs) or needs of the estimator that the device does not meet: before
  /// anything is imposed.
  Trainer(Device& device, Estimator& estimator, const Task& task, const ParameterSpace& space,
          const OptimizerOptions& optimizer, const TrainingOptions& options);

  void observe(TrainingObserver& observer) { observers_.push_back(&observer); }

  /// Trains from theta. When `stop` is requested the running step is abandoned, a checkpoint is reported, and
  /// the summary says cancelled.
  TrainingSummary run(const Vector& theta, std::stop_token stop = {});
  /// Continues from a checkpoint. For StartFrom::last the potentials where samples settled last must be given
  /// back first.
  TrainingSummary resume(const Checkpoint& from, std::stop_token stop = {});
  /// The potentials at which training sample `sample` settled last.
  void remember(std::uint64_t sample, std::shared_ptr<const Vector> potential);

 private:
  struct State;
  class Counted;
  class Loop;
  TrainingSummary run_from(State& state, std::stop_token stop);
  Minibatch minibatch(const State& state, std::uint64_t epoch, std::uint64_t index) const;
  Device& device_;
  Estimator& estimator_;
  DeviceInfo info_;  // narrowed to what the experiment trains
  const Task& task_;
  const ParameterSpace& space_;
  OptimizerOptions optimizer_;
  TrainingOptions options_;
  std::vector<TrainingObserver*> observers_;
  std::vector<std::shared_ptr<Vector>> last_;
};

}  // namespace ness
