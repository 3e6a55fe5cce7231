// The trainer's response to noise, drift and a budget.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/device/toy_device.hpp"
#include "ness/training/drift.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/training/trainer.hpp"

using namespace ness;

namespace {

struct Steps final : TrainingObserver {
  std::vector<StepReport> steps;
  std::vector<Checkpoint> checkpoints;
  void on_step(const StepReport& report, const Vector&) override { steps.push_back(report); }
  void on_checkpoint(const Checkpoint& checkpoint) override { checkpoints.push_back(checkpoint); }
};

struct Setup {
  Task task;
  toy::Network network;
  std::unique_ptr<Estimator> estimator;
  TrainingOptions training;
  OptimizerOptions optimizer{.make = sgd_optimizer(), .rate = 0.05};

  explicit Setup(double beta = 0.05) {
    RowMatrix inputs(3, 2), targets(3, 1);
    inputs << 0.9, -0.6, 1.4, 0.8, -1.1, 0.3;
    targets << 0.7, -0.2, 0.4;
    task.name = "noise";
    task.train.inputs = std::make_shared<DensePatterns>("noise", inputs);
    task.train.targets = targets;
    task.train.rows = {0, 1, 2};
    task.loss = std::make_shared<SquaredError>();
    estimator = equilibrium_propagation(toy::model_of(network), {beta});
    training.epochs = 40;
  }
  TrainingSummary run(const NoiseOptions& noise, Steps& steps, const Checkpoint* from = nullptr) {
    Noisy device(network, noise);
    const ParameterSpace space(device.info());
    Trainer trainer(device, *estimator, task, space, optimizer, training);
    trainer.observe(steps);
    return from != nullptr ? trainer.resume(*from) : trainer.run(network.example_theta());
  }
  double clean_loss(const Vector& theta) {
    return evaluate(network, Parameters::of(theta), task.train, *task.loss, {Rest{}}, Label::Purpose::test, 0)
        .loss;
  }
};

NoiseOptions read_noise(double sigma) {
  NoiseOptions noise;
  noise.seed = 3;
  noise.read = sigma;
  return noise;
}

}  // namespace

TEST_CASE("a minibatch is relaxed again until its gradient is known well enough", "[noise]") {
  Setup once, again;
  again.training.target_error = 0.1;
  again.training.max_repeats = 50;
  Steps one, many;
  once.run(read_noise(3e-3), one);
  again.run(read_noise(3e-3), many);
  std::uint64_t met = 0, relaxations = 0;
  for (const StepReport& step : many.steps) {
    const bool known = step.reading_error <= 0.1 * step.gradient_norm;
    CHECK((known || step.repeats == 50));
    met += known;
    // three samples, each with a free and two perturbed relaxations from the restored state
    relaxations += step.repeats * 9;
  }
  CHECK(met > many.steps.size() / 2);
  CHECK(many.steps.back().relaxations == relaxations);
  CHECK(many.steps.front().repeats > 1);
  // A single pass knows its error from the readings: sigma / (sqrt(2) beta) in each costate, times
  // |dI/dtheta| of order 1.
  CHECK(one.steps.front().reading_error > 0.1 * one.steps.front().gradient_norm);
  CHECK(one.steps.front().repeats == 1);
}

TEST_CASE("the standard error is what gradients scatter by", "[noise]") {
  Setup setup;
  const NoiseOptions options = read_noise(1e-3);
  Minibatch batch;
  batch.data = &setup.task.train;
  batch.samples = {0, 1, 2};
  batch.theta = Parameters::of(setup.network.example_theta());
  Noisy device(setup.network, options);
  constexpr int passes = 400;
  std::vector<Vector> gradients;
  double stated = 0;
  Vector mean = Vector::Zero(batch.theta.base->size());
  std::uint64_t ordinal = 0;
  for (int pass = 0; pass < passes; ++pass) {
    device.seek(ordinal);
    const auto rows = relax_chains(device, setup.estimator->chains(device.info(), batch, *setup.task.loss));
    const Gradient found = setup.estimator->form(device.info(), batch, *setup.task.loss, rows);
    ordinal += found.relaxations;
    gradients.push_back(found.value);
    mean += found.value / passes;
    stated += reading_error(*setup.estimator, device.info(), batch, *setup.task.loss, rows, 8,
                            static_cast<std::uint64_t>(pass))
                  .squaredNorm() /
              passes;
  }
  double scatter = 0;
  for (const Vector& g : gradients) scatter += (g - mean).squaredNorm() / (passes - 1);
  // Chi-squared with at least 3 degrees of freedom (the costates of three samples) in each of 400 passes and
  // 8 x 400 draws: 4 standard errors of the ratio of variances are 4 sqrt(2/3 (1/400 + 1/3200)) = 0.17.
  CHECK(stated / scatter == Approx(1).margin(0.17));
}

TEST_CASE("where noise wins a step is skipped, or gradients are averaged until it does not", "[noise]") {
  Setup step, skip, average;
  skip.training.on_noise = TrainingOptions::OnNoise::skip;
  average.training.on_noise = TrainingOptions::OnNoise::average;
  average.training.epochs = 400;
  Steps stepped, skipped, averaged;
  step.run(read_noise(3e-2), stepped);
  const TrainingSummary none = skip.run(read_noise(3e-2), skipped);
  average.run(read_noise(3e-2), averaged);
  for (const StepReport& report : stepped.steps) CHECK(report.skipped == 0);
  for (const StepReport& report : skipped.steps) {
    CHECK((report.skipped == 1) == (report.reading_error > report.gradient_norm));
    CHECK((report.skipped == 1) == (report.theta_before == report.theta_after));
  }
  CHECK(none.skipped > 20);
  std::uint64_t taken = 0, waited = 0, longest = 0;
  for (const StepReport& report : averaged.steps) {
    CHECK((report.skipped == 1) == (report.reading_error > report.gradient_norm));
    taken += report.skipped == 0;
    waited = report.skipped == 1 ? waited + 1 : 0;
    longest = std::max(longest, waited);
  }
  CHECK(taken > 0);
  CHECK(longest > 1);  // more than one minibatch was averaged
}

TEST_CASE("a linear drift is followed without lag, and restored bit for bit", "[noise]") {
  DriftMonitor monitor;
  const auto row = [](double a, double b) {
    Relaxation r;
    r.potential = (Vector(2) << a, b).finished();
    return r;
  };
  const std::vector<Relaxation> first{row(1, -1), row(1.25, -1.5)};
  monitor.begin(first);
  for (const double t : {10.0, 20.0, 35.0}) monitor.observe(row(1.125 + 0.01 * t, -1.25 - 0.02 * t), t);
  // Rounding of sums of a few numbers of order 1.
  CHECK(monitor.offset(50)[0] == Approx(0.5).epsilon(1e-13));
  CHECK(monitor.offset(50)[1] == Approx(-1).epsilon(1e-13));
  Relaxation corrected = row(1.625, 0);
  monitor.correct(corrected, 50);
  CHECK(corrected.potential[0] == Approx(1.125).epsilon(1e-13));
  Relaxation broken = row(99, 99);
  broken.quality.raise(Flag::not_converged);
  const Vector before = monitor.state();
  monitor.observe(broken, 60);
  CHECK(monitor.state() == before);
  DriftMonitor other;
  other.restore(before);
  CHECK(other.offset(47.5) == monitor.offset(47.5));
  CHECK_THROWS_AS(other.restore(Vector::Zero(4)), std::invalid_argument);
  CHECK_THROWS_AS(monitor.begin(std::vector<Relaxation>{broken}), std::invalid_argument);
}

TEST_CASE("a reference relaxation takes a drift off that training would follow", "[noise]") {
  NoiseOptions drift;
  drift.seed = 5;
  drift.drift_rate = 1e-3;  // 400 steps of 9 relaxations: 3.6 kT at the end
  Setup still, blind, seeing;
  still.training.epochs = blind.training.epochs = seeing.training.epochs = 400;
  seeing.training.reference_every = 5;
  Steps a, b, c;
  const double undisturbed = still.clean_loss(still.run({}, c).theta);
  const double without = blind.clean_loss(blind.run(drift, a).theta),
               with = seeing.clean_loss(seeing.run(drift, b).theta);
  CHECK(std::isnan(a.steps.back().offset));
  // 4 references at the start, one before every fifth step; the offset includes the drift since the last
  // reference.
  CHECK(b.steps.back().relaxations == 4 + 400 * 9 + 80);
  CHECK(b.steps.back().offset ==
        Approx(1e-3 * static_cast<double>(b.steps.back().relaxations)).epsilon(0.02));
  // Remaining error: the mean of the first four readings is off by the drift of 2.5 relaxations, 2.5e-3 kT of
  // errors of order 0.5.
  CHECK(with == Approx(undisturbed).epsilon(0.05));
  CHECK(without > 2 * undisturbed);
}

TEST_CASE("device time is counted, and ends a run", "[noise]") {
  Setup setup;
  setup.training.max_time = 100;  // a relaxation of the toy takes a time of 1
  Steps steps;
  const TrainingSummary summary = setup.run({}, steps);
  CHECK(summary.end == TrainingSummary::End::time);
  // Nine per step: a step that would begin after 100 is not made.
  CHECK(summary.steps == 12);
  CHECK(summary.time == Approx(108).epsilon(1e-12));
  CHECK(summary.message().find("device time") != std::string::npos);
}

TEST_CASE("repeats, kept gradients and drift survive a resumption", "[noise]") {
  for (const bool average : {false, true}) {
    Setup whole;
    whole.training.epochs = 60;
    whole.training.target_error = 0.3;
    whole.training.max_repeats = 3;
    whole.training.reference_every = 4;
    if (average) whole.training.on_noise = TrainingOptions::OnNoise::average;
    NoiseOptions noise = read_noise(2e-2);
    noise.drift_rate = 1e-4;
    Steps all;
    const TrainingSummary end = whole.run(noise, all);
    REQUIRE(all.checkpoints.size() == 60);
    for (const std::size_t at : {0, 17, 41}) {
      Steps rest;
      CHECK(whole.run(noise, rest, &all.checkpoints[at]).theta == end.theta);
      CHECK(rest.steps.back().relaxations == all.steps.back().relaxations);
    }
  }
}
