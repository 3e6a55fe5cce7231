#include <catch2/catch.hpp>
#include <cmath>

#include "core/device/toy_device.hpp"
#include "ness/training/estimator.hpp"

using namespace ness;

namespace {

// Two inputs, one or two outputs, three samples.
Dataset small_set(std::uint32_t outputs = 1) {
  RowMatrix inputs(3, 2), targets(3, outputs);
  inputs << 0.9, -0.6, 1.4, 0.8, -1.1, 0.3;
  for (int i = 0; i < 3; ++i) {
    for (std::uint32_t o = 0; o < outputs; ++o) targets(i, o) = 0.7 * std::cos(1.7 * i + o);
  }
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>("small", inputs);
  set.targets = targets;
  set.rows = {0, 1, 2};
  return set;
}

Minibatch all_of(const Dataset& set, const Vector& theta) {
  Minibatch batch;
  batch.data = &set;
  for (std::uint64_t i = 0; i < set.size(); ++i) batch.samples.push_back(i);
  batch.theta = Parameters::of(theta);
  return batch;
}

const SquaredError squared;

EquilibriumPropagationOptions::Form form_of(bool centred) {
  return centred ? EquilibriumPropagationOptions::Form::centred
                 : EquilibriumPropagationOptions::Form::one_sided;
}

double error_of(const Gradient& estimate, const Vector& exact) {
  return (estimate.value - exact).norm() / exact.norm();
}

// The gradient without the constant `scale`, which differences of parameters cannot show.
Vector trainable_part(Vector gradient) {
  gradient[gradient.size() - 1] = 0;
  return gradient;
}

}  // namespace

TEST_CASE("a single linear node has the gradient of the closed form", "[estimator]") {
  // mu = (k x + g r) / (k + g); loss (mu - y)^2.
  toy::Options options;
  options.layers = {1, 1};
  toy::Network network(options);
  const double k = 1.5, g = 0.5, r = -0.3, x = 2, y = 0.25;
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>("one", RowMatrix::Constant(1, 1, x));
  set.targets = RowMatrix::Constant(1, 1, y);
  set.rows = {0};
  const Minibatch batch = all_of(set, (Vector(5) << k, 0, g, r, 1).finished());
  const double mu = (k * x + g * r) / (k + g), c = 2 * (mu - y), s = k + g, d = x - mu;
  // dmu/dtheta by the quotient rule; alpha: the cubic current k d^3 flows into the node.
  const Vector exact =
      c * (Vector(5) << g * (x - r) / (s * s), k * d * d * d / s, k * (r - x) / (s * s), g / s, k * d / s)
              .finished();
  const Gradient adjoint_gradient = estimate(network, *adjoint(toy::model_of(network)), batch, squared);
  CHECK(adjoint_gradient.loss == Approx((mu - y) * (mu - y)).epsilon(1e-13));
  CHECK(error_of(adjoint_gradient, exact) < 1e-13);  // a few roundings
  CHECK(adjoint_gradient.relaxations == 1);
  CHECK(adjoint_gradient.used == 1);
  // A linear network's shift is exact at any beta, except for rounding of the potentials / beta.
  for (const bool centred : {false, true}) {
    const auto ep = equilibrium_propagation(toy::model_of(network), {0.1, form_of(centred)});
    const Gradient gradient = estimate(network, *ep, batch, squared);
    CHECK(error_of(gradient, exact) < 1e-13);
    CHECK(gradient.relaxations == (centred ? 3 : 2));
    CHECK(gradient.relaxations == ep->cost(network.info()));
  }
}

TEST_CASE("the adjoint agrees with extrapolated differences, reciprocal or not", "[estimator]") {
  for (const double skew : {0.0, 0.1}) {
    for (const std::uint32_t outputs : {1u, 2u}) {
      toy::Options options;
      options.layers = {2, 3, outputs};
      options.skew = skew;
      toy::Network network(options);
      const Dataset set = small_set(outputs);
      const Minibatch batch = all_of(set, network.example_theta());
      const Gradient gradient = estimate(network, *adjoint(toy::model_of(network)), batch, squared);
      const Gradient h = estimate(network, *finite_differences({true, 1e-3, {}}), batch, squared);
      const Gradient h2 = estimate(network, *finite_differences({true, 2e-3, {}}), batch, squared);
      const Vector reference = (4 * h.value - h2.value) / 3;
      // h^4 times fifth derivatives of order 1, plus rounding 1e-16 / h.
      CHECK((trainable_part(gradient.value) - reference).norm() / reference.norm() < 1e-10);
      CHECK(gradient.loss == h.loss);
      CHECK(h.relaxations == 3 * (1 + 2 * (network.parameters() - 1)));
      CHECK(h.value[h.value.size() - 1] == 0);
    }
  }
}

TEST_CASE("finite differences converge with their order", "[estimator]") {
  toy::Network network;
  const Dataset set = small_set();
  const Minibatch batch = all_of(set, network.example_theta());
  const Vector exact =
      trainable_part(estimate(network, *adjoint(toy::model_of(network)), batch, squared).value);
  const auto error = [&](bool central, double step) {
    return error_of(estimate(network, *finite_differences({central, step, {}}), batch, squared), exact);
  };
  // Errors halve or quarter with the step; the next order changes the ratio by a few per cent.
  CHECK(std::log2(error(false, 2e-3) / error(false, 1e-3)) == Approx(1).margin(0.05));
  CHECK(std::log2(error(true, 2e-2) / error(true, 1e-2)) == Approx(2).margin(0.05));
  const auto forward = finite_differences({false, 1e-3, {0, 3}});
  CHECK(forward->cost(network.info()) == 3);
  const Gradient chosen = estimate(network, *forward, batch, squared);
  CHECK(chosen.relaxations == 9);
  CHECK(chosen.value[0] != 0);
  CHECK(chosen.value[3] == Approx(exact[3]).epsilon(1e-2));
  CHECK(chosen.value[1] == 0);
}

TEST_CASE("steps that would leave the range go to the other side, with the same order of error",
          "[estimator]") {
  toy::Network network;
  const Dataset set = small_set();
  Vector theta = network.example_theta();
  theta[1] = 0;    // alpha at the lower end of its range
  theta[3] = 100;  // upper end of its range
  const Minibatch batch = all_of(set, theta);
  const Vector exact = estimate(network, *adjoint(toy::model_of(network)), batch, squared).value;
  const auto error = [&](bool central, double step, std::uint32_t parameter) {
    const Gradient gradient =
        estimate(network, *finite_differences({central, step, {parameter}}), batch, squared);
    return std::abs(gradient.value[parameter] - exact[parameter]);
  };
  CHECK(std::log2(error(true, 2e-2, 1) / error(true, 1e-2, 1)) == Approx(2).margin(0.15));
  CHECK(std::log2(error(true, 2.0, 3) / error(true, 1.0, 3)) == Approx(2).margin(0.15));
  CHECK(std::log2(error(false, 1.0, 3) / error(false, 0.5, 3)) == Approx(1).margin(0.1));
  CHECK(std::log2(error(false, 2e-3, 1) / error(false, 1e-3, 1)) == Approx(1).margin(0.1));
  CHECK_THROWS_WITH(estimate(network, *finite_differences({true, 60, {1}}), batch, squared),
                    Catch::Contains("alpha[0]") && Catch::Contains("no room for a step of 60"));
}

TEST_CASE("equilibrium propagation on a reciprocal network errs as beta and as beta squared", "[estimator]") {
  toy::Options options;
  options.layers = {2, 3, 2};
  toy::Network network(options);
  const Dataset set = small_set(2);
  const Minibatch batch = all_of(set, network.example_theta(1.0));
  const Vector exact = estimate(network, *adjoint(toy::model_of(network)), batch, squared).value;
  const auto error = [&](double beta, bool centred) {
    return error_of(
        estimate(network, *equilibrium_propagation(toy::model_of(network), {beta, form_of(centred)}), batch,
                 squared),
        exact);
  };
  // Error a beta^p (1 + b beta): measured over a factor of 4, the order is off by a few per cent.
  const double one_sided = std::log(error(0.02, false) / error(0.005, false)) / std::log(4.0);
  const double centred = std::log(error(0.1, true) / error(0.025, true)) / std::log(4.0);
  CHECK(one_sided == Approx(1).margin(0.05));
  CHECK(centred == Approx(2).margin(0.05));
  CHECK(error(1e-3, true) < 1e-5);
}

TEST_CASE("equilibrium propagation on a non-reciprocal network keeps a bias that no beta removes",
          "[estimator]") {
  toy::Options options;
  options.skew = 0.15;
  toy::Network network(options);
  const Dataset set = small_set();
  const Minibatch batch = all_of(set, network.example_theta());
  const Vector exact = estimate(network, *adjoint(toy::model_of(network)), batch, squared).value;
  const auto error = [&](double beta) {
    return error_of(estimate(network,
                             *equilibrium_propagation(toy::model_of(network),
                                                      {beta, EquilibriumPropagationOptions::Form::centred}),
                             batch, squared),
                    exact);
  };
  CHECK(error(1e-3) > 1e-3);
  CHECK(error(1e-3) == Approx(error(1e-2)).epsilon(1e-2));
}

TEST_CASE("estimates do not depend on whether the device restores states", "[estimator]") {
  toy::Options options;
  options.restores_state = false;
  toy::Network network, one_state(options);
  const Dataset set = small_set();
  const Minibatch batch = all_of(set, network.example_theta());
  const auto ep =
      equilibrium_propagation(toy::model_of(network), {1e-2, EquilibriumPropagationOptions::Form::centred});
  const Gradient restored = estimate(network, *ep, batch, squared),
                 returned = estimate(one_state, *ep, batch, squared);
  // Potentials agree to the solver's 1e-15 for any start; shifts of beta c magnify that by 1 / beta.
  CHECK((restored.value - returned.value).norm() / restored.value.norm() < 1e-12);
  CHECK(restored.relaxations == 9);   // each perturbation starts from the restored free state
  CHECK(returned.relaxations == 12);  // or the free state is relaxed again after it
}

TEST_CASE("nudges stay within the range of the outputs", "[estimator]") {
  toy::Options options;
  options.nudge = {-1e-4, 2e-4};
  toy::Network network(options);
  const Dataset set = small_set();
  const Minibatch batch = all_of(set, network.example_theta());
  const Vector exact = estimate(network, *adjoint(toy::model_of(network)), batch, squared).value;
  // beta 1 requests currents of order 1; the imposed ones are 1e-4, and the shift is divided by these.
  for (const bool centred : {true, false}) {
    CHECK(error_of(estimate(network, *equilibrium_propagation(toy::model_of(network), {1, form_of(centred)}),
                            batch, squared),
                   exact) < 1e-3);
  }
}

TEST_CASE("samples that do not settle are left out and counted", "[estimator]") {
  toy::Options options;
  options.fails = [](const Drive& drive) { return drive.label.sample == 1 && drive.label.position == 1; };
  toy::Network network(options), sound;
  const Dataset set = small_set();
  const Minibatch batch = all_of(set, network.example_theta());
  Minibatch without = batch;
  without.samples = {0, 2};
  for (const auto& estimator :
       {equilibrium_propagation(toy::model_of(network), {1e-2, EquilibriumPropagationOptions::Form::centred}),
        finite_differences({true, 1e-4, {0, 1}})}) {
    INFO(estimator->name());
    const Gradient gradient = estimate(network, *estimator, batch, squared),
                   reference = estimate(sound, *estimator, without, squared);
    CHECK(gradient.used == 2);
    CHECK(gradient.left_out == 1);
    CHECK(gradient.worst == bit(Flag::not_converged));
    CHECK(gradient.value == reference.value);
    CHECK(gradient.loss == reference.loss);
    CHECK(gradient.relaxations == reference.relaxations + 2);  // the chain ended at the failure
  }
  options.fails = [](const Drive& drive) { return drive.label.sample == 1; };
  toy::Network worse(options);
  const Gradient gradient = estimate(worse, *adjoint(toy::model_of(worse)), batch, squared);
  CHECK(gradient.left_out == 1);
  CHECK(gradient.value == estimate(sound, *adjoint(toy::model_of(sound)), without, squared).value);
  options.fails = [](const Drive&) { return true; };
  toy::Network broken(options);
  const Gradient nothing = estimate(broken, *adjoint(toy::model_of(broken)), batch, squared);
  CHECK(nothing.used == 0);
  CHECK(nothing.left_out == 3);
  CHECK(nothing.value.array().isNaN().all());
  CHECK(std::isnan(nothing.loss));
}

TEST_CASE("a perturbation on another branch is no shift", "[estimator]") {
  toy::Network network;
  const Dataset set = small_set();
  const Minibatch batch = all_of(set, network.example_theta());
  const auto ep =
      equilibrium_propagation(toy::model_of(network), {1e-2, EquilibriumPropagationOptions::Form::one_sided});
  auto rows = relax_chains(network, ep->chains(network.info(), batch, squared));
  rows[0][0].quality.raise(Flag::other_branch);  // the free state may be on any branch
  rows[2][1].quality.raise(Flag::other_branch);
  const Gradient gradient = ep->form(network.info(), batch, squared, rows);
  CHECK(gradient.used == 2);
  CHECK(gradient.left_out == 1);
}

TEST_CASE("a singular model leaves the sample out", "[estimator]") {
  class Singular final : public Model {
   public:
    std::size_t free_nodes() const override { return 3; }
    std::size_t parameters() const override { return 19; }
    Vector currents(const Drive&, const Vector&) const override { return Vector::Zero(3); }
    Matrix conductance(const Drive& drive, const Vector&) const override {
      return drive.label.sample == 1 ? Matrix::Zero(3, 3) : Matrix(-Matrix::Identity(3, 3));
    }
    void add_gradient(std::span<const Drive> drives, std::span<const Vector>, std::span<const Vector> costate,
                      Eigen::Ref<Vector> gradient) const override {
      for (std::size_t i = 0; i < drives.size(); ++i)
        gradient[0] += (1 + static_cast<double>(drives[i].label.sample)) * costate[i].sum();
    }
  };
  toy::Network network;
  const Dataset set = small_set();
  const Minibatch batch = all_of(set, network.example_theta());
  const Gradient gradient = estimate(network, *adjoint(std::make_shared<Singular>()), batch, squared);
  CHECK(gradient.used == 2);
  CHECK(gradient.left_out == 1);
  // The costates are 2 (mu - y) at the output; samples 0 and 2, with factors 1 and 3. A few roundings.
  const auto error = [&](std::size_t i) {
    return network.relax(batch.free_drive(i)).potential[network.info().output_positions()[0]] -
           set.target(i)[0];
  };
  CHECK(gradient.value[0] == Approx((2 * error(0) + 3 * 2 * error(2)) / 2).epsilon(1e-14));
}

TEST_CASE("unmet needs are said, naming the terminal", "[estimator]") {
  toy::Network network;
  const auto model = toy::model_of(network);
  const auto exact = adjoint(model), ep = equilibrium_propagation(model, {}),
             differences = finite_differences({});
  for (const Estimator* each : {exact.get(), ep.get(), differences.get()})
    CHECK(each->unmet_needs(network.info()).empty());

  DeviceInfo info = network.info();
  info.terminals[2].reads_potential = false;
  CHECK_THAT(exact->unmet_needs(info), Catch::Contains("terminal 2 (hidden0)"));
  CHECK(differences->unmet_needs(info).empty());
  info.terminals[4].reads_potential = false;
  CHECK_THAT(differences->unmet_needs(info), Catch::Contains("terminal 4 (out0)"));
  info = network.info();
  info.terminals[4].nudge = {0, 0};
  CHECK_THAT(ep->unmet_needs(info), Catch::Contains("terminal 4 (out0) cannot be nudged"));
  info.terminals[4].nudge = {0, 1};
  CHECK_THAT(ep->unmet_needs(info), Catch::Contains("one way only"));
  info = network.info();
  info.parameters.pop_back();
  CHECK_THAT(exact->unmet_needs(info), Catch::Contains("19 parameters, the device 18"));
  CHECK_THAT(finite_differences({true, 1e-4, {18}})->unmet_needs(network.info()),
             Catch::Contains("scale") && Catch::Contains("constant"));
  CHECK_THAT(finite_differences({true, 1e-4, {40}})->unmet_needs(network.info()),
             Catch::Contains("parameter 40"));

  toy::Options options;
  options.nudge = {0, 0};
  toy::Network mute(options);
  const Dataset set = small_set();
  CHECK_THROWS_AS(estimate(mute, *equilibrium_propagation(toy::model_of(mute), {}),
                           all_of(set, mute.example_theta()), squared),
                  Unsupported);
  CHECK_THROWS_WITH(adjoint(nullptr), Catch::Contains("no model"));
  CHECK_THROWS_WITH(equilibrium_propagation(model, {-1, EquilibriumPropagationOptions::Form::centred}),
                    Catch::Contains("beta -1"));
  CHECK_THROWS_WITH(finite_differences({true, -1, {}}), Catch::Contains("step -1"));
}

TEST_CASE("rows that cannot form a gradient are refused", "[estimator]") {
  toy::Network network;
  const Dataset set = small_set();
  const Minibatch batch = all_of(set, network.example_theta());
  const auto exact = adjoint(toy::model_of(network));
  auto rows = relax_chains(network, exact->chains(network.info(), batch, squared));
  rows[1][0].potential = Vector::Zero(1);
  CHECK_THROWS_WITH(exact->form(network.info(), batch, squared, rows), Catch::Contains("sample 1") &&
                                                                           Catch::Contains("1 potentials") &&
                                                                           Catch::Contains("outputs only"));
  rows[1].clear();
  CHECK_THROWS_WITH(exact->form(network.info(), batch, squared, rows), Catch::Contains("no free relaxation"));
  rows.pop_back();
  CHECK_THROWS_WITH(exact->form(network.info(), batch, squared, rows),
                    Catch::Contains("2 samples for a minibatch of 3"));
}
