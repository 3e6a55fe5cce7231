#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
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
  CoupledLearning(std::shared_ptr<const Model> model, const CoupledLearningOptions& options,
                  bool bounded = true)
      : CostateEstimator(name_of, std::move(model), options.perturbations, options.law),
        eta_(options.eta),
        centred_(options.centred),
        bounded_(bounded) {
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
        : estimator_(estimator), info_(info), batch_(batch), loss_(loss) {}
    std::size_t perturbations(std::size_t) const override { return estimator_.centred_ ? 2 : 1; }
    bool impose(Drive& drive, std::size_t sample, std::size_t k, const ChainSoFar& so_far) const override {
      const Vector c = cotangent(info_, batch_, loss_, sample, *so_far.free);
      const double eta = estimator_.eta(info_, so_far.free->potential, c);
      if (!(eta > 0)) return false;
      const Vector levels = estimator_.levels(info_, so_far.free->potential, c, k);
      for (Eigen::Index o = 0; o < levels.size(); ++o)
        drive.holds.push_back({info_.outputs[static_cast<std::size_t>(o)], levels[o]});
      return true;
    }

   private:
    const CoupledLearning& estimator_;
    const DeviceInfo& info_;
    const Minibatch& batch_;
    const Loss& loss_;
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
  std::string unstated(const DeviceInfo& info) const override {
    if (centred_ || info.outputs.size() == 1) return {};
    if (model() == nullptr)
      return "held on one side of the free state, several outputs need a model to say what errors of their "
             "levels do (central = true)";
    return Response::limit(info.free().size());
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
    if (!by_current(info)) return shift / ((centred_ ? 2 : 1) * eta(info, sample.free->potential, c));
    // A current u at the output shifts the potentials by R e u, also when the holding source supplies it. In
    // the free state this current is 0.
    const std::uint32_t output = info.outputs.front();
    const auto current = [&](const Relaxation& row) {
      return row.current.size() > output ? row.current[output] : nan;
    };
    const double u = (centred_ ? current(*sample.perturbations[1]) : 0) - current(*sample.perturbations[0]);
    // 1 / u of a current that noise may hide has no mean and no variance (Marsaglia 1965). Within `errors`
    // standard errors s of 0 it is replaced by the line through 0 that meets it there, so that it is at most
    // 1 / (errors s).
    const auto variance = [&](const Relaxation& row) {
      const double sigma = row.current_sigma.size() > output ? row.current_sigma[output] : 0;
      return std::isfinite(sigma) ? sigma * sigma : 0;
    };
    const double hidden =
        variance(*sample.perturbations[0]) + (centred_ ? variance(*sample.perturbations[1]) : 0);
    constexpr double errors = 3;
    const double least = errors * errors * hidden;
    const double inverse = bounded_ && u * u < least ? u / least : 1 / u;
    return shift * (c[info.output_positions().front()] * inverse);
  }

  bool by_current(const DeviceInfo& info) const {
    return info.outputs.size() == 1 && info.terminals[info.outputs.front()].reads_current;
  }
  bool reads_currents(const DeviceInfo& info) const override { return by_current(info); }

  // Levels at which the outputs are held in phase k.
  Vector levels(const DeviceInfo& info, const Vector& free, const Vector& c, std::size_t k) const {
    const std::vector<std::uint32_t> positions = info.output_positions();
    const double size = eta(info, free, c);
    Vector levels(static_cast<Eigen::Index>(positions.size()));
    for (std::size_t o = 0; o < positions.size(); ++o) {
      const Range& level = info.terminals[info.outputs[o]].level;
      // room / pull * pull may exceed room by rounding.
      levels[static_cast<Eigen::Index>(o)] =
          std::clamp(free[positions[o]] + sign(k) * size * c[positions[o]], level.low, level.high);
    }
    return levels;
  }

  // Where the outputs are held at levels that differ by D, the others answer by R P^T (P R P^T)^-1 D, and the
  // holding currents by (P R P^T)^-1 D.
  void follow(const DeviceInfo& info, const Minibatch& batch, const Loss& loss, const Sample& was,
              const RedrawnSample& now, const Response& response) const override {
    const std::vector<std::uint32_t> positions = info.output_positions();
    const auto outputs = static_cast<Eigen::Index>(positions.size());
    const Vector c = cotangent(info, batch, loss, was.index, *was.free),
                 d = cotangent(info, batch, loss, was.index, *now.free);
    const auto at_outputs = [&](const Vector& all) {
      Vector some(outputs);
      for (std::size_t o = 0; o < positions.size(); ++o)
        some[static_cast<Eigen::Index>(o)] = all[positions[o]];
      return some;
    };
    Matrix answers(c.size(), outputs), own(outputs, outputs);
    bool known = true;
    for (Eigen::Index o = 0; o < outputs && known; ++o) {
      const Vector column = response.shift(Vector::Unit(c.size(), positions[static_cast<std::size_t>(o)]));
      known = column.size() > 0;
      if (!known) break;
      answers.col(o) = column;
      own.col(o) = at_outputs(column);
    }
    std::optional<DenseLu> lu;
    if (known) lu.emplace(own);
    known = known && lu->solvable();
    for (std::size_t k = 0; k < now.perturbations.size() && k < (centred_ ? 2u : 1u); ++k) {
      const Vector before = levels(info, was.free->potential, c, k),
                   change = levels(info, now.free->potential, d, k) - before,
                   step = before - at_outputs(was.free->potential);
      Relaxation& row = *now.perturbations[k];
      Vector current;
      if (known) {
        lu->solve(change, current);
        row.potential += answers * current;
      } else {
        // Without a model: one output answers as measured; of several, what both phases have in common
        // cancels, and the rest is taken along the step.
        const Vector moved =
            outputs == 1 ? change : Vector(change - at_outputs(now.free->potential - was.free->potential));
        if (!(step.norm() > 0)) continue;
        const double share = std::copysign(moved.norm() / step.norm(), moved.dot(step));
        row.potential += share * (was.perturbations[k]->potential - was.free->potential);
        if (outputs == 1 && by_current(info))
          current = Vector::Constant(1, share * was.perturbations[k]->current[info.outputs.front()]);
      }
      for (Eigen::Index o = 0; o < current.size(); ++o) {
        const std::uint32_t terminal = info.outputs[static_cast<std::size_t>(o)];
        if (row.current.size() > terminal) row.current[terminal] += current[o];
      }
    }
  }

  double eta_;
  bool centred_;
  bool bounded_;
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
  return [options](const EstimatorContext& context) {
    return std::make_unique<CoupledLearning>(context.model, options, !context.unbounded);
  };
}

}  // namespace ness
