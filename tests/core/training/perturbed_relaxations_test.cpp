// The order of perturbations: references, lost branches, drift; the forms of equilibrium propagation;
// standard errors.
#include <catch2/catch.hpp>

#include <algorithm>
#include <set>

#include "core/training/perturbed_relaxations_fixture.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/device/random.hpp"

using namespace perturbations_test;

namespace {

const SquaredError squared;
using Form = EquilibriumPropagationOptions::Form;

toy::Options on_bench() {
  toy::Options options;
  options.restores_state = false;
  return options;
}

std::unique_ptr<Estimator> propagation(const toy::Network& network, Form form, double beta,
                                       const PerturbationOptions& perturbations = {}) {
  return equilibrium_propagation(toy::model_of(network),
                                 {.beta = beta, .form = form, .perturbations = perturbations});
}

bool is_free(const Drive& drive) {
  return drive.theta.overrides.empty() && drive.holds.empty() &&
         (drive.nudge.size() == 0 || drive.nudge.isZero(0));
}

// "F" (free) and "c" (perturbed), in the order relaxed.
std::string order(const std::vector<Drive>& drives) {
  std::string text;
  for (const Drive& drive : drives) text += is_free(drive) ? 'F' : 'c';
  return text;
}

}  // namespace

TEST_CASE("references lie where they are asked for, and perturbations start where they should",
          "[perturbations]") {
  const Dataset set = small_set();
  for (const bool restores : {true, false}) {
    toy::Options options;
    options.restores_state = restores;
    toy::Network network(options);
    const Minibatch batch = batch_of(set, network.example_theta(), {1});
    // Four perturbations.
    for (const auto& [references, expected] :
         std::vector<std::pair<std::optional<std::uint32_t>, std::string>>{
             {std::nullopt, restores ? "Fcccc" : "FccccF"},
             {0, "Fcccc"},
             {1, "FcFcFcFcF"},
             {2, "FccFccF"},
             {3, "FcccFcF"},
             {4, "FccccF"},
             {9, "FccccF"}}) {
      Between between(network);
      const auto estimator = propagation(network, Form::richardson, 1e-2, {.references = references});
      const Gradient gradient = estimate(between, *estimator, batch, squared);
      CHECK(order(between.drives) == expected);
      CHECK(gradient.relaxations == expected.size());
      CHECK(estimator->cost(network.info()) == static_cast<double>(expected.size()));
      CHECK(gradient.used == 1);
      for (std::size_t k = 0; k < between.drives.size(); ++k) {
        CHECK(between.drives[k].label.position == k);
        if (k == 0) {
          CHECK(std::holds_alternative<Rest>(between.drives[k].start));
        } else if (restores) {
          CHECK(*std::get<From>(between.drives[k].start).potential == between.rows[0].potential);
        } else {
          CHECK(std::holds_alternative<Present>(between.drives[k].start));
        }
      }
    }
  }
  toy::Network network;
  CHECK_THROWS_WITH(propagation(network, Form::centred, 1e-2, {.references = 0, .cancel_drift = true}),
                    Catch::Contains("references is 0"));
  CHECK_THROWS_WITH(propagation(network, Form::centred, 1e-2, {.return_tolerance = 0}),
                    Catch::Contains("return_tolerance 0"));
  CHECK_THROWS_WITH(propagation(network, Form::centred, 1e-2, {.attempts = 0}),
                    Catch::Contains("attempts 0"));
}

TEST_CASE("a sample whose free state does not come back is repeated, or left out, and never averaged in",
          "[perturbations]") {
  const Dataset set = small_set();
  toy::Network bench(on_bench());
  const Minibatch batch = batch_of(set, bench.example_theta());
  const auto good = estimate(bench, *propagation(bench, Form::one_sided, 1e-2), batch, squared);
  // From some row on, all readings are on another branch, until the network is at rest again.
  const auto jumps = [](std::set<std::uint64_t> at, double height) {
    return [at, height, off = false](std::uint64_t ordinal, const Drive& drive, Relaxation& row) mutable {
      if (std::holds_alternative<Rest>(drive.start)) off = false;
      if (at.contains(ordinal)) off = true;
      if (off) row.potential.array() += height;
    };
  };
  SECTION("repeated from rest") {
    Between between(bench, jumps({4}, 0.5));  // the perturbation of sample 1
    const Gradient gradient = estimate(between, *propagation(bench, Form::one_sided, 1e-2), batch, squared);
    CHECK(order(between.drives) == "FcFFcFFcFFcF");
    CHECK(gradient.lost == 1);
    CHECK(gradient.left_out == 0);
    CHECK(gradient.used == 3);
    CHECK(gradient.value == good.value);
    CHECK(gradient.loss == good.loss);
    CHECK(gradient.relaxations == 12);
  }
  SECTION("with one attempt it is left out") {
    Between between(bench, jumps({4}, 0.5));
    const Gradient gradient =
        estimate(between, *propagation(bench, Form::one_sided, 1e-2, {.attempts = 1}), batch, squared);
    CHECK(order(between.drives) == "FcFFcFFcF");
    CHECK(gradient.lost == 1);
    CHECK(gradient.left_out == 1);
    CHECK(gradient.used == 2);
    const Gradient without = estimate(bench, *propagation(bench, Form::one_sided, 1e-2),
                                      batch_of(set, bench.example_theta(), {0, 2}), squared);
    CHECK(gradient.value == without.value);
    CHECK(gradient.loss == without.loss);
  }
  SECTION("lost again at each attempt") {
    Between between(bench, jumps({4, 7, 10}, 0.5));
    const Gradient gradient =
        estimate(between, *propagation(bench, Form::one_sided, 1e-2, {.attempts = 3}), batch, squared);
    CHECK(order(between.drives) == "FcFFcFFcFFcFFcF");
    CHECK(gradient.lost == 3);
    CHECK(gradient.left_out == 1);
  }
  SECTION("without a reference nothing tells, and the gradient is wrong") {
    Between between(bench, jumps({3}, 0.5));
    const Gradient gradient =
        estimate(between, *propagation(bench, Form::one_sided, 1e-2, {.references = 0}), batch, squared);
    CHECK(gradient.lost == 0);
    CHECK(error_of(gradient.value, good.value) > 1);
  }
  SECTION("in the middle of the chain: what follows is not relaxed") {
    Between between(bench, jumps({1}, 0.5));
    const Gradient gradient = estimate(between, *propagation(bench, Form::centred, 1e-2, {.references = 1}),
                                       batch_of(set, bench.example_theta(), {0}), squared);
    CHECK(order(between.drives) == "FcFFcFcF");
    CHECK(gradient.lost == 1);
    CHECK(gradient.used == 1);
  }
  SECTION("the tolerance, and six standard errors") {
    const auto lost = [&](double height, double tolerance, double sigma) {
      Between between(bench, [&, change = jumps({1}, height)](std::uint64_t ordinal, const Drive& drive,
                                                              Relaxation& row) mutable {
        change(ordinal, drive, row);
        row.sigma = Vector::Constant(row.potential.size(), sigma);
      });
      return estimate(between, *propagation(bench, Form::one_sided, 1e-2, {.return_tolerance = tolerance}),
                      batch_of(set, bench.example_theta(), {0}), squared)
          .lost;
    };
    CHECK(lost(0.05, 0.1, 0) == 0);
    CHECK(lost(0.11, 0.1, 0) == 1);
    CHECK(lost(0.05, 0.04, 0) == 1);
    CHECK(lost(0.05, 0.04, 0.001) == 1);   // 0.04 + 6 sqrt(2) 0.001 = 0.0485
    CHECK(lost(0.05, 0.04, 0.0013) == 0);  // 0.0510
    CHECK(lost(100, std::numeric_limits<double>::infinity(), 0) == 0);
  }
  SECTION("the present state is the wrong one to begin again from") {
    Minibatch present = batch_of(set, bench.example_theta(), {0});
    present.starts = {Present{}};
    Between between(bench, jumps({1}, 0.5));
    const Gradient gradient = estimate(between, *propagation(bench, Form::one_sided, 1e-2), present, squared);
    CHECK(order(between.drives) == "FcFFcF");
    CHECK(std::holds_alternative<Present>(between.drives[0].start));
    CHECK(std::holds_alternative<Rest>(between.drives[3].start));
    CHECK(gradient.used == 1);
  }
  SECTION("what the device itself calls another branch is lost without a reference") {
    toy::Network network;
    Between between(network, [](std::uint64_t ordinal, const Drive&, Relaxation& row) {
      if (ordinal == 1) row.quality.raise(Flag::other_branch);
    });
    const Gradient gradient = estimate(between, *propagation(network, Form::one_sided, 1e-2),
                                       batch_of(set, network.example_theta(), {0}), squared);
    CHECK(order(between.drives) == "FcFc");
    CHECK(gradient.lost == 1);
    CHECK(gradient.used == 1);
  }
}

TEST_CASE("a linear drift cancels: in the number of the relaxation, or in time where one clock runs",
          "[perturbations]") {
  const Dataset set = small_set();
  toy::Network bench(on_bench());
  const Minibatch one = batch_of(set, bench.example_theta(), {1});
  const Vector rate = (Vector(3) << 3e-3, -2e-3, 4e-3).finished();  // kT a relaxation
  // Duration of each relaxation. Drift is counted from the first reading of the free state, because the nudge
  // follows from it.
  const auto duration = [](std::uint64_t ordinal) {
    return 1 + static_cast<double>((3 * ordinal * ordinal + ordinal) % 7);
  };
  for (const bool clock : {false, true}) {
    const auto drifting = [&](std::uint64_t ordinal, const Drive&, Relaxation& row) {
      double time = 0, last = 0;
      for (std::uint64_t k = 1; k <= ordinal; ++k) {
        last = time;
        time += duration(k);
      }
      row.timing = clock ? Timing{last, time, time, 0} : Timing{};
      row.potential += (clock ? time : static_cast<double>(ordinal)) * rate;
    };
    for (const Form form : {Form::one_sided, Form::centred, Form::richardson}) {
      for (const std::uint32_t references : {1u, 2u, 4u}) {
        INFO("clock " << clock << ", form " << static_cast<int>(form) << ", references " << references);
        const PerturbationOptions cancel{
            .references = references, .cancel_drift = true, .return_tolerance = 10};
        const PerturbationOptions plain{.references = references, .return_tolerance = 10};
        const Vector exact = estimate(bench, *propagation(bench, form, 1e-2, plain), one, squared).value;
        Between with(bench, drifting), without(bench, drifting);
        // Rounding of potentials of order 1, divided by beta.
        CHECK(error_of(estimate(with, *propagation(bench, form, 1e-2, cancel), one, squared).value, exact) <
              1e-12);
        CHECK(error_of(estimate(without, *propagation(bench, form, 1e-2, plain), one, squared).value, exact) >
              1e-2);
      }
    }
  }
  // Finite differences have many perturbations between references; every loss is computed from drifted
  // readings.
  const auto drifting = [&](std::uint64_t ordinal, const Drive&, Relaxation& row) {
    row.timing = {};
    row.potential += static_cast<double>(ordinal) * rate;
  };
  const std::vector<std::uint32_t> some{0, 1, 2, 3, 12};
  const auto differences = [&](bool cancel) {
    return finite_differences(
        {.central = false,
         .step = 1e-2,
         .parameters = some,
         .perturbations = {.references = 3, .cancel_drift = cancel, .return_tolerance = 10}});
  };
  const Vector exact = estimate(bench, *differences(false), one, squared).value;
  Between with(bench, drifting), without(bench, drifting);
  CHECK(error_of(estimate(with, *differences(true), one, squared).value, exact) < 1e-11);
  CHECK(error_of(estimate(without, *differences(false), one, squared).value, exact) > 0.1);
  CHECK(order(with.drives) == "FcccFccF");
}

TEST_CASE("side by side the drift of interleaved chains cancels as well", "[perturbations]") {
  const Dataset set = small_set();
  toy::Network network;
  const Minibatch batch = batch_of(set, network.example_theta());
  // Readings drift after the free states of all three samples, on which the nudges depend.
  const auto drifting = [&](std::uint64_t ordinal, const Drive&, Relaxation& row) {
    row.potential.array() += 2e-3 * (static_cast<double>(ordinal) - static_cast<double>(ordinal % 3));
  };
  const PerturbationOptions cancel{.references = 2, .cancel_drift = true};
  const Vector exact =
      estimate(network, *propagation(network, Form::one_sided, 1e-2, cancel), batch, squared).value;
  Between with(network, drifting), without(network, drifting);
  CHECK(error_of(estimate(with, *propagation(network, Form::one_sided, 1e-2, cancel), batch, squared).value,
                 exact) < 1e-12);
  CHECK(order(with.drives) == "FFFcccFFF");
  CHECK(error_of(
            estimate(without, *propagation(network, Form::one_sided, 1e-2, {.references = 2}), batch, squared)
                .value,
            exact) > 0.1);
}

TEST_CASE("random drifts are larger where they are not taken off", "[perturbations]") {
  const Dataset set = small_set();
  toy::Network bench(on_bench());
  const Minibatch one = batch_of(set, bench.example_theta(), {1});
  const std::vector<std::uint32_t> some{0, 1, 2, 3, 4, 5, 6, 7};
  const auto rms = [&](const Estimator& estimator, const Vector& exact) {
    double sum = 0;
    constexpr int seeds = 200;
    for (int seed = 0; seed < seeds; ++seed) {
      NoiseOptions noise;
      noise.seed = static_cast<std::uint64_t>(seed);
      noise.drift = 1e-3;
      Noisy noisy(bench, noise);
      sum += (estimate(noisy, estimator, one, squared).value - exact).squaredNorm() / seeds;
    }
    return std::sqrt(sum);
  };
  const auto differences = [&](bool cancel) {
    return finite_differences({.central = false,
                               .step = 0.1,
                               .parameters = some,
                               .perturbations = {.references = 1, .cancel_drift = cancel}});
  };
  const Vector exact = estimate(bench, *differences(false), one, squared).value;
  // Perturbation k of a random walk is off by sqrt(k) after k steps; with references, by the middle of a
  // bridge of two steps. The variance falls from the mean of (2 k - 1, k = 1..8) = 8 to 1/2. The curvature
  // does not contribute to either.
  CHECK(rms(*differences(false), exact) / rms(*differences(true), exact) == Approx(4).epsilon(0.25));
  // One-sided propagation: one step of the walk against the middle of the bridge: sqrt(2).
  const auto plain = propagation(bench, Form::one_sided, 1e-2, {.references = 1}),
             cancelling = propagation(bench, Form::one_sided, 1e-2, {.references = 1, .cancel_drift = true});
  const Vector shift = estimate(bench, *plain, one, squared).value;
  // 200 draws of 3 readings: variances to 10 %, the root of their ratio to 7 %; three times that.
  CHECK(rms(*plain, shift) / rms(*cancelling, shift) == Approx(std::sqrt(2.0)).epsilon(0.21));
}

TEST_CASE("the sign drawn by lot is one of two one-sided estimates, and their mean is the centred one",
          "[perturbations]") {
  const Dataset set = small_set();
  toy::Network network;
  Minibatch batch = batch_of(set, network.example_theta(1.0), {1});
  const double beta = 0.05;
  const auto lot = propagation(network, Form::random_sign, beta);
  CHECK(lot->cost(network.info()) == 2);
  const Vector against =
      estimate(network, *propagation(network, Form::one_sided, beta), batch, squared).value;
  const Vector centred = estimate(network, *propagation(network, Form::centred, beta), batch, squared).value;
  const Vector along = 2 * centred - against;
  int down = 0, up = 0;
  constexpr int steps = 400;
  for (int step = 0; step < steps; ++step) {
    batch.step = static_cast<std::uint64_t>(step);
    const Gradient gradient = estimate(network, *lot, batch, squared);
    CHECK(gradient.relaxations == 2);
    CHECK(gradient.value == estimate(network, *lot, batch, squared).value);
    // Rounding of potentials of order 1, divided by beta.
    const bool is_down = error_of(gradient.value, against) < 1e-12,
               is_up = error_of(gradient.value, along) < 1e-12;
    CHECK(is_down != is_up);
    down += is_down;
    up += is_up;
  }
  CHECK(std::abs(down - up) < 5 * std::sqrt(steps));  // five standard deviations of a fair coin
  // Drawn again for each repeat and each sample.
  batch.step = 0;
  std::set<double> first;
  for (std::uint32_t repeat = 0; repeat < 20; ++repeat) {
    batch.repeat = repeat;
    first.insert(estimate(network, *lot, batch, squared).value[0]);
  }
  CHECK(first.size() == 2);
  batch = batch_of(set, network.example_theta(1.0));
  Between between(network);
  int unlike = 0;
  for (batch.step = 0; batch.step < 40; ++batch.step) {
    estimate(between, *lot, batch, squared);
    std::set<bool> signs;
    for (std::size_t i = 0; i < 3; ++i) {
      const Drive& drive = between.drives[between.drives.size() - 3 + i];
      const double c = 2 * (between.rows[between.rows.size() - 6 + i].potential[2] - set.target(i)[0]);
      signs.insert(drive.nudge[2] * c > 0);
    }
    unlike += signs.size() == 2;
  }
  CHECK(std::abs(unlike - 30) < 5 * std::sqrt(40 * 0.75 * 0.25));  // three fair coins differ in 3 of 4 throws
}

TEST_CASE("errors of the first order average out with signs drawn by lot", "[perturbations]") {
  const Dataset set = small_set();
  toy::Network network;
  Minibatch batch = batch_of(set, network.example_theta(1.0));
  const Vector exact = estimate(network, *adjoint(toy::model_of(network)), batch, squared).value;
  const double beta = 0.05;
  const auto lot = propagation(network, Form::random_sign, beta);
  const double one_sided =
      error_of(estimate(network, *propagation(network, Form::one_sided, beta), batch, squared).value, exact);
  Vector mean = Vector::Zero(exact.size());
  constexpr int steps = 900;
  for (int step = 0; step < steps; ++step) {
    batch.step = static_cast<std::uint64_t>(step);
    mean += estimate(network, *lot, batch, squared).value / steps;
  }
  // 1 / sqrt(900) of the error for each sample; three samples of different weight: six times that for all.
  CHECK(error_of(mean, exact) < 0.2 * one_sided);
  CHECK(one_sided > 5e-3);
}

TEST_CASE("Richardson's form errs as the fourth power of beta", "[perturbations]") {
  const Dataset set = small_set(2);
  toy::Options options;
  options.layers = {2, 3, 2};
  toy::Network network(options);
  const Minibatch batch = batch_of(set, network.example_theta(1.0));
  const Vector exact = estimate(network, *adjoint(toy::model_of(network)), batch, squared).value;
  const auto error = [&](Form form, double beta) {
    return error_of(estimate(network, *propagation(network, form, beta), batch, squared).value, exact);
  };
  // a beta^4 (1 + b beta^2), over a factor of two.
  CHECK(std::log2(error(Form::richardson, 0.2) / error(Form::richardson, 0.1)) == Approx(4).margin(0.2));
  CHECK(error(Form::richardson, 0.1) < 0.1 * error(Form::centred, 0.1));
  CHECK(propagation(network, Form::richardson, 0.1)->cost(network.info()) == 5);
  // If the range reduces the nudge, the half nudge is half of the imposed one.
  toy::Options narrow = options;
  narrow.nudge = {-0.05, 0.05};
  toy::Network limited(narrow);
  CHECK(error_of(estimate(limited, *propagation(limited, Form::richardson, 10), batch, squared).value,
                 exact) < error(Form::richardson, 0.1));
}

TEST_CASE("standard errors agree with the scatter of what they are of", "[perturbations]") {
  const Dataset set = small_set(2);
  toy::Options options;
  options.layers = {2, 3, 2};
  options.skew = 0.05;
  options.holds_all = true;
  toy::Network network(options);
  const Minibatch batch = batch_of(set, network.example_theta());
  const auto model = toy::model_of(network);
  std::vector<std::unique_ptr<Estimator>> estimators;
  estimators.push_back(adjoint(model));
  estimators.push_back(finite_differences({.central = false, .step = 0.05, .parameters = {0, 1, 5, 9}}));
  estimators.push_back(finite_differences({.central = true, .step = 0.05, .parameters = {0, 1, 5, 9}}));
  for (const Form form : {Form::one_sided, Form::centred, Form::random_sign, Form::richardson})
    estimators.push_back(propagation(network, form, 0.05));
  estimators.push_back(propagation(network, Form::centred, 0.05, {.references = 1, .cancel_drift = true}));
  estimators.push_back(
      equilibrium_propagation(nullptr, {.beta = 0.05, .law = {.measured = true, .step = 0.05}}));
  estimators.push_back(corrected_propagation(model, {.beta = 0.05}));
  estimators.push_back(coupled_learning(model, {.eta = 0.1}));
  for (const auto& estimator : estimators) {
    std::vector<Vector> gradients;
    double squares = 0;
    constexpr int runs = 1000, told = 50;
    for (int run = 0; run < runs; ++run) {
      NoiseOptions noise;
      noise.seed = static_cast<std::uint64_t>(run);
      noise.read = noise.read_current = 1e-3;
      Noisy noisy(network, noise);
      const auto rows = relax_chains(noisy, estimator->chains(noisy.info(), batch, squared));
      const Gradient gradient = estimator->form(noisy.info(), batch, squared, rows);
      REQUIRE(gradient.used == 3);
      gradients.push_back(gradient.value);
      if (run < told)
        squares += reading_error(*estimator, noisy.info(), batch, squared, rows, 40, 9).squaredNorm() / told;
    }
    // The readings of a free state affect many parameters together: the variance of 1000 draws has an error
    // of at most 4.5 %, that of 2000 redrawn ones 3 %; four times their sum, halved by the square root.
    INFO(estimator->name() << ": scatter " << scatter_of(gradients) << ", told " << std::sqrt(squares));
    CHECK(std::sqrt(squares) == Approx(scatter_of(gradients)).epsilon(0.1));
  }
}
