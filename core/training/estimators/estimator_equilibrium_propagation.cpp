#include <cmath>
#include <stdexcept>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/costate_estimator.hpp"
#include "ness/device/random.hpp"
#include "estimators/nudge_size.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

using Form = EquilibriumPropagationOptions::Form;

constexpr std::uint64_t sign_seed = 0x7369676e;  // random stream of the signs

const char* name_of(Form form) {
  switch (form) {
    case Form::one_sided: return "equilibrium-propagation-one-sided";
    case Form::centred: return "equilibrium-propagation-centred";
    case Form::random_sign: return "equilibrium-propagation-random-sign";
    case Form::richardson: return "equilibrium-propagation-richardson";
  }
  throw std::invalid_argument("equilibrium propagation: a form that there is not");
}

class EquilibriumPropagation final : public CostateEstimator {
 public:
  EquilibriumPropagation(std::shared_ptr<const Model> model, const EquilibriumPropagationOptions& options)
      : CostateEstimator(name_of(options.form), std::move(model), options.perturbations, options.law),
        beta_(options.beta, "equilibrium propagation"),
        nudge_(options.nudge),
        form_(options.form) {
    if (!(options.nudge >= 0) || std::isinf(options.nudge)) {
      throw std::invalid_argument("equilibrium propagation: nudge " + number_text(options.nudge) +
                                  "; it must be finite and >= 0 (0: beta says it)");
    }
  }

  std::uint64_t prepare(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                        std::stop_token stop) override {
    if (!beta_.automatic() || nudge_ > 0) return 0;
    const auto measure = [&](const Minibatch& few, double beta, std::uint64_t& relaxations) {
      beta_.choose(beta);
      const Probed probed = probe(device, info, few, loss, stop);
      relaxations += probed.relaxations;
      return probed.costates;
    };
    const NudgeSize best = best_nudge(device, info, batch, loss, error(), measure, stop);
    beta_.choose(best.beta);
    return best.relaxations;
  }
  Repeats repeats() const override {
    return form_ == Form::random_sign ? Repeats::random : Repeats::independent;
  }
  Vector whole_error(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                     std::span<const std::vector<Relaxation>> rows, const Gradient& gradient,
                     const Vector& reading_error) const override;
  Vector state() const override { return beta_.state(); }
  void restore(const Vector& state) override { beta_.restore(state, name()); }

 private:
  // One perturbation: its nudge, and the weight of its shift in the costate, in units of 1 / beta.
  struct Phase {
    double sign, share, weight;
  };
  std::vector<Phase> phases(const Minibatch& batch, std::size_t i) const {
    switch (form_) {
      case Form::one_sided: return {{-1, 1, -1}};
      case Form::centred: return {{-1, 1, -0.5}, {1, 1, 0.5}};
      case Form::random_sign: {
        const auto channel = static_cast<std::uint32_t>(
            (batch.samples[i] ^ (batch.samples[i] >> 28) ^ (std::uint64_t{batch.repeat} << 20)) &
            ((1u << 28) - 1));
        const double sign = uniform_at(sign_seed, batch.step, channel) < 0.5 ? -1 : 1;
        return {{sign, 1, sign}};
      }
      // D(beta) = (mu+ - mu-) / (2 beta); (4 D(beta / 2) - D(beta)) / 3.
      case Form::richardson:
        return {{-1, 1, 1.0 / 6}, {1, 1, -1.0 / 6}, {1, 0.5, 4.0 / 3}, {-1, 0.5, -4.0 / 3}};
    }
    return {};
  }

  NudgeError error() const {
    switch (form_) {
      case Form::one_sided:
      case Form::random_sign: return {1, std::sqrt(2.0)};
      case Form::centred: return {2, std::sqrt(0.5)};
      case Form::richardson: return {4, std::sqrt(2.0 / 36 + 32.0 / 9)};
    }
    return {};
  }

  class NudgePlan final : public PerturbationPlan {
   public:
    NudgePlan(const EquilibriumPropagation& estimator, const DeviceInfo& info, const Minibatch& batch,
              const Loss& loss)
        : estimator_(estimator), info_(info), batch_(batch), loss_(loss), nudging_(info) {}
    std::size_t perturbations(std::size_t sample) const override {
      return estimator_.phases(batch_, sample).size();
    }
    bool impose(Drive& drive, std::size_t sample, std::size_t k, const ChainSoFar& so_far) const override {
      const Phase phase = estimator_.phases(batch_, sample)[k];
      const Vector c = cotangent(info_, batch_, loss_, sample, *so_far.free);
      // Half a nudge is half of the imposed nudge, which may be less than requested.
      drive.nudge = nudging_.currents(phase.sign * phase.share, nudging_.beta(estimator_.wanted(c), c), c);
      return true;
    }

   private:
    const EquilibriumPropagation& estimator_;
    const DeviceInfo& info_;
    const Minibatch& batch_;
    const Loss& loss_;
    Nudging nudging_;
  };

  std::string unmet_by_costate(const DeviceInfo& info) const override { return unmet_by_nudging(info); }
  double costate_perturbations(const DeviceInfo&) const override {
    return form_ == Form::centred ? 2 : form_ == Form::richardson ? 4 : 1;
  }
  std::unique_ptr<const PerturbationPlan> costate_plan(const DeviceInfo& info, const Minibatch& batch,
                                                       const Loss& loss) const override {
    return std::make_unique<NudgePlan>(*this, info, batch, loss);
  }
  Vector costate(const DeviceInfo& info, const Minibatch& batch, const Sample& sample, const Vector& c,
                 double&) const override {
    const double beta = Nudging(info).beta(wanted(c), c);
    const std::vector<Phase> all = phases(batch, sample.index);
    Vector sum = Vector::Zero(c.size());
    double offset = 0;  // weight of the free state, where the phases do not cancel it
    for (std::size_t k = 0; k < all.size(); ++k) {
      sum += all[k].weight * sample.potential[k];
      offset += all[k].weight;
    }
    if (offset != 0) sum -= offset * sample.free->potential;
    return sum / beta;
  }

  void follow(const DeviceInfo& info, const Minibatch& batch, const Loss& loss, const Sample& was,
              const RedrawnSample& now, const Response& response) const override {
    const Nudging nudging(info);
    const Vector c = cotangent(info, batch, loss, was.index, *was.free),
                 d = cotangent(info, batch, loss, was.index, *now.free);
    const double old_beta = nudging.beta(wanted(c), c), new_beta = nudging.beta(wanted(d), d);
    const std::vector<Phase> all = phases(batch, was.index);
    for (std::size_t k = 0; k < all.size(); ++k) {
      const double sign = all[k].sign * all[k].share;
      const Vector old_nudge = nudging.at_free(sign, old_beta, c),
                   change = nudging.at_free(sign, new_beta, d) - old_nudge;
      Vector shift = response.shift(change);
      // Exact for one output; else as if the change were along the nudge.
      if (shift.size() == 0 && old_nudge.norm() > 0)
        shift = std::copysign(change.norm() / old_nudge.norm(), change.dot(old_nudge)) *
                (was.perturbations[k]->potential - was.free->potential);
      if (shift.size() > 0) now.perturbations[k]->potential += shift;
    }
  }

  // beta for a sample with this c, before the ranges of the outputs are applied.
  double wanted(const Vector& c) const {
    const double pull = c.cwiseAbs().maxCoeff();
    return nudge_ > 0 && pull > 0 ? nudge_ / pull : beta_.value();
  }

  NudgeStrength beta_;
  double nudge_;
  Form form_;
};

// The state in which the currents at `at` are increased by -u where they are increased by u at `at` + shift,
// by Newton's method from the mirrored shift; empty where that does not converge.
Vector mirrored(const Model& model, const Drive& drive, const Vector& at, const Vector& shift) {
  constexpr int most = 20;
  constexpr double tolerance = 1e-10;  // kT
  const Vector wanted = 2 * model.currents(drive, at) - model.currents(drive, at + shift);
  Vector state = at - shift;
  for (int k = 0; k < most; ++k) {
    const Vector step = Response(&model, drive, state).shift(wanted - model.currents(drive, state));
    if (step.size() == 0 || !step.allFinite()) return {};
    state += step;
    if (step.cwiseAbs().maxCoeff() < tolerance) return state;
  }
  return {};
}

// With the other sign a sample's costate would be that of the mirrored nudge; half the difference is what its
// random sign scatters it by.
Vector EquilibriumPropagation::whole_error(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                                           std::span<const std::vector<Relaxation>> rows,
                                           const Gradient& gradient, const Vector& reading_error) const {
  if (form_ != Form::random_sign || reading_error.size() == 0) return reading_error;
  // Mirrored states are not relaxed but solved for: beyond this it would cost more than the estimate.
  constexpr double most = 1e6;
  if (model() == nullptr ||
      static_cast<double>(gradient.value.size()) * static_cast<double>(rows.size()) > most)
    return {};
  const SortedRows sorted = sort_rows(info, batch, *plan(info, batch, loss), rows);
  const Nudging nudging(info);
  Vector squares = Vector::Zero(gradient.value.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!sorted.samples[i]) continue;
    const Sample& sample = *sorted.samples[i];
    const Vector& at = sample.free->potential;
    const Vector c = cotangent(info, batch, loss, i, *sample.free), shift = sample.potential[0] - at;
    if (c.isZero(0)) continue;
    const Drive drive = batch.free_drive(i);
    const Vector other = mirrored(*model(), drive, at, shift);
    if (other.size() == 0) return {};
    const Vector costate = (shift + (other - at)) / (2 * nudging.beta(wanted(c), c));
    Vector of_sample = Vector::Zero(squares.size());
    model()->add_gradient({&drive, 1}, {&at, 1}, {&costate, 1}, of_sample);
    squares += of_sample.cwiseAbs2();
  }
  const auto used = static_cast<double>(gradient.used);
  return (squares / (used * used) + reading_error.cwiseAbs2()).cwiseSqrt();
}

}  // namespace

std::unique_ptr<Estimator> equilibrium_propagation(std::shared_ptr<const Model> model,
                                                   const EquilibriumPropagationOptions& options) {
  return std::make_unique<EquilibriumPropagation>(std::move(model), options);
}

EstimatorMaker read_equilibrium_propagation(Keys& keys, EquilibriumPropagationOptions::Form form) {
  EquilibriumPropagationOptions options{.form = form};
  keys.number("beta", options.beta, Number::not_negative,
              {"1/(kT units of the loss)",
               "nudge currents are -+beta dL/dmu; 0: chosen before the first step from noise and curvature"});
  keys.number("nudge", options.nudge, Number::not_negative,
              {"units of current",
               "instead of `beta`: the nudge of each sample at the output where |dL/dmu| is largest; "
               "0: `beta` is used"});
  read_perturbations(keys, options.perturbations);
  read_current_law(keys, options.law);
  return
      [options](const EstimatorContext& context) { return equilibrium_propagation(context.model, options); };
}

}  // namespace ness
