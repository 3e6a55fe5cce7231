#include "ness/training/gradient_check.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "ness/device/error.hpp"

namespace ness {
namespace {

// One estimator's rows for a minibatch; the gradient of each sample can be computed separately.
class SampleGradients {
 public:
  SampleGradients(Device& device, const Estimator& estimator, const Minibatch& batch, const Loss& loss,
                  std::stop_token stop)
      : info_(device.info()), estimator_(estimator), batch_(batch), loss_(loss) {
    if (const std::string unmet = estimator.unmet_needs(info_); !unmet.empty()) {
      throw Unsupported(std::string(estimator.name()) + ": " + unmet);
    }
    rows_ = relax_chains(device, estimator.chains(info_, batch, loss), stop);
    for (std::size_t i = 0; i < rows_.size(); ++i) singles_.push_back(single(i));
  }

  bool usable(std::size_t i) const { return singles_[i].used == 1 && singles_[i].value.allFinite(); }

  // The standard error that the readings leave in that mean; empty where they know none.
  Vector error(const std::vector<std::size_t>& samples, std::uint32_t draws) const {
    Vector squares = Vector::Zero(static_cast<Eigen::Index>(info_.parameters.size()));
    for (const std::size_t i : samples) {
      const Minibatch one = minibatch(i);
      const Vector error = reading_error(estimator_, info_, one, loss_, {&rows_[i], 1}, draws, i + 1);
      if (error.size() == 0) return {};
      squares += error.cwiseAbs2();
    }
    return squares.cwiseSqrt() / static_cast<double>(samples.size());
  }

  // The mean over the samples given, in their order.
  Gradient mean(const std::vector<std::size_t>& samples) const {
    Gradient total;
    total.value = Vector::Zero(static_cast<Eigen::Index>(info_.parameters.size()));
    for (const Gradient& one : singles_) {
      total.relaxations += one.relaxations;
      total.worst = static_cast<std::uint16_t>(total.worst | one.worst);
    }
    for (const std::size_t i : samples) {
      total.value += singles_[i].value;
      total.loss += singles_[i].loss;
      total.correct += singles_[i].correct;
    }
    total.used = samples.size();
    total.left_out = singles_.size() - samples.size();
    for (std::uint32_t i = 0; i < singles_.size(); ++i) {
      if (std::find(samples.begin(), samples.end(), i) == samples.end()) total.without.push_back(i);
    }
    const auto used = static_cast<double>(total.used);
    total.value /= used;
    total.loss /= used;
    total.correct /= used;
    return total;
  }

 private:
  Minibatch minibatch(std::size_t i) const {
    Minibatch one;
    one.data = batch_.data;
    one.samples = {batch_.samples[i]};
    if (!batch_.variants.empty()) one.variants = {batch_.variants[i]};
    if (!batch_.starts.empty()) one.starts = {batch_.starts[i]};
    one.observe = batch_.observe;
    one.theta = batch_.theta;
    one.step = batch_.step;
    return one;
  }

  Gradient single(std::size_t i) const { return estimator_.form(info_, minibatch(i), loss_, {&rows_[i], 1}); }

  const DeviceInfo& info_;
  const Estimator& estimator_;
  const Minibatch& batch_;
  const Loss& loss_;
  std::vector<std::vector<Relaxation>> rows_;
  std::vector<Gradient> singles_;
};

Vector picked(const Vector& all, const std::vector<std::uint32_t>& parameters) {
  Vector some(static_cast<Eigen::Index>(parameters.size()));
  for (std::size_t k = 0; k < parameters.size(); ++k) some[static_cast<Eigen::Index>(k)] = all[parameters[k]];
  return some;
}

void compare(GradientCheck& check, const Vector& estimate, const Vector& reference) {
  check.norm = estimate.norm();
  check.reference_norm = reference.norm();
  check.relative_error = (estimate - reference).norm() / check.reference_norm;
  const Vector a = estimate / check.norm, b = reference / check.reference_norm;
  check.cosine = a.dot(b);
  // acos of the cosine cannot resolve angles below 1e-8.
  check.angle = 2 * std::atan2((a - b).norm(), (a + b).norm());
}

}  // namespace

GradientCheck check_gradient(Device& device, const Estimator& estimator, const Minibatch& batch,
                             const Loss& loss, const GradientCheckOptions& options, std::stop_token stop) {
  const DeviceInfo& info = device.info();
  std::vector<std::uint32_t> parameters = options.parameters;
  for (std::uint32_t i = 0; options.parameters.empty() && i < info.parameters.size(); ++i) {
    if (info.parameters[i].trainable) parameters.push_back(i);
  }
  if (parameters.empty())
    throw std::invalid_argument("gradient check: the device has no trainable parameter");
  const auto differences = [&](double step) { return finite_differences({true, step, parameters}); };
  const auto small = differences(options.step), large = differences(2 * options.step);

  // Check all needs before the first relaxation.
  for (const Estimator* one : {&estimator, static_cast<const Estimator*>(small.get())}) {
    if (const std::string unmet = one->unmet_needs(info); !unmet.empty())
      throw Unsupported(std::string(one->name()) + ": " + unmet);
  }
  const SampleGradients estimates(device, estimator, batch, loss, stop);
  Device& exact = options.reference != nullptr ? *options.reference : device;
  const SampleGradients at_small(exact, *small, batch, loss, stop);
  const SampleGradients at_large(exact, *large, batch, loss, stop);

  // Means can be compared only over the same samples.
  std::vector<std::size_t> common;
  for (std::size_t i = 0; i < batch.samples.size(); ++i) {
    if (estimates.usable(i) && at_small.usable(i) && at_large.usable(i)) common.push_back(i);
  }
  GradientCheck check;
  check.estimate = estimates.mean(common);
  check.reference = at_small.mean(common);
  const Gradient coarse = at_large.mean(common);
  check.reference.value = (4 * check.reference.value - coarse.value) / 3;
  check.reference.relaxations += coarse.relaxations;
  check.reference.worst = static_cast<std::uint16_t>(check.reference.worst | coarse.worst);
  check.relaxations = check.estimate.relaxations;
  check.reference_relaxations = check.reference.relaxations;
  check.samples = common.size();
  check.parameters = parameters.size();
  check.exact_reference = options.reference != nullptr;
  compare(check, picked(check.estimate.value, parameters), picked(check.reference.value, parameters));
  const auto norm = [&](const Vector& error) {
    return error.size() == 0 ? std::numeric_limits<double>::quiet_NaN() : picked(error, parameters).norm();
  };
  if (common.empty()) return check;
  check.error = norm(estimates.error(common, options.error_draws));
  if (check.exact_reference) {
    check.reference_error = 0;
    return check;
  }
  const Vector of_small = at_small.error(common, options.error_draws),
               of_large = at_large.error(common, options.error_draws);
  if (of_small.size() > 0 && of_large.size() > 0)
    check.reference_error = norm(((16 * of_small.cwiseAbs2() + of_large.cwiseAbs2()).cwiseSqrt() / 3).eval());
  return check;
}

}  // namespace ness
