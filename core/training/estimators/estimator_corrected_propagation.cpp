#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/costate_estimator.hpp"
#include "estimators/nudge_size.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

constexpr char name_of[] = "equilibrium-propagation-corrected";

// Asymmetry of a sample's conductance matrix.
struct Skew {
  Matrix A;              // (G - G^T) / 2, [n x n]
  double asymmetry = 0;  // |A| / |S|
};

Skew skew_of(const Matrix& G) {
  Skew skew;
  skew.A = (G - G.transpose()) / 2;
  skew.asymmetry = skew.A.norm() / ((G + G.transpose()) / 2).norm();
  return skew;
}

// Perturbations in which all free nodes are held and one is stepped, and the conductance from the holding
// currents.
class HeldSteps {
 public:
  HeldSteps(const DeviceInfo& info, double probe) : free_(info.free()), probe_(probe) {
    for (const std::uint32_t terminal : free_) levels_.push_back(info.terminals[terminal].level);
  }
  std::size_t count() const { return 2 * free_.size(); }
  void impose(Drive& drive, std::size_t k, const Relaxation& free) const {
    for (std::size_t n = 0; n < free_.size(); ++n)
      drive.holds.push_back({free_[n], n == k / 2 ? level(free, n, k % 2 == 0 ? -1 : 1) : level(free, n, 0)});
  }
  // Entries are NaN where a current was not read.
  Matrix conductance(const Relaxation& free, const std::vector<const Relaxation*>& held) const {
    const auto size = static_cast<Eigen::Index>(free_.size());
    Matrix G = Matrix::Constant(size, size, std::numeric_limits<double>::quiet_NaN());
    for (std::size_t n = 0; n < free_.size(); ++n) {
      const Vector &down = held[2 * n]->current, &up = held[2 * n + 1]->current;
      const double step = level(free, n, 1) - level(free, n, -1);
      for (std::size_t k = 0; k < free_.size(); ++k) {
        if (down.size() <= free_[k] || up.size() <= free_[k]) return G;
        G(static_cast<Eigen::Index>(k), static_cast<Eigen::Index>(n)) =
            -(up[free_[k]] - down[free_[k]]) / step;
      }
    }
    return G;
  }

 private:
  double level(const Relaxation& free, std::size_t n, double sign) const {
    return std::clamp(free.potential[static_cast<Eigen::Index>(n)] + sign * probe_, levels_[n].low,
                      levels_[n].high);
  }
  std::vector<std::uint32_t> free_;
  std::vector<Range> levels_;
  double probe_;
};

// The feedback rounds of one phase, in units of beta: w = u / beta, shift / beta. A phase that would leave a
// range can therefore be reduced at any round and continue from the result of the round before.
class Rounds {
 public:
  struct Round {
    Vector w;         // nudge / beta, at all free nodes
    double beta = 0;  // as imposed
  };

  Rounds(const DeviceInfo& info, double beta, double contraction, const Vector& c)
      : beta_(beta), contraction_(contraction), c_(c) {
    for (const std::uint32_t terminal : info.free()) ranges_.push_back(info.terminals[terminal].nudge);
  }

  /// All rounds of the phase of `sign`, computed from the relaxations `rows` of the rounds so far; the last
  /// round of the result is to be imposed next. Empty if the rounds do not contract. `A` may be null for the
  /// first round.
  std::vector<Round> follow(double sign, const Matrix* A, const Relaxation& free,
                            std::span<const Relaxation* const> rows) const {
    std::vector<Round> rounds{scaled(sign * c_)};
    double change = c_.norm();
    for (std::size_t r = 0; r < rows.size(); ++r) {
      rounds.push_back(scaled(sign * c_ - 2 / rounds[r].beta * (*A * (rows[r]->potential - free.potential))));
      const double next = (rounds[r + 1].w - rounds[r].w).norm();
      if (!(next <= contraction_ * change) && !(next <= floor(*A, free, rows, r, rounds))) return {};
      change = next;
    }
    return rounds;
  }

 private:
  Round scaled(Vector w) const {
    double beta = beta_;
    for (std::size_t k = 0; k < ranges_.size(); ++k) {
      const double pull = w[static_cast<Eigen::Index>(k)],
                   room = pull > 0 ? ranges_[k].high : -ranges_[k].low;
      if (beta * std::abs(pull) > room) beta = room / std::abs(pull);
    }
    return {std::move(w), beta};
  }
  // Change of w that could result from the errors of the readings alone.
  static double floor(const Matrix& A, const Relaxation& free, std::span<const Relaxation* const> rows,
                      std::size_t r, const std::vector<Round>& rounds) {
    constexpr double errors = 6;        // standard errors: chance alone exceeds it once in 10^9
    constexpr double rounding = 1e-15;  // of a potential of order 1
    const auto error = [&](const Relaxation& row) {
      const double bound = std::isfinite(row.timing.bound) ? row.timing.bound : 0;
      return errors * (row.sigma.size() > 0 ? row.sigma.norm() : 0) +
             (bound + rounding) * std::sqrt(static_cast<double>(row.potential.size()));
    };
    const double before = r == 0 ? 0 : (error(*rows[r - 1]) + error(free)) / rounds[r - 1].beta;
    return 2 * A.norm() * ((error(*rows[r]) + error(free)) / rounds[r].beta + before);
  }

  std::vector<Range> ranges_;
  double beta_, contraction_;
  const Vector& c_;
};

class CorrectedPropagation final : public CostateEstimator {
 public:
  CorrectedPropagation(std::shared_ptr<const Model> model, const CorrectedPropagationOptions& options)
      : CostateEstimator(name_of, std::move(model), options.perturbations, options.law, !options.measured),
        options_(options),
        beta_(options.beta, name_of) {
    const std::string who = name_of;
    if (options.rounds == 0) throw std::invalid_argument(who + ": rounds 0; at least 1 is needed");
    if (options.measured && options.measure_every == 0)
      throw std::invalid_argument(who + ": measure_every 0; at least 1 is needed");
    if (!(options.probe > 0) || std::isinf(options.probe))
      throw std::invalid_argument(who + ": probe " + number_text(options.probe) +
                                  "; it must be finite and > 0");
    if (!(options.contraction > 0))
      throw std::invalid_argument(who + ": contraction " + number_text(options.contraction) +
                                  "; it must be > 0 (infinite: no test)");
  }

  std::uint64_t prepare(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                        std::stop_token stop) override {
    if (!beta_.automatic()) return 0;
    const auto measure = [&](const Minibatch& few, double beta, std::uint64_t& relaxations) {
      beta_.choose(beta);
      const Probed probed = probe(device, info, few, loss, stop);
      relaxations += probed.relaxations;
      return probed.costates;
    };
    const NudgeSize best = best_nudge(device, info, batch, loss, {2, std::sqrt(0.5)}, measure, stop);
    beta_.choose(best.beta);
    return best.relaxations;
  }

  void remember(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) override {
    if (!options_.measured) return;
    const HeldSteps steps(info, options_.probe);
    const SortedRows sorted = sort_rows(info, batch, *plan(info, batch, loss), rows);
    std::map<std::uint64_t, Kept> found;  // the same sample may come twice in a minibatch
    for (const std::optional<Sample>& sample : sorted.samples) {
      if (!sample || !measures(batch, sample->index)) continue;
      Matrix A = skew_of(steps.conductance(*sample->free, sample->perturbations)).A;
      if (A.allFinite()) found[batch.samples[sample->index]] = {batch.step, std::move(A)};
    }
    for (auto& [sample, kept] : found) kept_[sample] = std::move(kept);
  }

  bool keeps() const { return options_.measured && options_.measure_every > 1; }
  Repeats repeats() const override { return keeps() ? Repeats::dependent : Repeats::independent; }
  std::string unstated(const DeviceInfo& info) const override {
    if (keeps())
      return "the antisymmetric part is measured every " + std::to_string(options_.measure_every) +
             " steps, and the errors of those readings remain in every gradient in between (skew = 'model', "
             "or "
             "measure_every = 1)";
    if (options_.rounds == 1) return {};
    if (model() == nullptr)
      return "without a model nothing says what errors of the readings do to the rounds of feedback";
    return Response::limit(info.free().size());
  }

  // State: beta if it was chosen; then n, and for each sample its index, the step at which it was measured,
  // and A above the diagonal.
  Vector state() const override {
    const Vector beta = beta_.state();
    if (!options_.measured) return beta;
    const Eigen::Index n = kept_.empty() ? 0 : kept_.begin()->second.A.rows();
    Vector all(1 + beta.size() + 1 + static_cast<Eigen::Index>(kept_.size()) * (2 + n * (n - 1) / 2));
    Eigen::Index at = 0;
    all[at++] = static_cast<double>(beta.size());
    if (beta.size() > 0) all[at++] = beta[0];
    all[at++] = static_cast<double>(n);
    for (const auto& [sample, kept] : kept_) {
      all[at++] = static_cast<double>(sample);
      all[at++] = static_cast<double>(kept.step);
      for (Eigen::Index j = 1; j < n; ++j) {
        for (Eigen::Index i = 0; i < j; ++i) all[at++] = kept.A(i, j);
      }
    }
    return all;
  }

  void restore(const Vector& state) override {
    if (!options_.measured) return beta_.restore(state, name());
    kept_.clear();
    if (state.size() == 0) return beta_.restore(state, name());
    const auto refuse = [&] {
      throw std::invalid_argument(std::string(name_of) + ": " + std::to_string(state.size()) +
                                  " numbers are no state of it");
    };
    const Eigen::Index chosen = state[0] == 0 ? 0 : 1;
    if (state.size() < 2 + chosen || !(state[1 + chosen] >= 0 && state[1 + chosen] < 1e5)) refuse();
    const auto n = static_cast<Eigen::Index>(state[1 + chosen]);
    const Eigen::Index each = 2 + n * (n - 1) / 2;
    Eigen::Index at = 2 + chosen;
    if ((state.size() - at) % each != 0) refuse();
    beta_.restore(state.segment(1, chosen), name());
    while (at < state.size()) {
      const auto sample = static_cast<std::uint64_t>(state[at]),
                 step = static_cast<std::uint64_t>(state[at + 1]);
      at += 2;
      Matrix A = Matrix::Zero(n, n);
      for (Eigen::Index j = 1; j < n; ++j) {
        for (Eigen::Index i = 0; i < j; ++i, ++at) {
          A(i, j) = state[at];
          A(j, i) = -state[at];
        }
      }
      kept_[sample] = {step, std::move(A)};
    }
  }

 private:
  struct Kept {
    std::uint64_t step = 0;  // step of the measurement
    Matrix A;
  };

  bool measures(const Minibatch& batch, std::size_t i) const {
    if (!options_.measured) return false;
    const auto kept = kept_.find(batch.samples[i]);
    return kept == kept_.end() || batch.step >= kept->second.step + options_.measure_every;
  }

  // A of a sample: from the model at its free state, from the held steps among its perturbations, or from the
  // last measurement.
  Skew skew(const DeviceInfo& info, const Minibatch& batch, std::size_t i, const Relaxation& free,
            const std::vector<const Relaxation*>& perturbations) const {
    if (!options_.measured) return skew_of(model()->conductance(batch.free_drive(i), free.potential));
    if (measures(batch, i)) return skew_of(HeldSteps(info, options_.probe).conductance(free, perturbations));
    return {kept_.at(batch.samples[i]).A, std::numeric_limits<double>::quiet_NaN()};
  }

  class FeedbackPlan final : public PerturbationPlan {
   public:
    FeedbackPlan(const CorrectedPropagation& estimator, const DeviceInfo& info, const Minibatch& batch,
                 const Loss& loss)
        : estimator_(estimator),
          info_(info),
          batch_(batch),
          loss_(loss),
          steps_(info, estimator.options_.probe),
          nudgeable_(info.nudgeable()),
          free_(info.free()) {}
    std::size_t perturbations(std::size_t sample) const override {
      return held(sample) + 2 * std::size_t{estimator_.options_.rounds};
    }
    bool impose(Drive& drive, std::size_t sample, std::size_t k, const ChainSoFar& so_far) const override {
      if (k < held(sample)) {
        steps_.impose(drive, k, *so_far.free);
        return true;
      }
      const std::size_t phase = (k - held(sample)) / estimator_.options_.rounds,
                        round = (k - held(sample)) % estimator_.options_.rounds;
      const Vector c = cotangent(info_, batch_, loss_, sample, *so_far.free);
      std::optional<Skew> skew;
      if (round > 0) skew = estimator_.skew(info_, batch_, sample, *so_far.free, so_far.perturbations);
      const Rounds rounds(info_, estimator_.beta_.value(), estimator_.options_.contraction, c);
      const auto all = rounds.follow(phase == 0 ? -1 : 1, skew ? &skew->A : nullptr, *so_far.free,
                                     std::span(so_far.perturbations).last(round));
      if (all.empty()) return false;
      drive.nudge = Vector::Zero(static_cast<Eigen::Index>(nudgeable_.size()));
      for (std::size_t n = 0; n < free_.size(); ++n) {
        const auto place =
            std::lower_bound(nudgeable_.begin(), nudgeable_.end(), free_[n]) - nudgeable_.begin();
        const Range& range = info_.terminals[free_[n]].nudge;
        // room / pull * pull may exceed room by rounding.
        drive.nudge[place] =
            std::clamp(all.back().beta * all.back().w[static_cast<Eigen::Index>(n)], range.low, range.high);
      }
      return true;
    }

   private:
    std::size_t held(std::size_t sample) const {
      return estimator_.measures(batch_, sample) ? steps_.count() : 0;
    }
    const CorrectedPropagation& estimator_;
    const DeviceInfo& info_;
    const Minibatch& batch_;
    const Loss& loss_;
    HeldSteps steps_;
    std::vector<std::uint32_t> nudgeable_, free_;
  };

  std::string unmet_by_costate(const DeviceInfo& info) const override {
    for (const std::uint32_t terminal : info.free()) {
      if (std::string unmet = unmet_by_nudging(info, terminal); !unmet.empty())
        return unmet + "; the feedback needs every free node";
    }
    return options_.measured ? unmet_by_holding(info) : std::string();
  }
  double costate_perturbations(const DeviceInfo& info) const override {
    const double held = options_.measured ? 2.0 * static_cast<double>(info.free().size()) /
                                                static_cast<double>(options_.measure_every)
                                          : 0;
    return held + 2.0 * options_.rounds;
  }
  std::unique_ptr<const PerturbationPlan> costate_plan(const DeviceInfo& info, const Minibatch& batch,
                                                       const Loss& loss) const override {
    if (options_.measured) {
      if (!kept_.empty() && static_cast<std::size_t>(kept_.begin()->second.A.rows()) != info.free().size()) {
        throw std::invalid_argument(std::string(name_of) + ": its state is that of " +
                                    std::to_string(kept_.begin()->second.A.rows()) +
                                    " free nodes; the device has " + std::to_string(info.free().size()));
      }
      const double n = static_cast<double>(info.free().size()),
                   bytes = static_cast<double>(batch.data->size()) * n * n * sizeof(double);
      constexpr double most = 1e9;
      if (bytes > most) {
        throw std::invalid_argument(std::string(name_of) + ": the measured asymmetry of " +
                                    std::to_string(batch.data->size()) + " samples of " + number_text(n) +
                                    " free nodes would take " + number_text(std::ceil(bytes / 1e6)) +
                                    " MB; at most 1000 MB are kept. Take it from the model");
      }
    }
    return std::make_unique<FeedbackPlan>(*this, info, batch, loss);
  }

  Vector costate(const DeviceInfo& info, const Minibatch& batch, const Sample& sample, const Vector& c,
                 double& asymmetry) const override {
    const Skew found = skew(info, batch, sample.index, *sample.free, sample.perturbations);
    asymmetry = found.asymmetry;
    if (!found.A.allFinite()) return Vector::Constant(c.size(), std::numeric_limits<double>::quiet_NaN());
    const std::size_t first = measures(batch, sample.index) ? 2 * info.free().size() : 0,
                      rounds = options_.rounds;
    const Rounds all(info, beta_.value(), options_.contraction, c);
    Vector shift[2];
    double beta[2];
    for (std::size_t phase = 0; phase < 2; ++phase) {
      // The imposed nudges followed from the readings before drift correction. A single round has no feedback
      // that must contract.
      const std::size_t followed = rounds > 1 ? rounds : 0;
      const auto imposed =
          all.follow(phase == 0 ? -1 : 1, &found.A, *sample.free,
                     std::span(sample.perturbations).subspan(first + phase * rounds, followed));
      if (imposed.empty()) return Vector::Constant(c.size(), std::numeric_limits<double>::quiet_NaN());
      beta[phase] = imposed[rounds - 1].beta;
      shift[phase] = sample.potential[first + (phase + 1) * rounds - 1];
    }
    // Derivative at 0 of the parabola through three points. The free state matters only if a range made the
    // phases unequal.
    const double down = beta[0], up = beta[1];
    Vector slope = down / up * shift[1] - up / down * shift[0];
    if (down != up) slope -= (down / up - up / down) * sample.free->potential;
    return slope / (down + up);
  }

  bool reads_currents(const DeviceInfo&) const override { return options_.measured; }
  void follow(const DeviceInfo& info, const Minibatch& batch, const Loss& loss, const Sample& was,
              const RedrawnSample& now, const Response& response) const override {
    const std::size_t first = measures(batch, was.index) ? 2 * info.free().size() : 0;
    const Vector c = cotangent(info, batch, loss, was.index, *was.free),
                 d = cotangent(info, batch, loss, was.index, *now.free);
    const std::vector<const Relaxation*> redrawn(now.perturbations.begin(), now.perturbations.end());
    std::optional<Skew> before, after;
    if (options_.rounds > 1) {
      before = skew(info, batch, was.index, *was.free, was.perturbations);
      after = skew(info, batch, was.index, *now.free, redrawn);
    }
    const Rounds old_rounds(info, beta_.value(), options_.contraction, c),
        new_rounds(info, beta_.value(), std::numeric_limits<double>::infinity(), d);
    for (std::size_t phase = 0; phase < 2; ++phase) {
      const std::size_t begin = first + phase * options_.rounds;
      const double sign = phase == 0 ? -1 : 1;
      for (std::size_t round = 0; round < options_.rounds; ++round) {
        const auto imposed = old_rounds.follow(sign, before ? &before->A : nullptr, *was.free,
                                               std::span(was.perturbations).subspan(begin, round)),
                   instead = new_rounds.follow(sign, after ? &after->A : nullptr, *now.free,
                                               std::span(redrawn).subspan(begin, round));
        if (imposed.empty() || instead.empty()) return;
        const Vector shift =
            response.shift(instead.back().beta * instead.back().w - imposed.back().beta * imposed.back().w);
        if (shift.size() > 0) now.perturbations[begin + round]->potential += shift;
      }
    }
  }

  CorrectedPropagationOptions options_;
  NudgeStrength beta_;
  std::map<std::uint64_t, Kept> kept_;
};

}  // namespace

std::unique_ptr<Estimator> corrected_propagation(std::shared_ptr<const Model> model,
                                                 const CorrectedPropagationOptions& options) {
  return std::make_unique<CorrectedPropagation>(std::move(model), options);
}

EstimatorMaker read_corrected_propagation(Keys& keys) {
  CorrectedPropagationOptions options;
  keys.number("beta", options.beta, Number::not_negative,
              {"1/(kT units of the loss)",
               "nudge currents are -+beta dL/dmu; 0: chosen before the first step from noise and curvature"});
  keys.whole("rounds", options.rounds, 1,
             {"", "rounds of digital feedback a phase; the first is plain equilibrium propagation"});
  keys.choice<bool>("skew", options.measured, {{"model", false}, {"measured", true}},
                    {"", "where the antisymmetric part of the conductance matrix comes from"});
  keys.whole("measure_every", options.measure_every, 0,
             {"steps",
              "between measurements of a sample's antisymmetric part, where it is measured; 0: measured at "
              "every step"});
  keys.number("probe", options.probe, Number::not_negative,
              {"kT", "step of a held potential, where the antisymmetric part is measured"});
  keys.number("contraction", options.contraction, Number::or_infinite,
              {"",
               "factor by which the change of the nudge has to fall from round to round, or the sample is "
               "left out; inf: no test"});
  read_perturbations(keys, options.perturbations);
  read_current_law(keys, options.law);
  return [options](const EstimatorContext& context) { return corrected_propagation(context.model, options); };
}

}  // namespace ness
