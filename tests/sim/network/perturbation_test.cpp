// Estimators that perturb all parameters at once, on networks of quantum dots and of enzymes, against the
// adjoint.
#include <catch2/catch.hpp>

#include <cmath>

#include "sim/network/networks.hpp"
#include "ness/device/chain.hpp"
#include "ness/training/dataset.hpp"
#include "ness/training/estimator.hpp"
#include "ness/training/optimizer.hpp"
#include "ness/network/simulation.hpp"

using namespace networks;

namespace {

struct Case {
  const char* name;
  std::shared_ptr<const Network> network;
};

std::vector<Case> cases() {
  const auto shared = [](NetworkSpec spec) { return std::make_shared<const Network>(std::move(spec)); };
  return {{"reciprocal, d = 1", shared(random_dots({2, 3, 1}, 31, 1, 1))},
          {"mildly non-reciprocal", shared(random_dots({2, 3, 1}, 32, 0.5))},
          {"strongly non-reciprocal, unequal temperatures and capacities",
           shared(random_dots({2, 4, 2}, 33, 2, 0, true))},
          {"enzymes, dots and resistors", shared(mixed())}};
}

// One minibatch on one network, in coordinates.
struct Problem {
  explicit Problem(const Case& of)
      : network(of.network), device(network), model(std::make_shared<NetworkModel>(network)) {
    Random random(5, 12);
    RowMatrix levels(3, static_cast<Eigen::Index>(network->clamped().size()));
    data.targets.resize(3, static_cast<Eigen::Index>(network->spec().graph.outputs.size()));
    for (Eigen::Index i = 0; i < 3; ++i) {
      for (double& x : levels.row(i)) x = random.uniform(-2, 2);
      for (double& t : data.targets.row(i)) t = random.normal();
      data.rows.push_back(static_cast<std::uint64_t>(i));
    }
    data.inputs = std::make_shared<DensePatterns>("random", levels);
    batch.data = &data;
    batch.samples = {0, 1, 2};
    batch.theta = Parameters::of(network->theta());
    exact = gradient(*adjoint(model));
  }
  Vector gradient(const Estimator& estimator) {
    const Gradient found = estimate(device, estimator, batch, loss);
    CHECK(found.left_out == 0);
    CHECK(static_cast<double>(found.relaxations) == 3 * estimator.cost(device.info()));
    return ParameterSpace(device.info()).gradient(network->theta(), found.value);
  }
  std::shared_ptr<const Network> network;
  Simulation device;
  std::shared_ptr<const NetworkModel> model;
  Dataset data;
  Minibatch batch;
  SquaredError loss;
  Vector exact;
};

}  // namespace

TEST_CASE(
    "Walsh codes give the gradient of any network, reciprocal or not, with an error of the order of the step "
    "squared") {
  for (const Case& of : cases()) {
    INFO(of.name);
    Problem problem(of);
    const auto error = [&](double step) {
      return (problem.gradient(*walsh({.step = step})) - problem.exact).norm() / problem.exact.norm();
    };
    const double coarse = error(4e-3), fine = error(2e-3);
    INFO("errors " << coarse << ", " << fine);
    CHECK(std::log2(coarse / fine) == Approx(2).margin(0.1));  // the next order is smaller by step^2
    CHECK(fine < 1e-3);
    const Vector found = problem.gradient(*walsh({.step = 2e-3}));
    CHECK(found.dot(problem.exact) / (found.norm() * problem.exact.norm()) >
          1 - 1e-6);  // the square of the error
  }
}

TEST_CASE("SPSA gives the slope along its direction on any network, with an error of the order of c^2") {
  for (const Case& of : cases()) {
    INFO(of.name);
    Problem problem(of);
    const auto error = [&](double c) {
      const auto estimator = spsa({.c = c, .gamma = 0}, 2);
      const Vector moved =
          estimator->chains(problem.device.info(), problem.batch, problem.loss)[0]({})->theta.values();
      // Infinite parameters (no inhibition) stay infinite: infinite minus infinite is not a step.
      const Vector signs = (moved - problem.batch.theta.values()).unaryExpr([](double by) {
        return by > 0 ? 1.0 : by < 0 ? -1.0 : 0.0;
      });
      const Vector expected = signs * signs.dot(problem.exact);
      return (problem.gradient(*estimator) - expected).norm() / expected.norm();
    };
    const double coarse = error(4e-3), fine = error(2e-3);
    INFO("errors " << coarse << ", " << fine);
    CHECK(std::log2(coarse / fine) == Approx(2).margin(0.1));
    CHECK(fine < 1e-2);  // relative to one derivative of many, which may be small
  }
}

TEST_CASE("averaged over directions, SPSA points along the gradient") {
  for (const Case& of : cases()) {
    INFO(of.name);
    Problem problem(of);
    constexpr std::uint32_t directions = 2000;
    const Vector found = problem.gradient(*spsa({.c = 1e-3, .directions = directions}, 2));
    // Each component of each direction scatters by at most |g|: in total by |g| sqrt((m - 1) / directions).
    const auto m = static_cast<double>(problem.exact.size());
    CHECK((found - problem.exact).norm() < 1.6 * problem.exact.norm() * std::sqrt(m / directions));
    CHECK(found.dot(problem.exact) / (found.norm() * problem.exact.norm()) >
          0.97);  // 1 - m / (2 directions), m <= 60
  }
}
