// Asymmetry-corrected propagation, coupled learning, and the choice of the nudge from noise and curvature.
#include <catch2/catch.hpp>

#include <Eigen/LU>
#include <algorithm>

#include "core/training/given_keys.hpp"
#include "core/training/perturbed_relaxations_fixture.hpp"
#include "core/record/log_fixture.hpp"
#include "device_contract.hpp"
#include "ness/device/error.hpp"
#include "ness/training/estimator_table.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/device/random.hpp"
#include "ness/record/recorder.hpp"
#include "ness/record/replay.hpp"
#include "ness/training/trainer.hpp"

using namespace perturbations_test;

namespace {

const SquaredError squared;
using Form = EquilibriumPropagationOptions::Form;

// Two free nodes with I = J (mu - x) - s, J = 1 + k (rotation by 90 degrees), both outputs; the input x
// drives both. The eigenvalues of J are 1 +- i k: stable for any k. The gradient with respect to s is the
// costate.
class Turning final : public Device, public Model {
 public:
  explicit Turning(double k, Range nudge = {-10, 10}) {
    J_ << 1, k, -k, 1;
    info_.restores_state = info_.deterministic = true;
    info_.terminals.resize(3);
    info_.terminals[0].name = "x";
    info_.terminals[0].clamped = true;
    info_.terminals[1] = {
        .name = "p", .level = {-9, 9}, .can_hold = true, .nudge = nudge, .reads_current = true};
    info_.terminals[2] = info_.terminals[1];
    info_.terminals[2].name = "q";
    info_.outputs = {1, 2};
    for (const char* name : {"s[0]", "s[1]"}) info_.parameters.push_back({name, "s", "1", {-10, 10}});
  }
  const DeviceInfo& info() const override { return info_; }
  std::size_t free_nodes() const override { return 2; }
  std::size_t parameters() const override { return 2; }
  Vector currents(const Drive& drive, const Vector& mu) const override {
    return J_ * (mu.array() - drive.clamp.levels()[0]).matrix() - drive.theta.values();
  }
  Matrix conductance(const Drive&, const Vector&) const override { return -J_; }
  void add_gradient(std::span<const Drive> drives, std::span<const Vector>, std::span<const Vector> costate,
                    Eigen::Ref<Vector> gradient) const override {
    for (std::size_t i = 0; i < drives.size(); ++i) gradient += costate[i];
  }
  Vector exact(const Vector& c) const { return J_.transpose().inverse() * c; }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      const Drive& drive = drives[i];
      Relaxation row;
      if (drive.holds.size() == 2) {
        row.potential = (Vector(2) << drive.holds[0].level, drive.holds[1].level).finished();
        row.current = Vector::Constant(3, std::numeric_limits<double>::quiet_NaN());
        row.current.tail(2) = currents(drive, row.potential);
      } else {
        const Vector u = drive.nudge.size() > 0 ? drive.nudge : Vector::Zero(2);
        row.potential = (J_.inverse() * (u + drive.theta.values())).array() + drive.clamp.levels()[0];
      }
      sink(i, row);
    }
  }

 private:
  Eigen::Matrix2d J_;
  DeviceInfo info_;
};

Dataset turning_set() {
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>("x", RowMatrix::Constant(1, 1, 0.4));
  set.targets = (RowMatrix(1, 2) << -0.3, 0.8).finished();
  set.rows = {0};
  return set;
}

std::shared_ptr<const Model> model_of(const Turning& device) {
  return {std::shared_ptr<const Model>(), &device};
}

// -costate^T dI/dtheta of the model at its own steady states, mean over the samples; `costate` computes a
// sample's costate from R and c.
Vector contracted_with(toy::Network& network, const Minibatch& batch,
                       const std::function<Vector(const Matrix& R, const Vector& c)>& costate) {
  Vector sum = Vector::Zero(static_cast<Eigen::Index>(network.parameters()));
  for (std::size_t i = 0; i < batch.samples.size(); ++i) {
    const Drive drive = batch.free_drive(i);
    const Vector mu = network.relax(drive).potential;
    const auto outputs = static_cast<Eigen::Index>(network.info().outputs.size());
    Vector c = Vector::Zero(mu.size());
    const auto target = batch.target(i);
    for (Eigen::Index o = 0; o < outputs; ++o)
      c[mu.size() - outputs + o] = 2 * (mu[mu.size() - outputs + o] - target[static_cast<std::size_t>(o)]);
    const Vector found = costate((-network.conductance(drive, mu)).inverse(), c);
    network.add_gradient({&drive, 1}, {&mu, 1}, {&found, 1}, sum);
  }
  return sum / static_cast<double>(batch.samples.size());
}

toy::Options skewed(double skew) {
  toy::Options options;
  options.layers = {2, 3, 2};
  options.skew = skew;
  options.holds_all = true;
  return options;
}

}  // namespace

TEST_CASE("feedback turns R into R^T, each round by the factor of the closed form", "[corrected]") {
  const double k = 0.3;
  Turning device(k);
  const Dataset set = turning_set();
  const Minibatch batch = batch_of(set, (Vector(2) << 0.2, -0.5).finished(), {0});
  const Relaxation free = device.relax(batch.free_drive(0));
  Vector c;
  squared.value(free.potential, set.target(0), &c);
  const Vector exact = device.exact(c);
  // 2 R J_A is a rotation times 2 k / sqrt(1 + k^2); each round multiplies the error by this factor. The
  // first error is R^T c - R c.
  const double factor = 2 * k / std::sqrt(1 + k * k);
  for (std::uint32_t rounds = 1; rounds <= 6; ++rounds) {
    const auto estimator = corrected_propagation(model_of(device), {.beta = 0.1, .rounds = rounds});
    const Gradient gradient = estimate(device, *estimator, batch, squared);
    CHECK(gradient.relaxations == 1 + 2 * rounds);
    CHECK(estimator->cost(device.info()) == 1 + 2 * rounds);
    CHECK(error_of(gradient.value, exact) == Approx(std::pow(factor, rounds)).epsilon(1e-10));
    CHECK(gradient.asymmetry == Approx(k).epsilon(1e-14));
  }
  const auto plain = equilibrium_propagation(model_of(device), {.beta = 0.1});
  CHECK(error_of(estimate(device, *corrected_propagation(model_of(device), {.beta = 0.1, .rounds = 1}), batch,
                          squared)
                     .value,
                 estimate(device, *plain, batch, squared).value) < 1e-14);
}

TEST_CASE("where the rounds do not contract the sample is left out, and the chain ends", "[corrected]") {
  const Dataset set = turning_set();
  const Minibatch batch = batch_of(set, (Vector(2) << 0.2, -0.5).finished(), {0});
  const auto run = [&](double k, double contraction, std::uint32_t rounds = 3) {
    Turning device(k);
    return estimate(
        device,
        *corrected_propagation(model_of(device), {.beta = 0.1, .rounds = rounds, .contraction = contraction}),
        batch, squared);
  };
  // 2 k / sqrt(1 + k^2): 0.575 and 1.79.
  CHECK(run(0.3, 0.58).used == 1);
  const Gradient slow = run(0.3, 0.57);
  CHECK(slow.left_out == 1);
  CHECK(slow.relaxations == 2);
  const Gradient growing = run(2, 0.9);
  CHECK(growing.used == 0);
  CHECK(growing.left_out == 1);
  CHECK(growing.relaxations == 2);
  CHECK(growing.value.array().isNaN().all());
  CHECK(run(2, INFINITY).used == 1);
  CHECK(run(2, 0.9, 1).used == 1);  // no feedback that must contract
  // The shift of the last round leads to no further nudge, but the costate checks it.
  Turning device(0.3);
  Between between(device, [](std::uint64_t ordinal, const Drive&, Relaxation& row) {
    if (ordinal == 6) row.potential[0] += 0.5;
  });
  const Gradient last =
      estimate(between, *corrected_propagation(model_of(device), {.beta = 0.1}), batch, squared);
  CHECK(last.relaxations == 7);
  CHECK(last.left_out == 1);
  // Changes explained by noise do not count as growth.
  NoiseOptions noise;
  noise.read = 1e-2;
  int used = 0;
  for (noise.seed = 0; noise.seed < 50; ++noise.seed) {
    Noisy noisy(device, noise);
    used += static_cast<int>(
        estimate(noisy, *corrected_propagation(model_of(device), {.beta = 1e-3, .rounds = 6}), batch, squared)
            .used);
  }
  CHECK(used == 50);
}

TEST_CASE(
    "corrected propagation is exact as beta squared on a non-reciprocal network, where the plain form is not",
    "[corrected]") {
  const Dataset set = small_set(2);
  toy::Network network(skewed(0.2));
  const auto model = toy::model_of(network);
  const Minibatch batch = batch_of(set, network.example_theta());
  const Vector exact = estimate(network, *adjoint(model), batch, squared).value;
  const auto error = [&](double beta, std::uint32_t rounds) {
    return error_of(
        estimate(network, *corrected_propagation(model, {.beta = beta, .rounds = rounds}), batch, squared)
            .value,
        exact);
  };
  const double plain = error_of(
      estimate(network, *equilibrium_propagation(model, {.beta = 1e-3}), batch, squared).value, exact);
  CHECK(plain > 0.01);
  CHECK(error(1e-3, 1) == Approx(plain).epsilon(1e-9));
  for (std::uint32_t rounds = 1; rounds < 6; ++rounds)
    CHECK(error(1e-3, rounds + 1) < 0.5 * error(1e-3, rounds));
  CHECK(error(1e-3, 20) < 1e-6);
  // Error a beta^2 (1 + b beta^2), over a factor of 4.
  CHECK(std::log(error(0.1, 20) / error(0.025, 20)) / std::log(4.0) == Approx(2).margin(0.05));
  // On a reciprocal network the feedback is zero.
  toy::Network reciprocal(skewed(0));
  const Gradient same =
      estimate(reciprocal, *corrected_propagation(toy::model_of(reciprocal), {.beta = 1e-2}), batch, squared);
  CHECK(error_of(same.value,
                 estimate(reciprocal, *equilibrium_propagation(toy::model_of(reciprocal), {.beta = 1e-2}),
                          batch, squared)
                     .value) < 1e-12);
  CHECK(same.asymmetry < 1e-15);
}

TEST_CASE("a phase that would leave the range of any node goes on smaller", "[corrected]") {
  const Dataset set = small_set(2);
  toy::Options options = skewed(0.2);
  options.nudge = {-1e-3, 2e-3};
  toy::Network network(options);
  const auto model = toy::model_of(network);
  const Minibatch batch = batch_of(set, network.example_theta());
  const Vector exact = estimate(network, *adjoint(model), batch, squared).value;
  // Currents of order 1 are requested; 1e-3 is imposed: the error is its square, and that of 20 rounds.
  // Drives beyond a range are refused.
  CHECK(error_of(
            estimate(network, *corrected_propagation(model, {.beta = 1, .rounds = 20}), batch, squared).value,
            exact) < 1e-5);
}

TEST_CASE("the asymmetry measured by held steps is the model's, and is kept between measurements",
          "[corrected]") {
  const Dataset set = small_set(2);
  toy::Network network(skewed(0.2));
  const auto model = toy::model_of(network);
  Minibatch batch = batch_of(set, network.example_theta());
  const Gradient by_model = estimate(network, *corrected_propagation(model, {.beta = 1e-3}), batch, squared);
  double asymmetry = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const Drive drive = batch.free_drive(i);
    const Matrix G = network.conductance(drive, network.relax(drive).potential);
    asymmetry += (G - G.transpose()).norm() / (G + G.transpose()).norm() / 3;
  }
  CHECK(by_model.asymmetry == Approx(asymmetry).epsilon(1e-12));

  CorrectedPropagationOptions options{.beta = 1e-3, .measured = true, .measure_every = 3, .probe = 0.01};
  const auto measured = corrected_propagation(model, options);
  CHECK(measured->cost(network.info()) == 1 + 6 + 10.0 / 3);
  Between between(network);
  std::vector<std::uint64_t> relaxations;
  for (batch.step = 0; batch.step < 7; ++batch.step) {
    const auto rows = relax_chains(between, measured->chains(network.info(), batch, squared));
    const Gradient gradient = measured->form(network.info(), batch, squared, rows);
    // Columns by central differences: errors of order probe^2 = 1e-4, relative to the correction.
    CHECK(error_of(gradient.value, by_model.value) < 1e-4);
    if (batch.step % 3 == 0) CHECK(gradient.asymmetry == Approx(asymmetry).epsilon(1e-3));
    else CHECK(std::isnan(gradient.asymmetry));
    relaxations.push_back(gradient.relaxations);
    measured->remember(network.info(), batch, squared, rows);
  }
  CHECK(relaxations == std::vector<std::uint64_t>{51, 21, 21, 51, 21, 21, 51});
  for (std::size_t k = 0; k < 10; ++k) {
    // All free nodes are held at their free potentials, with one of them stepped.
    const Drive& drive = between.drives[3 + 3 * k];
    REQUIRE(drive.holds.size() == 5);
    for (std::size_t n = 0; n < 5; ++n) {
      const double step = n != k / 2 ? 0 : k % 2 == 0 ? -0.01 : 0.01;
      CHECK(drive.holds[n].level ==
            Approx(between.rows[0].potential[static_cast<Eigen::Index>(n)] + step).epsilon(1e-15));
    }
  }

  // A new sample is measured at its first visit; each sample keeps its own A.
  batch.samples = {0, 1};
  const auto fresh = corrected_propagation(model, options);
  batch.step = 0;
  const auto rows = relax_chains(network, fresh->chains(network.info(), batch, squared));
  fresh->remember(network.info(), batch, squared, rows);
  batch.samples = {0, 2};
  batch.step = 1;
  CHECK(estimate(network, *fresh, batch, squared).relaxations == 7 + 17);

  const auto copy = corrected_propagation(model, options);
  copy->restore(fresh->state());
  CHECK(copy->state() == fresh->state());
  CHECK(copy->state().size() == 2 + 2 * (2 + 10));
  CHECK(estimate(network, *copy, batch, squared).value == estimate(network, *fresh, batch, squared).value);
  CHECK(corrected_propagation(model, options)->state().size() == 2);
  CHECK_THROWS_WITH(copy->restore(Vector::Constant(7, 5)), Catch::Contains("7 numbers are no state"));
  CHECK_THROWS_AS(corrected_propagation(model, {})->restore(Vector::Ones(7)), std::invalid_argument);
  toy::Network larger;
  CHECK_THROWS_WITH(fresh->chains(larger.info(), batch, squared),
                    Catch::Contains("5 free nodes; the device has 3"));

  // dI/dtheta and the asymmetry both measured: no model is needed.
  const Gradient alone = estimate(
      network,
      *corrected_propagation(
          nullptr, {.beta = 1e-3, .measured = true, .probe = 0.01, .law = {.measured = true, .step = 1e-3}}),
      batch_of(set, network.example_theta()), squared);
  Vector trainable = by_model.value;
  trainable[trainable.size() - 1] = 0;  // of the constant `scale`
  CHECK(error_of(alone.value, trainable) < 1e-4);
}

TEST_CASE("what corrected propagation needs, and refuses", "[corrected]") {
  toy::Network network(skewed(0.2)), plain;
  const auto model = toy::model_of(network);
  CHECK(corrected_propagation(model, {})->unmet_needs(network.info()).empty());
  CHECK(corrected_propagation(model, {.measured = true})->unmet_needs(network.info()).empty());
  CHECK_THAT(corrected_propagation(toy::model_of(plain), {.measured = true})->unmet_needs(plain.info()),
             Catch::Contains("terminal 4 (out0) cannot be held"));
  DeviceInfo info = network.info();
  info.terminals[3].nudge = {0, 0};
  CHECK_THAT(corrected_propagation(model, {})->unmet_needs(info),
             Catch::StartsWith("terminal 3 (hidden1) cannot be nudged"));
  info.terminals[3].nudge = {0, 1};
  CHECK_THAT(corrected_propagation(model, {})->unmet_needs(info), Catch::Contains("one way only"));
  CHECK_THROWS_WITH(corrected_propagation(model, {.beta = -1}), Catch::Contains("beta -1"));
  CHECK_THROWS_WITH(corrected_propagation(model, {.rounds = 0}), Catch::Contains("rounds 0"));
  CHECK_THROWS_WITH(corrected_propagation(model, {.measured = true, .measure_every = 0}),
                    Catch::Contains("measure_every 0"));
  CHECK_THROWS_WITH(corrected_propagation(model, {.probe = 0}), Catch::Contains("probe 0"));
  CHECK_THROWS_WITH(corrected_propagation(model, {.contraction = 0}), Catch::Contains("contraction 0"));
  CHECK_THROWS_WITH(corrected_propagation(nullptr, {.law = {.measured = true}}), Catch::Contains("no model"));
  // 5,000,001 samples of 5 x 5 doubles.
  Dataset large = small_set(2);
  large.rows.assign(5'000'001, 0);
  const Minibatch batch = batch_of(large, network.example_theta(), {0});
  CHECK_THROWS_WITH(corrected_propagation(model, {.measured = true})->chains(network.info(), batch, squared),
                    Catch::Contains("5000001 samples of 5 free nodes") && Catch::Contains("1000 MB"));
  CHECK_NOTHROW(corrected_propagation(model, {})->chains(network.info(), batch, squared));
}

TEST_CASE("one output held and its current read: coupled learning has the costate R c", "[coupled]") {
  const Dataset set = small_set(1);
  for (const double skew : {0.0, 0.15}) {
    toy::Options options;
    options.skew = skew;
    options.holds_all = true;
    toy::Network network(options);
    const auto model = toy::model_of(network);
    const Minibatch batch = batch_of(set, network.example_theta(1.0));
    const Vector expected =
        contracted_with(network, batch, [](const Matrix& R, const Vector& c) { return Vector(R * c); });
    const auto error = [&](double eta, bool centred) {
      return error_of(
          estimate(network, *coupled_learning(model, {.eta = eta, .centred = centred}), batch, squared).value,
          expected);
    };
    CHECK(std::log2(error(0.1, true) / error(0.05, true)) == Approx(2).margin(0.1));
    CHECK(std::log2(error(0.02, false) / error(0.01, false)) == Approx(1).margin(0.05));
    CHECK(error(1e-3, true) < 1e-5);
    if (skew == 0)
      CHECK(error_of(expected, estimate(network, *adjoint(model), batch, squared).value) < 1e-12);
    for (const bool centred : {true, false}) {
      Between between(network);
      const auto estimator = coupled_learning(model, {.centred = centred});
      const Gradient gradient = estimate(between, *estimator, batch, squared);
      CHECK(gradient.relaxations == (centred ? 9 : 6));
      CHECK(estimator->cost(network.info()) == (centred ? 3 : 2));
      for (std::size_t k = 0; k < between.drives.size(); ++k) {
        const std::size_t i = k % 3;
        const double mu = between.rows[i].potential[2], c = 2 * (mu - set.target(i)[0]);
        if (k < 3) CHECK(between.drives[k].holds.empty());
        else CHECK(between.drives[k].holds == std::vector<Hold>{{4, mu + (k < 6 ? -0.1 : 0.1) * c}});
      }
    }
  }
}

TEST_CASE("without the current coupled learning has the metric's direction, and the loss falls along it",
          "[coupled]") {
  for (const std::uint32_t outputs : {1u, 2u}) {
    const Dataset set = small_set(outputs);
    toy::Options options;
    options.layers = {2, 3, outputs};
    options.holds_all = true;
    toy::Network network(options);
    DeviceInfo info = network.info();
    for (const std::uint32_t output : info.outputs) info.terminals[output].reads_current = false;
    const auto model = toy::model_of(network);
    const Minibatch batch = batch_of(set, network.example_theta());
    const auto estimator = coupled_learning(model, {.eta = 1e-3});
    CHECK(estimator->unmet_needs(info).empty());
    const auto gradient = [&](const Minibatch& of) {
      return estimator->form(info, of, squared, relax_chains(network, estimator->chains(info, of, squared)));
    };
    const Gradient found = gradient(batch);
    // R P^T (P R P^T)^-1 c.
    const Vector expected = contracted_with(network, batch, [outputs](const Matrix& R, const Vector& c) {
      const Eigen::Index o = outputs;
      return Vector(R.rightCols(o) * R.bottomRightCorner(o, o).inverse() * c.tail(o));
    });
    CHECK(error_of(found.value, expected) < 1e-5);
    // With one output and one sample: parallel to the gradient, with another length.
    if (outputs == 1) {
      const Minibatch one = batch_of(set, network.example_theta(), {1});
      const Vector exact = estimate(network, *adjoint(model), one, squared).value,
                   value = gradient(one).value;
      CHECK(value.dot(exact) / (value.norm() * exact.norm()) > 1 - 1e-10);
      CHECK(value.norm() > 1.1 * exact.norm());
    }
    const double before = found.loss, step = 1e-3;
    const double after = estimate(network, *adjoint(model),
                                  batch_of(set, network.example_theta() - step * found.value), squared)
                             .loss;
    CHECK(after < before);
    // The decrease predicted by the exact gradient in this direction, to second order.
    const Vector exact = estimate(network, *adjoint(model), batch, squared).value;
    CHECK(before - after == Approx(step * exact.dot(found.value)).epsilon(0.05));
  }
}

TEST_CASE("levels of held outputs stay within their range; what cannot be held is said or left out",
          "[coupled]") {
  const Dataset set = small_set(1);
  toy::Options options;
  options.holds_all = true;
  toy::Network network(options);
  const auto model = toy::model_of(network);
  const Minibatch batch = batch_of(set, network.example_theta());
  const auto gradient = [&](const DeviceInfo& info, const Minibatch& of, bool centred) {
    const auto estimator = coupled_learning(model, {.eta = 1, .centred = centred});
    return estimator->form(info, of, squared, relax_chains(network, estimator->chains(info, of, squared)));
  };
  Vector free(3);
  for (std::size_t i = 0; i < 3; ++i)
    free[static_cast<Eigen::Index>(i)] = network.relax(batch.free_drive(i)).potential[2];
  DeviceInfo info = network.info();
  // Displacements of order 1 are requested; there is room for 1e-3.
  for (std::size_t i = 0; i < 3; ++i) {
    const Minibatch one = batch_of(set, network.example_theta(), {i});
    const Vector exact = estimate(network, *adjoint(model), one, squared).value;
    info.terminals[4].level = {free[static_cast<Eigen::Index>(i)] - 1e-3,
                               free[static_cast<Eigen::Index>(i)] + 1e-3};
    CHECK(error_of(gradient(info, one, true).value, exact) < 1e-5);
    CHECK(error_of(gradient(info, one, false).value, exact) < 1e-2);
    CHECK(error_of(gradient(network.info(), one, false).value, exact) > 1e-2);
  }
  info.terminals[4].level = {free.minCoeff() - 1e-3, free.maxCoeff() + 1e-3};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto estimator = coupled_learning(model, {.eta = 1});
    const auto chain = estimator->chains(info, batch, squared);
    std::vector<Relaxation> rows;
    while (const auto drive = chain[i](rows)) {
      for (const Hold& hold : drive->holds) CHECK(info.terminals[4].level.contains(hold.level));
      rows.push_back(network.relax(*drive));
    }
    CHECK(rows.size() == 3);
  }
  // The highest output cannot be held at its potential.
  info.terminals[4].level = {-50, free.maxCoeff() - 1e-3};
  const Gradient without = gradient(info, batch, true);
  CHECK(without.used == 2);
  CHECK(without.left_out == 1);

  info.terminals[4].can_hold = false;
  CHECK_THAT(coupled_learning(model, {})->unmet_needs(info),
             Catch::Contains("output terminal 4 (out0) cannot be held"));
  info.terminals[4].can_hold = true;
  info.terminals[2].reads_potential = false;
  CHECK_THAT(coupled_learning(model, {})->unmet_needs(info), Catch::Contains("terminal 2 (hidden0)"));
  CHECK_THROWS_WITH(coupled_learning(model, {.eta = 0}), Catch::Contains("eta 0"));
  CHECK_THROWS_WITH(coupled_learning(nullptr, {}), Catch::Contains("no model"));

  // No error, no gradient.
  Dataset met = set;
  for (std::size_t i = 0; i < 3; ++i)
    met.targets(static_cast<Eigen::Index>(i), 0) = free[static_cast<Eigen::Index>(i)];
  const Gradient none =
      estimate(network, *coupled_learning(model, {}), batch_of(met, network.example_theta()), squared);
  CHECK(none.used == 3);
  CHECK(none.value.isZero(0));
}

TEST_CASE("the beta chosen from noise and curvature is a good one", "[nudge]") {
  const Dataset set = small_set(2);
  toy::Network network(skewed(0));
  const auto model = toy::model_of(network);
  const Minibatch batch = batch_of(set, network.example_theta(1.0));
  const Vector exact = estimate(network, *adjoint(model), batch, squared).value;
  const auto make = [&](int which, double beta) -> std::unique_ptr<Estimator> {
    if (which == 4) return corrected_propagation(model, {.beta = beta});
    return equilibrium_propagation(model, {.beta = beta, .form = static_cast<Form>(which)});
  };
  // Nudges of at most 0.4 units are considered.
  double largest = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const Vector mu = network.relax(batch.free_drive(i)).potential;
    for (Eigen::Index o = 0; o < 2; ++o)
      largest = std::max(largest, std::abs(2 * (mu[3 + o] - set.target(i)[static_cast<std::size_t>(o)])));
  }
  const double most = 0.4 / largest;
  for (const int which : {0, 1, 3, 4}) {
    for (const double read : {1e-4, 1e-3}) {
      NoiseOptions noise;
      noise.read = read;
      const auto chosen = [&](std::uint64_t seed) {
        noise.seed = seed;
        Noisy noisy(network, noise);
        Between between(noisy);
        const auto estimator = make(which, 0);
        const std::uint64_t relaxations = estimator->prepare(between, between.info(), batch, squared, {});
        CHECK(relaxations == between.rows.size());
        for (const Drive& drive : between.drives) CHECK(drive.label.purpose == Label::Purpose::probe);
        REQUIRE(estimator->state().size() == 1);
        return estimator->state()[0];
      };
      const auto rms = [&](double beta) {
        double sum = 0;
        for (noise.seed = 100; noise.seed < 160; ++noise.seed) {
          Noisy noisy(network, noise);
          sum += (estimate(noisy, *make(which, beta), batch, squared).value - exact).squaredNorm();
        }
        return std::sqrt(sum);
      };
      std::vector<double> betas;
      for (std::uint64_t seed = 0; seed < 9; ++seed) betas.push_back(chosen(seed));
      std::sort(betas.begin(), betas.end());
      const double best = rms(betas[4]);
      INFO("form " << which << ", noise " << read << ": beta " << betas.front() << " to " << betas.back()
                   << ", error " << best);
      // beta minimises the error of the costate, not of the gradient; noise counts as curvature, which makes
      // beta smaller.
      double least = best;
      for (const double factor : {0.125, 0.25, 0.5, 2.0, 4.0, 8.0}) {
        if (factor * betas[4] <= most) least = std::min(least, rms(factor * betas[4]));
      }
      CHECK(best < rms(betas[4] / 8));
      CHECK(best < 3 * least);
      CHECK(betas.back() < 4 * betas.front());
      CHECK(betas.back() < 1.01 * most);
    }
  }
  // Without noise: curvature against rounding.
  const auto centred = make(1, 0);
  CHECK_THROWS_WITH(estimate(network, *centred, batch, squared), Catch::Contains("prepare"));
  CHECK(centred->state().size() == 0);
  CHECK(centred->prepare(network, network.info(), batch, squared, {}) == 3 + 2 * 9);
  CHECK(error_of(estimate(network, *centred, batch, squared).value, exact) < 1e-8);
  // The choice is the state: an estimator restored from it is the same.
  const auto copy = make(1, 0);
  copy->restore(centred->state());
  CHECK(copy->state() == centred->state());
  CHECK(estimate(network, *copy, batch, squared).value == estimate(network, *centred, batch, squared).value);
  CHECK_THROWS_WITH(copy->restore(Vector::Constant(1, -1)), Catch::Contains("no state"));
  CHECK_THROWS_WITH(make(1, 0.1)->restore(Vector::Constant(1, 0.1)), Catch::Contains("beta is given"));
  CHECK(make(1, 0.1)->prepare(network, network.info(), batch, squared, {}) == 0);
  CHECK_THROWS_WITH(make(1, -1), Catch::Contains("beta -1"));
}

TEST_CASE("nudges that choose beta stay within half the range, and shrink where samples cannot be had",
          "[nudge]") {
  const Dataset set = small_set(2);
  toy::Options narrow = skewed(0);
  narrow.nudge = {-2e-3, 5e-3};
  toy::Network network(narrow);
  const Minibatch batch = batch_of(set, network.example_theta());
  NoiseOptions noise;
  noise.read = 1e-2;
  Noisy noisy(network, noise);
  Between between(noisy);
  const auto estimator = equilibrium_propagation(toy::model_of(network), {.beta = 0});
  estimator->prepare(between, between.info(), batch, squared, {});
  for (const Drive& drive : between.drives) {
    // the free state is read again each time
    if (drive.nudge.size() > 0) CHECK(drive.nudge.cwiseAbs().maxCoeff() <= 1.05e-3);
  }
  // A network that does not settle beyond some nudge.
  toy::Options brittle = skewed(0);
  brittle.fails = [](const Drive& drive) {
    return drive.nudge.size() > 0 && drive.nudge.cwiseAbs().maxCoeff() > 0.06;
  };
  toy::Network network2(brittle);
  const auto careful = equilibrium_propagation(toy::model_of(network2), {.beta = 0});
  careful->prepare(network2, network2.info(), batch, squared, {});
  CHECK(estimate(network2, *careful, batch, squared).used == 3);
  // A network that never settles: the default, since nothing can be measured.
  brittle.fails = [](const Drive&) { return true; };
  toy::Network broken(brittle);
  const auto blind = equilibrium_propagation(toy::model_of(broken), {.beta = 0});
  CHECK(blind->prepare(broken, broken.info(), batch, squared, {}) == 3);
  CHECK(blind->state()[0] == 1e-3);
}

TEST_CASE("the noise of a device that does not know it is seen from four free states", "[nudge]") {
  const Dataset set = small_set(2);
  toy::Network network(skewed(0));
  const Minibatch batch = batch_of(set, network.example_theta(1.0));
  NoiseOptions noise;
  noise.read = 1e-3;
  double told = 0, seen = 0;
  for (noise.seed = 0; noise.seed < 20; ++noise.seed) {
    Noisy noisy(network, noise);
    Between silent(noisy, [](std::uint64_t, const Drive&, Relaxation& row) { row.sigma = Vector(); });
    const auto with = equilibrium_propagation(toy::model_of(network), {.beta = 0}),
               without = equilibrium_propagation(toy::model_of(network), {.beta = 0});
    CHECK(with->prepare(noisy, noisy.info(), batch, squared, {}) + 9 ==
          without->prepare(silent, silent.info(), batch, squared, {}));
    told += std::log(with->state()[0]) / 20;
    seen += std::log(without->state()[0]) / 20;
  }
  // The sixth root of a variance with 45 degrees of freedom has little scatter; the noise of nine relaxations
  // later differs, and so do the curvatures.
  CHECK(std::exp(seen - told) == Approx(1).margin(0.25));
}

TEST_CASE("trainings by estimators with a state resume and replay bit for bit", "[corrected][coupled]") {
  struct Keep final : TrainingObserver {
    std::vector<Checkpoint> checkpoints;
    std::vector<Vector> thetas;
    std::stop_source stop;
    std::uint64_t stop_at = 1'000'000;
    void on_step(const StepReport& report, const Vector& theta) override {
      thetas.push_back(theta);
      if (report.step + 1 >= stop_at) stop.request_stop();
    }
    void on_checkpoint(const Checkpoint& checkpoint) override { checkpoints.push_back(checkpoint); }
  };
  toy::Options options;
  options.skew = 0.1;
  options.holds_all = true;
  options.restores_state = GENERATE(true, false);
  const std::string name = GENERATE("ep-corrected", "coupled", "ep-random-sign", "ep-richardson");
  const given::GivenKeys keys({{"beta", 0}, {"measure_every", 3}, {"probe", 0.05}}, {{"skew", "measured"}});
  const auto model = std::make_shared<toy::Network>(options);
  const auto make = [&] { return given::estimator(name, keys, model); };
  Task task = log_test::xor_task();
  TrainingOptions training;
  training.epochs = 6;
  training.batch = 3;
  training.checkpoint_every = 1;
  // What the mean of passes errs by is not stated where an antisymmetric part is remembered.
  if (name != "ep-corrected") training.target_error = 0.3;
  training.max_repeats = 2;
  training.error_draws = 4;
  NoiseOptions noise;
  noise.read = noise.read_current = 1e-3;
  noise.seed = 3;
  const ParameterSpace space(model->info());
  const auto run = [&](Device& device, Keep& keep, TrainingObserver* more, const Checkpoint* from) {
    const auto estimator = make();
    if (from != nullptr) estimator->restore(from->estimator);
    Trainer trainer(device, *estimator, task, space, OptimizerOptions{}, training);
    trainer.observe(keep);
    if (more != nullptr) trainer.observe(*more);
    return from == nullptr ? trainer.run(model->example_theta(), keep.stop.get_token())
                           : trainer.resume(*from);
  };
  INFO(name << (options.restores_state ? "" : " on a bench"));
  const log_test::Folder folder;
  toy::Network network(options);
  Noisy noisy(network, noise);
  LogHeader header;
  header.info = noisy.info();
  header.pattern_sets = {task.train.inputs};
  Keep whole;
  TrainingSummary summary;
  {
    LogWriter log(folder / "run.h5", header, {});
    Recorder recorder(noisy, log);
    summary = run(recorder, whole, &recorder, nullptr);
    log.close(ExitStatus::finished, summary.message());
  }
  REQUIRE(summary.steps == 12);

  toy::Network again(options), later(options);
  Noisy noisy_again(again, noise), noisy_later(later, noise);
  Keep cut, resumed;
  cut.stop_at = 5;
  run(noisy_again, cut, nullptr, nullptr);
  REQUIRE(cut.checkpoints.back().step == 5);
  if (name != "coupled") CHECK(cut.checkpoints.back().estimator.size() > 0);
  const TrainingSummary rest = run(noisy_later, resumed, nullptr, &cut.checkpoints.back());
  CHECK(contract::same_bits(rest.theta, summary.theta));
  CHECK(rest.relaxations == summary.relaxations);
  REQUIRE(resumed.checkpoints.size() > 0);
  CHECK(contract::same_bits(resumed.checkpoints.back().estimator, whole.checkpoints.back().estimator));

  const LogReader log(folder / "run.h5");
  Replay replay(log, {task.train.inputs});
  ReplayCheck check(log);
  Keep replayed;
  CHECK(contract::same_bits(run(replay, replayed, &check, nullptr).theta, summary.theta));
  CHECK(check.steps_compared() == 12);
  CHECK(replay.next_row() == log.rows());
}
