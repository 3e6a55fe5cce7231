#include "ness/training/trainer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "ness/device/error.hpp"
#include "ness/device/parallel.hpp"
#include "ness/device/random.hpp"
#include "ness/device/wrapping_device.hpp"
#include "loop/digest_of_parts.hpp"
#include "loop/one_error.hpp"
#include "estimators/gradient_sum.hpp"
#include "ness/device/number_text.hpp"
#include "loop/prefetch.hpp"
#include "loop/trainer_state.hpp"

namespace ness {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

void check_set(const Dataset& set, const std::string& name, const DeviceInfo& info, const Loss& loss) {
  if (!set.inputs) throw std::invalid_argument(name + " set: it has no inputs");
  const std::size_t clamped = info.clamped().size();
  if (set.inputs->width() != clamped) {
    throw std::invalid_argument(name + " set: patterns of " + std::to_string(set.inputs->width()) +
                                " levels; the device has " + std::to_string(clamped) + " clamped terminals");
  }
  const std::size_t wanted = loss.target_size(info.outputs.size());
  if (static_cast<std::uint64_t>(set.targets.rows()) != set.size() ||
      static_cast<std::size_t>(set.targets.cols()) != wanted) {
    throw std::invalid_argument(name + " set: targets [" + std::to_string(set.targets.rows()) + " x " +
                                std::to_string(set.targets.cols()) + "]; " + loss.name() + " of " +
                                std::to_string(set.size()) + " samples at " +
                                std::to_string(info.outputs.size()) + " outputs needs [" +
                                std::to_string(set.size()) + " x " + std::to_string(wanted) + "]");
  }
  for (std::uint64_t i = 0; i < set.size(); ++i) {
    if (set.rows[i] < set.inputs->base_rows()) continue;
    throw std::invalid_argument(name + " set: sample " + std::to_string(i) + " is row " +
                                std::to_string(set.rows[i]) + " of " +
                                std::to_string(set.inputs->base_rows()));
  }
  // Check targets now: a class without an output would otherwise be found in the middle of an epoch.
  const Vector outputs = Vector::Zero(static_cast<Eigen::Index>(info.outputs.size()));
  for (std::uint64_t i = 0; i < set.size(); ++i) {
    try {
      loss.value(outputs, set.target(i));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + " set: " + set.where(i) + ": " + error.what());
    }
  }
}

// The option that goes by the error from readings.
std::string asked_for(const TrainingOptions& options) {
  switch (options.on_noise) {
    case TrainingOptions::OnNoise::skip: return "when_noise_wins = 'skip'";
    case TrainingOptions::OnNoise::average: return "when_noise_wins = 'average'";
    case TrainingOptions::OnNoise::step: break;
  }
  return "target_error " + number_text(options.target_error);
}

// Empty unless an option goes by the error from readings and this estimator does not state it.
std::string unmet_error(const TrainingOptions& options, const Estimator& estimator, const DeviceInfo& info) {
  const bool decides = options.on_noise != TrainingOptions::OnNoise::step, repeats = options.target_error > 0;
  if ((!decides && !repeats) || options.one_error) return {};
  if (repeats && options.max_repeats >= 2 && estimator.repeats() == Estimator::Repeats::dependent &&
      estimator.unstated(info).empty()) {
    return "target_error " + number_text(options.target_error) +
           " goes by the error from readings, which is not stated for the mean of several passes of " +
           std::string(estimator.name()) + ": they have remembered readings in common";
  }
  // Several passes show by themselves what they scatter by.
  if (repeats && options.max_repeats >= 2 && estimator.repeats() == Estimator::Repeats::independent)
    return {};
  if (const std::string reason = estimator.unstated(info); !reason.empty()) {
    return asked_for(options) + " goes by the error from readings, which " + std::string(estimator.name()) +
           " does not state: " + reason;
  }
  if (options.error_draws == 0)
    return asked_for(options) + " goes by the error from readings, which needs error_draws of at least 1";
  return {};
}

std::string count_text(std::uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

// Adds the reasons for which the rows of one sample cannot be used.
void add_causes(std::vector<LeftOut>& all, std::span<const Relaxation> rows,
                const std::vector<std::uint32_t>& read) {
  std::vector<LeftOut> here;
  const auto add = [&here](std::int64_t terminal, std::uint16_t flags) {
    const auto same = [&](const LeftOut& one) { return one.terminal == terminal && one.flags == flags; };
    if (std::none_of(here.begin(), here.end(), same)) here.push_back({terminal, flags, 1});
  };
  for (const Relaxation& row : rows) {
    if (row.quality.usable()) continue;
    const Quality& quality = row.quality;
    // A reading over range ends a bench's scans, and leaves the others without a verdict: it is the reason.
    const bool ended = (quality.all() & bit(Flag::over_range)) != 0;
    for (std::size_t k = 0; k < quality.terminal.size() && k < read.size(); ++k) {
      const std::uint16_t flags = quality.terminal[k];
      if (flags != 0 && !(ended && flags == bit(Flag::invalid))) add(read[k], flags);
    }
    const auto whole = static_cast<std::uint16_t>(quality.whole & ~bit(Flag::other_branch));
    for (const std::uint32_t terminal : quality.limited) add(terminal, whole);
    if (whole != 0 && quality.limited.empty()) add(-1, whole);
  }
  if (here.empty()) {
    const bool off = std::any_of(rows.begin(), rows.end(),
                                 [](const Relaxation& row) { return row.quality.has(Flag::other_branch); });
    add(-1, off ? bit(Flag::other_branch) : 0);
  }
  for (const LeftOut& one : here) {
    const auto known = std::find_if(all.begin(), all.end(), [&](const LeftOut& other) {
      return other.terminal == one.terminal && other.flags == one.flags;
    });
    if (known != all.end()) ++known->samples;
    else all.push_back(one);
  }
}

// "timed out and drifting" of the flags timed_out+drifting.
std::string words_of(std::uint16_t flags) {
  if (flags == 0) return "no gradient could be formed";
  std::string text;
  for (const char c : to_string_flags(flags)) {
    if (c == '_') text += ' ';
    else if (c == '+') text += " and ";
    else text += c;
  }
  return text;
}

// "3, 5 and 2 more".
std::string some_of(const std::vector<std::uint64_t>& samples) {
  constexpr std::size_t most = 5;
  std::string text;
  for (std::size_t i = 0; i < samples.size() && i < most; ++i)
    text += (i > 0 ? ", " : "") + std::to_string(samples[i]);
  if (samples.size() > most) text += " and " + std::to_string(samples.size() - most) + " more";
  return text;
}

}  // namespace

std::string left_out_text(std::span<const LeftOut> causes, const TerminalName& name) {
  std::string text;
  for (const LeftOut& cause : causes) {
    if (!text.empty()) text += ", ";
    text += words_of(cause.flags);
    if (cause.terminal >= 0) {
      const auto terminal = static_cast<std::uint32_t>(cause.terminal);
      text += " at " + (name ? name(terminal) : "terminal " + std::to_string(terminal));
    }
    text += " (" + count_text(cause.samples, "sample") + ")";
  }
  return text;
}

const char* to_string(BestBy by) {
  switch (by) {
    case BestBy::none: return "none";
    case BestBy::training_loss: return "training loss";
    case BestBy::validation_loss: return "validation loss";
  }
  return "unknown";
}

const char* to_string(TrainingSummary::End end) {
  using End = TrainingSummary::End;
  switch (end) {
    case End::epochs: return "epochs";
    case End::target: return "target";
    case End::patience: return "patience";
    case End::relaxations: return "relaxations";
    case End::time: return "time";
    case End::unusable: return "unusable";
    case End::unused: return "unused";
    case End::cancelled: return "cancelled";
  }
  return "unknown";
}

std::string TrainingOptions::problem() const {
  if (epochs == 0) return "epochs 0; at least 1 is needed";
  if (!(rest_rate > 0)) return "rest_rate " + number_text(rest_rate) + "; it must be > 0 (infinite: a step)";
  if (std::holds_alternative<At>(observe) && start != StartFrom::rest) {
    return "observe at a time needs start = rest: every relaxation of a sample starts as its first did";
  }
  if (!(target_loss >= 0) || std::isinf(target_loss))
    return "target_loss " + number_text(target_loss) + "; it must be finite and >= 0";
  if (!(max_left_out >= 0 && max_left_out <= 1))
    return "max_left_out " + number_text(max_left_out) + "; it must be in [0, 1]";
  if (!(max_time >= 0) || std::isinf(max_time))
    return "max_time " + number_text(max_time) + "; it must be finite and >= 0 (0: no limit)";
  if (!(target_error >= 0) || std::isinf(target_error))
    return "target_error " + number_text(target_error) + "; it must be finite and >= 0 (0: no repeats)";
  if (max_repeats == 0) return "max_repeats 0; at least 1 is needed";
  if (target_error > 0 && error_draws == 0 && max_repeats < 2)
    return "target_error " + number_text(target_error) +
           " needs standard errors: error_draws > 0, or max_repeats of at least 2";
  if (patience > 0 && validate_every == 0)
    return "patience " + std::to_string(patience) + " counts validations; set validate_every too";
  return {};
}

std::string TrainingSummary::message(const TerminalName& name) const {
  std::ostringstream text;
  switch (end) {
    case End::epochs: text << "finished"; break;
    case End::target: text << "reached the target loss"; break;
    case End::patience: text << "stopped early: validation no longer improves"; break;
    case End::relaxations: text << "stopped at the limit of relaxations"; break;
    case End::time: text << "stopped at the limit of device time"; break;
    case End::unusable: text << "stopped: every sample was left out in the last steps"; break;
    case End::unused: text << "stopped: a sample was left out in every epoch"; break;
    case End::cancelled: text << "stopped on request"; break;
  }
  text << " after " << count_text(epochs, "epoch") << ", " << count_text(steps, "step") << ", "
       << count_text(relaxations, "relaxation");
  if (!never_used.empty()) {
    text << "; " << (never_used.size() == 1 ? "sample " : "samples ") << some_of(never_used)
         << (never_used.size() == 1 ? " was" : " were") << " never used";
  }
  if (failed() && !causes.empty()) text << ": " << left_out_text(causes, name);
  if (std::isfinite(loss)) {
    text << "; loss " << loss;
    if (loss_left_out > 0)
      text << " of a part of the samples (" << loss_samples << " of " << loss_samples + loss_left_out << ")";
  } else if (epochs > 0) {
    text << "; no loss: no sample of the last epoch could be used";
  }
  if (std::isfinite(best_validation_loss)) text << "; best validation loss " << best_validation_loss;
  if (best.by == BestBy::training_loss && best.loss < loss && best.step < steps)
    text << "; best loss " << best.loss << " after " << count_text(best.step, "step");
  else if (best.by == BestBy::validation_loss && best.step < steps)
    text << " after " << count_text(best.step, "step");
  if (left_out > 0) text << "; " << count_text(left_out, "sample") << " left out";
  if (lost > 0)
    text << "; " << count_text(lost, "chain") << " off " << (lost == 1 ? "its" : "their") << " branch";
  if (skipped > 0) text << "; " << count_text(skipped, "step") << " skipped";
  return text.str();
}

Evaluation evaluate(Device& device, const Parameters& theta, const Dataset& data, const Loss& loss,
                    const EvaluationPath& path, Label::Purpose purpose, std::uint64_t step,
                    std::stop_token stop) {
  const std::vector<std::uint32_t> positions = device.info().output_positions();
  const std::vector<std::uint32_t> read = device.info().read();
  Evaluation result;
  result.outputs = Matrix::Constant(static_cast<Eigen::Index>(data.size()),
                                    static_cast<Eigen::Index>(positions.size()), nan);
  double loss_sum = 0;
  std::uint64_t correct = 0;
  constexpr std::uint64_t group = 4096;  // drives per call: enough for all cores, with little memory
  for (std::uint64_t first = 0; first < data.size(); first += group) {
    std::vector<Drive> drives(std::min(group, data.size() - first));
    for (std::size_t k = 0; k < drives.size(); ++k) {
      drives[k].theta = theta;
      drives[k].clamp = data.pattern(first + k);
      drives[k].start = path.start;
      drives[k].observe = path.observe;
      drives[k].label = {purpose, 0, step, first + k};
    }
    const auto take = [&](std::size_t k, const Relaxation& row) {
      if (!row.quality.usable()) {
        ++result.failures;
        add_causes(result.causes, {&row, 1}, read);
        return;
      }
      Vector output(static_cast<Eigen::Index>(positions.size()));
      for (std::size_t o = 0; o < positions.size(); ++o)
        output[static_cast<Eigen::Index>(o)] = row.potential[positions[o]];
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

// The device as the estimator sees it: relaxations are counted and timed, and the drift is subtracted from
// the readings. The log is made by an inner device and holds the readings as measured.
class Trainer::Counted final : public WrappingDevice {
 public:
  Counted(Device& device, State& state) : WrappingDevice(device), state_(state) {}
  /// Counts from state.relaxations again.
  void recount() { made_ = 0; }
  /// Device time since the last call. Neither time nor relaxations of an abandoned step are counted.
  double spent() { return std::exchange(spent_, 0); }
  /// One relaxation, with readings as measured.
  Relaxation raw(const Drive& drive, std::stop_token stop) {
    Relaxation found;
    inner().relax(
        {&drive, 1}, [&](std::size_t, const Relaxation& row) { found = row; }, stop);
    time(found);
    return found;
  }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    // Drives were checked against the same info already.
    pass_on(
        inner(), drives,
        [&](std::size_t index, const Relaxation& row) {
          time(row);
          const auto place = static_cast<double>(state_.relaxations + made_++);
          if (!state_.drift.begun()) {
            sink(index, row);
            return;
          }
          Relaxation corrected = row;
          state_.drift.correct(corrected, place);
          sink(index, corrected);
        },
        stop);
  }

 private:
  void time(const Relaxation& row) {
    if (!std::isfinite(row.timing.read)) return;
    // If the device's clock runs on: from the last reading to this one. If each relaxation has its own clock,
    // as where states are restored: from start to reading.
    const bool runs_on =
        !info().restores_state && state_.last_read > 0 && row.timing.start >= state_.last_read;
    spent_ += row.timing.read - (runs_on ? state_.last_read : row.timing.start);
    state_.last_read = row.timing.read;
  }
  State& state_;
  std::uint64_t made_ = 0;
  double spent_ = 0;
};

// One run of the loop.
class Trainer::Loop {
 public:
  Loop(Trainer& trainer, State& state, std::stop_token stop)
      : trainer_(trainer),
        options_(trainer.options_),
        state_(state),
        device_(trainer.device_, state),
        stop_(std::move(stop)) {
    const std::uint64_t size = trainer.task_.train.size();
    batch_ = options_.batch == 0 ? size : std::min(options_.batch, size);
    steps_per_epoch_ = (size + batch_ - 1) / batch_;
    relaxations_a_sample_ = trainer.estimator_.cost(trainer.info_);
    read_ = trainer.info_.read();
  }

  TrainingSummary run() {
    trainer_.device_.seek(state_.relaxations);
    std::optional<TrainingSummary::End> end;
    try {
      if (!state_.prepared) prepare();
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

  // A checkpoint may be between the last step of an epoch and the epoch's end (stopped during validation).
  std::uint64_t steps_into_epoch() const { return state_.step - state_.epoch * steps_per_epoch_; }

  // Depends on the state alone, so that a run that had ended does not continue when resumed.
  std::optional<End> ended() const {
    if (steps_into_epoch() == 0 && state_.epoch > 0) {
      if (options_.target_loss > 0 && state_.last_left_out == 0 && state_.last_loss < options_.target_loss)
        return End::target;
      if (options_.patience > 0 && state_.waited >= options_.patience) return End::patience;
    }
    if (options_.max_unusable_steps > 0 && state_.unusable_steps >= options_.max_unusable_steps)
      return End::unusable;
    if (options_.max_unused_epochs > 0 && steps_into_epoch() == 0 &&
        state_.epoch >= options_.max_unused_epochs && state_.unused_count > 0)
      return End::unused;
    if (state_.epoch >= options_.epochs) return End::epochs;
    if (options_.max_relaxations > 0 && steps_into_epoch() < steps_per_epoch_ &&
        static_cast<double>(state_.relaxations) + relaxations_a_sample_ * static_cast<double>(next_size()) >
            static_cast<double>(options_.max_relaxations)) {
      return End::relaxations;
    }
    if (options_.max_time > 0 && state_.time >= options_.max_time) return End::time;
    return std::nullopt;
  }

  std::uint64_t next_size() const {
    return std::min(batch_, trainer_.task_.train.size() - steps_into_epoch() * batch_);
  }

  // Lets the estimator choose its sizes, and takes the reading from which drift is measured.
  void prepare() {
    prepare_order();
    const Minibatch batch = trainer_.minibatch(state_, state_.epoch, 0);
    const std::uint64_t before = state_.relaxations;
    try {
      choose(batch);
    } catch (const Cancelled&) {
      state_.relaxations = before;  // a resumed run repeats prepare from here
      throw;
    }
  }

  void choose(const Minibatch& batch) {
    device_.recount();
    state_.relaxations +=
        trainer_.estimator_.prepare(device_, trainer_.info_, batch, *trainer_.task_.loss, stop_);
    state_.prepared = options_.reference_every == 0;
    if (state_.prepared) return;
    constexpr std::size_t averaged = 4;
    state_.reference = state_.theta;
    std::vector<Relaxation> rows;
    for (std::size_t i = 0; i < averaged; ++i) rows.push_back(relax_reference());
    state_.drift.begin(rows);
    state_.prepared = true;
  }

  Relaxation relax_reference() {
    Drive drive;
    drive.theta = state_.reference;
    drive.clamp = trainer_.task_.train.pattern(0);
    drive.start = Rest{options_.rest_rate};
    drive.observe = options_.observe;
    drive.label = {Label::Purpose::probe, 0, state_.step, 0};
    Relaxation found = device_.raw(drive, stop_);
    ++state_.relaxations;
    state_.time += device_.spent();
    return found;
  }

  // One pass over the minibatch.
  Gradient measure(const Minibatch& batch, std::vector<std::vector<Relaxation>>& rows) {
    const DeviceInfo& info = trainer_.info_;
    const Loss& loss = *trainer_.task_.loss;
    Estimator& estimator = trainer_.estimator_;
    const std::vector<Chain> chains = estimator.chains(info, batch, loss);
    device_.recount();
    rows = relax_chains(device_, chains, stop_);
    Gradient gradient = estimator.form(info, batch, loss, rows);
    const auto state = options_.one_error ? state_one_error : state_errors;
    state(gradient, estimator, info, batch, loss, rows, options_.error_draws, error_seed(batch));
    for (const std::uint32_t i : gradient.without) add_causes(causes_, rows[i], read_);
    estimator.remember(info, batch, loss, rows);
    state_.relaxations += gradient.relaxations;
    state_.time += device_.spent();
    return gradient;
  }

  std::uint64_t error_seed(const Minibatch& batch) const {
    return options_.seed * 0x9e3779b97f4a7c15u + batch.step * 0xbf58476d1ce4e5b9u + batch.repeat + 1;
  }

  // The norm of an error of a gradient in coordinates; NaN if it is not stated.
  double error_norm(const Vector& error) const {
    return error.size() == 0 ? nan : trainer_.space_.errors(*state_.theta.base, error).norm();
  }
  double norm(const Gradient& gradient) const {
    return trainer_.space_.gradient(*state_.theta.base, gradient.value).norm();
  }

  // Measures the minibatch; repeats it while the noise requires that and the budget allows it.
  Gradient measured(Minibatch& batch, std::uint32_t& repeats) {
    std::vector<std::vector<Relaxation>> rows;
    Gradient mean = measure(batch, rows);
    if (options_.start == TrainingOptions::StartFrom::last) {
      if (!(options_.target_error > 0)) batch.starts.clear();  // no repeat needs the starts
      remember(batch, rows);
    }
    repeats = 1;
    if (!(options_.target_error > 0)) return mean;
    std::vector<Gradient> passes{mean};
    while (passes.size() < options_.max_repeats && !mean.next && !passes.back().next) {
      const double error = error_norm(mean.reading_error);
      // A single pass does not show the scatter of a device without known errors.
      const bool shows =
          options_.one_error || trainer_.estimator_.repeats() == Estimator::Repeats::independent;
      if (passes.size() > 1 || std::isfinite(error) || !shows) {
        if (!(error > options_.target_error * norm(mean))) break;
      }
      if (options_.max_relaxations > 0 &&
          static_cast<double>(state_.relaxations) +
                  relaxations_a_sample_ * static_cast<double>(batch.samples.size()) >
              static_cast<double>(options_.max_relaxations))
        break;
      if (options_.max_time > 0 && state_.time >= options_.max_time) break;
      ++batch.repeat;
      passes.push_back(measure(batch, rows));
      mean =
          options_.one_error ? mean_with_one_error(passes) : mean_of(passes, trainer_.estimator_.repeats());
    }
    repeats = static_cast<std::uint32_t>(passes.size());
    return mean;
  }

  // An option that goes by the error from readings needs it.
  void require_error(const Gradient& gradient) const {
    const bool asked = options_.on_noise != TrainingOptions::OnNoise::step || options_.target_error > 0;
    if (!asked || options_.one_error || gradient.used == 0 || gradient.next ||
        gradient.reading_error.size() > 0 || trainer_.info_.deterministic)
      return;
    throw std::invalid_argument("training: step " + std::to_string(state_.step) + ": " + asked_for(options_) +
                                " goes by the error from readings, which cannot be stated: the device gives "
                                "no standard errors of the readings that " +
                                std::string(trainer_.estimator_.name()) + " uses");
  }

  // If noise exceeds the gradient: average with the gradients kept from earlier minibatches at this theta.
  void add_kept(Gradient& gradient) {
    if (gradient.used == 0 || gradient.reading_error.size() == 0) return;
    const auto weight = static_cast<double>(gradient.used);
    Vector sum = weight * gradient.value, squares = (weight * gradient.reading_error).cwiseAbs2();
    if (state_.kept > 0) {
      sum += state_.kept_sum;
      squares += state_.kept_squares;
    }
    const std::uint64_t kept = state_.kept + gradient.used;
    gradient.value = sum / static_cast<double>(kept);
    gradient.reading_error = squares.cwiseSqrt() / static_cast<double>(kept);
    // What random directions add to the mean is not kept.
    if (trainer_.estimator_.repeats() == Estimator::Repeats::independent && !options_.one_error)
      gradient.whole_error = gradient.reading_error;
    else if (state_.kept > 0) gradient.whole_error = {};
    state_.kept = kept;
    state_.kept_sum = std::move(sum);
    state_.kept_squares = std::move(squares);
  }

  void step() {
    prepare_order();
    // An abandoned step restores the state before it, so that a resumed run makes the same relaxations again.
    const std::uint64_t relaxations = state_.relaxations;
    const double time = state_.time;
    const DriftMonitor drift = state_.drift;
    const Vector remembered = options_.target_error > 0 ? trainer_.estimator_.state() : Vector();
    try {
      take_step();
    } catch (const Cancelled&) {
      if (options_.target_error > 0) trainer_.estimator_.restore(remembered);
      state_.relaxations = relaxations;
      state_.time = time;
      state_.drift = drift;
      throw;
    }
  }

  void take_step() {
    causes_.clear();
    double offset = nan;
    if (options_.reference_every > 0 && state_.step % options_.reference_every == 0) {
      const Relaxation reference = relax_reference();
      state_.drift.observe(reference, static_cast<double>(state_.relaxations - 1));
    }
    if (state_.drift.begun())
      offset = state_.drift.offset(static_cast<double>(state_.relaxations)).cwiseAbs().maxCoeff();
    Minibatch batch = trainer_.minibatch(state_, state_.epoch, steps_into_epoch());
    std::uint32_t repeats = 1;
    Gradient gradient = measured(batch, repeats);
    require_error(gradient);
    if (options_.on_noise == TrainingOptions::OnNoise::average) add_kept(gradient);

    const std::shared_ptr<const Vector> theta_before = state_.theta.base;
    StepReport report = learn(gradient);
    report.offset = offset;
    report.repeats = repeats;
    report.asymmetry = gradient.asymmetry;
    report.left_out = static_cast<std::uint32_t>(gradient.left_out);
    report.samples = static_cast<std::uint32_t>(gradient.used);
    report.causes = causes_;
    report.lost = static_cast<std::uint32_t>(gradient.lost);
    report.worst = gradient.worst;
    report.relaxations = state_.relaxations;
    state_.left_out += gradient.left_out;
    state_.epoch_left_out += gradient.left_out;
    state_.lost += gradient.lost;
    state_.skipped += report.skipped;
    count(batch, gradient);
    ++state_.step;
    if (steps_into_epoch() == steps_per_epoch_ && trainer_.task_.validation.size() == 0)
      judge_epoch(gradient, theta_before);
    state_.reported = false;
    for (TrainingObserver* observer : trainer_.observers_) observer->on_step(report, *state_.theta.base);
  }

  // The sums of the epoch, and which samples have been of use.
  void count(const Minibatch& batch, const Gradient& gradient) {
    if (gradient.used > 0) {
      const double weight = static_cast<double>(gradient.used) / static_cast<double>(batch_);
      state_.loss_sum += weight * gradient.loss;
      state_.correct_sum += weight * gradient.correct;
      state_.weight += weight;
      state_.epoch_used += gradient.used;
      state_.unusable_steps = 0;
    } else {
      ++state_.unusable_steps;
    }
    if (!causes_.empty()) last_causes_ = causes_;
    if (state_.unused.empty()) return;
    std::vector<bool> used(batch.samples.size(), true);
    for (const std::uint32_t i : gradient.without) used[i] = false;
    for (std::size_t i = 0; i < used.size(); ++i) {
      if (used[i]) state_.used(batch.samples[i]);
    }
  }

  // Without a validation set: are these the best parameters so far? Goes by what was measured for the
  // gradients, and costs no relaxation.
  void judge_epoch(const Gradient& gradient, const std::shared_ptr<const Vector>& theta_before) {
    if (state_.weight == 0 || state_.epoch_left_out > 0) return;
    const double loss = state_.loss_sum / state_.weight;
    Best& best = state_.best;
    if (!std::isfinite(loss) || (best.by != BestBy::none && loss >= best.loss)) return;
    // With one step an epoch the loss belongs to the parameters before the step, or to those that a search
    // found and moved to.
    const bool before = steps_per_epoch_ == 1 && (gradient.at_theta || !gradient.next);
    best = {BestBy::training_loss, loss, before ? state_.step - 1 : state_.step, state_.epoch};
    state_.best_theta = before ? theta_before : state_.theta.base;
  }

  // Parts of the parameters that fit in a core's cache; independent of the number of threads.
  static constexpr std::size_t part_size = 4096;
  template <class Body>
  void for_parts(const Body& body) const {
    const std::size_t size = trainer_.space_.size(), parts = (size + part_size - 1) / part_size;
    for_each_index(parts, parts > 2 ? options_.threads : 1, [&](std::size_t k) {
      body(k, Part{k * part_size, std::min(size, (k + 1) * part_size)});
    });
  }

  // A part's gradient in coordinates. Computed again at each use, which is faster than reading it from
  // memory.
  Eigen::Map<const Vector> in_coordinates(Part part, const Vector& gradient,
                                          std::array<double, part_size>& room) const {
    trainer_.space_.gradient(part, state_.theta.base->data() + part.begin, gradient.data() + part.begin,
                             room.data());
    return {room.data(), static_cast<Eigen::Index>(part.end - part.begin)};
  }

  double norm_in_coordinates(const Vector& gradient) const {
    std::vector<double> squares(trainer_.space_.size() / part_size + 1, 0.0);
    for_parts([&](std::size_t k, Part part) {
      std::array<double, part_size> room;
      squares[k] = in_coordinates(part, gradient, room).squaredNorm();
    });
    return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
  }

  Parameters stepped(const Vector& gradient, double norm, double factor) {
    const Vector& theta = *state_.theta.base;
    Vector moved(theta.size());
    DigestOfParts digest(moved, part_size);
    state_.optimizer->begin(norm, factor);
    for_parts([&](std::size_t k, Part part) {
      std::array<double, part_size> room, dw;
      state_.optimizer->move(part, in_coordinates(part, gradient, room).data(), dw.data());
      trainer_.space_.stepped(part, theta.data() + part.begin, dw.data(), moved.data() + part.begin);
      digest.made(k);
    });
    const std::uint64_t value = digest.value();
    return {std::make_shared<const Vector>(std::move(moved)), {}, value};
  }

  // Steps theta, or skips the step if the gradient cannot be used.
  StepReport learn(const Gradient& gradient) {
    const ParameterSpace& space = trainer_.space_;
    const double factor =
        trainer_.optimizer_.schedule.factor(state_.step, options_.epochs * steps_per_epoch_);
    StepReport report;
    report.step = state_.step;
    report.epoch = state_.epoch;
    report.loss = gradient.loss;
    report.correct = gradient.correct;
    report.rate = trainer_.optimizer_.rate * factor;
    report.theta_before = state_.theta.digest;
    report.gradient_norm = norm_in_coordinates(gradient.value);
    report.reading_error = error_norm(gradient.reading_error);
    report.whole_error = error_norm(gradient.whole_error);
    const auto size = static_cast<double>(gradient.used + gradient.left_out);
    const bool usable =
        gradient.used > 0 && static_cast<double>(gradient.left_out) <= options_.max_left_out * size;
    // The full batch was measured below the target at this theta. A further step could only lose that, for
    // example over a fold.
    const bool reached = steps_per_epoch_ == 1 && gradient.at_theta && gradient.left_out == 0 &&
                         options_.target_loss > 0 && gradient.loss < options_.target_loss;
    if (reached) {
      report.theta_after = state_.theta.digest;
      return report;
    }
    // Also false if the error is not known, which a deterministic device alone is allowed.
    const bool noise_wins =
        options_.on_noise != TrainingOptions::OnNoise::step && report.reading_error > report.gradient_norm;
    if (gradient.next && usable) {
      state_.theta = Parameters::of(space.projected(*gradient.next));
      state_.kept = 0;
    } else if (usable && std::isfinite(report.gradient_norm) && !noise_wins) {
      state_.kept = 0;
      state_.theta = stepped(gradient.value, report.gradient_norm, factor);
    } else {
      report.skipped = 1;
    }
    report.theta_after = state_.theta.digest;
    return report;
  }

  void remember(const Minibatch& batch, const std::vector<std::vector<Relaxation>>& rows) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (!rows[i][0].quality.usable()) continue;
      std::shared_ptr<Vector>& last = trainer_.last_[batch.samples[i]];
      // Reuse the memory if nobody else refers to it.
      if (last && last.use_count() == 1) *last = rows[i][0].potential;
      else last = std::make_shared<Vector>(rows[i][0].potential);
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
    report.loss = state_.weight > 0 ? state_.loss_sum / state_.weight : nan;
    report.correct = state_.weight > 0 ? state_.correct_sum / state_.weight : nan;
    report.samples = state_.epoch_used;
    report.left_out = state_.epoch_left_out;
    const bool last =
        state_.epoch + 1 >= options_.epochs ||
        (options_.target_loss > 0 && state_.epoch_left_out == 0 && report.loss < options_.target_loss);
    const bool due = options_.validate_every > 0 && (state_.epoch + 1) % options_.validate_every == 0;
    // Before the state changes: if stopped during validation, the state is that after the last step.
    if (trainer_.task_.validation.size() > 0 && (due || last)) validate(report);

    report.best_so_far = state_.best;
    report.best = state_.best.by != BestBy::none && state_.best.epoch == state_.epoch;
    state_.last_loss = report.loss;
    state_.last_used = std::exchange(state_.epoch_used, 0);
    state_.loss_sum = state_.correct_sum = state_.weight = 0;
    state_.last_left_out = std::exchange(state_.epoch_left_out, 0);
    ++state_.epoch;
    state_.reported = false;
    for (TrainingObserver* observer : trainer_.observers_) observer->on_epoch(report);
    if (options_.checkpoint_every > 0 && state_.epoch % options_.checkpoint_every == 0) report_checkpoint();
  }

  void validate(EpochReport& report) {
    const Dataset& set = trainer_.task_.validation;
    const Evaluation evaluation = evaluate(trainer_.device_, state_.theta, set, *trainer_.task_.loss,
                                           {Rest{options_.rest_rate}, options_.observe},
                                           Label::Purpose::validation, state_.step, stop_);
    state_.relaxations += set.size();
    state_.last_read = 0;  // validation time is not training time
    report.validated = true;
    report.validation_loss = evaluation.loss;
    report.validation_accuracy = evaluation.accuracy;
    report.validation_left_out = evaluation.failures;
    // A loss of some of the samples is not comparable with one of all.
    const bool whole = evaluation.failures == 0 && std::isfinite(evaluation.loss);
    if (whole && (state_.best.by == BestBy::none || evaluation.loss < state_.best.loss)) {
      state_.best = {BestBy::validation_loss, evaluation.loss, state_.step, state_.epoch};
      state_.best_theta = state_.theta.base;
      state_.waited = 0;
    } else {
      ++state_.waited;
    }
  }

  void report_checkpoint() {
    Checkpoint made = state_.checkpoint();
    made.estimator = trainer_.estimator_.state();
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
    result.lost = state_.lost;
    result.time = state_.time;
    result.skipped = state_.skipped;
    result.loss = state_.last_loss;
    result.loss_samples = state_.last_used;
    result.loss_left_out = state_.last_left_out;
    result.theta = *state_.theta.base;
    result.best = state_.best;
    result.best_theta = state_.best.by != BestBy::none ? *state_.best_theta : result.theta;
    result.best_validation_loss = state_.best.by == BestBy::validation_loss ? state_.best.loss : nan;
    result.never_used = never_used();
    result.causes = last_causes_;
    return result;
  }

  // Samples that were tried and never used. In the first epoch some may not have been tried yet.
  std::vector<std::uint64_t> never_used() const {
    std::vector<std::uint64_t> samples;
    if (state_.unused_count == 0) return samples;
    const std::uint64_t size = trainer_.task_.train.size();
    std::vector<bool> tried(size, state_.epoch > 0);
    const std::uint64_t made = state_.epoch > 0 ? 0 : std::min(size, steps_into_epoch() * batch_);
    for (std::uint64_t k = 0; k < made && k < state_.order.size(); ++k) tried[state_.order[k]] = true;
    for (std::uint64_t i = 0; i < size; ++i) {
      if (tried[i] && state_.unused[i]) samples.push_back(i);
    }
    return samples;
  }

  Trainer& trainer_;
  const TrainingOptions& options_;
  State& state_;
  std::vector<std::uint32_t> read_;
  // Why samples were left out: in the present step, and in the last one that left any out.
  std::vector<LeftOut> causes_, last_causes_;
  Counted device_;
  std::stop_token stop_;
  std::uint64_t batch_ = 0, steps_per_epoch_ = 0;
  double relaxations_a_sample_ = 0;
};

Trainer::Trainer(Device& device, Estimator& estimator, const Task& task, const ParameterSpace& space,
                 const OptimizerOptions& optimizer, const TrainingOptions& options)
    : device_(device),
      estimator_(estimator),
      task_(task),
      space_(space),
      optimizer_(optimizer),
      options_(options) {
  const DeviceInfo& info = device.info();
  if (const std::string problem = options.problem(); !problem.empty())
    throw std::invalid_argument("training: " + problem);
  if (const std::string problem = optimizer.problem(); !problem.empty())
    throw std::invalid_argument("optimizer: " + problem);
  if (!task.loss) throw std::invalid_argument("task '" + task.name + "': it has no loss");
  if (task.train.size() == 0)
    throw std::invalid_argument("task '" + task.name + "': the training set is empty");
  if (space.size() != info.parameters.size()) {
    throw std::invalid_argument("parameter space of " + std::to_string(space.size()) +
                                " parameters; the device has " + std::to_string(info.parameters.size()));
  }
  info_ = space.narrowed(info);
  if (const std::string unmet = estimator.unmet_needs(info_); !unmet.empty()) {
    throw Unsupported(std::string(estimator.name()) + ": " + unmet);
  }
  if (const std::string unmet = unmet_error(options, estimator, info_); !unmet.empty())
    throw std::invalid_argument("training: " + unmet);
  check_set(task.train, "training", info, *task.loss);
  if (task.validation.size() > 0) check_set(task.validation, "validation", info, *task.loss);
  // It is met after training alone, when it is too late.
  if (task.test.size() > 0) check_set(task.test, "test", info, *task.loss);
  if (options.patience > 0 && task.validation.size() == 0) {
    throw std::invalid_argument("training: patience " + std::to_string(options.patience) +
                                " needs a validation set; there is none");
  }
  if (options.start != TrainingOptions::StartFrom::last) return;
  if (!info.restores_state)
    throw Unsupported("training: starting from the last state needs a device that restores states");
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
  batch.threads = options_.threads;
  batch.observe = options_.observe;
  const std::uint32_t variants = task_.train.inputs->variants();
  const bool restart = options_.restart_every > 0 && epoch % options_.restart_every == 0;
  batch.samples.reserve(count);
  batch.starts.reserve(count);
  for (std::uint64_t k = first; k < first + count; ++k) {
    const std::uint64_t sample = state.order[k];
    task_.train.expect(sample);
    if (!last_.empty()) prefetch_states(last_, std::span(state.order).subspan(k, first + count - k));
    batch.samples.push_back(sample);
    if (variants > 1) {
      const double drawn = uniform_at(options_.seed, epoch, static_cast<std::uint32_t>(sample));
      batch.variants.push_back(static_cast<std::uint32_t>(drawn * variants));
    }
    Start start = Rest{options_.rest_rate};
    if (options_.start == TrainingOptions::StartFrom::present) start = Present{};
    if (options_.start == TrainingOptions::StartFrom::last && !restart && last_[sample])
      start = From{last_[sample]};
    batch.starts.push_back(std::move(start));
  }
  return batch;
}

TrainingSummary Trainer::run_from(State& state, std::stop_token stop) {
  return Loop(*this, state, std::move(stop)).run();
}

TrainingSummary Trainer::run(const Vector& theta, std::stop_token stop) {
  if (static_cast<std::size_t>(theta.size()) != space_.size()) {
    throw std::invalid_argument("training: " + std::to_string(theta.size()) +
                                " parameters to begin with; the device has " + std::to_string(space_.size()));
  }
  std::fill(last_.begin(), last_.end(), nullptr);
  State state;
  state.theta = Parameters::of(space_.projected(theta));
  state.optimizer = make_optimizer(optimizer_, space_);
  state.unused.assign(task_.train.size(), true);
  state.unused_count = task_.train.size();
  return run_from(state, std::move(stop));
}

TrainingSummary Trainer::resume(const Checkpoint& from, std::stop_token stop) {
  if (static_cast<std::size_t>(from.theta.size()) != space_.size()) {
    throw std::invalid_argument("checkpoint: " + std::to_string(from.theta.size()) +
                                " parameters; the device has " + std::to_string(space_.size()));
  }
  State state;
  state.step = from.step;
  state.epoch = from.epoch;
  state.relaxations = from.relaxations;
  state.theta = Parameters::of(from.theta);
  state.optimizer = make_optimizer(optimizer_, space_);
  state.optimizer->restore(from.optimizer);
  state.restore(from.trainer, task_.train.size());
  // A run that ended since nothing could be used is resumed when that was mended: it is tried anew.
  if (options_.max_unusable_steps > 0 && state.unusable_steps >= options_.max_unusable_steps)
    state.unusable_steps = 0;
  estimator_.restore(from.estimator);
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
    throw std::invalid_argument("remember: sample " + std::to_string(sample) + " of " +
                                std::to_string(last_.size()));
  }
  last_[sample] = potential ? std::make_shared<Vector>(*potential) : nullptr;
}

}  // namespace ness
