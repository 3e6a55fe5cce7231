#include <catch2/catch.hpp>
#include <cmath>

#include "core/device/toy_device.hpp"
#include "ness/training/gradient_check.hpp"

using namespace ness;

namespace {

struct Case {
  explicit Case(const toy::Network& network) : set(xor_task(-1, 1.5).train) {
    batch.data = &set;
    batch.samples = {0, 1, 2, 3};
    batch.theta = Parameters::of(network.example_theta());
  }
  Dataset set;
  Minibatch batch;
  SquaredError loss;
};

// Returns a gradient with a known error.
class Turned final : public Estimator {
 public:
  explicit Turned(const Estimator& right) : right_(right) {}
  std::string_view name() const override { return "turned"; }
  std::string unmet_needs(const DeviceInfo& info) const override { return right_.unmet_needs(info); }
  double cost(const DeviceInfo& info) const override { return right_.cost(info); }
  std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch, const Loss& loss) const override {
    return right_.chains(info, batch, loss);
  }
  // Twice the length, and turned by 90 degrees between parameters 0 and 2.
  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    Gradient gradient = right_.form(info, batch, loss, rows);
    gradient.value *= 2;
    const double first = gradient.value[0];
    gradient.value[0] = -gradient.value[2];
    gradient.value[2] = first;
    return gradient;
  }

 private:
  const Estimator& right_;
};

}  // namespace

TEST_CASE("the exact adjoint passes the gradient check", "[gradient_check]") {
  toy::Options options;
  options.skew = 0.05;
  toy::Network network(options);
  Case c(network);
  const GradientCheck check =
      check_gradient(network, *adjoint(toy::model_of(network)), c.batch, c.loss, {1e-3, {}});
  // h^4 times fifth derivatives of order 1, plus rounding 1e-16 / h.
  CHECK(check.relative_error < 1e-9);
  CHECK(check.angle < 1e-9);
  CHECK(check.cosine == Approx(1).epsilon(1e-15));
  CHECK(check.samples == 4);
  CHECK(check.parameters == 18);
  CHECK(check.relaxations == 4);
  CHECK(check.reference_relaxations == 2 * 4 * (1 + 2 * 18));
  CHECK(check.norm == Approx(check.reference_norm));
}

TEST_CASE("a wrong gradient is measured as wrong as it is", "[gradient_check]") {
  toy::Network network;
  Case c(network);
  const auto right = adjoint(toy::model_of(network));
  const GradientCheck check = check_gradient(network, Turned(*right), c.batch, c.loss, {1e-3, {0, 2}});
  CHECK(check.angle == Approx(std::acos(-1) / 2).epsilon(1e-8));
  CHECK(std::abs(check.cosine) < 1e-8);
  CHECK(check.relative_error == Approx(std::sqrt(5)).epsilon(1e-8));  // (1, 0) against (0, 2)
  CHECK(check.parameters == 2);
}

TEST_CASE("the gradient check compares over the samples that all could use", "[gradient_check]") {
  toy::Options options;
  // Sample 2 settles for the estimate, but not for the perturbations of the reference.
  options.fails = [](const Drive& drive) {
    return drive.label.sample == 2 && !drive.theta.overrides.empty();
  };
  toy::Network network(options);
  Case c(network);
  const GradientCheck check =
      check_gradient(network, *adjoint(toy::model_of(network)), c.batch, c.loss, {1e-3, {0, 1, 5}});
  CHECK(check.samples == 3);
  CHECK(check.estimate.left_out == 1);
  CHECK(check.relative_error < 1e-9);
  CHECK((check.reference.worst & bit(Flag::not_converged)) != 0);
}

TEST_CASE("the gradient check refuses an estimator that the device cannot serve", "[gradient_check]") {
  toy::Options options;
  options.nudge = {0, 0};
  toy::Network network(options);
  Case c(network);
  CHECK_THROWS_AS(
      check_gradient(network, *equilibrium_propagation(toy::model_of(network), {}), c.batch, c.loss, {}),
      Unsupported);
  CHECK(network.solved == 0);
}
