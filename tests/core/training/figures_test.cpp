// Figures say what they are: means over samples, losses over fewer samples than the task has, runs that could
// use nothing, the best parameters. The device gives each sample a potential that is written down here, so
// that every figure has a closed form.
#include <catch2/catch.hpp>
#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "core/device/toy_device.hpp"
#include "device_contract.hpp"
#include "ness/training/trainer.hpp"

using namespace ness;
using contract::same_bits;

namespace {

// One input, one output, one parameter theta: the output's potential is theta, whatever the input.
class Plain final : public Device {
 public:
  Plain() {
    info_.terminals.resize(2);
    info_.terminals[0].name = "in";
    info_.terminals[0].clamped = true;
    info_.terminals[1].name = "out";
    info_.outputs = {1};
    ParameterInfo parameter;
    parameter.name = parameter.kind = "theta";
    info_.parameters = {parameter};
    info_.restores_state = info_.deterministic = true;
  }
  const DeviceInfo& info() const override { return info_; }
  std::function<void(const Drive&, Relaxation&)> spoil;
  std::uint64_t made = 0;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      Relaxation row;
      row.potential = drives[i].theta.values();
      row.timing.start = static_cast<double>(made++);
      row.timing.settled = row.timing.read = row.timing.start + 1;
      if (spoil) spoil(drives[i], row);
      sink(i, row);
    }
  }

 private:
  DeviceInfo info_;
};

Dataset targets_of(const std::vector<double>& targets) {
  Dataset set;
  const auto n = static_cast<Eigen::Index>(targets.size());
  RowMatrix inputs(n, 1);
  set.targets.resize(n, 1);
  for (Eigen::Index i = 0; i < n; ++i) {
    inputs(i, 0) = static_cast<double>(i);
    set.targets(i, 0) = targets[static_cast<std::size_t>(i)];
    set.rows.push_back(static_cast<std::uint64_t>(i));
  }
  set.inputs = std::make_shared<DensePatterns>("targets", inputs);
  return set;
}

struct Reports final : TrainingObserver {
  void on_step(const StepReport& report, const Vector& theta) override {
    steps.push_back(report);
    thetas.push_back(theta);
  }
  void on_epoch(const EpochReport& report) override { epochs.push_back(report); }
  void on_checkpoint(const Checkpoint& checkpoint) override { checkpoints.push_back(checkpoint); }
  std::vector<StepReport> steps;
  std::vector<Vector> thetas;
  std::vector<EpochReport> epochs;
  std::vector<Checkpoint> checkpoints;
};

struct Run {
  explicit Run(const std::vector<double>& targets) {
    task.name = "plain";
    task.train = targets_of(targets);
    const auto threshold = threshold_of(task.train.targets);
    task.loss = threshold ? std::make_shared<SquaredError>(*threshold) : std::make_shared<SquaredError>();
    training.epochs = 8;
    optimizer.make = sgd_optimizer();
    optimizer.rate = 1e-300;  // theta stays where it is, to the last bit
  }
  TrainingSummary run() {
    const auto estimator = finite_differences({});
    const ParameterSpace space(device.info());
    Trainer trainer(device, *estimator, task, space, optimizer, training);
    trainer.observe(reports);
    return trainer.run(Vector::Constant(1, theta), stop.get_token());
  }
  Plain device;
  Task task;
  TrainingOptions training;
  OptimizerOptions optimizer;
  Reports reports;
  std::stop_source stop;
  double theta = 0;
};

}  // namespace

TEST_CASE("an epoch's loss and accuracy are means over samples", "[figures]") {
  // At theta = 0 the loss of a sample is its target's square. 124 samples in steps of 123 and 1.
  std::vector<double> targets(124, 1.0);
  targets[57] = 12.0;
  Run r(targets);
  r.training.batch = 123;
  const TrainingSummary summary = r.run();
  const double mean = (123 * 1.0 + 144.0) / 124;  // whatever the order
  REQUIRE(r.reports.epochs.size() == 8);
  for (const EpochReport& epoch : r.reports.epochs) {
    CHECK(epoch.loss == Approx(mean).epsilon(1e-14));  // a sum of 124 roundings
    CHECK(epoch.samples == 124);
    CHECK(epoch.left_out == 0);
    // The threshold is 6.5: theta = 0 is on the side of the 123.
    CHECK(epoch.correct == Approx(123.0 / 124).epsilon(1e-14));
  }
  CHECK(summary.loss == Approx(mean).epsilon(1e-14));
  CHECK(summary.loss_samples == 124);
  // The odd one is in a step of its own in some epochs and not in others, or this shows nothing: then a mean
  // of steps would be (1 + 144) / 2, and (266/123 + 1) / 2 elsewhere.
  Run seeds(targets);
  seeds.training.batch = 123;
  seeds.training.epochs = 600;
  seeds.run();
  std::set<bool> alone;
  for (const StepReport& step : seeds.reports.steps) {
    if (step.samples == 1) alone.insert(step.loss > 100);
  }
  CHECK(alone.size() == 2);
  for (const EpochReport& epoch : seeds.reports.epochs) CHECK(epoch.loss == Approx(mean).epsilon(1e-14));
}

TEST_CASE("the target loss goes by the mean over samples", "[figures]") {
  // 0, 0, 0 and 9 in steps of 3 and 1: the mean of steps is 1.5 where the 9 comes in the first.
  Run r({0, 0, 0, 3});
  r.training.batch = 3;
  r.training.epochs = 40;
  SECTION("not reached where a mean of steps would be below") {
    r.training.target_loss = 2;
    CHECK(r.run().end == TrainingSummary::End::epochs);
  }
  SECTION("reached where a mean of steps may be above") {
    r.training.target_loss = 2.3;
    const TrainingSummary summary = r.run();
    CHECK(summary.end == TrainingSummary::End::target);
    CHECK(summary.epochs == 1);
    CHECK(summary.loss == 2.25);
  }
}

TEST_CASE("repeats and left-out samples keep the weights", "[figures]") {
  Run r({1, 2, 3, 4, 5});
  r.training.batch = 3;
  r.training.max_left_out = 1;
  // Sample 4 is out in epochs 0, 2, ..: the others' mean is (1 + 4 + 9 + 16) / 4.
  r.device.spoil = [](const Drive& drive, Relaxation& row) {
    if (drive.label.sample == 4 && drive.label.step / 2 % 2 == 0) row.quality.raise(Flag::timed_out);
  };
  r.run();
  for (const EpochReport& epoch : r.reports.epochs) {
    const bool out = epoch.epoch % 2 == 0;
    CHECK(epoch.loss == Approx(out ? 7.5 : 11.0).epsilon(1e-14));
    CHECK(epoch.left_out == (out ? 1 : 0));
    CHECK(epoch.samples == (out ? 4 : 5));
  }
}

TEST_CASE("a run in which a sample was never used has failed, and says why", "[figures]") {
  Run r({0, 0, 3, 3});
  r.training.target_loss = 100;
  r.training.epochs = 5;
  r.device.spoil = [](const Drive& drive, Relaxation& row) {
    if (drive.label.sample < 2) return;
    row.quality.raise(Flag::in_compliance);
    row.quality.limited = {0};
  };
  const TrainingSummary summary = r.run();
  CHECK(summary.end == TrainingSummary::End::epochs);  // not the target: 0 is the loss of two of four
  CHECK(summary.failed());
  CHECK(summary.never_used == std::vector<std::uint64_t>{2, 3});
  CHECK(summary.loss == 0);
  CHECK(summary.loss_samples == 2);
  CHECK(summary.loss_left_out == 2);
  CHECK(summary.best.by == BestBy::none);  // no epoch has shown the loss of the set
  const std::string message = summary.message(
      [](std::uint32_t terminal) { return terminal == 0 ? std::string("wire 'input'") : std::string("?"); });
  CHECK_THAT(message, Catch::Contains("samples 2, 3 were never used: in compliance at wire 'input'") &&
                          Catch::Contains("of a part of the samples (2 of 4)"));
  CHECK(r.reports.steps[0].causes == std::vector<LeftOut>{{0, bit(Flag::in_compliance), 2}});
}

TEST_CASE("a sample that was used once, or not tried yet, was used", "[figures]") {
  Run r({0, 0, 0, 3});
  SECTION("once") {
    r.device.spoil = [](const Drive& drive, Relaxation& row) {
      if (drive.label.sample == 1 && drive.label.step != 2) row.quality.raise(Flag::timed_out);
    };
  }
  SECTION("not tried: the budget ends in the first epoch") {
    r.training.batch = 1;
    r.training.max_relaxations = 7;  // two samples of three relaxations
  }
  const TrainingSummary summary = r.run();
  CHECK(summary.never_used.empty());
  CHECK_FALSE(summary.failed());
}

TEST_CASE("what was never used survives a resumption", "[figures]") {
  const auto spoil = [](const Drive& drive, Relaxation& row) {
    if (drive.label.sample == 50 || (drive.label.sample == 3 && drive.label.step < 2))
      row.quality.raise(Flag::timed_out);
  };
  const std::vector<double> targets(101, 1.0);
  Run whole(targets);
  whole.training.batch = 40;
  whole.device.spoil = spoil;
  const TrainingSummary expected = whole.run();
  CHECK(expected.never_used == std::vector<std::uint64_t>{50});
  for (const Checkpoint& checkpoint : whole.reports.checkpoints) {
    Run r(targets);
    r.training.batch = 40;
    r.device.spoil = spoil;
    const auto estimator = finite_differences({});
    const ParameterSpace space(r.device.info());
    Trainer trainer(r.device, *estimator, r.task, space, r.optimizer, r.training);
    trainer.observe(r.reports);
    const TrainingSummary summary = trainer.resume(checkpoint);
    CHECK(summary.never_used == expected.never_used);
    CHECK(same_bits(r.reports.checkpoints.empty() ? checkpoint.trainer : r.reports.checkpoints.back().trainer,
                    whole.reports.checkpoints.back().trainer));
  }
}

TEST_CASE("training stops by itself where every sample is left out", "[figures]") {
  Run r({0, 1});
  r.training.epochs = 50;
  std::uint64_t sound = 0;  // steps that are
  r.device.spoil = [&sound](const Drive& drive, Relaxation& row) {
    if (drive.label.step >= sound)
      row.quality.terminal = {static_cast<std::uint16_t>(bit(Flag::timed_out) | bit(Flag::drifting))};
  };
  SECTION("after ten steps") {
    const TrainingSummary summary = r.run();
    CHECK(summary.end == TrainingSummary::End::unusable);
    CHECK(std::string(to_string(summary.end)) == "unusable");
    CHECK(summary.steps == 10);
    CHECK(summary.failed());
    CHECK_THAT(summary.message(), Catch::Contains("every sample was left out") &&
                                      Catch::Contains("drifting and timed out at terminal 1 (2 samples)") &&
                                      !Catch::Contains("nan"));
  }
  SECTION("counted one after another") {
    sound = 5;
    const TrainingSummary summary = r.run();
    CHECK(summary.end == TrainingSummary::End::unusable);
    CHECK(summary.steps == 15);
    CHECK(summary.never_used.empty());
    CHECK(summary.failed());
  }
  SECTION("as many as asked for, or never") {
    r.training.max_unusable_steps = 3;
    CHECK(r.run().steps == 3);
    Run other({0, 1});
    other.device.spoil = r.device.spoil;
    other.training.max_unusable_steps = 0;
    const TrainingSummary summary = other.run();
    CHECK(summary.end == TrainingSummary::End::epochs);
    CHECK(summary.failed());
    CHECK_THAT(summary.message(), Catch::Contains("no loss") && !Catch::Contains("nan"));
  }
  SECTION("a run that is resumed when that was mended goes on") {
    r.run();
    sound = 50;
    const auto estimator = finite_differences({});
    const ParameterSpace space(r.device.info());
    Trainer trainer(r.device, *estimator, r.task, space, r.optimizer, r.training);
    const TrainingSummary summary = trainer.resume(r.reports.checkpoints.back());
    CHECK(summary.end == TrainingSummary::End::epochs);
    CHECK_FALSE(summary.failed());
  }
}

TEST_CASE("training stops where a sample is left out in every epoch", "[figures]") {
  Run r({0, 1, 2});
  r.training.epochs = 50;
  r.training.max_unused_epochs = 7;
  r.device.spoil = [](const Drive& drive, Relaxation& row) {
    if (drive.label.sample == 1) row.quality.terminal = {bit(Flag::over_range)};
  };
  const TrainingSummary summary = r.run();
  CHECK(summary.end == TrainingSummary::End::unused);
  CHECK(summary.epochs == 7);
  CHECK(summary.failed());
  CHECK_THAT(summary.message(),
             Catch::Contains("sample 1 was never used: over range at terminal 1 (1 sample)"));
}

TEST_CASE("each way to end has its name", "[figures]") {
  Run r({0, 1});
  r.training.epochs = 50;
  r.training.max_time = 10;  // of the device's clock, which counts relaxations
  const TrainingSummary summary = r.run();
  CHECK(summary.end == TrainingSummary::End::time);
  CHECK(std::string(to_string(summary.end)) == "time");
  using End = TrainingSummary::End;
  std::set<std::string> names;
  for (const End end : {End::epochs, End::target, End::patience, End::relaxations, End::time, End::unusable,
                        End::unused, End::cancelled})
    names.insert(to_string(end));
  CHECK(names.size() == 8);
}

TEST_CASE("an evaluation says why samples have no steady state", "[figures]") {
  Run r({0, 1, 2});
  r.device.spoil = [](const Drive& drive, Relaxation& row) {
    if (drive.label.sample > 0) row.quality.terminal = {bit(Flag::over_range)};
  };
  const Evaluation found = evaluate(r.device, Parameters::of(Vector::Constant(1, 0.5)), r.task.train,
                                    *r.task.loss, {}, Label::Purpose::test, 0);
  CHECK(found.samples == 1);
  CHECK(found.failures == 2);
  CHECK(found.loss == 0.25);
  CHECK(left_out_text(found.causes) == "over range at terminal 1 (2 samples)");
}

namespace {

// theta falls towards 1 and beyond with a rate that is too large, so that the best is not the last: with
// targets of 1 the loss is (theta - 1)^2, its slope 2 (theta - 1), and theta - 1 is multiplied by 1 - 2 rate
// in each step. A rate that grows from small to large first shrinks and then blows it up.
struct Overshooting : Run {
  Overshooting() : Run({1, 1, 1}) {
    theta = 4;
    training.epochs = 30;
    optimizer.rate = 1.3;
    optimizer.schedule.warm_up = 0.99;  // from 0 to 1.3
  }
};

std::size_t lowest(const std::vector<EpochReport>& epochs) {
  return static_cast<std::size_t>(
      std::min_element(epochs.begin(), epochs.end(),
                       [](const EpochReport& a, const EpochReport& b) { return a.loss < b.loss; }) -
      epochs.begin());
}

}  // namespace

TEST_CASE("with one step an epoch the best parameters are those that were measured", "[figures][best]") {
  Overshooting r;
  const TrainingSummary summary = r.run();
  const std::size_t best = lowest(r.reports.epochs);
  REQUIRE(best > 0);
  REQUIRE(best + 1 < r.reports.epochs.size());
  CHECK(summary.best.by == BestBy::training_loss);
  CHECK(summary.best.epoch == best);
  CHECK(summary.best.step == best);
  CHECK(summary.best.loss == r.reports.epochs[best].loss);
  CHECK(same_bits(summary.best_theta, r.reports.thetas[best - 1]));
  // Their loss is what was said of them: (theta - 1)^2.
  CHECK(summary.best.loss == Approx(std::pow(summary.best_theta[0] - 1, 2)).epsilon(1e-14));
  CHECK(summary.loss > 20 * summary.best.loss);
  CHECK_THAT(summary.message(), Catch::Contains("best loss"));
  double so_far = INFINITY;
  for (const EpochReport& epoch : r.reports.epochs) {
    CHECK(epoch.best == (epoch.loss < so_far));
    so_far = std::min(so_far, epoch.loss);
    CHECK(epoch.best_so_far.loss == so_far);
  }
  // No relaxation was made for it: three differences a sample.
  CHECK(r.device.made == 30 * 3 * 3);
}

TEST_CASE("with several steps an epoch the best parameters are those at its end", "[figures][best]") {
  Overshooting r;
  r.training.batch = 2;
  const TrainingSummary summary = r.run();
  const std::size_t best = lowest(r.reports.epochs);
  CHECK(summary.best.step == 2 * (best + 1));
  CHECK(same_bits(summary.best_theta, r.reports.thetas[2 * best + 1]));
}

TEST_CASE("the test set has no say in what is best; the validation set has", "[figures][best]") {
  Overshooting plain, tested, validated;
  tested.task.test = targets_of({-7, 5});
  // (theta - 4)^2 is least at the beginning.
  validated.task.validation = targets_of({4, 4});
  validated.training.validate_every = 1;
  const TrainingSummary expected = plain.run();
  CHECK(same_bits(tested.run().best_theta, expected.best_theta));
  const TrainingSummary summary = validated.run();
  CHECK(summary.best.by == BestBy::validation_loss);
  CHECK(summary.best.step != expected.best.step);
  double least = INFINITY;
  for (const Vector& theta : validated.reports.thetas) least = std::min(least, std::pow(theta[0] - 4, 2));
  CHECK(summary.best.loss == Approx(least).epsilon(1e-14));
}

TEST_CASE("a loss of a part of a set is never the best", "[figures][best]") {
  Overshooting r;
  std::uint64_t first_whole = 20;
  SECTION("training") {
    r.device.spoil = [&](const Drive& drive, Relaxation& row) {
      if (drive.label.sample == 0 && drive.label.step < first_whole) row.quality.raise(Flag::timed_out);
    };
    r.training.max_left_out = 1;
    const TrainingSummary summary = r.run();
    CHECK(summary.best.epoch >= first_whole);
  }
  SECTION("validation") {
    r.task.validation = targets_of({4, 4});
    r.training.validate_every = 1;
    r.device.spoil = [&](const Drive& drive, Relaxation& row) {
      if (drive.label.purpose == Label::Purpose::validation && drive.label.sample == 1 &&
          drive.label.step <= first_whole)
        row.quality.raise(Flag::timed_out);
    };
    const TrainingSummary summary = r.run();
    CHECK(summary.best.epoch >= first_whole);
    CHECK(r.reports.epochs[0].validation_left_out == 1);
    CHECK_FALSE(r.reports.epochs[0].best);
  }
}

TEST_CASE("a checkpoint holds the best parameters, and a resumed run chooses the same", "[figures][best]") {
  Overshooting whole;
  const TrainingSummary expected = whole.run();
  for (const Checkpoint& checkpoint : whole.reports.checkpoints) {
    const auto [best, theta] = best_of(checkpoint);
    const EpochReport& epoch = whole.reports.epochs[checkpoint.epoch - 1];
    CHECK(best.step == epoch.best_so_far.step);
    CHECK(best.loss == epoch.best_so_far.loss);
    REQUIRE(theta.size() == 1);
    CHECK(best.loss == Approx(std::pow(theta[0] - 1, 2)).epsilon(1e-14));
    Overshooting r;
    const auto estimator = finite_differences({});
    const ParameterSpace space(r.device.info());
    Trainer trainer(r.device, *estimator, r.task, space, r.optimizer, r.training);
    const TrainingSummary summary = trainer.resume(checkpoint);
    CHECK(summary.best.step == expected.best.step);
    CHECK(same_bits(summary.best_theta, expected.best_theta));
  }
}

TEST_CASE("two classes at one output are told apart halfway", "[figures]") {
  RowMatrix targets(4, 1);
  targets << 0, 1, 1, 0;
  CHECK(threshold_of(targets) == 0.5);
  targets << -2, 3, 3, -2;
  CHECK(threshold_of(targets) == 0.5);
  targets << 0, 1, 0.5, 0;
  CHECK_FALSE(threshold_of(targets));
  targets << 1, 1, 1, 1;
  CHECK_FALSE(threshold_of(targets));
  const SquaredError loss(0.5), without;
  CHECK(loss.has_accuracy());
  CHECK_FALSE(loss.classifies());
  CHECK_FALSE(without.has_accuracy());
  const auto correct = [&](double output, double target) {
    return loss.correct(Vector::Constant(1, output), std::array{target});
  };
  CHECK(correct(0.51, 1));
  CHECK(correct(7, 1));
  CHECK_FALSE(correct(0.49, 1));
  CHECK(correct(0.49, 0));
  CHECK_FALSE(correct(0.51, 0));
  for (const double target : {0.0, 1.0}) {
    CHECK_FALSE(correct(0.5, target));
    CHECK_FALSE(correct(std::nan(""), target));
  }
  CHECK(xor_task(0, 3, -1, 2).loss->threshold() == 0.5);
}

TEST_CASE("sets of the same samples are known as such", "[figures]") {
  const Task task = xor_task();
  CHECK(same_samples(task.train, task.test));
  CHECK(same_samples(task.train, xor_task().train));  // another object
  CHECK_FALSE(same_samples(task.train, xor_task(0, 2).train));
  CHECK_FALSE(same_samples(task.train, xor_task(0, 3, 0, 2).train));
  const std::vector<std::uint64_t> some{0, 1, 2};
  CHECK_FALSE(same_samples(task.train, task.train.subset(some)));
}

TEST_CASE("a test label without an output is refused before training", "[figures]") {
  Run r({0, 0});
  r.task.loss = std::make_shared<CrossEntropy>(1.0);
  r.task.test = targets_of({0, 1});  // one output: class 0 alone
  CHECK_THROWS_WITH(r.run(), Catch::Contains("test set: sample 1") && Catch::Contains("class 1"));
  CHECK(r.device.made == 0);
}
