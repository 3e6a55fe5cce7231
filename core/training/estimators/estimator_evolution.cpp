#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/gradient_sum.hpp"
#include "ness/device/random.hpp"
#include "ness/device/number_text.hpp"
#include "estimators/parameter_steps.hpp"
#include "estimators/swings.hpp"

namespace ness {
namespace {

constexpr std::uint64_t generation_seed = 0x65766f6c;  // random stream of the mutations
constexpr double infinity = std::numeric_limits<double>::infinity();

class Evolution final : public Estimator {
 public:
  Evolution(const EvolutionOptions& options, std::uint64_t seed) : options_(options), seed_(seed) {
    if (options.parents == 0) throw std::invalid_argument("evolution: parents 0; at least 1 is needed");
    if (options.population <= options.parents) {
      throw std::invalid_argument("evolution: population " + std::to_string(options.population) + " with " +
                                  std::to_string(options.parents) +
                                  " parents; it must be larger, to have children");
    }
    if (!(options.sigma > 0) || std::isinf(options.sigma))
      throw std::invalid_argument("evolution: sigma " + number_text(options.sigma) +
                                  "; it must be finite and > 0");
    if (!(options.crossover >= 0 && options.crossover <= 1))
      throw std::invalid_argument("evolution: crossover " + number_text(options.crossover) +
                                  "; it must be in [0, 1]");
  }

  std::string_view name() const override { return "evolution"; }
  std::string unmet_needs(const DeviceInfo& info) const override { return unmet_by_outputs(info); }
  double cost(const DeviceInfo&) const override { return options_.population; }
  Repeats repeats() const override { return Repeats::dependent; }
  std::string unstated(const DeviceInfo&) const override { return "it measures no gradient"; }
  Vector whole_error(const DeviceInfo&, const Minibatch&, const Loss&,
                     std::span<const std::vector<Relaxation>>, const Gradient&,
                     const Vector&) const override {
    return {};
  }

  std::uint64_t prepare(Device&, const DeviceInfo&, const Minibatch&, const Loss&, std::stop_token) override {
    parents_.clear();  // may be left from an earlier training
    return 0;
  }

  std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch, const Loss&) const override {
    auto shared = std::make_shared<std::vector<Parameters>>();
    const std::vector<std::uint32_t> varied = trainable_parameters(info);
    const Vector here = batch.theta.values();
    for (const Vector& candidate : candidates(info, batch)) {
      std::vector<std::pair<std::uint32_t, double>> changes;
      for (const std::uint32_t p : varied) {
        if (candidate[p] != here[p]) changes.emplace_back(p, candidate[p]);
      }
      shared->push_back(with_all(batch.theta, std::move(changes)));
    }
    std::vector<Chain> all;
    for (std::size_t i = 0; i < batch.samples.size(); ++i) {
      all.emplace_back([shared, &batch, i](std::span<const Relaxation> rows) -> std::optional<Drive> {
        if (rows.size() == shared->size()) return std::nullopt;
        Drive drive = batch.free_drive(i);
        drive.theta = (*shared)[rows.size()];
        return drive;
      });
    }
    return all;
  }

  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    GradientSum total(info, batch, loss, rows);
    const std::vector<double> losses = losses_of(total, rows);
    const auto best =
        static_cast<std::size_t>(std::min_element(losses.begin(), losses.end()) - losses.begin());
    const bool any = std::isfinite(losses[best]);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (any) total.use(total.loss_at(i, best), total.correct(i, rows[i][best].potential) ? 1 : 0);
      else total.leave_out(i);
    }
    Gradient gradient = total.finish(Vector::Zero(static_cast<Eigen::Index>(info.parameters.size())));
    gradient.at_theta = any && best == 0;
    if (any) gradient.next = candidates(info, batch)[best];
    return gradient;
  }

  void remember(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) override {
    const std::vector<double> losses = losses_of(GradientSum(info, batch, loss, rows), rows);
    const std::vector<Vector> generation = candidates(info, batch);
    std::vector<std::size_t> order(losses.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return losses[a] < losses[b]; });
    std::vector<Vector> best;
    for (std::size_t k = 0; k < options_.parents && std::isfinite(losses[order[k]]); ++k)
      best.push_back(generation[order[k]]);
    if (!best.empty()) parents_ = std::move(best);
  }

  // State: the number of parents and their thetas, the best first.
  Vector state() const override {
    if (parents_.empty()) return {};
    const Eigen::Index parameters = parents_.front().size();
    Vector all(1 + static_cast<Eigen::Index>(parents_.size()) * parameters);
    all[0] = static_cast<double>(parents_.size());
    for (std::size_t k = 0; k < parents_.size(); ++k)
      all.segment(1 + static_cast<Eigen::Index>(k) * parameters, parameters) = parents_[k];
    return all;
  }
  void restore(const Vector& state) override {
    parents_.clear();
    if (state.size() == 0) return;
    const double count = state[0];
    const bool whole = count >= 1 && count <= options_.parents && count == std::floor(count);
    if (!whole || state.size() == 1 || (state.size() - 1) % static_cast<Eigen::Index>(count) != 0) {
      throw std::invalid_argument("evolution: " + std::to_string(state.size()) +
                                  " numbers that are no state of " + std::to_string(options_.parents) +
                                  " parents were recorded");
    }
    const Eigen::Index parameters = (state.size() - 1) / static_cast<Eigen::Index>(count);
    for (Eigen::Index k = 0; k < static_cast<Eigen::Index>(count); ++k)
      parents_.emplace_back(state.segment(1 + k * parameters, parameters));
  }

 private:
  // Mean losses of the candidates; infinite if a sample has no loss.
  std::vector<double> losses_of(const GradientSum& total,
                                std::span<const std::vector<Relaxation>> rows) const {
    std::vector<double> losses(options_.population, 0);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].size() != losses.size()) {
        throw std::invalid_argument("evolution: sample " + std::to_string(i) + " has " +
                                    std::to_string(rows[i].size()) + " relaxations for " +
                                    std::to_string(losses.size()) + " candidates");
      }
      for (std::size_t p = 0; p < losses.size(); ++p) {
        const double here = rows[i][p].quality.usable() ? total.loss_at(i, p) : infinity;
        losses[p] += std::isfinite(here) ? here / static_cast<double>(rows.size()) : infinity;
      }
    }
    return losses;
  }

  // A generation: the present theta, the other parents, and children. Parents are measured again, because
  // their earlier losses are noisy and belong to other samples. A function of the state, theta, the seed and
  // the step.
  std::vector<Vector> candidates(const DeviceInfo& info, const Minibatch& batch) const {
    std::vector<Vector> all{batch.theta.values()};
    for (const Vector& parent : parents_) {
      if (parent.size() != all.front().size()) {
        throw std::invalid_argument("evolution: parents of " + std::to_string(parent.size()) +
                                    " parameters; the device has " + std::to_string(all.front().size()) +
                                    " (a checkpoint of another network?)");
      }
      if (all.size() < options_.parents && parent != all.front()) all.push_back(parent);
    }
    const std::size_t parents = all.size();
    Random random(seed_ ^ generation_seed, batch.step);
    while (all.size() < options_.population) all.push_back(child(info, all, parents, random));
    return all;
  }

  Vector child(const DeviceInfo& info, const std::vector<Vector>& all, std::size_t parents,
               Random& random) const {
    const Vector& first = all[random.below(parents)];
    const bool crossed = parents > 1 && random.uniform() < options_.crossover;
    const Vector& second = crossed ? all[random.below(parents)] : first;
    Vector made = all.front();
    for (const std::uint32_t p : trainable_parameters(info)) {
      const ParameterInfo& parameter = info.parameters[p];
      const double from = (crossed && random.uniform() < 0.5 ? second : first)[p];
      const double drawn = random.normal();
      made[p] = from;
      if (!std::isfinite(from)) continue;
      // A mutation smaller than the resolution of the source would have no effect.
      const double least =
          parameter.scale == Scale::log ? std::log1p(parameter.resolution / from) : parameter.resolution;
      const double by = std::max(options_.sigma, least) * drawn;
      made[p] = std::clamp(parameter.scale == Scale::log ? from * std::exp(by) : from + by,
                           parameter.range.low, parameter.range.high);
    }
    return made;
  }

  EvolutionOptions options_;
  std::uint64_t seed_;
  std::vector<Vector> parents_;  // theta, the best first
};

}  // namespace

std::unique_ptr<Estimator> evolution(const EvolutionOptions& options, std::uint64_t seed) {
  return std::make_unique<Evolution>(options, seed);
}

EstimatorMaker read_evolution(Keys& keys) {
  EvolutionOptions options;
  keys.whole("population", options.population, 2, {"", "candidates of a generation"});
  keys.whole("parents", options.parents, 1, {"", "candidates that survive a generation"});
  keys.number("sigma", options.sigma, Number::positive, {"its scale", "standard deviation of a mutation"});
  keys.number("crossover", options.crossover, Number::fraction,
              {"", "share of the children that have two parents"});
  return [options](const EstimatorContext& context) { return evolution(options, context.seed); };
}

}  // namespace ness
