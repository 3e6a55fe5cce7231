#include "ness/training/loss.hpp"

#include <array>
#include <cmath>
#include <stdexcept>

#include "ness/device/number_text.hpp"

namespace ness {
namespace {

// The class number in a target.
Eigen::Index class_of(std::span<const double> target, Eigen::Index outputs) {
  if (target.size() != 1) {
    throw std::invalid_argument("cross-entropy: a target of " + std::to_string(target.size()) +
                                " numbers; one is needed, the class");
  }
  const double label = target[0];
  if (!(label >= 0) || !(label < static_cast<double>(outputs)) || label != std::floor(label)) {
    throw std::invalid_argument("cross-entropy: class " + number_text(label) + "; a whole number from 0 to " +
                                std::to_string(outputs - 1) + " is needed, one for each output");
  }
  return static_cast<Eigen::Index>(label);
}

std::shared_ptr<const Loss> read_squared_error(Keys&) { return std::make_shared<SquaredError>(); }

std::shared_ptr<const Loss> read_cross_entropy(Keys& keys) {
  double scale = 1;
  keys.number("scale", scale, Number::positive,
              {"1/kT", "factor on the potentials: how sharply classes are told apart"});
  return std::make_shared<CrossEntropy>(scale);
}

constexpr std::array table{
    LossEntry{"squared-error", "sum over the outputs of (mu - target)^2; targets are potentials", false,
              read_squared_error},
    LossEntry{"cross-entropy", "softmax cross-entropy of `scale` mu, natural logarithm; targets are classes",
              true, read_cross_entropy},
};

}  // namespace

std::span<const LossEntry> loss_table() { return table; }

bool Loss::correct(const VectorView&, std::span<const double>) const { return false; }

double SquaredError::value(const VectorView& output, std::span<const double> target, Vector* gradient) const {
  if (target.size() != static_cast<std::size_t>(output.size())) {
    throw std::invalid_argument("squared error: " + std::to_string(target.size()) + " targets for " +
                                std::to_string(output.size()) + " outputs");
  }
  const Vector difference = output - Eigen::Map<const Vector>(target.data(), output.size());
  if (gradient) *gradient = 2 * difference;
  return difference.squaredNorm();
}

bool SquaredError::correct(const VectorView& output, std::span<const double> target) const {
  if (!threshold_ || output.size() != 1 || target.size() != 1) return false;
  // On the threshold itself neither class is named; NaN is on neither side.
  return target[0] > *threshold_ ? output[0] > *threshold_ : output[0] < *threshold_;
}

CrossEntropy::CrossEntropy(double scale) : scale_(scale) {
  if (!(scale > 0) || std::isinf(scale)) {
    throw std::invalid_argument("cross-entropy: readout scale " + number_text(scale) +
                                "; it must be finite and > 0");
  }
}

double CrossEntropy::value(const VectorView& output, std::span<const double> target, Vector* gradient) const {
  const Eigen::Index label = class_of(target, output.size());
  // Subtract the largest output, so that no exponential overflows.
  const Vector shifted = scale_ * (output.array() - output.maxCoeff()).matrix();
  const Vector weight = shifted.array().exp().matrix();
  const double sum = weight.sum();
  if (gradient) {
    *gradient = (scale_ / sum) * weight;
    (*gradient)[label] -= scale_;
  }
  return std::log(sum) - shifted[label];
}

bool CrossEntropy::correct(const VectorView& output, std::span<const double> target) const {
  const Eigen::Index label = class_of(target, output.size());
  if (std::isnan(output[label])) return false;
  for (Eigen::Index i = 0; i < output.size(); ++i) {
    if (output[i] > output[label] || (i < label && output[i] == output[label])) return false;
  }
  return true;
}

}  // namespace ness
