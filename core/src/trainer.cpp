#include "ness/core/trainer.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "ness/core/error.hpp"
#include "ness/core/random.hpp"
#include "number_text.hpp"

namespace ness {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

void check_set(const Dataset& set, const std::string& name, const DeviceInfo& info, const Loss& loss) {
  if (!set.inputs) throw std::invalid_argument(name + " set: it has no inputs");
  const std::size_t clamped = info.clamped().size();
  if (set.inputs->width() != clamped) {
    throw std::invalid_argument(name + " set: patterns of " + std::to_string(set.inputs->width()) + " levels; the device has " +
                                std::to_string(clamped) + " clamped terminals");
  }
  const std::size_t wanted = loss.target_size(info.outputs.size());
  if (static_cast<std::uint64_t>(set.targets.rows()) != set.size() || static_cast<std::size_t>(set.targets.cols()) != wanted) {
    throw std::invalid_argument(name + " set: targets [" + std::to_string(set.targets.rows()) + " x " +
                                std::to_string(set.targets.cols()) + "]; " + loss.name() + " of " + std::to_string(set.size()) +
                                " samples at " + std::to_string(info.outputs.size()) + " outputs needs [" +
                                std::to_string(set.size()) + " x " + std::to_string(wanted) + "]");
  }
  for (std::uint64_t i = 0; i < set.size(); ++i) {
    if (set.rows[i] < set.inputs->base_rows()) continue;
    throw std::invalid_argument(name + " set: sample " + std::to_string(i) + " is row " + std::to_string(set.rows[i]) + " of " +
                                std::to_string(set.inputs->base_rows()));
  }
  // A class that no output stands for is found now, not in the middle of an epoch.
  const Vector outputs = Vector::Zero(static_cast<Eigen::Index>(info.outputs.size()));
  for (std::uint64_t i = 0; i < set.size(); ++i) {
    try {
      loss.value(outputs, set.target(i));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + " set: sample " + std::to_string(i) + ": " + error.what());
    }
  }
}

std::string count_text(std::uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace

std::string TrainingOptions::problem() const {
  if (epochs == 0) return "epochs 0; at least 1 is needed";
  if (!(rest_rate > 0)) return "rest_rate " + number_text(rest_rate) + "; it must be > 0 (infinite: a step)";
  if (!(target_loss >= 0) || std::isinf(target_loss))
    return "target_loss " + number_text(target_loss) + "; it must be finite and >= 0";
  if (!(max_left_out >= 0 && max_left_out <= 1))
    return "max_left_out " + number_text(max_left_out) + "; it must be in [0, 1]";
  if (patience > 0 && validate_every == 0)
    return "patience " + std::to_string(patience) + " counts validations; set validate_every too";
  return {};
}

std::string TrainingSummary::message() const {
  std::ostringstream text;
  switch (end) {
    case End::epochs: text << "finished"; break;
    case End::target: text << "reached the target loss"; break;
    case End::patience: text << "stopped early: validation no longer improves"; break;
    case End::relaxations: text << "stopped at the limit of relaxations"; break;
    case End::cancelled: text << "stopped on request"; break;
  }
  text << " after " << count_text(epochs, "epoch") << ", " << count_text(steps, "step") << ", "
       << count_text(relaxations, "relaxation");
  if (!std::isnan(loss)) text << "; loss " << loss;
  if (!std::isnan(best_validation_loss)) text << "; best validation loss " << best_validation_loss;
  if (left_out > 0) text << "; " << count_text(left_out, "sample") << " left out";
  if (skipped > 0) text << "; " << count_text(skipped, "step") << " skipped";
  return text.str();
}

Evaluation evaluate(Device& device, const Parameters& theta, const Dataset& data, const Loss& loss, Start start,
                    Label::Purpose purpose, std::uint64_t step, std::stop_token stop) {
  const std::vector<std::uint32_t> positions = device.info().output_positions();
  Evaluation result;
  result.outputs = Matrix::Constant(static_cast<Eigen::Index>(data.size()), static_cast<Eigen::Index>(positions.size()), nan);
  double loss_sum = 0;
  std::uint64_t correct = 0;
  constexpr std::uint64_t group = 4096;  // drives at a time: enough for all cores, little memory
  for (std::uint64_t first = 0; first < data.size(); first += group) {
    std::vector<Drive> drives(std::min(group, data.size() - first));
    for (std::size_t k = 0; k < drives.size(); ++k) {
      drives[k].theta = theta;
      drives[k].clamp = data.pattern(first + k);
      drives[k].start = start;
      drives[k].label = {purpose, 0, step, first + k};
    }
    const auto take = [&](std::size_t k, const Relaxation& row) {
      if (!row.quality.usable()) {
        ++result.failures;
        return;
      }
      Vector output(static_cast<Eigen::Index>(positions.size()));
      for (std::size_t o = 0; o < positions.size(); ++o) output[static_cast<Eigen::Index>(o)] = row.potential[positions[o]];
      loss_sum += loss.value(output, data.target(first + k));
      if (loss.correct(output, data.target(first + k))) ++correct;
      result.outputs.row(static_cast<Eigen::Index>(first + k)) = output.transpose();
      ++result.samples;
    };
    device.relax(drives, take, stop);
  }
  result.loss = loss_sum / static_cast<double>(result.samples);
  result.accuracy = static_cast<double>(correct) / static_cast<double>(data.size());
  return result;
}

// Where a training stands: what a checkpoint holds, and what follows from it.
struct Trainer::State {
  std::uint64_t step = 0, epoch = 0, relaxations = 0;
  Parameters theta;
  std::unique_ptr<Optimizer> optimizer;

  // Sums of the running epoch over its steps that had a loss.
  double loss_sum = 0, correct_sum = 0;
  std::uint64_t counted = 0;

  std::uint64_t left_out = 0, skipped = 0;
  double last_loss = nan;  // of the last complete epoch
  bool has_best = false;
  double best_loss = nan;
  std::uint64_t waited = 0;  // validations since the best
  std::shared_ptr<const Vector> best_theta;

  // Not in a checkpoint: derived, or about reporting.
  std::vector<std::uint64_t> order;  // of the samples in epoch order_epoch
  std::uint64_t order_epoch = std::numeric_limits<std::uint64_t>::max();
  bool reported = false;  // as a checkpoint

  Checkpoint checkpoint() const;
  void restore(const Vector& numbers);
};

namespace {
constexpr Eigen::Index trainer_numbers = 9;
}

Checkpoint Trainer::State::checkpoint() const {
  Checkpoint made{step, epoch, relaxations, *theta.base, optimizer->state(), {}};
  const bool best_elsewhere = has_best && best_theta != theta.base;
  made.trainer.resize(trainer_numbers + (best_elsewhere ? best_theta->size() : 0));
  made.trainer.head(trainer_numbers) << loss_sum, correct_sum, static_cast<double>(counted), static_cast<double>(left_out),
      static_cast<double>(skipped), last_loss, has_best ? 1 : 0, best_loss, static_cast<double>(waited);
  if (best_elsewhere) made.trainer.tail(best_theta->size()) = *best_theta;
  return made;
}

void Trainer::State::restore(const Vector& numbers) {
  const Eigen::Index parameters = theta.base->size();
  if (numbers.size() != trainer_numbers && numbers.size() != trainer_numbers + parameters) {
    throw std::invalid_argument("checkpoint: " + std::to_string(numbers.size()) + " numbers of the trainer; expected " +
                                std::to_string(trainer_numbers) + " or " + std::to_string(trainer_numbers + parameters));
  }
  const auto count = [&](Eigen::Index i) { return static_cast<std::uint64_t>(numbers[i]); };
  loss_sum = numbers[0];
  correct_sum = numbers[1];
  counted = count(2);
  left_out = count(3);
  skipped = count(4);
  last_loss = numbers[5];
  has_best = numbers[6] != 0;
  best_loss = numbers[7];
  waited = count(8);
  if (!has_best) return;
  best_theta = numbers.size() == trainer_numbers ? theta.base : std::make_shared<const Vector>(numbers.tail(parameters));
}

// One run of the loop.
class Trainer::Loop {
 public:
  Loop(Trainer& trainer, State& state, std::stop_token stop)
      : trainer_(trainer), options_(trainer.options_), state_(state), stop_(std::move(stop)) {
    const std::uint64_t size = trainer.task_.train.size();
    batch_ = options_.batch == 0 ? size : std::min(options_.batch, size);
    steps_per_epoch_ = (size + batch_ - 1) / batch_;
    relaxations_a_sample_ = trainer.estimator_.cost(trainer.device_.info());
  }

  TrainingSummary run() {
    trainer_.device_.seek(state_.relaxations);
    std::optional<TrainingSummary::End> end;
    try {
      while (!(end = ended())) {
        if (stop_.stop_requested()) throw Cancelled();
        if (steps_into_epoch() < steps_per_epoch_) {
          step();
        } else {
          end_epoch();
        }
      }
    } catch (const Cancelled&) {
      end = TrainingSummary::End::cancelled;
    }
    if (!state_.reported) report_checkpoint();
    return summary(*end);
  }

 private:
  using End = TrainingSummary::End;

  // A checkpoint may lie between the last step of an epoch and its end (stopped while validating).
  std::uint64_t steps_into_epoch() const { return state_.step - state_.epoch * steps_per_epoch_; }

  // Decided from the state alone, so that a resumed run which had ended stays ended.
  std::optional<End> ended() const {
    if (steps_into_epoch() == 0 && state_.epoch > 0) {
      if (options_.target_loss > 0 && state_.last_loss < options_.target_loss) return End::target;
      if (options_.patience > 0 && state_.waited >= options_.patience) return End::patience;
    }
    if (state_.epoch >= options_.epochs) return End::epochs;
    if (options_.max_relaxations > 0 && steps_into_epoch() < steps_per_epoch_ &&
        state_.relaxations + relaxations_a_sample_ * next_size() > options_.max_relaxations) {
      return End::relaxations;
    }
    return std::nullopt;
  }

  std::uint64_t next_size() const {
    return std::min(batch_, trainer_.task_.train.size() - steps_into_epoch() * batch_);
  }

  void step() {
    prepare_order();
    const Minibatch batch = trainer_.minibatch(state_, state_.epoch, steps_into_epoch());
    const DeviceInfo& info = trainer_.device_.info();
    const Loss& loss = *trainer_.task_.loss;
    const std::vector<Chain> chains = trainer_.estimator_.chains(info, batch, loss);
    const std::vector<std::vector<Relaxation>> rows = relax_chains(trainer_.device_, chains, stop_);
    const Gradient gradient = trainer_.estimator_.form(info, batch, loss, rows);
    if (options_.start == TrainingOptions::StartFrom::last) remember(batch, rows);

    StepReport report = learn(gradient);
    report.left_out = static_cast<std::uint32_t>(gradient.left_out);
    report.worst = gradient.worst;
    state_.relaxations += gradient.relaxations;
    report.relaxations = state_.relaxations;
    state_.left_out += gradient.left_out;
    state_.skipped += report.skipped;
    if (gradient.used > 0) {
      state_.loss_sum += gradient.loss;
      state_.correct_sum += gradient.correct;
      ++state_.counted;
    }
    ++state_.step;
    state_.reported = false;
    for (TrainingObserver* observer : trainer_.observers_) observer->on_step(report, *state_.theta.base);
  }

  // Steps theta, or skips where the gradient is worth nothing.
  StepReport learn(const Gradient& gradient) {
    const ParameterSpace& space = trainer_.space_;
    const Vector& theta = *state_.theta.base;
    const double factor = trainer_.optimizer_.schedule.factor(state_.step, options_.epochs * steps_per_epoch_);
    StepReport report;
    report.step = state_.step;
    report.epoch = state_.epoch;
    report.loss = gradient.loss;
    report.correct = gradient.correct;
    report.rate = trainer_.optimizer_.rate * factor;
    report.theta_before = state_.theta.digest;
    const Vector in_coordinates = space.gradient(theta, gradient.value);
    report.gradient_norm = in_coordinates.norm();
    const auto size = static_cast<double>(gradient.used + gradient.left_out);
    const bool usable = gradient.used > 0 && static_cast<double>(gradient.left_out) <= options_.max_left_out * size;
    // A full batch below the target was measured at this very theta: a further step could only lose it (over a fold, say).
    const bool reached =
        steps_per_epoch_ == 1 && gradient.left_out == 0 && options_.target_loss > 0 && gradient.loss < options_.target_loss;
    if (reached) {
      report.theta_after = state_.theta.digest;
      return report;
    }
    if (usable && std::isfinite(report.gradient_norm)) {
      state_.theta = Parameters::of(space.stepped(theta, state_.optimizer->step(in_coordinates, factor)));
    } else {
      report.skipped = 1;
    }
    report.theta_after = state_.theta.digest;
    return report;
  }

  void remember(const Minibatch& batch, const std::vector<std::vector<Relaxation>>& rows) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (!rows[i][0].quality.usable()) continue;
      trainer_.last_[batch.samples[i]] = std::make_shared<const Vector>(rows[i][0].potential);
    }
  }

  void prepare_order() {
    if (state_.order_epoch == state_.epoch) return;
    const std::uint64_t size = trainer_.task_.train.size();
    if (batch_ == size) {
      state_.order.resize(size);
      std::iota(state_.order.begin(), state_.order.end(), std::uint64_t{0});
    } else {
      state_.order = Random(options_.seed, state_.epoch).permutation(size);
    }
    state_.order_epoch = state_.epoch;
  }

  void end_epoch() {
    EpochReport report;
    report.epoch = state_.epoch;
    const auto counted = static_cast<double>(state_.counted);
    report.loss = state_.loss_sum / counted;
    report.correct = state_.correct_sum / counted;
    const bool last = state_.epoch + 1 >= options_.epochs || (options_.target_loss > 0 && report.loss < options_.target_loss);
    const bool due = options_.validate_every > 0 && (state_.epoch + 1) % options_.validate_every == 0;
    // Before anything changes: a stop while validating leaves the state as it was after the last step.
    if (trainer_.task_.validation.size() > 0 && (due || last)) validate(report);

    state_.last_loss = report.loss;
    state_.loss_sum = state_.correct_sum = 0;
    state_.counted = 0;
    ++state_.epoch;
    state_.reported = false;
    for (TrainingObserver* observer : trainer_.observers_) observer->on_epoch(report);
    if (options_.checkpoint_every > 0 && state_.epoch % options_.checkpoint_every == 0) report_checkpoint();
  }

  void validate(EpochReport& report) {
    const Dataset& set = trainer_.task_.validation;
    const Evaluation evaluation = evaluate(trainer_.device_, state_.theta, set, *trainer_.task_.loss, Rest{options_.rest_rate},
                                           Label::Purpose::validation, state_.step, stop_);
    state_.relaxations += set.size();
    report.validated = true;
    report.validation_loss = evaluation.loss;
    report.validation_accuracy = evaluation.accuracy;
    report.best = !std::isnan(evaluation.loss) && (!state_.has_best || evaluation.loss < state_.best_loss);
    if (report.best) {
      state_.has_best = true;
      state_.best_loss = evaluation.loss;
      state_.best_theta = state_.theta.base;
      state_.waited = 0;
    } else {
      ++state_.waited;
    }
  }

  void report_checkpoint() {
    const Checkpoint made = state_.checkpoint();
    state_.reported = true;
    for (TrainingObserver* observer : trainer_.observers_) observer->on_checkpoint(made);
  }

  TrainingSummary summary(End end) const {
    TrainingSummary result;
    result.end = end;
    result.steps = state_.step;
    result.epochs = state_.epoch;
    result.relaxations = state_.relaxations;
    result.left_out = state_.left_out;
    result.skipped = state_.skipped;
    result.loss = state_.last_loss;
    result.theta = *state_.theta.base;
    result.best_theta = state_.has_best ? *state_.best_theta : result.theta;
    result.best_validation_loss = state_.best_loss;
    return result;
  }

  Trainer& trainer_;
  const TrainingOptions& options_;
  State& state_;
  std::stop_token stop_;
  std::uint64_t batch_ = 0, steps_per_epoch_ = 0, relaxations_a_sample_ = 0;
};

Trainer::Trainer(Device& device, const Estimator& estimator, const Task& task, const ParameterSpace& space,
                 const OptimizerOptions& optimizer, const TrainingOptions& options)
    : device_(device), estimator_(estimator), task_(task), space_(space), optimizer_(optimizer), options_(options) {
  const DeviceInfo& info = device.info();
  if (const std::string problem = options.problem(); !problem.empty()) throw std::invalid_argument("training: " + problem);
  if (const std::string problem = optimizer.problem(); !problem.empty()) throw std::invalid_argument("optimizer: " + problem);
  if (!task.loss) throw std::invalid_argument("task '" + task.name + "': it has no loss");
  if (task.train.size() == 0) throw std::invalid_argument("task '" + task.name + "': the training set is empty");
  if (space.size() != info.parameters.size()) {
    throw std::invalid_argument("parameter space of " + std::to_string(space.size()) + " parameters; the device has " +
                                std::to_string(info.parameters.size()));
  }
  if (const std::string unmet = estimator.unmet_needs(info); !unmet.empty()) {
    throw Unsupported(std::string(estimator.name()) + ": " + unmet);
  }
  check_set(task.train, "training", info, *task.loss);
  if (task.validation.size() > 0) check_set(task.validation, "validation", info, *task.loss);
  if (options.patience > 0 && task.validation.size() == 0) {
    throw std::invalid_argument("training: patience " + std::to_string(options.patience) +
                                " needs a validation set; there is none");
  }
  if (options.start != TrainingOptions::StartFrom::last) return;
  if (!info.restores_state) throw Unsupported("training: starting from the last state needs a device that restores states");
  if (!info.reads_every_free_potential())
    throw Unsupported("training: starting from the last state needs every free potential read");
  last_.resize(task.train.size());
}

Minibatch Trainer::minibatch(const State& state, std::uint64_t epoch, std::uint64_t index) const {
  const std::uint64_t size = task_.train.size();
  const std::uint64_t wanted = options_.batch == 0 ? size : std::min(options_.batch, size);
  const std::uint64_t first = index * wanted, count = std::min(wanted, size - first);
  Minibatch batch;
  batch.data = &task_.train;
  batch.theta = state.theta;
  batch.step = state.step;
  const std::uint32_t variants = task_.train.inputs->variants();
  const bool restart = options_.restart_every > 0 && epoch % options_.restart_every == 0;
  for (std::uint64_t k = first; k < first + count; ++k) {
    const std::uint64_t sample = state.order[k];
    batch.samples.push_back(sample);
    if (variants > 1) {
      const double drawn = uniform_at(options_.seed, epoch, static_cast<std::uint32_t>(sample));
      batch.variants.push_back(static_cast<std::uint32_t>(drawn * variants));
    }
    Start start = Rest{options_.rest_rate};
    if (options_.start == TrainingOptions::StartFrom::present) start = Present{};
    if (options_.start == TrainingOptions::StartFrom::last && !restart && last_[sample]) start = From{last_[sample]};
    batch.starts.push_back(std::move(start));
  }
  return batch;
}

TrainingSummary Trainer::run_from(State& state, std::stop_token stop) { return Loop(*this, state, std::move(stop)).run(); }

TrainingSummary Trainer::run(const Vector& theta, std::stop_token stop) {
  if (static_cast<std::size_t>(theta.size()) != space_.size()) {
    throw std::invalid_argument("training: " + std::to_string(theta.size()) + " parameters to begin with; the device has " +
                                std::to_string(space_.size()));
  }
  std::fill(last_.begin(), last_.end(), nullptr);
  State state;
  state.theta = Parameters::of(space_.projected(theta));
  state.optimizer = make_optimizer(optimizer_, space_);
  return run_from(state, std::move(stop));
}

TrainingSummary Trainer::resume(const Checkpoint& from, std::stop_token stop) {
  if (static_cast<std::size_t>(from.theta.size()) != space_.size()) {
    throw std::invalid_argument("checkpoint: " + std::to_string(from.theta.size()) + " parameters; the device has " +
                                std::to_string(space_.size()));
  }
  State state;
  state.step = from.step;
  state.epoch = from.epoch;
  state.relaxations = from.relaxations;
  state.theta = Parameters::of(from.theta);
  state.optimizer = make_optimizer(optimizer_, space_);
  state.optimizer->restore(from.optimizer);
  state.restore(from.trainer);
  state.reported = true;
  const std::uint64_t size = task_.train.size();
  const std::uint64_t batch = options_.batch == 0 ? size : std::min(options_.batch, size);
  const std::uint64_t steps_per_epoch = (size + batch - 1) / batch;
  if (from.step < from.epoch * steps_per_epoch || from.step > (from.epoch + 1) * steps_per_epoch) {
    throw std::invalid_argument("checkpoint: step " + std::to_string(from.step) + " is not in epoch " +
                                std::to_string(from.epoch) + " of " + std::to_string(steps_per_epoch) +
                                " steps (another batch size or data set?)");
  }
  return run_from(state, std::move(stop));
}

void Trainer::remember(std::uint64_t sample, std::shared_ptr<const Vector> potential) {
  if (last_.empty()) return;  // no start needs it
  if (sample >= last_.size()) {
    throw std::invalid_argument("remember: sample " + std::to_string(sample) + " of " + std::to_string(last_.size()));
  }
  last_[sample] = std::move(potential);
}

}  // namespace ness
