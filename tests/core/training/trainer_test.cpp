#include <catch2/catch.hpp>
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/device/toy_device.hpp"
#include "device_contract.hpp"
#include "ness/device/wrapping_device.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/training/trainer.hpp"

using namespace ness;
using contract::same_bits;

namespace {

// Records what a log would: every row with its drive, every report. Can request a stop after some row.
class Record final : public Device, public TrainingObserver {
 public:
  explicit Record(Device& device) : device_(device) {}
  const DeviceInfo& info() const override { return device_.info(); }
  void seek(std::uint64_t ordinal) override {
    sought.push_back(ordinal);
    device_.seek(ordinal);
  }
  void on_step(const StepReport& report, const Vector& theta) override {
    steps.push_back(report);
    thetas.push_back(theta);
    events += 's';
  }
  void on_epoch(const EpochReport& report) override {
    epochs.push_back(report);
    events += 'e';
  }
  void on_checkpoint(const Checkpoint& checkpoint) override {
    checkpoints.push_back(checkpoint);
    events += 'c';
  }

  std::vector<Drive> drives;
  std::vector<Relaxation> rows;
  std::vector<StepReport> steps;
  std::vector<Vector> thetas;
  std::vector<EpochReport> epochs;
  std::vector<Checkpoint> checkpoints;
  std::vector<std::uint64_t> sought;
  std::string events;
  std::stop_source stop;
  std::size_t stop_after = std::numeric_limits<std::size_t>::max();

 protected:
  void do_relax(std::span<const Drive> asked, const Sink& sink, std::stop_token token) override {
    device_.relax(
        asked,
        [&](std::size_t index, const Relaxation& row) {
          drives.push_back(asked[index]);
          rows.push_back(row);
          if (rows.size() == stop_after) stop.request_stop();
          sink(index, row);
        },
        token);
  }

 private:
  Device& device_;
};

// A target that increases with both inputs, as the output of the toy network does.
Task smooth_task(std::uint64_t samples) {
  RowMatrix inputs(samples, 2), targets(samples, 1);
  for (std::uint64_t i = 0; i < samples; ++i) {
    const double t = static_cast<double>(i);
    inputs.row(static_cast<Eigen::Index>(i)) << std::sin(1 + 3 * t), std::cos(2 * t);
    targets(static_cast<Eigen::Index>(i), 0) = 0.4 * std::sin(1 + 3 * t) + 0.2 * std::cos(2 * t);
  }
  Task task;
  task.name = "smooth";
  task.loss = std::make_shared<SquaredError>();
  task.train.inputs = std::make_shared<DensePatterns>("train", inputs);
  task.train.targets = targets;
  for (std::uint64_t i = 0; i < samples; ++i) task.train.rows.push_back(i);
  return task;
}

OptimizerOptions optimizer_of(const OptimizerMaker& make, double rate) {
  OptimizerOptions options;
  options.make = make;
  options.rate = rate;
  return options;
}

// Everything needed for a training.
struct Setting {
  explicit Setting(toy::Options options = {}, std::uint64_t samples = 7)
      : network(std::move(options)),
        record(network),
        task(smooth_task(samples)),
        estimator(adjoint(toy::model_of(network))),
        space(network.info()),
        optimizer(optimizer_of(adam_optimizer(), 0.02)),
        theta(network.example_theta()) {
    training.epochs = 4;
    training.batch = 3;
    training.seed = 5;
  }
  Trainer trainer() { return Trainer(record, *estimator, task, space, optimizer, training); }
  TrainingSummary run() {
    Trainer made = trainer();
    made.observe(record);
    return made.run(theta, record.stop.get_token());
  }
  toy::Network network;
  Record record;
  Task task;
  std::unique_ptr<Estimator> estimator;
  ParameterSpace space;
  OptimizerOptions optimizer;
  TrainingOptions training;
  Vector theta;
};

// A step without a usable sample has no loss: NaN, equal on both sides.
bool alike(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

bool same(const StepReport& a, const StepReport& b) {
  return a.step == b.step && a.epoch == b.epoch && alike(a.loss, b.loss) && alike(a.correct, b.correct) &&
         alike(a.gradient_norm, b.gradient_norm) && a.rate == b.rate && a.relaxations == b.relaxations &&
         a.left_out == b.left_out && a.skipped == b.skipped && a.worst == b.worst &&
         a.theta_before == b.theta_before && a.theta_after == b.theta_after;
}

bool same(const EpochReport& a, const EpochReport& b) {
  return a.epoch == b.epoch && a.loss == b.loss && a.correct == b.correct && a.validated == b.validated &&
         a.best == b.best && alike(a.validation_loss, b.validation_loss) && a.samples == b.samples &&
         a.left_out == b.left_out && a.best_so_far.by == b.best_so_far.by &&
         alike(a.best_so_far.loss, b.best_so_far.loss) && a.best_so_far.step == b.best_so_far.step;
}

bool same(const Checkpoint& a, const Checkpoint& b) {
  return a.step == b.step && a.epoch == b.epoch && a.relaxations == b.relaxations &&
         same_bits(a.theta, b.theta) && same_bits(a.optimizer, b.optimizer) &&
         same_bits(a.trainer, b.trainer);
}

}  // namespace

TEST_CASE("full-batch gradient descent follows its formula", "[trainer]") {
  Setting s;
  s.training.batch = 0;
  s.training.epochs = 3;
  s.optimizer = optimizer_of(sgd_optimizer(), 0.05);
  const TrainingSummary summary = s.run();

  // The same computed here, with the estimator alone.
  Vector theta = s.theta;
  for (int step = 0; step < 3; ++step) {
    Minibatch batch;
    batch.data = &s.task.train;
    for (std::uint64_t i = 0; i < 7; ++i) batch.samples.push_back(i);
    batch.theta = Parameters::of(theta);
    const Gradient gradient = estimate(s.network, *s.estimator, batch, *s.task.loss);
    CHECK(s.record.steps[step].loss == gradient.loss);
    CHECK(s.record.steps[step].theta_before == batch.theta.digest);
    CHECK(s.record.steps[step].relaxations == 7u * (step + 1));
    CHECK(s.record.steps[step].rate == 0.05);
    theta = s.space.stepped(theta, -0.05 * s.space.gradient(theta, gradient.value));
    CHECK((s.record.thetas[step] - theta).norm() < 1e-15);
  }
  CHECK(summary.theta == s.record.thetas[2]);
  CHECK(summary.end == TrainingSummary::End::epochs);
  CHECK(summary.steps == 3);
  CHECK(summary.epochs == 3);
  CHECK(summary.relaxations == 21);
  CHECK(summary.loss == s.record.steps[2].loss);
  CHECK(std::isnan(summary.best_validation_loss));
  // The last step's loss was the lowest, at the parameters before it.
  CHECK(summary.best.step == 2);
  CHECK(same_bits(summary.best_theta, s.record.thetas[1]));
  CHECK(s.record.events == "secsecsec");
  CHECK(s.record.steps[2].theta_after == Parameters::of(summary.theta).digest);
  CHECK_THAT(summary.message(), Catch::Contains("finished after 3 epochs, 3 steps, 21 relaxations"));
}

TEST_CASE("training learns, with each optimizer", "[trainer]") {
  for (const auto& optimizer : {optimizer_of(sgd_optimizer(), 0.1), optimizer_of(momentum_optimizer(), 0.02),
                                optimizer_of(adam_optimizer(), 0.02)}) {
    Setting s;
    s.optimizer = optimizer;
    s.training.epochs = 150;
    s.run();
    CHECK(s.record.epochs.back().loss < 0.05 * s.record.epochs.front().loss);
  }
}

TEST_CASE("each epoch visits each sample once, in an order of its own", "[trainer]") {
  Setting s;
  s.run();
  CHECK(s.record.rows.size() == 28);
  CHECK(s.record.steps.size() == 12);  // 3 + 3 + 1 samples an epoch
  std::set<std::vector<std::uint64_t>> orders;
  for (std::size_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<std::uint64_t> order;
    for (std::size_t k = 0; k < 7; ++k) order.push_back(s.record.drives[7 * epoch + k].label.sample);
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (std::uint64_t k = 0; k < 7; ++k) CHECK(order[k] == k);
    double mean = 0;
    // Steps of 3, 3 and 1 samples.
    for (int k = 0; k < 3; ++k) mean += (k < 2 ? 3 : 1) * s.record.steps[3 * epoch + k].loss / 7;
    CHECK(s.record.epochs[epoch].loss == Approx(mean).epsilon(1e-14));
  }
  CHECK(orders.size() == 4);
  CHECK(s.record.drives[27].label.step == 11);
  CHECK(s.record.drives[27].label.purpose == Label::Purpose::train);

  Setting again, other;
  again.run();
  other.training.seed = 6;
  other.run();
  CHECK(same_bits(again.record.thetas.back(), s.record.thetas.back()));
  CHECK_FALSE(same_bits(other.record.thetas.back(), s.record.thetas.back()));
}

TEST_CASE("variants are drawn afresh each epoch", "[trainer]") {
  class Shifted final : public PatternSet {
   public:
    const std::string& name() const override { return name_; }
    std::uint64_t base_rows() const override { return 7; }
    std::uint32_t variants() const override { return 5; }
    std::uint32_t width() const override { return 2; }
    void levels(std::uint64_t row, Eigen::Ref<Vector> out) const override {
      out.setConstant(0.01 * static_cast<double>(row));
    }

   private:
    std::string name_ = "shifted";
  };
  Setting s;
  s.task.train.inputs = std::make_shared<Shifted>();
  s.training.epochs = 60;
  s.run();
  std::map<std::uint64_t, int> count;
  for (const Drive& drive : s.record.drives) {
    CHECK(drive.clamp.row % 7 == drive.label.sample);
    ++count[drive.clamp.row / 7];
  }
  REQUIRE(count.size() == 5);
  for (const auto& [variant, n] : count)
    CHECK(std::abs(n - 84) < 5 * std::sqrt(420 * 0.2 * 0.8));  // five standard deviations
}

TEST_CASE("relaxations start where they are told to", "[trainer]") {
  Setting s;
  s.training.rest_rate = 3;
  SECTION("rest") {
    s.run();
    for (const Drive& drive : s.record.drives) CHECK(std::get<Rest>(drive.start).rate == 3);
  }
  SECTION("present") {
    s.training.start = TrainingOptions::StartFrom::present;
    s.run();
    for (const Drive& drive : s.record.drives) CHECK(std::holds_alternative<Present>(drive.start));
  }
  SECTION("last, with restarts") {
    s.training.start = TrainingOptions::StartFrom::last;
    s.training.restart_every = 2;
    s.run();
    std::map<std::uint64_t, Vector> last;
    for (std::size_t i = 0; i < s.record.drives.size(); ++i) {
      const Drive& drive = s.record.drives[i];
      const std::size_t epoch = i / 7;
      if (epoch % 2 == 0) {
        CHECK(std::holds_alternative<Rest>(drive.start));
      } else {
        CHECK(same_bits(*std::get<From>(drive.start).potential, last.at(drive.label.sample)));
      }
      last[drive.label.sample] = s.record.rows[i].potential;
    }
  }
  SECTION("last needs a device that restores states") {
    toy::Options options;
    options.restores_state = false;
    Setting without(options);
    without.training.start = TrainingOptions::StartFrom::last;
    CHECK_THROWS_AS(without.trainer(), Unsupported);
    CHECK_THROWS_WITH(without.trainer(), Catch::Contains("restores states"));
  }
}

TEST_CASE("a sample that did not settle is started from where it last did", "[trainer]") {
  toy::Options options;
  options.fails = [](const Drive& drive) { return drive.label.sample == 2 && drive.label.step == 1; };
  Setting s(options);
  s.training.batch = 0;
  s.training.start = TrainingOptions::StartFrom::last;
  const TrainingSummary summary = s.run();
  CHECK(s.record.steps[1].left_out == 1);
  CHECK(s.record.steps[1].worst == bit(Flag::not_converged));
  CHECK(summary.left_out == 1);
  CHECK(same_bits(*std::get<From>(s.record.drives[2 * 7 + 2].start).potential, s.record.rows[2].potential));
}

TEST_CASE("steps worth nothing are skipped", "[trainer]") {
  toy::Options options;
  std::uint64_t broken = 4;
  options.fails = [&](const Drive& drive) { return drive.label.step == 1 && drive.label.sample < broken; };
  Setting s(options);
  s.training.batch = 0;
  SECTION("too many left out") {
    const TrainingSummary summary = s.run();
    CHECK(s.record.steps[1].skipped == 1);
    CHECK(s.record.steps[1].left_out == 4);
    CHECK(s.record.steps[1].theta_after == s.record.steps[1].theta_before);
    CHECK(s.record.steps[2].theta_before == s.record.steps[1].theta_after);
    CHECK(s.record.steps[2].skipped == 0);
    CHECK(summary.skipped == 1);
    CHECK_THAT(summary.message(), Catch::Contains("4 samples left out; 1 step skipped"));
    // The optimizer has not counted it: its state has three steps of four.
    CHECK(s.record.checkpoints.back().optimizer[0] == 3);
  }
  SECTION("not too many") {
    broken = 3;
    s.run();
    CHECK(s.record.steps[1].skipped == 0);
    CHECK(s.record.steps[1].left_out == 3);
  }
  SECTION("all: the epoch's loss is of the steps that had one") {
    broken = 7;
    s.training.batch = 6;  // steps 0 and 1 are the first epoch
    s.run();
    CHECK(std::isnan(s.record.steps[1].loss));
    CHECK(s.record.epochs[0].loss == s.record.steps[0].loss);
  }
}

TEST_CASE("a loss of some samples only is no target reached, resumed or not", "[trainer]") {
  toy::Options options;
  options.fails = [](const Drive& drive) { return drive.label.sample == 2 && drive.label.step < 9; };
  for (const std::uint64_t batch : {0u, 3u}) {
    Setting s(options);
    s.training.batch = batch;
    s.training.epochs = 20;
    s.training.target_loss = 100;  // above the loss of any epoch
    const TrainingSummary summary = s.run();
    // Steps 0 to 8 are nine epochs of one step, or three of three: each leaves a sample out. The next epoch
    // is complete.
    const std::uint64_t short_epochs = batch == 0 ? 9 : 3;
    CHECK(summary.end == TrainingSummary::End::target);
    CHECK(summary.epochs == short_epochs + 1);
    CHECK(summary.left_out == short_epochs);
    Setting other(options);
    other.training = s.training;
    Trainer trainer = other.trainer();
    const TrainingSummary resumed = trainer.resume(s.record.checkpoints[1]);
    CHECK(resumed.epochs == short_epochs + 1);
    CHECK(same_bits(resumed.theta, summary.theta));
  }
}

TEST_CASE("validation decides which parameters were best, and when to stop", "[trainer]") {
  Setting s;
  s.task.validation = smooth_task(5).train;
  s.training.epochs = 60;
  s.training.validate_every = 2;
  s.training.patience = 3;
  s.optimizer = optimizer_of(momentum_optimizer(), 0.3);  // too large: the loss does not decrease steadily
  const TrainingSummary summary = s.run();
  CHECK(summary.end == TrainingSummary::End::patience);
  CHECK(summary.epochs < 60);
  double best = INFINITY;
  int waited = 0;
  std::uint64_t best_epoch = 0;
  for (const EpochReport& epoch : s.record.epochs) {
    CHECK(epoch.validated == (epoch.epoch % 2 == 1));
    if (!epoch.validated) continue;
    CHECK(epoch.best == (epoch.validation_loss < best));
    waited = epoch.best ? 0 : waited + 1;
    if (epoch.best) best_epoch = epoch.epoch;
    best = std::min(best, epoch.validation_loss);
    CHECK((waited == 3) == (epoch.epoch == s.record.epochs.back().epoch));
  }
  CHECK(summary.best_validation_loss == best);
  CHECK(same_bits(summary.best_theta, s.record.thetas[3 * (best_epoch + 1) - 1]));
  // An evaluation gives the reported values.
  const Evaluation evaluation = evaluate(s.network, Parameters::of(summary.best_theta), s.task.validation,
                                         *s.task.loss, {Rest{}}, Label::Purpose::test, 0);
  CHECK(evaluation.loss == best);
  CHECK(summary.relaxations == s.record.rows.size());
  CHECK_THAT(summary.message(), Catch::Contains("stopped early") && Catch::Contains("best validation loss"));
}

TEST_CASE("without a rhythm validation comes at the end", "[trainer]") {
  Setting s;
  s.task.validation = smooth_task(5).train;
  s.run();
  CHECK(s.record.epochs[2].validated == false);
  CHECK(s.record.epochs[3].validated);
  CHECK(s.record.drives.back().label.purpose == Label::Purpose::validation);
  CHECK(std::holds_alternative<Rest>(s.record.drives.back().start));
}

TEST_CASE("training stops at a target loss and at a limit of relaxations", "[trainer]") {
  Setting s;
  s.training.epochs = 300;
  SECTION("target") {
    s.training.target_loss = 0.01;
    const TrainingSummary summary = s.run();
    CHECK(summary.end == TrainingSummary::End::target);
    CHECK(summary.loss < 0.01);
    CHECK(s.record.epochs[s.record.epochs.size() - 2].loss >= 0.01);
  }
  SECTION("relaxations") {
    s.training.max_relaxations = 25;
    const TrainingSummary summary = s.run();
    CHECK(summary.end == TrainingSummary::End::relaxations);
    CHECK(summary.relaxations == 24);  // 7 + 7 + 7 + 3; the next step would make 27
    CHECK(s.record.events.back() == 'c');
    CHECK(s.record.checkpoints.back().step == 10);
  }
}

TEST_CASE("a loss of some samples reaches no target", "[trainer]") {
  toy::Options options;
  options.fails = [](const Drive& drive) { return drive.label.sample == 2; };
  Setting sound, failing(options);
  for (Setting* s : {&sound, &failing}) s->training.target_loss = 1e3;  // any loss is below
  CHECK(sound.run().end == TrainingSummary::End::target);
  const TrainingSummary summary = failing.run();
  CHECK(summary.end == TrainingSummary::End::epochs);
  CHECK(summary.left_out == 4);  // once an epoch
}

TEST_CASE("checkpoints come at their rhythm and at the end, once", "[trainer]") {
  Setting s;
  s.training.epochs = 5;
  s.training.batch = 0;
  s.training.checkpoint_every = 2;
  s.run();
  CHECK(s.record.events == "sesecsesecsec");
  CHECK(s.record.checkpoints.back().epoch == 5);
}

namespace {

// Trains without interruption; then stopped at `stop_after` rows and resumed from the last checkpoint.
// Compares everything.
void check_resume(const Setting& like, toy::Options device, const OptimizerMaker& optimizer,
                  std::size_t stop_after) {
  INFO("stopped after row " << stop_after);
  Setting whole(device), cut(device);
  for (Setting* s : {&whole, &cut}) {
    s->task = like.task;
    s->task.validation = like.task.train.subset(std::vector<std::uint64_t>{0, 1, 2, 3, 4});
    s->training = like.training;
    s->optimizer = like.optimizer;
    s->optimizer.make = optimizer;
  }
  const TrainingSummary expected = whole.run();
  cut.record.stop_after = stop_after;
  const TrainingSummary stopped = cut.run();
  REQUIRE(stopped.end == TrainingSummary::End::cancelled);
  const Checkpoint from = cut.record.checkpoints.back();
  CHECK(from.relaxations <= stop_after);

  // As in another process: a new device, with rows and reports before the checkpoint from the log.
  Setting resumed(device);
  resumed.task = cut.task;
  resumed.training = cut.training;
  resumed.optimizer = cut.optimizer;
  Trainer trainer = resumed.trainer();
  trainer.observe(resumed.record);
  for (std::uint64_t i = 0; i < from.relaxations; ++i) {
    const Label& label = cut.record.drives[i].label;
    if (label.purpose != Label::Purpose::train || label.position != 0 || !cut.record.rows[i].quality.usable())
      continue;
    trainer.remember(label.sample, std::make_shared<const Vector>(cut.record.rows[i].potential));
  }
  const TrainingSummary summary = trainer.resume(from);
  CHECK(resumed.record.sought == std::vector<std::uint64_t>{from.relaxations});

  CHECK(summary.end == expected.end);
  CHECK(same_bits(summary.theta, expected.theta));
  CHECK(same_bits(summary.best_theta, expected.best_theta));
  CHECK(summary.relaxations == expected.relaxations);
  CHECK(summary.left_out == expected.left_out);
  CHECK(summary.skipped == expected.skipped);
  CHECK(summary.loss == expected.loss);
  CHECK(summary.best_validation_loss == expected.best_validation_loss);
  REQUIRE(from.step + resumed.record.steps.size() == whole.record.steps.size());
  for (std::size_t i = 0; i < resumed.record.steps.size(); ++i)
    CHECK(same(resumed.record.steps[i], whole.record.steps[from.step + i]));
  REQUIRE(from.relaxations + resumed.record.rows.size() == whole.record.rows.size());
  for (std::size_t i = 0; i < resumed.record.rows.size(); ++i) {
    CHECK(same_bits(resumed.record.rows[i].potential, whole.record.rows[from.relaxations + i].potential));
  }
  REQUIRE(from.epoch + resumed.record.epochs.size() == whole.record.epochs.size());
  for (std::size_t i = 0; i < resumed.record.epochs.size(); ++i)
    CHECK(same(resumed.record.epochs[i], whole.record.epochs[from.epoch + i]));
  CHECK(same(resumed.record.checkpoints.back(), whole.record.checkpoints.back()));
}

}  // namespace

TEST_CASE("a resumed training has the bits of an uninterrupted one", "[trainer][resume]") {
  toy::Options loose;
  loose.tolerance = 1e-3;  // the end of a relaxation depends on its start, so a forgotten start is noticed
  Setting like;
  like.training.epochs = 5;
  like.training.validate_every = 2;
  like.training.start = TrainingOptions::StartFrom::last;
  like.training.restart_every = 3;
  like.optimizer.rate = 0.05;
  like.optimizer.clip = 0.5;
  like.optimizer.schedule.shape = cosine_rate();
  like.optimizer.schedule.warm_up = 0.1;
  // 7 rows per epoch, 5 per validation (epochs 1, 3 and 4). Stops within a step, at its end, at an epoch's
  // end, within a validation, and between a validation and the next epoch.
  for (const OptimizerMaker& optimizer : {sgd_optimizer(), momentum_optimizer(), adam_optimizer()}) {
    for (const std::size_t stop_after : {1, 3, 5, 7, 12, 14, 16, 19, 20, 28, 35, 37})
      check_resume(like, loose, optimizer, stop_after);
  }
}

TEST_CASE("patience and the best parameters survive a resumption", "[trainer][resume]") {
  Setting like;
  like.training.epochs = 60;
  like.training.validate_every = 1;
  like.training.patience = 4;
  like.optimizer.rate = 0.3;  // too large: the best parameters come early
  Setting whole;
  whole.task.validation = like.task.train.subset(std::vector<std::uint64_t>{0, 1, 2, 3, 4});
  whole.training = like.training;
  whole.optimizer = like.optimizer;
  whole.optimizer.make = momentum_optimizer();
  REQUIRE(whole.run().end == TrainingSummary::End::patience);
  // Four validations after the best one; an epoch has 7 rows and its validation 5. Stopped within the epochs
  // between.
  const std::size_t epochs = whole.record.epochs.size();
  for (const std::size_t before_the_end : {1, 2, 3}) {
    check_resume(like, {}, momentum_optimizer(), 12 * (epochs - before_the_end) + 4);
  }
}

TEST_CASE("what was skipped, left out and correct survives a resumption", "[trainer][resume]") {
  toy::Options classes;
  classes.layers = {2, 2, 2};
  // Steps 1, 4, 7, .. have no loss, steps 2, 5, 8, .. leave samples out.
  classes.fails = [](const Drive& drive) {
    if (drive.label.purpose != Label::Purpose::train) return false;
    return drive.label.step % 3 == 1 || (drive.label.step % 3 == 2 && drive.label.sample < 3);
  };
  Setting like;
  like.task.loss = std::make_shared<CrossEntropy>(2);
  for (int i = 0; i < 7; ++i) like.task.train.targets(i, 0) = i % 2;
  like.training.batch = 2;  // 2 + 2 + 2 + 1
  like.training.start = TrainingOptions::StartFrom::last;
  for (const std::size_t stop_after : {3, 6, 7, 11, 18, 27})
    check_resume(like, classes, adam_optimizer(), stop_after);
}

TEST_CASE("the start matters to the bits that the resume test compares", "[trainer][resume]") {
  toy::Options loose;
  loose.tolerance = 1e-3;
  Setting warm(loose), cold(loose);
  warm.training.start = TrainingOptions::StartFrom::last;
  warm.run();
  cold.run();
  CHECK_FALSE(same_bits(warm.record.thetas.back(), cold.record.thetas.back()));
}

TEST_CASE("a resumed training on a noisy device draws the same noise", "[trainer][resume]") {
  toy::Network network;
  NoiseOptions noise;
  noise.read = 1e-3;
  noise.drift = 1e-4;
  noise.write = 1e-4;
  noise.flicker = 1e-3;
  noise.parameter_drift = 1e-5;
  noise.jump_rate = 1e-2;
  noise.jump_size = 1e-2;
  noise.jump_kinds = {"r"};
  Setting s;
  const auto estimator =
      equilibrium_propagation(toy::model_of(network), {0.1, EquilibriumPropagationOptions::Form::centred});
  const auto train = [&](Record& record, const Checkpoint* from) {
    Trainer trainer(record, *estimator, s.task, s.space, s.optimizer, s.training);
    trainer.observe(record);
    return from ? trainer.resume(*from) : trainer.run(s.theta, record.stop.get_token());
  };
  Noisy first(network, noise), second(network, noise), third(network, noise);
  Record whole(first), cut(second), resumed(third);
  const TrainingSummary expected = train(whole, nullptr);
  cut.stop_after = 41;
  train(cut, nullptr);
  const TrainingSummary summary = train(resumed, &cut.checkpoints.back());
  CHECK(same_bits(summary.theta, expected.theta));
  CHECK(summary.relaxations == expected.relaxations);
}

TEST_CASE("a training that had ended stays ended", "[trainer][resume]") {
  Setting s;
  const TrainingSummary ended = s.run();
  const std::size_t rows = s.record.rows.size();
  Trainer trainer = s.trainer();
  trainer.observe(s.record);
  const TrainingSummary again = trainer.resume(s.record.checkpoints.back());
  CHECK(again.end == ended.end);
  CHECK(s.record.rows.size() == rows);
  CHECK(same_bits(again.theta, ended.theta));
  CHECK(again.loss == ended.loss);
}

TEST_CASE("a stop abandons the running step", "[trainer]") {
  Setting s;
  s.record.stop_after = 4;  // within the second step
  const TrainingSummary summary = s.run();
  CHECK(summary.end == TrainingSummary::End::cancelled);
  CHECK(s.record.events == "sc");
  CHECK(s.record.checkpoints[0].step == 1);
  CHECK(s.record.checkpoints[0].relaxations == 3);
  CHECK(summary.relaxations == 3);
  CHECK_THAT(summary.message(), Catch::Contains("stopped on request"));
}

TEST_CASE("what does not fit is refused before anything is imposed", "[trainer]") {
  Setting s;
  const auto said = [&] {
    try {
      s.trainer();
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(said().empty());
  SECTION("options") {
    s.training.epochs = 0;
    CHECK_THAT(said(), Catch::Contains("epochs 0"));
    s.training.epochs = 1;
    s.training.max_left_out = 1.5;
    CHECK_THAT(said(), Catch::Contains("max_left_out 1.5"));
    s.training.max_left_out = 0.5;
    s.training.patience = 2;
    CHECK_THAT(said(), Catch::Contains("validate_every"));
    s.training.validate_every = 1;
    CHECK_THAT(said(), Catch::Contains("needs a validation set"));
  }
  SECTION("optimizer") {
    s.optimizer.rate = -1;
    CHECK_THAT(said(), Catch::Contains("rate -1"));
  }
  SECTION("pattern width") {
    s.task.train.inputs = std::make_shared<DensePatterns>("wide", RowMatrix::Zero(7, 3));
    CHECK_THAT(said(), Catch::Contains("patterns of 3 levels") && Catch::Contains("2 clamped terminals"));
  }
  SECTION("targets") {
    s.task.train.targets = RowMatrix::Zero(7, 2);
    CHECK_THAT(said(), Catch::Contains("[7 x 2]") && Catch::Contains("needs [7 x 1]"));
    s.task.loss = std::make_shared<CrossEntropy>(1);
    s.task.train.targets = RowMatrix::Constant(7, 1, 1);
    CHECK_THAT(said(), Catch::Contains("sample 0") && Catch::Contains("class 1"));
  }
  SECTION("validation set") {
    s.task.validation = s.task.train;
    s.task.validation.targets = RowMatrix::Zero(6, 1);
    CHECK_THAT(said(), Catch::Contains("validation set"));
  }
  SECTION("empty set") {
    s.task.train = Dataset{};
    CHECK_THAT(said(), Catch::Contains("training set is empty"));
  }
  SECTION("needs of the estimator") {
    toy::Options options;
    options.nudge = {0, 0};
    Setting mute(options);
    mute.estimator = equilibrium_propagation(toy::model_of(mute.network), {});
    CHECK_THROWS_AS(mute.trainer(), Unsupported);
    CHECK_THROWS_WITH(mute.trainer(), Catch::Contains("cannot be nudged"));
  }
  SECTION("parameters and checkpoints") {
    Trainer trainer = s.trainer();
    CHECK_THROWS_WITH(trainer.run(Vector::Zero(3)), Catch::Contains("3 parameters"));
    Checkpoint from;
    from.theta = Vector::Zero(3);
    CHECK_THROWS_WITH(trainer.resume(from), Catch::Contains("3 parameters"));
    s.run();
    from = s.record.checkpoints[0];
    from.trainer = Vector::Zero(4);
    CHECK_THROWS_WITH(trainer.resume(from), Catch::Contains("the trainer's 4 numbers"));
    from = s.record.checkpoints[0];
    from.step += 7;
    CHECK_THROWS_WITH(trainer.resume(from), Catch::Contains("step 10 is not in epoch 1"));
    s.training.start = TrainingOptions::StartFrom::last;
    Trainer last = s.trainer();
    CHECK_THROWS_WITH(last.remember(7, nullptr), Catch::Contains("sample 7 of 7"));
  }
  CHECK(s.network.solved == s.record.rows.size());
}

TEST_CASE("an evaluation counts what settled", "[evaluate]") {
  toy::Options options;
  options.layers = {2, 3, 2};
  options.fails = [](const Drive& drive) { return drive.label.sample == 3; };
  toy::Network network(options);
  Task task = smooth_task(7);
  const CrossEntropy loss(4);
  for (int i = 0; i < 7; ++i) task.train.targets(i, 0) = i % 2;
  const Parameters theta = Parameters::of(network.example_theta());
  const Evaluation evaluation = evaluate(network, theta, task.train, loss, {Rest{}}, Label::Purpose::test, 9);
  CHECK(evaluation.samples == 6);
  CHECK(evaluation.failures == 1);
  double sum = 0;
  int correct = 0;
  for (int i = 0; i < 7; ++i) {
    if (i == 3) {
      CHECK(evaluation.outputs.row(i).array().isNaN().all());
      continue;
    }
    Drive drive;
    drive.theta = theta;
    drive.clamp = task.train.pattern(i);
    const Vector output = network.relax(drive).potential.tail(2);
    CHECK(Vector(evaluation.outputs.row(i).transpose()) == output);
    sum += loss.value(output, task.train.target(i));
    correct += output[i % 2] > output[1 - i % 2];
  }
  CHECK(evaluation.loss == Approx(sum / 6).epsilon(1e-14));
  CHECK(evaluation.accuracy == Approx(correct / 7.0));  // the failure counts as wrong
}

namespace {

// Makes calls to its device other than relaxations.
class Asking final : public Estimator {
 public:
  std::string_view name() const override { return inner_->name(); }
  std::string unmet_needs(const DeviceInfo& info) const override { return inner_->unmet_needs(info); }
  double cost(const DeviceInfo& info) const override { return inner_->cost(info); }
  std::uint64_t prepare(Device& device, const DeviceInfo&, const Minibatch&, const Loss&,
                        std::stop_token) override {
    device.seek(5);
    report = device.make_safe(std::chrono::milliseconds(1), SafeProfile::emergency);
    return 0;
  }
  std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch, const Loss& loss) const override {
    return inner_->chains(info, batch, loss);
  }
  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    return inner_->form(info, batch, loss, rows);
  }
  SafeReport report;

 private:
  std::unique_ptr<Estimator> inner_ = finite_differences({});
};

// Cannot be made safe, and reports it.
class Stuck final : public WrappingDevice {
 public:
  explicit Stuck(Device& inner) : WrappingDevice(inner) {}
  void seek(std::uint64_t ordinal) override { sought.push_back(ordinal); }
  std::vector<std::uint64_t> sought;
  std::vector<Drive> drives;

 protected:
  void do_relax(std::span<const Drive> asked, const Sink& sink, std::stop_token stop) override {
    drives.insert(drives.end(), asked.begin(), asked.end());
    pass_on(inner(), asked, sink, stop);
  }
  SafeReport do_make_safe(std::chrono::milliseconds, SafeProfile) override {
    return {.safe = false, .stuck = {"gate"}};
  }
};

}  // namespace

TEST_CASE("what an estimator asks of the device during training reaches the device", "[trainer]") {
  toy::Network network;
  Stuck device(network);
  Task task;
  task.train = {std::make_shared<DensePatterns>("two", RowMatrix::Constant(1, 2, 1.0)),
                {0},
                RowMatrix::Constant(1, 1, 0.5)};
  task.loss = std::make_shared<SquaredError>();
  Asking estimator;
  const ParameterSpace space(device.info());
  Trainer(device, estimator, task, space, {}, {.epochs = 1}).run(network.example_theta());
  CHECK(device.sought == std::vector<std::uint64_t>{0, 5});
  CHECK_FALSE(estimator.report.safe);
  CHECK(estimator.report.stuck == std::vector<std::string>{"gate"});
}

TEST_CASE("training that reads at a time reads so in every relaxation, each from the start of its sample",
          "[trainer]") {
  toy::Network network;
  Stuck device(network);
  Task task;
  task.train = {std::make_shared<DensePatterns>("two", RowMatrix::Constant(1, 2, 1.0)),
                {0},
                RowMatrix::Constant(1, 1, 0.5)};
  task.validation = task.train;
  task.loss = std::make_shared<SquaredError>();
  const ParameterSpace space(device.info());
  TrainingOptions options{.epochs = 2};
  const At at{3, 4, 0.25};
  options.observe = at;
  options.validate_every = 1;
  for (const auto& estimator :
       {finite_differences({}), equilibrium_propagation(std::make_shared<toy::Network>(), {})}) {
    device.drives.clear();
    Trainer(device, *estimator, task, space, {}, options).run(network.example_theta());
    CHECK(device.drives.size() > 4);
    for (const Drive& drive : device.drives) {
      CHECK(std::holds_alternative<Rest>(drive.start));
      REQUIRE(std::holds_alternative<At>(drive.observe));
      CHECK(std::get<At>(drive.observe) == at);
    }
  }
  options.start = TrainingOptions::StartFrom::last;
  CHECK_THAT(options.problem(), Catch::Contains("start = rest"));
}
