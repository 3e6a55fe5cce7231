// Estimators that nudge and hold, on networks of quantum dots and enzymes, against the exact adjoint.
#include <catch2/catch.hpp>

#include <Eigen/LU>
#include <cmath>

#include "ness/training/estimator.hpp"
#include "ness/network/simulation.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {

const SquaredError squared;
using Form = EquilibriumPropagationOptions::Form;

// A network with its device, its model and four random samples.
struct Case {
  Case(NetworkSpec spec, double level, std::uint64_t seed)
      : network(std::make_shared<const Network>(std::move(spec))),
        device(network),
        model(std::make_shared<NetworkModel>(network, 1)) {
    Random random(seed, 41);
    RowMatrix levels(4, static_cast<Eigen::Index>(network->clamped().size()));
    data.targets.resize(4, static_cast<Eigen::Index>(network->spec().graph.outputs.size()));
    for (double& x : levels.reshaped()) x = random.uniform(-level, level);
    for (double& t : data.targets.reshaped()) t = random.normal();
    data.rows = {0, 1, 2, 3};
    data.inputs = std::make_shared<DensePatterns>("random", levels);
    batch.data = &data;
    batch.samples = {0, 1, 2, 3};
    batch.theta = Parameters::of(network->theta());
    exact = estimate(device, *adjoint(model), batch, squared).value;
  }
  Gradient by(const Estimator& estimator) { return estimate(device, estimator, batch, squared); }
  double error(const Estimator& estimator) {
    const Gradient gradient = by(estimator);
    REQUIRE(gradient.used == 4);
    return (gradient.value - exact).norm() / exact.norm();
  }
  double cosine(const Estimator& estimator) {
    const Vector value = by(estimator).value;
    return value.dot(exact) / (value.norm() * exact.norm());
  }
  std::shared_ptr<const Network> network;
  Simulation device;
  std::shared_ptr<const Model> model;
  Dataset data;
  Minibatch batch;
  Vector exact;
};

NetworkSpec enzymes(std::uint64_t seed) {
  NetworkSpec spec = random_dots({2, 4, 2}, seed, 0);
  Random random(seed, 51);
  for (auto& edge : spec.edges)
    edge = enzyme(std::exp(0.5 * random.normal()), std::exp(0.5 * random.normal()),
                  std::exp(0.5 * random.normal()), 2);
  return spec;
}

}  // namespace

TEST_CASE(
    "corrected propagation against the exact adjoint: reciprocal, mildly and strongly non-reciprocal dots, "
    "enzymes",
    "[corrected]") {
  const auto check = [](Case c, double least_asymmetry, double most_asymmetry) {
    const Gradient once = c.by(*corrected_propagation(c.model, {.beta = 1e-3}));
    CHECK(once.asymmetry >= least_asymmetry);
    CHECK(once.asymmetry <= most_asymmetry);
    const auto at = [&](double beta, std::uint32_t rounds) {
      return c.error(*corrected_propagation(c.model, {.beta = beta, .rounds = rounds}));
    };
    const double plain = c.error(*equilibrium_propagation(c.model, {.beta = 1e-3}));
    CHECK(at(1e-3, 3) <= std::max(0.3 * plain, 1e-5));
    // beta^2 times third derivatives of order 1 to 10; errors of the potentials of 1e-12 over beta.
    CHECK(at(1e-3, 20) < 1e-4);
    CHECK(1 - c.cosine(*corrected_propagation(c.model, {.beta = 1e-3, .rounds = 20})) < 1e-8);
    // a beta^2 (1 + b beta^2), over a factor of 2.
    CHECK(std::log2(at(0.02, 20) / at(0.01, 20)) == Approx(2).margin(0.1));
    return plain;
  };
  CHECK(check(Case(random_dots({2, 5, 2}, 21, 1.2, 1), 3, 1), 0, 1e-12) < 1e-4);
  const double mild = check(Case(random_dots({2, 5, 2}, 22, 1), 1, 2), 1e-3, 0.1);
  CHECK(mild > 5e-3);
  // asymmetry of G; R is large where conductances nearly cancel
  const double strong = check(Case(random_dots({2, 5, 2}, 23, 1.5), 6, 3), 0.01, 1);
  CHECK(strong > 0.1);
  check(Case(enzymes(24), 2, 4), 1e-3, 1);
}

TEST_CASE("the asymmetry of a simulated network measured by holding it", "[corrected]") {
  Case c(random_dots({2, 5, 2}, 23, 1.5), 6, 3);
  const auto by_model = corrected_propagation(c.model, {.beta = 1e-3, .rounds = 8});
  const Gradient reference = c.by(*by_model);
  const auto difference = [&](double probe) {
    const Gradient measured =
        c.by(*corrected_propagation(c.model, {.beta = 1e-3, .rounds = 8, .measured = true, .probe = probe}));
    REQUIRE(measured.used == 4);
    CHECK(measured.relaxations == 4 * (1 + 16 + 14));
    CHECK(measured.asymmetry == Approx(reference.asymmetry).epsilon(0.05));
    return (measured.value - reference.value).norm() / reference.value.norm();
  };
  CHECK(std::log2(difference(0.2) / difference(0.1)) == Approx(2).margin(0.2));  // central differences
  CHECK(difference(1e-3) < 1e-5);
}

TEST_CASE("beta chosen without noise leaves what rounding and curvature leave", "[nudge]") {
  Case c(random_dots({2, 5, 2}, 21, 1.2, 1), 3, 1);
  for (const Form form : {Form::centred, Form::richardson}) {
    const auto estimator = equilibrium_propagation(c.model, {.beta = 0, .form = form});
    CHECK(estimator->prepare(c.device, c.device.info(), c.batch, squared, {}) > 0);
    INFO("beta " << estimator->state()[0]);
    CHECK(c.error(*estimator) < 1e-6);
  }
}

TEST_CASE("coupled learning on quantum dots and enzymes", "[coupled]") {
  for (NetworkSpec spec : {random_dots({2, 5, 1}, 31, 1.2, 1), random_dots({2, 5, 1}, 32, 1.5)}) {
    Case c(spec, 3, 5);
    // R c of the model at the free states.
    Vector expected = Vector::Zero(c.exact.size());
    for (std::size_t i = 0; i < 4; ++i) {
      const Drive drive = c.batch.free_drive(i);
      const Vector mu = c.device.relax(drive).potential;
      Vector cotangent = Vector::Zero(mu.size());
      cotangent[mu.size() - 1] = 2 * (mu[mu.size() - 1] - c.data.target(i)[0]);
      const Vector costate = -c.model->conductance(drive, mu).partialPivLu().solve(cotangent);
      c.model->add_gradient({&drive, 1}, {&mu, 1}, {&costate, 1}, expected);
    }
    expected /= 4;
    REQUIRE(c.device.info().terminals.back().reads_current);
    const auto error = [&](double eta) {
      return (c.by(*coupled_learning(c.model, {.eta = eta})).value - expected).norm() / expected.norm();
    };
    CHECK(std::log2(error(0.04) / error(0.02)) == Approx(2).margin(0.15));
    CHECK(error(1e-3) < 1e-4);
  }
  // Reciprocal: the gradient.
  Case dots(random_dots({2, 5, 1}, 31, 1.2, 1), 3, 5);
  CHECK(dots.error(*coupled_learning(dots.model, {.eta = 1e-3})) < 1e-4);
  // Two outputs: a direction along which the loss falls.
  for (NetworkSpec spec : {random_dots({2, 5, 2}, 33, 1.2, 1), enzymes(34)}) {
    Case c(spec, 2, 6);
    const Gradient direction = c.by(*coupled_learning(c.model, {.eta = 1e-3}));
    CHECK(direction.used == 4);
    const Vector step = 1e-3 * direction.value / direction.value.norm();
    Minibatch after = c.batch;
    after.theta = Parameters::of(c.network->theta() - step);
    const double fall = direction.loss - estimate(c.device, *adjoint(c.model), after, squared).loss;
    CHECK(fall > 0);
    CHECK(fall == Approx(step.dot(c.exact)).epsilon(0.1));
  }
}
