#include <cmath>
#include <stdexcept>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/perturbed_relaxations.hpp"
#include "estimators/gradient_sum.hpp"
#include "ness/device/number_text.hpp"
#include "estimators/parameter_steps.hpp"

namespace ness {
namespace {

class FiniteDifferences final : public PerturbationEstimator {
 public:
  explicit FiniteDifferences(const FiniteDifferenceOptions& options)
      : PerturbationEstimator("finite differences", options.perturbations), options_(options) {
    if (!(options.step > 0) || std::isinf(options.step)) {
      throw std::invalid_argument("finite differences: step " + number_text(options.step) +
                                  "; it must be finite and > 0");
    }
  }

  std::string_view name() const override {
    return options_.central ? "finite-differences-central" : "finite-differences-forward";
  }

  std::string unmet_needs(const DeviceInfo& info) const override {
    for (const std::uint32_t parameter : options_.parameters) {
      if (parameter >= info.parameters.size()) {
        return "parameter " + std::to_string(parameter) + " is to be differenced; the device has " +
               std::to_string(info.parameters.size());
      }
      if (!info.parameters[parameter].trainable) {
        return "parameter " + std::to_string(parameter) + " (" + info.parameters[parameter].name +
               ") is a constant of the device";
      }
    }
    return unmet_by_outputs(info);
  }

  double cost(const DeviceInfo& info) const override {
    return relaxations(info, static_cast<double>(each() * chosen(info).size()));
  }

  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    const std::vector<ParameterStep> steps = steps_of(info, batch.theta);
    GradientSum total(info, batch, loss, rows);
    const std::unique_ptr<const PerturbationPlan> layout = plan(info, batch, loss);
    const SortedRows sorted = sort_rows(info, batch, *layout, rows);
    total.lose(sorted.lost);
    Vector sum = Vector::Zero(static_cast<Eigen::Index>(info.parameters.size()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::optional<Sample>& sample = sorted.samples[i];
      if (!sample) {
        total.leave_out(i);
        continue;
      }
      const double free = total.loss_of(i, sample->free->potential);
      for (std::size_t k = 0; k < steps.size(); ++k) {
        const std::size_t first = k * each(), second = first + each() - 1;
        const ParameterStep done =
            achieved(steps[k], *sample->free, *sample->perturbations[first], *sample->perturbations[second]);
        sum[steps[k].parameter] += done.slope(free, total.loss_of(i, sample->potential[first]),
                                              total.loss_of(i, sample->potential[second]));
      }
      total.use(i);
    }
    return total.finish(std::move(sum));
  }

 private:
  std::size_t each() const { return options_.central ? 2 : 1; }

  std::vector<std::uint32_t> chosen(const DeviceInfo& info) const {
    return options_.parameters.empty() ? trainable_parameters(info) : options_.parameters;
  }

  std::vector<ParameterStep> steps_of(const DeviceInfo& info, const Parameters& theta) const {
    const Vector values = theta.values();
    std::vector<ParameterStep> steps;
    for (const std::uint32_t p : chosen(info))
      steps.push_back(parameter_step("finite differences", info.parameters[p], p, values[p], options_.step,
                                     options_.central));
    return steps;
  }

  bool starts_afresh() const override { return true; }

  class StepPlan final : public PerturbationPlan {
   public:
    StepPlan(std::vector<ParameterStep> steps, std::size_t each) : steps_(std::move(steps)), each_(each) {}
    std::size_t perturbations(std::size_t) const override { return each_ * steps_.size(); }
    bool impose(Drive& drive, std::size_t, std::size_t k, const ChainSoFar&) const override {
      const ParameterStep& step = steps_[k / each_];
      drive.theta = drive.theta.with(step.parameter, k % each_ == 0 ? step.first : step.second);
      return true;
    }

   private:
    std::vector<ParameterStep> steps_;
    std::size_t each_;
  };
  std::unique_ptr<const PerturbationPlan> plan(const DeviceInfo& info, const Minibatch& batch,
                                               const Loss&) const override {
    return std::make_unique<StepPlan>(steps_of(info, batch.theta), each());
  }

  FiniteDifferenceOptions options_;
};

}  // namespace

std::unique_ptr<Estimator> finite_differences(const FiniteDifferenceOptions& options) {
  return std::make_unique<FiniteDifferences>(options);
}

EstimatorMaker read_finite_differences(Keys& keys, bool central) {
  FiniteDifferenceOptions options{.central = central, .parameters = {}};
  keys.number(
      "step", options.step, Number::positive,
      {"its scale", "step of a parameter: absolute on a linear scale, relative on a logarithmic one"});
  read_perturbations(keys, options.perturbations);
  return [options](const EstimatorContext& context) {
    FiniteDifferenceOptions of_these = options;
    of_these.parameters = context.parameters;
    return finite_differences(of_these);
  };
}

}  // namespace ness
