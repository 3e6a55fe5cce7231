#include <cmath>
#include <stdexcept>
#include <utility>

#include "estimators/contrasts.hpp"
#include "estimators/forming.hpp"
#include "ness/device/number_text.hpp"
#include "estimators/parameter_steps.hpp"

namespace ness {
namespace {

class FiniteDifferences final : public ContrastEstimator {
 public:
  explicit FiniteDifferences(const FiniteDifferenceOptions& options) : ContrastEstimator("finite differences", options.contrasts), options_(options) {
    if (!(options.step > 0) || std::isinf(options.step)) {
      throw std::invalid_argument("finite differences: step " + number_text(options.step) + "; it must be finite and > 0");
    }
  }

  std::string_view name() const override { return options_.central ? "finite-differences-central" : "finite-differences-forward"; }

  std::string unmet_needs(const DeviceInfo& info) const override {
    for (const std::uint32_t parameter : options_.parameters) {
      if (parameter >= info.parameters.size()) {
        return "parameter " + std::to_string(parameter) + " is to be differenced; the device has " + std::to_string(info.parameters.size());
      }
      if (!info.parameters[parameter].trainable) {
        return "parameter " + std::to_string(parameter) + " (" + info.parameters[parameter].name + ") is a constant of the device";
      }
    }
    return unmet_by_outputs(info);
  }

  double cost(const DeviceInfo& info) const override { return relaxations(info, static_cast<double>(each() * chosen(info).size())); }

  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    const std::vector<ParameterStep> steps = steps_of(info, batch.theta);
    Forming forming(info, batch, loss, rows);
    const std::unique_ptr<const ContrastPlan> layout = plan(info, batch, loss);
    const Told told = tell_apart(info, batch, *layout, rows);
    forming.lose(told.lost);
    Vector sum = Vector::Zero(static_cast<Eigen::Index>(info.parameters.size()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::optional<Sample>& sample = told.samples[i];
      if (!sample) {
        forming.leave_out();
        continue;
      }
      const double free = forming.loss_of(i, sample->free->potential);
      for (std::size_t k = 0; k < steps.size(); ++k) {
        const std::size_t first = k * each(), second = first + each() - 1;
        const ParameterStep done = achieved(steps[k], *sample->free, *sample->contrasts[first], *sample->contrasts[second]);
        sum[steps[k].parameter] += done.slope(free, forming.loss_of(i, sample->potential[first]), forming.loss_of(i, sample->potential[second]));
      }
      forming.use(i);
    }
    return forming.finish(std::move(sum));
  }

 private:
  std::size_t each() const { return options_.central ? 2 : 1; }

  std::vector<std::uint32_t> chosen(const DeviceInfo& info) const {
    return options_.parameters.empty() ? trainable_parameters(info) : options_.parameters;
  }

  std::vector<ParameterStep> steps_of(const DeviceInfo& info, const Parameters& theta) const {
    const Vector values = theta.values();
    std::vector<ParameterStep> steps;
    for (const std::uint32_t p : chosen(info)) steps.push_back(parameter_step("finite differences", info.parameters[p], p, values[p], options_.step, options_.central));
    return steps;
  }

  bool starts_afresh() const override { return true; }

  class Plan final : public ContrastPlan {
   public:
    Plan(std::vector<ParameterStep> steps, std::size_t each) : steps_(std::move(steps)), each_(each) {}
    std::size_t contrasts(std::size_t) const override { return each_ * steps_.size(); }
    bool impose(Drive& drive, std::size_t, std::size_t k, const Seen&) const override {
      const ParameterStep& step = steps_[k / each_];
      drive.theta = drive.theta.with(step.parameter, k % each_ == 0 ? step.first : step.second);
      return true;
    }

   private:
    std::vector<ParameterStep> steps_;
    std::size_t each_;
  };
  std::unique_ptr<const ContrastPlan> plan(const DeviceInfo& info, const Minibatch& batch, const Loss&) const override {
    return std::make_unique<Plan>(steps_of(info, batch.theta), each());
  }

  FiniteDifferenceOptions options_;
};

}  // namespace

std::unique_ptr<Estimator> finite_differences(const FiniteDifferenceOptions& options) {
  return std::make_unique<FiniteDifferences>(options);
}

}  // namespace ness
