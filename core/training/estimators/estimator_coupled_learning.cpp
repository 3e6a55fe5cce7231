#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/costate_estimator.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

constexpr char name_of[] = "coupled-learning";
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

class CoupledLearning final : public CostateEstimator {
 public:
  CoupledLearning(std::shared_ptr<const Model> model, const CoupledLearningOptions& options)
      : CostateEstimator(name_of, std::move(model), options.perturbations, options.law),
        eta_(options.eta),
        centred_(options.centred) {
    if (!(options.eta > 0) || std::isinf(options.eta))
      throw std::invalid_argument(std::string(name_of) + ": eta " + number_text(options.eta) +
                                  "; it must be finite and > 0");
  }

 private:
  // The first phase is against c: in the one-sided form the held state then has the lower loss.
  static double sign(std::size_t k) { return k == 0 ? -1 : 1; }

  // eta, reduced where a level would leave its range; 0 if an output is at or beyond the end of its range.
  double eta(const DeviceInfo& info, const Vector& free, const Vector& c) const {
    const std::vector<std::uint32_t> positions = info.output_positions();
    double largest = eta_;
    for (std::size_t o = 0; o < positions.size(); ++o) {
      const Range& level = info.terminals[info.outputs[o]].level;
      const double here = free[positions[o]], pull = c[positions[o]];
      if (!level.contains(here)) return 0;
      const double down = here - level.low, up = level.high - here;
      const double room = centred_ ? std::min(down, up) : pull > 0 ? down : up;
      if (largest * std::abs(pull) > room) largest = room / std::abs(pull);
    }
    return largest;
  }

  class HoldPlan final : public PerturbationPlan {
   public:
    HoldPlan(const CoupledLearning& estimator, const DeviceInfo& info, const Minibatch& batch,
             const Loss& loss)
        : estimator_(estimator),
          info_(info),
          batch_(batch),
          loss_(loss),
          positions_(info.output_positions()) {}
    std::size_t perturbations(std::size_t) const override { return estimator_.centred_ ? 2 : 1; }
    bool impose(Drive& drive, std::size_t sample, std::size_t k, const ChainSoFar& so_far) const override {
      const Vector c = cotangent(info_, batch_, loss_, sample, *so_far.free);
      const double eta = estimator_.eta(info_, so_far.free->potential, c);
      if (!(eta > 0)) return false;
      for (std::size_t o = 0; o < positions_.size(); ++o) {
        const Range& level = info_.terminals[info_.outputs[o]].level;
        // room / pull * pull may exceed room by rounding.
        drive.holds.push_back({info_.outputs[o], std::clamp(so_far.free->potential[positions_[o]] +
                                                                sign(k) * eta * c[positions_[o]],
                                                            level.low, level.high)});
      }
      return true;
    }

   private:
    const CoupledLearning& estimator_;
    const DeviceInfo& info_;
    const Minibatch& batch_;
    const Loss& loss_;
    std::vector<std::uint32_t> positions_;
  };

  std::string unmet_by_costate(const DeviceInfo& info) const override {
    for (const std::uint32_t output : info.outputs) {
      const Terminal& terminal = info.terminals[output];
      const std::string who = "output terminal " + std::to_string(output) + " (" + terminal.name + ")";
      if (!terminal.can_hold) return who + " cannot be held";
      if (terminal.level.empty()) return who + " has no range of levels to be held at";
    }
    return {};
  }
  double costate_perturbations(const DeviceInfo&) const override { return centred_ ? 2 : 1; }
  std::unique_ptr<const PerturbationPlan> costate_plan(const DeviceInfo& info, const Minibatch& batch,
                                                       const Loss& loss) const override {
    return std::make_unique<HoldPlan>(*this, info, batch, loss);
  }

  Vector costate(const DeviceInfo& info, const Minibatch&, const Sample& sample, const Vector& c,
                 double&) const override {
    // No error, no gradient.
    if (c.isZero(0)) return Vector::Zero(c.size());
    // Shift from the phase against c to the phase along c, or to the free state.
    const Vector shift = (centred_ ? sample.potential[1] : sample.free->potential) - sample.potential[0];
    const bool known = info.outputs.size() == 1 && info.terminals[info.outputs.front()].reads_current;
    if (!known) return shift / ((centred_ ? 2 : 1) * eta(info, sample.free->potential, c));
    // A current u at the output shifts the potentials by R e u, also when the holding source supplies it. In
    // the free state this current is 0.
    const std::uint32_t output = info.outputs.front();
    const auto current = [&](const Relaxation& row) {
      return row.current.size() > output ? row.current[output] : nan;
    };
    const double u = (centred_ ? current(*sample.perturbations[1]) : 0) - current(*sample.perturbations[0]);
    return shift * (c[info.output_positions().front()] / u);
  }

  double eta_;
  bool centred_;
};

}  // namespace

std::unique_ptr<Estimator> coupled_learning(std::shared_ptr<const Model> model,
                                            const CoupledLearningOptions& options) {
  return std::make_unique<CoupledLearning>(std::move(model), options);
}

EstimatorMaker read_coupled_learning(Keys& keys) {
  CoupledLearningOptions options;
  keys.number("eta", options.eta, Number::positive,
              {"kT^2 per unit of the loss", "outputs are held at their free potentials -+eta dL/dmu"});
  keys.flag("central", options.centred,
            {"", "outputs are held on both sides of the free state; false: on one"});
  read_perturbations(keys, options.perturbations);
  read_current_law(keys, options.law);
  return [options](const EstimatorContext& context) { return coupled_learning(context.model, options); };
}

}  // namespace ness
