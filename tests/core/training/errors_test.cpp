// The two errors that gradients state, beside what gradients scatter by over repeats; and what is refused
// where an error is not stated.
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <string>

#include "core/device/toy_device.hpp"
#include "core/training/given_keys.hpp"
#include "core/training/gradient_scatter.hpp"
#include "core/training/perturbed_relaxations_fixture.hpp"
#include "ness/training/trainer.hpp"

using namespace ness;
using namespace perturbations_test;

namespace {

const SquaredError squared;

struct Mode {
  std::string estimator, name;
  std::map<std::string, double> numbers = {};
  std::map<std::string, std::string> choices = {};
  unsigned passes = 1, visits = 1;
  double move = 0;
  std::vector<std::uint32_t> layers = {2, 2, 1};
};

const std::vector<Mode> stated{
    {"adjoint", ""},
    {"finite-differences-forward", ""},
    {"finite-differences-central", ""},
    {"equilibrium-propagation-one-sided", "", {{"beta", 1}}},
    {"equilibrium-propagation-centred", ""},
    {"equilibrium-propagation-centred", "4 passes", {}, {}, 4},
    {"equilibrium-propagation-centred", "two outputs", {{"beta", 1}}, {}, 1, 1, 0, {2, 3, 2}},
    {"equilibrium-propagation-centred", "held steps", {}, {{"law", "held-steps"}}},
    {"equilibrium-propagation-random-sign", "", {{"beta", 1}}},
    {"equilibrium-propagation-richardson", ""},
    {"equilibrium-propagation-corrected", "", {{"beta", 0.5}}},
    {"equilibrium-propagation-corrected", "measured", {{"measure_every", 1}}, {{"skew", "measured"}}},
    {"coupled-learning", ""},
    {"coupled-learning", "one-sided", {{"central", 0}}},
    {"coupled-learning", "two outputs, one-sided", {{"central", 0}}, {}, 1, 1, 0, {2, 3, 2}},
    {"node-probing", ""},
    {"node-probing", "one-sided", {{"central", 0}}},
    {"node-probing-tracked", "between measurements", {{"measure_every", 10}}, {}, 1, 4},
    {"node-probing-tracked", "moving", {{"measure_every", 10}}, {}, 1, 4, 0.01},
    {"conductance-by-voltage", ""},
    {"spsa", "1 direction", {{"directions", 1}}},
    {"spsa", "4 directions", {{"directions", 4}}},
    {"spsa", "1 direction, 4 passes", {{"directions", 1}}, {}, 4},
    {"walsh", ""},
};

std::unique_ptr<Estimator> made(const Mode& mode, std::shared_ptr<const Model> model) {
  std::map<std::string, double> numbers{{"beta", 0.05}, {"step", 0.05}, {"probe", 0.1},   {"eta", 0.2},
                                        {"c", 0.05},    {"gamma", 0},   {"law_step", 0.1}};
  for (const auto& [key, value] : mode.numbers) numbers[key] = value;
  return given::estimator(mode.estimator, given::GivenKeys(numbers, mode.choices), std::move(model));
}

toy::Options options_of(const Mode& mode) {
  toy::Options options;
  options.layers = mode.layers;
  options.skew = 0.05;
  options.holds_all = true;
  return options;
}

// The relative standard error of the root mean square of stated figures.
double error_of_mean(const scatter::Stated& figure) {
  double mean = 0, squares = 0;
  const auto n = static_cast<double>(figure.norms.size());
  for (const double x : figure.norms) mean += x * x / n;
  for (const double x : figure.norms) squares += std::pow(x * x / mean - 1, 2) / n;
  return std::sqrt(squares / n) / 2;
}

}  // namespace

TEST_CASE("each estimator's stated errors are what its gradients scatter by", "[errors]") {
  constexpr unsigned repeats = 400;
  for (const Mode& mode : stated) {
    toy::Network network(options_of(mode));
    const Dataset set = small_set(mode.layers.back());
    scatter::Measurement how{.device = network,
                             .noise = {.seed = 17, .read = 1e-3, .read_current = 1e-3},
                             .estimator = [&] { return made(mode, toy::model_of(network)); },
                             .batch = batch_of(set, network.example_theta()),
                             .loss = squared,
                             .passes = mode.passes,
                             .visits = mode.visits,
                             .move = mode.move,
                             .stated_of = 2};
    const scatter::Found fixed = scatter::repeated(how, repeats, false);
    const bool random = how.estimator()->repeats() == Estimator::Repeats::random;
    const scatter::Found all = random ? scatter::repeated(how, repeats, true) : fixed;
    INFO(mode.estimator << " " << mode.name);
    REQUIRE(fixed.readings.is_stated());
    REQUIRE(all.whole.is_stated());
    const auto agree = [](const scatter::Found& found, const scatter::Stated& figure) {
      // Four standard errors: of the scatter of so many repeats (chi-squared of as many degrees of freedom as
      // the repeats themselves show), and of the mean of the stated squares. 3 % for what is of second order
      // in the errors of the readings, and for columns of a tracked Jacobian that are taken as independent.
      const double tolerance =
          4 * std::hypot(std::sqrt(found.spread / repeats) / 2, error_of_mean(figure)) + 0.03;
      INFO("scatter " << found.scatter << ", stated " << figure.root_mean_square());
      CHECK(tolerance < 0.35);
      CHECK(figure.root_mean_square() / found.scatter == Approx(1).margin(tolerance));
    };
    agree(fixed, fixed.readings);
    agree(all, all.whole);
    // Directions and signs scatter, too.
    if (mode.estimator == "spsa") CHECK(all.whole.root_mean_square() > 3 * fixed.readings.root_mean_square());
  }
}

TEST_CASE("without noise the whole error is what random directions and signs scatter by", "[errors]") {
  for (const Mode& mode : {Mode{"spsa", "1 direction", {{"directions", 1}, {"c", 1e-3}}},
                           Mode{"equilibrium-propagation-random-sign", "", {{"beta", 0.5}}}}) {
    toy::Network network(options_of(mode));
    const Dataset set = small_set();
    scatter::Measurement how{.device = network,
                             .noise = {},
                             .estimator = [&] { return made(mode, toy::model_of(network)); },
                             .batch = batch_of(set, network.example_theta()),
                             .loss = squared};
    const scatter::Found found = scatter::repeated(how, 1000, true);
    REQUIRE(found.whole.is_stated());
    CHECK_FALSE(found.readings.is_stated());
    INFO(mode.estimator);
    const double tolerance =
        4 * std::hypot(std::sqrt(found.spread / 1000) / 2, error_of_mean(found.whole)) + 0.01;
    CHECK(found.whole.root_mean_square() / found.scatter == Approx(1).margin(tolerance));
  }
}

TEST_CASE("coupled learning's figures stay finite where noise hides the holding current", "[errors]") {
  const Mode mode{"coupled-learning", "", {{"eta", 1e-3}}};
  toy::Network network(options_of(mode));
  const Dataset set = small_set();
  scatter::Measurement how{.device = network,
                           .noise = {.seed = 5, .read = 1e-6, .read_current = 1e-3},
                           .estimator = [&] { return made(mode, toy::model_of(network)); },
                           .batch = batch_of(set, network.example_theta()),
                           .loss = squared};
  const scatter::Found found = scatter::repeated(how, 1000, false);
  // The current is c 2 eta / R, about 1e-3: as large as its noise. A ratio of normal numbers would have no
  // variance: its largest of 1000 draws exceeds the median about 1000 / pi times. Here none exceeds 1 / (3
  // s).
  CHECK(found.readings.quantile(1) < 30 * found.readings.quantile(0.5));
  CHECK(found.spread < 30);
}

TEST_CASE("the mean of passes has the errors that they state, or what they scatter by", "[errors]") {
  const auto pass = [](double a, double b, double error) {
    Gradient g;
    g.used = 2;
    g.value = (Vector(2) << a, b).finished();
    if (error > 0) g.reading_error = g.whole_error = Vector::Constant(2, error);
    return g;
  };
  using Repeats = Estimator::Repeats;
  // Two passes that differ by (2, 0): their mean scatters by (1, 0).
  const std::vector<Gradient> unknown{pass(1, 3, 0), pass(3, 3, 0)};
  for (const Repeats repeats : {Repeats::independent, Repeats::random, Repeats::dependent}) {
    const Gradient mean = mean_of(unknown, repeats);
    CHECK((mean.reading_error.size() > 0) == (repeats == Repeats::independent));
    CHECK((mean.whole_error.size() > 0) == (repeats != Repeats::dependent));
    if (repeats != Repeats::dependent) CHECK(mean.whole_error == (Vector(2) << 1, 0).finished());
  }
  // Stated errors of 1 each: 1 / sqrt(2) of the mean; what the passes differ by is within chance.
  const std::vector<Gradient> known{pass(1, 3, 1), pass(3, 3, 1)};
  CHECK(mean_of(known, Repeats::independent).reading_error[0] == Approx(std::sqrt(0.5)).epsilon(1e-14));
  // Errors of 0.1: the readings do not explain the passes, 1 / (2 * 0.1^2 / 2) = 100 > 10.8.
  const std::vector<Gradient> surprising{pass(1, 3, 0.1), pass(3, 3, 0.1)};
  CHECK(mean_of(surprising, Repeats::independent).reading_error[0] == Approx(1));
  CHECK(mean_of(surprising, Repeats::random).reading_error[0] == Approx(0.1 / std::sqrt(2)));
  CHECK(mean_of(surprising, Repeats::random).whole_error[0] == Approx(1));
  CHECK(mean_of(known, Repeats::dependent).reading_error.size() == 0);
}

TEST_CASE("what goes by an error that is not stated is refused", "[errors]") {
  toy::Network network(options_of({}));
  const auto model = toy::model_of(network);
  Task task;
  task.name = "small";
  task.train = small_set();
  task.loss = std::make_shared<SquaredError>();
  const auto refusal = [&](const Mode& mode, TrainingOptions training, const NoiseOptions& noise) {
    Noisy device(network, noise);
    const auto estimator = mode.estimator == "evolution" ? evolution({}, 1) : made(mode, model);
    const ParameterSpace space(device.info());
    training.epochs = 2;
    try {
      Trainer trainer(device, *estimator, task, space, {.make = sgd_optimizer(), .rate = 1e-3}, training);
      trainer.run(network.example_theta());
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const NoiseOptions known{.seed = 1, .read = 1e-3, .read_current = 1e-3};
  TrainingOptions skip, target, both, no_draws;
  skip.on_noise = TrainingOptions::OnNoise::skip;
  target.target_error = both.target_error = 0.1;
  target.max_repeats = 1;
  both.on_noise = TrainingOptions::OnNoise::average;
  no_draws.on_noise = TrainingOptions::OnNoise::average;
  no_draws.error_draws = 0;

  const Mode tracked{"conductance-by-voltage-tracked", "", {{"measure_every", 5}}};
  CHECK_THAT(refusal(tracked, skip, known), Catch::Contains("when_noise_wins = 'skip'") &&
                                                Catch::Contains("conductance") &&
                                                Catch::Contains("measure_every = 0"));
  CHECK_THAT(refusal(tracked, target, known), Catch::Contains("target_error 0.1"));
  // Its passes have the remembered conductance in common: they do not help.
  CHECK_THAT(refusal(tracked, both, known), Catch::Contains("does not state"));
  const Mode probing{"node-probing-tracked", "", {{"measure_every", 5}}};
  CHECK(refusal(probing, skip, known).empty());
  CHECK_THAT(refusal(probing, both, known), Catch::Contains("they have remembered readings in common"));
  CHECK_THAT(refusal({"evolution", ""}, skip, known), Catch::Contains("it measures no gradient"));
  CHECK_THAT(refusal({"evolution", ""}, both, known), Catch::Contains("it measures no gradient"));
  CHECK_THAT(refusal({"adjoint", ""}, no_draws, known), Catch::Contains("error_draws of at least 1"));
  CHECK(refusal({"adjoint", ""}, skip, known).empty());
  CHECK(refusal({"spsa", ""}, skip, known).empty());
  CHECK(refusal(tracked, {}, known).empty());

  // A device that does not know the errors of its readings: seen at the first step. Repeats show them, unless
  // directions differ from repeat to repeat.
  const NoiseOptions unknown{.seed = 1, .drift = 1e-3};
  CHECK_THAT(refusal({"adjoint", ""}, skip, unknown), Catch::Contains("no standard errors of the readings"));
  CHECK(refusal({"adjoint", ""}, both, unknown).empty());
  CHECK_THAT(refusal({"spsa", ""}, both, unknown), Catch::Contains("no standard errors of the readings"));
  // Errors of potentials alone say nothing of currents.
  CHECK_THAT(refusal({"conductance-by-voltage", ""}, skip, {.seed = 1, .read = 1e-3}),
             Catch::Contains("readings that conductance-by-voltage uses"));
  // Without noise it never wins.
  CHECK(refusal({"adjoint", ""}, skip, {}).empty());
}

TEST_CASE("a remembered Jacobian of which no errors are known states none", "[errors]") {
  const Mode mode{"node-probing-tracked", "", {{"measure_every", 10}}};
  toy::Network network(options_of(mode));
  const Dataset set = small_set();
  const Minibatch batch = batch_of(set, network.example_theta());
  Noisy noisy(network, {.seed = 3, .read = 1e-3});
  const DeviceInfo& info = noisy.info();
  const auto stated_after = [&](Device& first) {
    const auto estimator = made(mode, toy::model_of(network));
    estimator->remember(info, batch, squared, relax_chains(first, estimator->chains(info, batch, squared)));
    const auto copy = made(mode, toy::model_of(network));
    copy->restore(estimator->state());
    CHECK(copy->state() == estimator->state());
    const auto rows = relax_chains(noisy, copy->chains(info, batch, squared));
    return reading_error(*copy, info, batch, squared, rows, 8, 1).size() > 0;
  };
  CHECK(stated_after(noisy));
  CHECK_FALSE(stated_after(network));  // readings without standard errors
}
