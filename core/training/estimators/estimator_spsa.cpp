#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/perturbation_size.hpp"
#include "estimators/perturbed_relaxations.hpp"
#include "estimators/gradient_sum.hpp"
#include "ness/device/random.hpp"
#include "ness/device/number_text.hpp"
#include "estimators/swings.hpp"

namespace ness {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t direction_seed = 0x73707361;  // random stream of the directions

// The sign of a parameter in direction number `ordinal`.
double sign_of(std::uint64_t seed, std::uint64_t ordinal, std::uint32_t parameter) {
  return uniform_at(seed ^ direction_seed, ordinal, parameter) < 0.5 ? -1 : 1;
}

// theta stepped along a direction (way = +1) or against it (-1).
Parameters along(const Parameters& theta, const std::vector<Swing>& all, std::uint64_t seed,
                 std::uint64_t ordinal, double way) {
  std::vector<std::pair<std::uint32_t, double>> changes;
  changes.reserve(all.size());
  for (const Swing& swing : all)
    changes.emplace_back(swing.parameter,
                         way * sign_of(seed, ordinal, swing.parameter) > 0 ? swing.up : swing.down);
  return with_all(theta, std::move(changes));
}

// Mean losses of a minibatch at several thetas, over the samples that settle at all of them.
class LossProbe {
 public:
  LossProbe(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
            std::stop_token stop)
      : device_(device),
        batch_(batch),
        loss_(loss),
        stop_(std::move(stop)),
        outputs_(info.output_positions()),
        settled_(batch.samples.size(), true) {}

  void measure(const Parameters& theta) {
    std::vector<Drive> drives(batch_.samples.size());
    for (std::size_t i = 0; i < drives.size(); ++i) {
      drives[i] = batch_.free_drive(i);
      drives[i].theta = theta;
      drives[i].label.purpose = Label::Purpose::probe;
    }
    std::vector<Found> found(drives.size());
    device_.relax(
        drives,
        [&](std::size_t i, const Relaxation& row) {
          ++relaxations_;
          settled_[i] = settled_[i] && row.quality.usable();
          found[i] = loss_of(i, row);
        },
        stop_);
    found_.push_back(std::move(found));
  }

  std::uint64_t relaxations() const { return relaxations_; }
  bool any_settled() const { return std::find(settled_.begin(), settled_.end(), true) != settled_.end(); }

  // Mean loss of measurement `k`.
  double mean(std::size_t k) const {
    double sum = 0, used = 0;
    for (std::size_t i = 0; i < settled_.size(); ++i) {
      if (!settled_[i]) continue;
      sum += found_[k][i].loss;
      used += 1;
    }
    return sum / used;
  }
  // Its standard deviation, according to the errors of the readings.
  double error(std::size_t k) const {
    double sum = 0, used = 0;
    for (std::size_t i = 0; i < settled_.size(); ++i) {
      if (!settled_[i]) continue;
      sum += found_[k][i].variance;
      used += 1;
    }
    return std::sqrt(sum) / used;
  }

 private:
  struct Found {
    double loss = 0, variance = 0;
  };
  Found loss_of(std::size_t i, const Relaxation& row) const {
    Vector values(static_cast<Eigen::Index>(outputs_.size())), slope;
    for (std::size_t k = 0; k < outputs_.size(); ++k)
      values[static_cast<Eigen::Index>(k)] = row.potential[outputs_[k]];
    Found found{loss_.value(values, batch_.target(i), &slope), 0};
    if (row.sigma.size() == 0) return found;
    for (std::size_t k = 0; k < outputs_.size(); ++k)
      found.variance += std::pow(slope[static_cast<Eigen::Index>(k)] * row.sigma[outputs_[k]], 2);
    return found;
  }

  Device& device_;
  const Minibatch& batch_;
  const Loss& loss_;
  std::stop_token stop_;
  std::vector<std::uint32_t> outputs_;
  std::vector<bool> settled_;
  std::vector<std::vector<Found>> found_;
  std::uint64_t relaxations_ = 0;
};

class Spsa final : public PerturbationEstimator {
 public:
  Spsa(const SpsaOptions& options, std::uint64_t seed)
      : PerturbationEstimator("spsa", options.perturbations), options_(options), seed_(seed), c_(options.c) {
    if (!(options.c >= 0) || std::isinf(options.c))
      throw std::invalid_argument("spsa: c " + number_text(options.c) +
                                  "; it must be finite and >= 0 (0: calibrated)");
    if (!(options.gamma >= 0) || std::isinf(options.gamma))
      throw std::invalid_argument("spsa: gamma " + number_text(options.gamma) +
                                  "; it must be finite and >= 0");
    if (options.directions == 0) throw std::invalid_argument("spsa: directions 0; at least 1 is needed");
    if (!(options.block >= 0) || std::isinf(options.block))
      throw std::invalid_argument("spsa: block " + number_text(options.block) +
                                  "; it must be finite and >= 0");
  }

  std::string_view name() const override { return "spsa"; }
  std::string unmet_needs(const DeviceInfo& info) const override { return unmet_by_outputs(info); }
  double cost(const DeviceInfo& info) const override { return relaxations(info, 2.0 * options_.directions); }

  std::uint64_t prepare(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                        std::stop_token stop) override {
    check_blocking(batch);
    const bool calibrates = options_.c == 0;
    if (!calibrates && !options_.blocking) return 0;
    LossProbe probe(device, info, batch, loss, std::move(stop));
    for (std::size_t i = 0; i < quiet_losses; ++i) probe.measure(batch.theta);
    const double trial = std::min(0.1, largest_swing(info) / 2);
    if (calibrates) {
      for (const double size : {trial, 2 * trial}) {
        const std::vector<Swing> all = swings("spsa", info, batch.theta.values(), size);
        for (std::size_t d = 0; d < trial_directions; ++d) {
          for (const double way : {1.0, -1.0})
            probe.measure(along(batch.theta, all, seed_, calibration_ordinal + d, way));
        }
      }
    }
    if (!probe.any_settled())
      throw std::runtime_error(
          "spsa: no sample settled near the parameters that training begins with, so that the noise of the "
          "loss cannot be measured; give c, without blocking");
    scatter_ = loss_scatter(probe);
    if (calibrates) c_ = calibrated(probe, trial, std::min(0.5, largest_swing(info)));
    previous_.reset();
    return probe.relaxations();
  }

  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    GradientSum total(info, batch, loss, rows);
    const std::vector<Vector> each = directional(info, batch, loss, rows, total);
    Vector sum = Vector::Zero(static_cast<Eigen::Index>(info.parameters.size()));
    for (const Vector& one : each) sum += one / static_cast<double>(each.size());
    Gradient gradient = total.finish(sum);
    gradient.at_theta = relaxes_freely();
    if (gradient.used > 0 && gradient.left_out == 0 && risen(batch, gradient.loss))
      gradient.next = previous_->theta;
    return gradient;
  }

  Repeats repeats() const override { return Repeats::random; }

  // Several directions scatter by themselves. For one: with signs s, D = sum_j s_j g_j + e and an error e of
  // the readings, a parameter's estimate s_i D has the second moment E[D^2] = |g|^2 + var e (Spall 1992,
  // section III), so that all m of them scatter by m E[D^2] - |g|^2 = (m - 1) E[D^2] + var e, where m var e
  // is the square of the readings' error.
  Vector whole_error(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                     std::span<const std::vector<Relaxation>> rows, const Gradient& gradient,
                     const Vector& reading_error) const override {
    if (options_.directions > 1) {
      GradientSum total(info, batch, loss, rows);
      const std::vector<Vector> each = directional(info, batch, loss, rows, total);
      const auto used = static_cast<double>(gradient.used);
      Vector sum = Vector::Zero(gradient.value.size());
      for (const Vector& one : each) sum += one / static_cast<double>(each.size());
      return scatter_of(each, sum) / used;
    }
    if (reading_error.size() == 0) return {};
    const auto m = static_cast<double>(swings_of(info, batch).size());
    return (((m - 1) * gradient.value.cwiseAbs2() + reading_error.cwiseAbs2()) / std::max(m, 1.0))
        .cwiseSqrt();
  }

  void remember(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) override {
    if (!options_.blocking) return;
    const Gradient gradient = form(info, batch, loss, rows);
    if (gradient.used == 0 || gradient.left_out > 0 || gradient.next) return;
    previous_ = Previous{gradient.loss, batch.theta.values()};
  }

  // State: c and the scatter of the loss; with blocking also the loss and parameters to return to.
  Vector state() const override {
    if (c_ == 0) return {};
    Vector all(2 + (previous_ ? 1 + previous_->theta.size() : 0));
    all.head(2) << c_, scatter_;
    if (previous_) all.tail(all.size() - 2) << previous_->loss, previous_->theta;
    return all;
  }
  void restore(const Vector& state) override {
    if (state.size() == 1 || state.size() == 3 ||
        (state.size() > 0 && !(state[0] > 0 && std::isfinite(state[0])))) {
      throw std::invalid_argument("spsa: " + std::to_string(state.size()) +
                                  " numbers that are no state of it were recorded");
    }
    // A given c does not depend on the state.
    c_ = state.size() == 0 || options_.c > 0 ? options_.c : state[0];
    scatter_ = state.size() == 0 ? nan : state[1];
    previous_.reset();
    if (state.size() > 3) previous_ = Previous{state[2], state.tail(state.size() - 3)};
  }

 private:
  static constexpr std::size_t quiet_losses = 4, trial_directions = 4;
  static constexpr std::uint64_t most_directions = 1u << 20;  // per step, including repeats
  static constexpr std::uint64_t calibration_ordinal = std::uint64_t{1} << 63;

  struct Previous {
    double loss = 0;
    Vector theta;
  };

  bool starts_afresh() const override { return true; }
  // The free relaxation is needed only to observe drift or for blocking.
  bool relaxes_freely() const override {
    return options_.blocking || options_.perturbations.cancel_drift ||
           options_.perturbations.references.value_or(0) > 0;
  }

  // Losses of different samples cannot show whether a step was good.
  void check_blocking(const Minibatch& batch) const {
    if (!options_.blocking) return;
    if (batch.samples.size() != batch.data->size()) {
      throw std::invalid_argument(
          "spsa: blocking compares the losses of successive steps over the same samples, but a minibatch "
          "has " +
          std::to_string(batch.samples.size()) + " of " + std::to_string(batch.data->size()) +
          "; train on all at each step, or without blocking");
    }
    if (!batch.variants.empty())
      throw std::invalid_argument(
          "spsa: blocking compares the losses of successive steps over the same patterns, but they are drawn "
          "from variants; train without blocking");
  }

  bool risen(const Minibatch& batch, double loss) const {
    if (!options_.blocking || !previous_) return false;
    if (!std::isfinite(scatter_))
      throw std::invalid_argument(
          "spsa: blocking needs the scatter of the loss, which is measured before the first step (prepare)");
    return loss > previous_->loss + options_.block * scatter_ && previous_->theta != batch.theta.values();
  }

  static double loss_scatter(const LossProbe& probe) {
    double mean = 0, squares = 0, known = 0;
    for (std::size_t k = 0; k < quiet_losses; ++k) {
      mean += probe.mean(k) / quiet_losses;
      known += probe.error(k) / quiet_losses;
    }
    for (std::size_t k = 0; k < quiet_losses; ++k) squares += std::pow(probe.mean(k) - mean, 2);
    return std::max(std::sqrt(squares / (quiet_losses - 1)), known);
  }

  double calibrated(const LossProbe& probe, double trial, double most) const {
    Vector slopes[2];
    for (std::size_t size = 0; size < 2; ++size) {
      slopes[size].resize(trial_directions);
      for (std::size_t d = 0; d < trial_directions; ++d) {
        const std::size_t up = quiet_losses + 2 * (size * trial_directions + d);
        slopes[size][static_cast<Eigen::Index>(d)] =
            (probe.mean(up) - probe.mean(up + 1)) / (2 * trial * static_cast<double>(1 + size));
      }
    }
    // Noise of (L+ - L-) / 2 at size 1, in each direction.
    const double noise = scatter_ / std::sqrt(2.0) * std::sqrt(static_cast<double>(trial_directions));
    // Spall's rule, c about equal to the scatter, is the lower bound. Below 1e-4 the settling bounds exceed
    // the gain.
    return best_perturbation_size(slopes[0], slopes[1], trial, noise, 2,
                                  std::clamp(scatter_, std::min(1e-4, most), most), most);
  }

  std::uint64_t ordinal(const Minibatch& batch, std::size_t direction) const {
    return batch.step * most_directions + std::uint64_t{batch.repeat} * options_.directions + direction;
  }

  std::vector<Swing> swings_of(const DeviceInfo& info, const Minibatch& batch) const {
    if (c_ == 0)
      throw std::invalid_argument(
          "spsa: c 0 is calibrated before the first step (prepare); for a gradient by itself c has to be "
          "given");
    return swings("spsa", info, batch.theta.values(),
                  c_ / std::pow(static_cast<double>(batch.step) + 1, options_.gamma));
  }

  // The gradient from each direction, times the number of samples used; the samples are counted in `total`.
  std::vector<Vector> directional(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                                  std::span<const std::vector<Relaxation>> rows, GradientSum& total) const {
    const SortedRows sorted = sort_rows(info, batch, *plan(info, batch, loss), rows);
    total.lose(sorted.lost);
    std::vector<const Sample*> used;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (sorted.samples[i]) used.push_back(&*sorted.samples[i]);
      else total.leave_out(i);
    }
    Vector differences = Vector::Zero(options_.directions);
    for (const Sample* sample : used) {
      double sum = 0, correct = 0;
      for (std::size_t k = 0; k < sample->perturbations.size(); ++k) {
        const double here = total.loss_of(sample->index, sample->potential[k]);
        differences[static_cast<Eigen::Index>(k / 2)] += k % 2 == 0 ? here : -here;
        sum += here;
        correct += total.correct(sample->index, sample->potential[k]) ? 1 : 0;
      }
      const auto all = static_cast<double>(sample->perturbations.size());
      if (sample->free != nullptr) total.use(sample->index);
      else total.use(sum / all, correct / all);
    }
    const std::vector<Swing> all = swings_of(info, batch);
    std::vector<Vector> each(options_.directions,
                             Vector::Zero(static_cast<Eigen::Index>(info.parameters.size())));
    for (std::size_t d = 0; d < each.size() && !used.empty(); ++d) {
      for (const Swing& swing : all) {
        const double sign = sign_of(seed_, ordinal(batch, d), swing.parameter);
        double step = 0;
        for (const Sample* sample : used) {
          step += swing.achieved(*sample->perturbations[2 * d], sign > 0 ? swing.up : swing.down) -
                  swing.achieved(*sample->perturbations[2 * d + 1], sign > 0 ? swing.down : swing.up);
        }
        step /= static_cast<double>(used.size());
        // The source did not move, or moved the other way: use the requested step.
        if (!(step * sign > 0)) step = sign * (swing.coordinate(swing.up) - swing.coordinate(swing.down));
        each[d][swing.parameter] = swing.slope(differences[static_cast<Eigen::Index>(d)] / step);
      }
    }
    return each;
  }

  static Vector scatter_of(const std::vector<Vector>& each, const Vector& mean) {
    Vector squares = Vector::Zero(mean.size());
    for (const Vector& one : each) squares += (one - mean).cwiseAbs2();
    const auto count = static_cast<double>(each.size());
    return (squares / (count * (count - 1))).cwiseSqrt();
  }

  class DirectionPlan final : public PerturbationPlan {
   public:
    explicit DirectionPlan(std::vector<Parameters> thetas) : thetas_(std::move(thetas)) {}
    std::size_t perturbations(std::size_t) const override { return thetas_.size(); }
    bool impose(Drive& drive, std::size_t, std::size_t k, const ChainSoFar&) const override {
      drive.theta = thetas_[k];
      return true;
    }

   private:
    std::vector<Parameters> thetas_;
  };
  std::unique_ptr<const PerturbationPlan> plan(const DeviceInfo& info, const Minibatch& batch,
                                               const Loss&) const override {
    check_blocking(batch);
    const std::vector<Swing> all = swings_of(info, batch);
    std::vector<Parameters> thetas;
    for (std::size_t d = 0; d < options_.directions; ++d) {
      for (const double way : {1.0, -1.0})
        thetas.push_back(along(batch.theta, all, seed_, ordinal(batch, d), way));
    }
    return std::make_unique<DirectionPlan>(std::move(thetas));
  }

  SpsaOptions options_;
  std::uint64_t seed_;
  double c_;              // 0: not calibrated yet
  double scatter_ = nan;  // standard deviation of the loss of a minibatch
  std::optional<Previous> previous_;
};

}  // namespace

std::unique_ptr<Estimator> spsa(const SpsaOptions& options, std::uint64_t seed) {
  return std::make_unique<Spsa>(options, seed);
}

EstimatorMaker read_spsa(Keys& keys) {
  SpsaOptions options;
  keys.number("c", options.c, Number::not_negative,
              {"its scale",
               "step of all parameters at once, c / (k + 1)^gamma at step k; 0: calibrated before the first "
               "step"});
  keys.number("gamma", options.gamma, Number::not_negative,
              {"", "exponent of k in that step: how fast it shrinks"});
  keys.whole("directions", options.directions, 1, {"", "random directions averaged a step"});
  keys.flag("blocking", options.blocking, {"", "a step after which the loss has risen is taken back"});
  keys.number("block", options.block, Number::not_negative,
              {"standard deviations of the loss", "by which it has to rise for a step to be taken back"});
  read_perturbations(keys, options.perturbations);
  return [options](const EstimatorContext& context) { return spsa(options, context.seed); };
}

}  // namespace ness
