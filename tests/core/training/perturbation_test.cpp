// Estimators that perturb all parameters at once, and evolution: SPSA, Walsh-coded perturbation, evolution.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/device/toy_device.hpp"
#include "core/record/log_fixture.hpp"
#include "ness/training/estimator.hpp"
#include "ness/training/estimator_table.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/record/recorder.hpp"
#include "ness/record/replay.hpp"
#include "ness/training/trainer.hpp"

using namespace log_test;

namespace {

const SquaredError squared;

Dataset three_samples() {
  RowMatrix inputs(3, 2), targets(3, 1);
  inputs << 0.9, -0.6, 1.4, 0.8, -1.1, 0.3;
  for (int i = 0; i < 3; ++i) targets(i, 0) = 0.7 * std::cos(1.7 * i);
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>("small", inputs);
  set.targets = targets;
  set.rows = {0, 1, 2};
  return set;
}

Minibatch all_of(const Dataset& set, const Vector& theta, std::uint64_t step = 0) {
  Minibatch batch;
  batch.data = &set;
  for (std::uint64_t i = 0; i < set.size(); ++i) batch.samples.push_back(i);
  batch.theta = Parameters::of(theta);
  batch.step = step;
  return batch;
}

toy::Options skewed(double skew) {
  toy::Options options;
  options.skew = skew;
  return options;
}

// dL/dw, 0 for constants.
Vector in_coordinates(const DeviceInfo& info, const Vector& theta, const Vector& gradient) {
  return ParameterSpace(info).gradient(theta, gradient);
}

// The signs of the first direction, taken from its drive.
Vector direction_of(const Estimator& estimator, const DeviceInfo& info, const Minibatch& batch) {
  const std::vector<Chain> chains = estimator.chains(info, batch, squared);
  const Vector moved = chains[0]({})->theta.values() - batch.theta.values();
  return moved.cwiseSign();
}

// Mean square over the coordinates.
double square(const Vector& x) { return x.squaredNorm(); }

}  // namespace

TEST_CASE("SPSA shows the slope along its direction, with an error of the order of c^2", "[perturbation]") {
  for (const double skew : {0.0, 0.02, 0.15}) {
    toy::Network network(skewed(skew));
    const Dataset set = three_samples();
    const Vector theta = network.example_theta();
    const Vector exact = in_coordinates(
        network.info(), theta,
        estimate(network, *adjoint(toy::model_of(network)), all_of(set, theta), squared).value);
    for (const std::uint64_t step : {0u, 3u}) {
      const Minibatch batch = all_of(set, theta, step);
      const auto error = [&](double c) {
        const auto estimator = spsa({.c = c, .gamma = 0}, 9);
        const Vector signs = direction_of(*estimator, network.info(), batch);
        CHECK(signs.head(18).cwiseAbs().sum() == 18);
        CHECK(signs[18] == 0);  // the constant
        const Gradient gradient = estimate(network, *estimator, batch, squared);
        CHECK(gradient.relaxations == 3 * 2);
        CHECK(estimator->cost(network.info()) == 2);
        CHECK_FALSE(gradient.at_theta);
        const Vector expected = signs * signs.dot(exact);
        return (in_coordinates(network.info(), theta, gradient.value) - expected).norm() / expected.norm();
      };
      // The next order is smaller by c^2.
      CHECK(std::log2(error(0.04) / error(0.02)) == Approx(2).margin(0.05));
      CHECK(error(1e-3) < 1e-4);
    }
  }
}

TEST_CASE("SPSA is unbiased and scatters by m directions", "[perturbation]") {
  toy::Network network(skewed(0.1));
  const Dataset set = three_samples();
  const Vector theta = network.example_theta();
  const Vector exact =
      in_coordinates(network.info(), theta,
                     estimate(network, *adjoint(toy::model_of(network)), all_of(set, theta), squared).value);
  const auto estimator = spsa({.c = 1e-3, .gamma = 0}, 1);
  constexpr int n = 2000;
  Vector mean = Vector::Zero(19);
  double scatter = 0;
  for (int k = 0; k < n; ++k) {
    const Vector found = in_coordinates(network.info(), theta,
                                        estimate(network, *estimator, all_of(set, theta, k), squared).value);
    mean += found / n;
    scatter += square(found - exact) / n;
  }
  // Independent signs with mean 0 and variance 1: component i scatters by the sum over j != i of g_j^2, in
  // total (m - 1) |g|^2.
  const double expected = 17 * square(exact);
  CHECK(scatter == Approx(expected).epsilon(
                       0.15));  // (signs . g)^2 has a relative deviation of about sqrt(2): 3 % after 2000
  // The sum of 18 such squares, each of mean expected / 18: exceeds 2.2 times its mean once in 10^3 for 18
  // degrees of freedom.
  CHECK(square(mean - exact) < 2.4 * expected / n);

  SECTION("directions averaged: the scatter between them is the whole error") {
    const auto four = spsa({.c = 1e-3, .gamma = 0, .directions = 4}, 1);
    double found = 0, stated = 0;
    for (int k = 0; k < 500; ++k) {
      const Minibatch batch = all_of(set, theta, k);
      const auto rows = relax_chains(network, four->chains(network.info(), batch, squared));
      Gradient gradient = four->form(network.info(), batch, squared, rows);
      state_errors(gradient, *four, network.info(), batch, squared, rows, 8, 1);
      REQUIRE(gradient.relaxations == 3 * 8);
      found += square(in_coordinates(network.info(), theta, gradient.value) - exact) / 500;
      stated += square(ParameterSpace(network.info()).errors(theta, gradient.whole_error)) / 500;
    }
    CHECK(four->cost(network.info()) == 8);
    CHECK(found == Approx(expected / 4).epsilon(0.2));
    CHECK(stated == Approx(found).epsilon(0.2));
  }
}

TEST_CASE("directions are those of the seed, the step and the repeat, alike for all samples",
          "[perturbation]") {
  toy::Network network;
  const Dataset set = three_samples();
  Minibatch batch = all_of(set, network.example_theta(), 5);
  const auto one = spsa({.c = 0.01}, 1), other = spsa({.c = 0.01}, 2);
  const auto drives = [&](const Estimator& e) {
    const auto chains = e.chains(network.info(), batch, squared);
    const Vector first = chains[0]({})->theta.values();
    for (const Chain& chain : chains) CHECK(same_bits(chain({})->theta.values(), first));
    return first;
  };
  const Vector first = drives(*one);
  CHECK(same_bits(drives(*spsa({.c = 0.01}, 1)), first));
  CHECK_FALSE(same_bits(drives(*other), first));
  batch.repeat = 1;
  CHECK_FALSE(same_bits(drives(*one), first));
  batch.repeat = 0;
  batch.step = 6;
  CHECK_FALSE(same_bits(drives(*one), first));
  // c / (k + 1)^gamma, relative on a logarithmic scale.
  batch.step = 31;
  CHECK(std::abs(std::log(drives(*spsa({.c = 0.01, .gamma = 0.2}, 1))[0] / batch.theta[0])) ==
        Approx(0.005).epsilon(1e-9));
}

TEST_CASE("Walsh codes give the whole gradient with an error of the order of the step squared",
          "[perturbation]") {
  for (const double skew : {0.0, 0.02, 0.15}) {
    toy::Network network(skewed(skew));
    const Dataset set = three_samples();
    const Vector theta = network.example_theta();
    const Minibatch batch = all_of(set, theta);
    const Gradient truth = estimate(network, *adjoint(toy::model_of(network)), batch, squared);
    const Vector exact = in_coordinates(network.info(), theta, truth.value);
    const auto error = [&](double step) {
      const auto estimator = walsh({.step = step});
      const Gradient gradient = estimate(network, *estimator, batch, squared);
      CHECK(gradient.relaxations == 3 * (1 + 64));  // m = 18: twice 32
      CHECK(estimator->cost(network.info()) == 65);
      CHECK(gradient.loss == truth.loss);
      CHECK(gradient.at_theta);
      CHECK(gradient.value[18] == 0);
      return (in_coordinates(network.info(), theta, gradient.value) - exact).norm() / exact.norm();
    };
    CHECK(std::log2(error(0.02) / error(0.01)) == Approx(2).margin(0.05));
    CHECK(error(1e-3) < 1e-4);
  }
}

TEST_CASE("under noise a Walsh code gains the square root of m over central differences", "[perturbation]") {
  toy::Network network;
  const Dataset set = three_samples();
  const Vector theta = network.example_theta();
  const Minibatch batch = all_of(set, theta);
  const auto coded = walsh({.step = 0.02}), differences = finite_differences({true, 0.02, {}});
  const ParameterSpace space(network.info());
  constexpr int n = 120;
  const auto scatter = [&](const Estimator& estimator, double* stated) {
    std::vector<Vector> found;
    Vector mean = Vector::Zero(19);
    for (int k = 0; k < n; ++k) {
      Noisy device(network, {.seed = static_cast<std::uint64_t>(k), .read = 1e-4});
      const auto rows = relax_chains(device, estimator.chains(device.info(), batch, squared));
      found.push_back(
          in_coordinates(device.info(), theta, estimator.form(device.info(), batch, squared, rows).value));
      mean += found.back() / n;
      if (stated)
        *stated += square(space.errors(
                       theta, reading_error(estimator, device.info(), batch, squared, rows, 16, 1000 + k))) /
                   n;
    }
    double sum = 0;
    for (const Vector& one : found) sum += square(one - mean) / (n - 1);
    return sum;
  };
  double stated = 0;
  const double of_codes = scatter(*coded, &stated), of_differences = scatter(*differences, nullptr);
  // Each derivative has an error of s / (h sqrt(P)) and s / (h sqrt(2)), respectively: a ratio of variances
  // of P / 2 = 32. With 120 draws of 18 independent components, the ratio is known to 6 %.
  CHECK(of_differences / of_codes == Approx(32).epsilon(0.2));
  CHECK(stated == Approx(of_codes).epsilon(0.15));
}

TEST_CASE("a linear drift does not enter Walsh codes, and is taken off by references in SPSA",
          "[perturbation]") {
  toy::Network network;
  const Dataset set = three_samples();
  const Vector theta = network.example_theta();
  Minibatch batch = all_of(set, theta);
  batch.samples = {0};
  NoiseOptions drift;
  drift.drift_rate = 1e-4;
  const auto error = [&](const Estimator& estimator) {
    Noisy device(network, drift);
    const Vector still = estimate(network, estimator, batch, squared).value;
    return (estimate(device, estimator, batch, squared).value - still).norm() / still.norm();
  };
  // The drift between two readings is 1e-4 kT; a step moves them by 2e-3. The remaining error: all readings
  // have offsets, 3e-3 kT on average over a period and 1e-4 at the free state, relative to mu - y of about
  // 0.5, in which the loss is quadratic.
  CHECK(error(*walsh({.step = 2e-3})) < 1e-2);
  CHECK(error(*finite_differences({true, 2e-3, {}})) > 0.05);
  const auto plain = spsa({.c = 2e-3}, 3),
             referred = spsa({.c = 2e-3, .perturbations = {.references = 1, .cancel_drift = true}}, 3);
  CHECK(plain->cost(network.info()) == 2);
  CHECK(referred->cost(network.info()) == 5);  // free, and free again after each perturbation
  CHECK(estimate(network, *referred, batch, squared).relaxations == 5);
  CHECK(estimate(network, *referred, batch, squared).at_theta);
  CHECK(error(*plain) > 5e-3);
  CHECK(error(*referred) < 5e-4);
}

TEST_CASE("perturbed parameters stay in their ranges, and are stepped by ten steps of their source at least",
          "[perturbation]") {
  toy::Network network;
  DeviceInfo info = network.info();
  info.parameters[4].resolution = 0.01;  // k[2], logarithmic
  info.parameters[5].resolution = 0.01;  // alpha[2]
  const Dataset set = three_samples();
  Vector theta = network.example_theta();
  theta[1] = 0;     // alpha at the lower end of its range
  theta[3] = 100;   // upper end of its range
  theta[0] = 1e-6;  // k at the lower end of its range
  const Minibatch batch = all_of(set, theta);
  const auto random = spsa({.c = 0.05, .gamma = 0}, 3);
  const auto coded = walsh({.step = 0.05});
  for (const Estimator* estimator : {random.get(), coded.get()}) {
    const auto rows = relax_chains(network, estimator->chains(info, batch, squared));
    const auto chain = estimator->chains(info, batch, squared)[0];
    std::vector<Vector> asked;
    for (std::size_t k = 0; k < rows[0].size(); ++k)
      asked.push_back(chain({rows[0].data(), k})->theta.values());
    if (estimator == coded.get()) asked.erase(asked.begin());  // the free relaxation
    for (const Vector& values : asked) {
      for (std::size_t p = 0; p < info.parameters.size(); ++p)
        CHECK(info.parameters[p].range.contains(values[p]));
    }
    const auto width = [&](Eigen::Index p) {
      double low = asked[0][p], high = low;
      for (const Vector& values : asked) {
        low = std::min(low, values[p]);
        high = std::max(high, values[p]);
      }
      return high - low;
    };
    CHECK(width(1) == Approx(0.1));
    CHECK(width(3) == Approx(0.1));
    CHECK(width(0) == Approx(1e-6 * (std::exp(0.1) - 1)));
    CHECK(width(4) >= 0.2 - 1e-12);
    CHECK(width(5) == Approx(0.2));
    CHECK(width(18) == 0);
  }
  // Shifted steps give the derivative at a point at most one step away.
  const Vector exact = in_coordinates(
      network.info(), theta, estimate(network, *adjoint(toy::model_of(network)), batch, squared).value);
  const auto error = [&](double step) {
    return (in_coordinates(network.info(), theta,
                           estimate(network, *walsh({.step = step}), batch, squared).value) -
            exact)
               .norm() /
           exact.norm();
  };
  CHECK(std::log2(error(4e-5) / error(2e-5)) == Approx(1).margin(0.1));
  CHECK(error(1e-3) < 1e-2);
  for (const auto& estimator : {spsa({.c = 60}, 1), walsh({.step = 60})}) {
    CHECK_THROWS_WITH(estimate(network, *estimator, batch, squared),
                      Catch::Contains("no room for steps of +-60"));
  }
}

TEST_CASE("steps are those achieved where parameters are read back", "[perturbation]") {
  toy::Network network;
  const Dataset set = three_samples();
  const Minibatch batch = all_of(set, network.example_theta());
  NoiseOptions rounding;
  rounding.resolution = 3e-3;
  NoiseOptions read = rounding;
  read.readback = true;
  const auto error = [&](const Estimator& estimator, const NoiseOptions& options) {
    Noisy device(network, options);
    DeviceInfo info = device.info();
    // otherwise steps are so large that rounding is hardly visible
    for (ParameterInfo& parameter : info.parameters) parameter.resolution = 0;
    const Vector exact = estimate(network, estimator, batch, squared).value;
    const auto rows = relax_chains(device, estimator.chains(info, batch, squared));
    return (estimator.form(info, batch, squared, rows).value - exact).norm() / exact.norm();
  };
  // Setpoints are off by up to half a resolution, a twentieth of the step's span; with readback, the
  // remaining error is the change of the derivative over that distance. Walsh codes separate the parameters;
  // in SPSA the directional derivative remains off.
  CHECK(error(*walsh({.step = 0.015}), read) < 0.35 * error(*walsh({.step = 0.015}), rounding));
  const auto random = spsa({.c = 0.015}, 4);
  const auto rows = [&](const NoiseOptions& options) {
    Noisy device(network, options);
    DeviceInfo info = device.info();
    for (ParameterInfo& parameter : info.parameters) parameter.resolution = 0;
    return relax_chains(device, random->chains(info, batch, squared));
  };
  const auto blind = rows(rounding), seen = rows(read);
  DeviceInfo info = network.info();
  const Vector by_setpoint = random->form(info, batch, squared, blind).value,
               by_readback = random->form(info, batch, squared, seen).value;
  for (const Eigen::Index p : {1, 3, 13}) {  // on a linear scale: the quotient of the spans
    const double span = seen[0][0].theta_readback[p] - seen[0][1].theta_readback[p];
    CHECK(by_readback[p] / by_setpoint[p] == Approx(std::copysign(0.03, span) / span).epsilon(1e-9));
  }
}

TEST_CASE("many parameters are passed as one base that all samples share", "[perturbation]") {
  toy::Options options;
  options.layers = {60, 40, 1};
  toy::Network network(options);
  REQUIRE(network.parameters() > 4097);
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>("wide", RowMatrix::Random(2, 60));
  set.targets = RowMatrix::Zero(2, 1);
  set.rows = {0, 1};
  const Minibatch batch = all_of(set, network.example_theta());
  const auto random = spsa({.c = 0.01}, 1), coded = walsh({.step = 0.01}), searched = evolution({}, 1);
  for (const Estimator* estimator : {random.get(), coded.get(), searched.get()}) {
    const std::size_t first = estimator == random.get() ? 0 : 1;
    const auto chains = estimator->chains(network.info(), batch, squared);
    const std::vector<Relaxation> before(first, network.relax(batch.free_drive(0)));
    const Drive a = *chains[0](before), b = *chains[1](before);
    CHECK(a.theta.overrides.empty());
    CHECK(a.theta.base == b.theta.base);
    CHECK(a.theta.digest != batch.theta.digest);
  }
}

TEST_CASE("samples that do not settle are left out of perturbations", "[perturbation]") {
  toy::Options options;
  options.fails = [](const Drive& drive) { return drive.label.sample == 1 && drive.label.position == 1; };
  toy::Network network(options), sound;
  const Dataset set = three_samples();
  const Minibatch batch = all_of(set, network.example_theta());
  Minibatch without = batch;
  without.samples = {0, 2};
  for (const auto& estimator : {spsa({.c = 0.01}, 1), walsh({.step = 0.01})}) {
    INFO(estimator->name());
    const Gradient gradient = estimate(network, *estimator, batch, squared),
                   reference = estimate(sound, *estimator, without, squared);
    CHECK(gradient.used == 2);
    CHECK(gradient.left_out == 1);
    CHECK(same_bits(gradient.value, reference.value));
    CHECK(gradient.loss == reference.loss);
    CHECK(gradient.relaxations == reference.relaxations + 2);
  }
}

TEST_CASE("the needs and options of perturbations are checked", "[perturbation]") {
  toy::Network network;
  DeviceInfo info = network.info();
  for (const char* name : {"spsa", "walsh", "evolution", "walsh-coded", "genetic"}) {
    const auto estimator = estimator_maker(name)({});
    CHECK(estimator->name() == estimator_entry(name).name);
    CHECK(estimator->unmet_needs(info).empty());
    DeviceInfo blind = info;
    blind.terminals[4].reads_potential = false;
    CHECK_THAT(estimator->unmet_needs(blind), Catch::Contains("terminal 4 (out0)"));
  }
  info.parameters.assign(32768, info.parameters[0]);
  CHECK(walsh({})->unmet_needs(info).empty());
  info.parameters.push_back(info.parameters[0]);
  CHECK_THAT(walsh({})->unmet_needs(info),
             Catch::Contains("32769 trainable parameters") && Catch::Contains("131072"));
  CHECK_THROWS_WITH(spsa({.c = -1}, 0), Catch::Contains("c -1"));
  CHECK_THROWS_WITH(spsa({.gamma = -1}, 0), Catch::Contains("gamma -1"));
  CHECK_THROWS_WITH(spsa({.directions = 0}, 0), Catch::Contains("directions 0"));
  CHECK_THROWS_WITH(spsa({.block = -1}, 0), Catch::Contains("block -1"));
  CHECK_THROWS_WITH(walsh({.step = 0}), Catch::Contains("step 0"));
  CHECK_THROWS_WITH(evolution({.population = 5, .parents = 5}, 0),
                    Catch::Contains("population 5 with 5 parents"));
  CHECK_THROWS_WITH(evolution({.parents = 0}, 0), Catch::Contains("parents 0"));
  CHECK_THROWS_WITH(evolution({.sigma = 0}, 0), Catch::Contains("sigma 0"));
  CHECK_THROWS_WITH(evolution({.crossover = 1.5}, 0), Catch::Contains("crossover 1.5"));
  const Dataset set = three_samples();
  CHECK_THROWS_WITH(estimate(network, *spsa({}, 0), all_of(set, network.example_theta()), squared),
                    Catch::Contains("calibrated before the first step"));
}

TEST_CASE("the calibrated c is near the best there is", "[perturbation]") {
  toy::Network network;
  const Dataset set = three_samples();
  const Vector theta = network.example_theta();
  const Vector exact =
      in_coordinates(network.info(), theta,
                     estimate(network, *adjoint(toy::model_of(network)), all_of(set, theta), squared).value);
  Noisy device(network, {.seed = 3, .read = 1e-2});
  const auto calibrated = spsa({.gamma = 0}, 6);
  CHECK(calibrated->prepare(device, device.info(), all_of(set, theta), squared, {}) == 3 * (4 + 16));
  const double c = calibrated->state()[0];
  // The loss of 3 samples scatters by 2 |mu - y| 1e-2 / sqrt(3) for each.
  double expected = 0;
  for (int i = 0; i < 3; ++i) {
    Minibatch batch = all_of(set, theta);
    batch.samples = {static_cast<std::uint64_t>(i)};
    expected += 4 * estimate(network, *adjoint(toy::model_of(network)), batch, squared).loss * 1e-4 / 9;
  }
  // the errors of the readings, at potentials that scatter themselves
  CHECK(calibrated->state()[1] >= std::sqrt(expected) * (1 - 0.05));
  CHECK(calibrated->state()[1] < std::sqrt(expected) * 2.5);  // four repeats: exceeded once in 10^3
  // Mean square error of the derivative along a direction.
  const auto error = [&](double size) {
    const auto estimator = spsa({.c = size, .gamma = 0}, 6);
    double sum = 0;
    for (int k = 0; k < 200; ++k) {
      const Minibatch batch = all_of(set, theta, k);
      const Vector signs = direction_of(*estimator, network.info(), batch);
      sum += square(in_coordinates(device.info(), theta, estimate(device, *estimator, batch, squared).value) -
                    signs * signs.dot(exact));
    }
    return sum;
  };
  CHECK(error(c) < error(c / 4));
  CHECK(error(c) < error(4 * c));

  // Without noise: c where settling no longer matters. A given c needs no measurement.
  CHECK(calibrated->prepare(network, network.info(), all_of(set, theta), squared, {}) == 60);
  CHECK(calibrated->state()[0] == 1e-4);
  CHECK(spsa({.c = 0.1}, 0)->prepare(network, network.info(), all_of(set, theta), squared, {}) == 0);
  CHECK(spsa({.c = 0.1, .blocking = true}, 0)
            ->prepare(network, network.info(), all_of(set, theta), squared, {}) == 12);
}

TEST_CASE("blocking takes back a step after which the loss has risen", "[perturbation]") {
  toy::Network network;
  const Dataset set = three_samples();
  const Vector good = network.example_theta();
  Vector bad = good;
  bad[17] += 3;  // the reference of the output's leak
  const auto estimator = spsa({.c = 0.01, .blocking = true}, 1);
  CHECK(estimator->cost(network.info()) == 3);
  estimator->prepare(network, network.info(), all_of(set, good), squared, {});
  const auto step = [&](const Vector& theta, std::uint64_t number) {
    const Minibatch batch = all_of(set, theta, number);
    const auto rows = relax_chains(network, estimator->chains(network.info(), batch, squared));
    const Gradient gradient = estimator->form(network.info(), batch, squared, rows);
    estimator->remember(network.info(), batch, squared, rows);
    CHECK(gradient.relaxations == 9);
    CHECK(gradient.at_theta);
    return gradient;
  };
  const Gradient at_good = step(good, 0);
  CHECK_FALSE(at_good.next);
  const Gradient at_bad = step(bad, 1);
  REQUIRE(at_bad.loss > at_good.loss);
  REQUIRE(at_bad.next);
  CHECK(same_bits(*at_bad.next, good));
  const auto again = spsa({.c = 0.01, .blocking = true}, 1);
  again->restore(estimator->state());
  CHECK(same_bits(again->state(), estimator->state()));
  CHECK_FALSE(step(good, 2).next);
  CHECK(step(bad, 3).next);

  Minibatch part = all_of(set, good);
  part.samples = {0, 2};
  CHECK_THROWS_WITH(estimate(network, *estimator, part, squared),
                    Catch::Contains("blocking") && Catch::Contains("2 of 3"));
  CHECK_THROWS_WITH(estimator->restore(Vector::Zero(1)), Catch::Contains("no state"));

  SECTION("but not a rise within the noise") {
    const auto tolerant = spsa({.c = 0.01, .blocking = true, .block = 1e9}, 1);
    Noisy device(network, {.seed = 1, .read = 1e-3});
    tolerant->prepare(device, device.info(), all_of(set, good), squared, {});
    for (const Vector& theta : {good, bad}) {
      const Minibatch batch = all_of(set, theta);
      const auto rows = relax_chains(device, tolerant->chains(device.info(), batch, squared));
      CHECK_FALSE(tolerant->form(device.info(), batch, squared, rows).next);
      tolerant->remember(device.info(), batch, squared, rows);
    }
  }
}

namespace {

// One generation, with remember().
Gradient generation(Device& device, Estimator& estimator, const DeviceInfo& info, const Minibatch& batch) {
  const auto rows = relax_chains(device, estimator.chains(info, batch, squared));
  Gradient gradient = estimator.form(info, batch, squared, rows);
  estimator.remember(info, batch, squared, rows);
  return gradient;
}

std::vector<Vector> candidates_of(const Estimator& estimator, const DeviceInfo& info, const Minibatch& batch,
                                  std::size_t population) {
  const Chain chain = estimator.chains(info, batch, squared)[0];
  const std::vector<Relaxation> rows(population);
  std::vector<Vector> all;
  for (std::size_t k = 0; k < population; ++k) all.push_back(chain({rows.data(), k})->theta.values());
  CHECK_FALSE(chain(rows));
  return all;
}

}  // namespace

TEST_CASE("a generation keeps the best, and its loss", "[perturbation]") {
  toy::Network network;
  const DeviceInfo& info = network.info();
  const Dataset set = three_samples();
  const auto estimator = evolution({.population = 12, .parents = 3, .sigma = 0.2}, 4);
  CHECK(estimator->cost(info) == 12);
  Vector theta = network.example_theta();
  double last = std::numeric_limits<double>::infinity();
  for (std::uint64_t step = 0; step < 30; ++step) {
    const Minibatch batch = all_of(set, theta, step);
    const std::vector<Vector> all = candidates_of(*estimator, info, batch, 12);
    CHECK(same_bits(all[0], theta));
    for (const Vector& candidate : all) {
      CHECK(candidate[18] == theta[18]);
      for (std::size_t p = 0; p < info.parameters.size(); ++p)
        CHECK(info.parameters[p].range.contains(candidate[p]));
    }
    const Gradient gradient = generation(network, *estimator, info, batch);
    CHECK(gradient.relaxations == 3 * 12);
    CHECK(gradient.used == 3);
    CHECK(gradient.value.isZero(0));
    CHECK(gradient.loss <= last);  // the present theta is a candidate, and there is no noise
    REQUIRE(gradient.next);
    // Reference: the losses of all candidates, measured one by one.
    double least = std::numeric_limits<double>::infinity();
    Vector best;
    for (const Vector& candidate : all) {
      const double loss =
          estimate(network, *adjoint(toy::model_of(network)), all_of(set, candidate), squared).loss;
      if (loss < least) best = candidate;
      least = std::min(least, loss);
    }
    CHECK(gradient.loss == Approx(least).epsilon(1e-12));
    CHECK(same_bits(*gradient.next, best));
    CHECK(gradient.at_theta == same_bits(best, theta));
    const Vector state = estimator->state();
    CHECK(state[0] == 3);
    CHECK(same_bits(state.segment(1, 19), best));
    const auto again = evolution({.population = 12, .parents = 3, .sigma = 0.2}, 4);
    again->restore(state);
    const Minibatch next = all_of(set, best, step + 1);
    const auto a = candidates_of(*estimator, info, next, 12), b = candidates_of(*again, info, next, 12);
    for (std::size_t k = 0; k < a.size(); ++k) CHECK(same_bits(a[k], b[k]));
    theta = *gradient.next;
    last = gradient.loss;
  }
  CHECK_THROWS_WITH(estimator->restore(Vector::Constant(20, 7)), Catch::Contains("no state of 3 parents"));
  estimator->restore((Vector(3) << 1, 2, 3).finished());
  CHECK_THROWS_WITH(estimator->chains(info, all_of(set, theta), squared),
                    Catch::Contains("parents of 2 parameters"));
}

TEST_CASE(
    "mutations are of the size asked for, multiplicative on logarithmic scales, and no smaller than a "
    "source's step",
    "[perturbation]") {
  toy::Network network;
  DeviceInfo info = network.info();
  info.parameters[13].resolution = 0.5;  // r of the first leak
  const Dataset set = three_samples();
  const Vector theta = network.example_theta();
  const auto estimator = evolution({.population = 2001, .parents = 1, .sigma = 0.02}, 4);
  const auto all = candidates_of(*estimator, info, all_of(set, theta), 2001);
  const auto deviation = [&](Eigen::Index p, bool log) {
    double sum = 0;
    for (std::size_t k = 1; k < all.size(); ++k)
      sum += std::pow(log ? std::log(all[k][p] / theta[p]) : all[k][p] - theta[p], 2);
    return std::sqrt(sum / 2000);
  };
  // 2000 draws: standard error 1.6 %.
  CHECK(deviation(0, true) == Approx(0.02).epsilon(0.08));
  CHECK(deviation(15, false) == Approx(0.02).epsilon(0.08));
  CHECK(deviation(13, false) == Approx(0.5).epsilon(0.08));
}

TEST_CASE("a candidate that does not settle is the worst; a sample that settles at none is left out",
          "[perturbation]") {
  toy::Options options;
  options.fails = [](const Drive& drive) { return drive.label.position == 0 && drive.label.sample == 2; };
  toy::Network network(options);
  const Dataset set = three_samples();
  const Minibatch batch = all_of(set, network.example_theta());
  const auto estimator = evolution({.population = 6, .parents = 5, .sigma = 1e-3}, 4);
  const Gradient gradient = generation(network, *estimator, network.info(), batch);
  CHECK(gradient.used == 3);
  CHECK(gradient.left_out == 0);
  CHECK_FALSE(gradient.at_theta);
  CHECK(gradient.worst == bit(Flag::not_converged));
  REQUIRE(gradient.next);
  CHECK_FALSE(same_bits(*gradient.next, network.example_theta()));
  const Vector state = estimator->state();
  CHECK(state[0] == 5);
  options.fails = [](const Drive& drive) { return drive.label.sample == 2; };
  toy::Network broken(options);
  const Gradient nothing = generation(broken, *estimator, broken.info(), batch);
  CHECK(nothing.used == 0);
  CHECK(nothing.left_out == 3);
  CHECK_FALSE(nothing.next);
  CHECK(same_bits(estimator->state(), state));
}

namespace {

struct Experiment {
  Task task = xor_task();
  std::shared_ptr<toy::Network> network = std::make_shared<toy::Network>();
  ParameterSpace space{network->info()};
  Vector theta = network->example_theta();
  std::function<std::unique_ptr<Estimator>()> estimator;
  std::uint64_t epochs = 6;

  static NoiseOptions noise() {
    NoiseOptions options;
    options.seed = 2;
    options.read = 1e-3;
    return options;
  }
  TrainingSummary train(Device& device, Estimator& by, std::vector<TrainingObserver*> observers,
                        std::stop_token stop, const Checkpoint* from) const {
    TrainingOptions options;
    options.epochs = epochs;
    Trainer made(device, by, task, space, OptimizerOptions{}, options);
    for (TrainingObserver* observer : observers) made.observe(*observer);
    return from ? made.resume(*from, stop) : made.run(theta, stop);
  }
  TrainingSummary record(const std::string& path, std::uint64_t steps) const {
    LogHeader header;
    header.info = Noisy(*network, noise()).info();
    header.pattern_sets = {task.train.inputs};
    LogWriter log(path, header, {});
    toy::Network inner;
    Noisy device(inner, noise());
    Recorder recorder(device, log);
    std::stop_source source;
    struct Limit final : TrainingObserver {
      Limit(std::stop_source& s, std::uint64_t n) : stop(s), steps(n) {}
      std::stop_source& stop;
      std::uint64_t steps;
      void on_step(const StepReport& report, const Vector&) override {
        if (report.step + 1 >= steps) stop.request_stop();
      }
    } limit(source, steps);
    const auto by = estimator();
    const TrainingSummary summary = train(recorder, *by, {&recorder, &limit}, source.get_token(), nullptr);
    log.close(ExitStatus::finished, summary.message());
    return summary;
  }
};

}  // namespace

TEST_CASE("trainings by perturbation and by evolution replay and resume bit for bit", "[perturbation]") {
  const Folder folder;
  Experiment experiment;
  const int which = GENERATE(0, 1, 2, 3, 4);
  experiment.estimator = [which]() -> std::unique_ptr<Estimator> {
    switch (which) {
      case 0: return spsa({.c = 0.05}, 3);
      case 1: return spsa({.directions = 2}, 3);  // calibrated
      case 2: return spsa({.blocking = true, .block = 0}, 3);
      case 3: return walsh({.step = 0.05});
      default: return evolution({.population = 6, .parents = 3}, 3);
    }
  };
  INFO("estimator " << which);
  const TrainingSummary whole = experiment.record(folder / "whole.h5", 1'000);
  REQUIRE(whole.steps == 6);
  {
    const LogReader log(folder / "whole.h5");
    Replay replay(log, {experiment.task.train.inputs});
    ReplayCheck check(log);
    const auto by = experiment.estimator();
    const TrainingSummary replayed = experiment.train(replay, *by, {&check}, {}, nullptr);
    CHECK(check.steps_compared() == 6);
    CHECK(replay.next_row() == log.rows());
    CHECK(same_bits(replayed.theta, whole.theta));
  }
  experiment.record(folder / "run.h5", 4);
  const LogReader cut(folder / "run.h5");
  const Checkpoint from = cut.checkpoint(cut.checkpoints() - 1);
  REQUIRE(from.step >= 3);
  REQUIRE(from.step < 6);
  // As in another process: a new device and a new estimator.
  toy::Network inner;
  Noisy device(inner, Experiment::noise());
  const auto by = experiment.estimator();
  const TrainingSummary resumed = experiment.train(device, *by, {}, {}, &from);
  CHECK(same_bits(resumed.theta, whole.theta));
  CHECK(resumed.relaxations == whole.relaxations);
}
