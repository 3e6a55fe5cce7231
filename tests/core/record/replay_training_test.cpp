// A whole training: recorded, replayed from its log, and resumed after an interruption.
#include "core/record/log_fixture.hpp"
#include "ness/record/recorder.hpp"
#include "ness/record/replay.hpp"
#include "ness/training/trainer.hpp"
#include "core/device/toy_device.hpp"

using namespace log_test;

namespace {

struct Experiment {
  Task task = xor_task();
  std::shared_ptr<toy::Network> network = std::make_shared<toy::Network>();
  std::unique_ptr<Estimator> estimator = adjoint(network);
  ParameterSpace space{network->info()};
  Vector theta = network->example_theta();

  TrainingOptions options() const {
    TrainingOptions result;
    result.epochs = 12;
    result.batch = 3;  // an epoch has two steps, the second of one sample
    result.checkpoint_every = 5;
    return result;
  }
  Trainer trainer(Device& device, TrainingObserver& observer) const {
    Trainer made(device, *estimator, task, space, OptimizerOptions{}, options());
    made.observe(observer);
    return made;
  }
  LogHeader header() const {
    LogHeader result;
    result.info = network->info();
    result.pattern_sets = {task.train.inputs};
    return result;
  }
  // Records a run, up to `rows` relaxations.
  TrainingSummary record(const std::string& path, std::uint64_t rows) const {
    LogWriter log(path, header(), {});
    toy::Network device;
    Recorder recorder(device, log);
    std::stop_source source;
    struct Limit final : TrainingObserver {
      Limit(std::stop_source& s, std::uint64_t r) : stop(s), rows(r) {}
      std::stop_source& stop;
      std::uint64_t rows;
      void on_step(const StepReport& report, const Vector&) override {
        if (report.relaxations >= rows) stop.request_stop();
      }
    } limit(source, rows);
    Trainer trainer = this->trainer(recorder, recorder);
    trainer.observe(limit);
    const TrainingSummary summary = trainer.run(theta, source.get_token());
    log.close(ExitStatus::finished, summary.message());
    return summary;
  }
};

}  // namespace

TEST_CASE("a training re-executes from its log, every parameter vector bit for bit") {
  const Folder folder;
  const Experiment experiment;
  const TrainingSummary recorded = experiment.record(folder / "run.h5", 1'000'000);
  REQUIRE(recorded.steps == 24);

  const LogReader log(folder / "run.h5");
  REQUIRE(log.steps() == 24);
  REQUIRE(log.rows() == recorded.relaxations);
  Replay replay(log, {experiment.task.train.inputs});
  ReplayCheck check(log);
  Trainer trainer = experiment.trainer(replay, check);
  const TrainingSummary replayed = trainer.run(experiment.theta);
  CHECK(check.steps_compared() == 24);
  CHECK(replay.next_row() == log.rows());
  CHECK(same_bits(replayed.theta, recorded.theta));
  // The same choice of the best parameters, which the log has too.
  CHECK(recorded.best.by == BestBy::training_loss);
  CHECK(replayed.best.step == recorded.best.step);
  CHECK(same_bits(replayed.best_theta, recorded.best_theta));
  const Best logged = log.epoch(log.epochs() - 1).best_so_far;
  CHECK(logged.by == recorded.best.by);
  CHECK(logged.loss == recorded.best.loss);
  CHECK(logged.step == recorded.best.step);
  CHECK(same_bits(log.theta(logged.step - 1), recorded.best_theta));

  SECTION("another start is noticed at the first drive") {
    Replay again(log, {experiment.task.train.inputs});
    ReplayCheck unchecked(log);
    Trainer other = experiment.trainer(again, unchecked);
    Vector theta = experiment.theta;
    theta[0] = std::nextafter(theta[0], 10);
    CHECK_THAT(message_of<ReplayMismatch>([&] { other.run(theta); }),
               Catch::StartsWith("row 0: theta digest is "));
  }
  SECTION("a log of outputs alone cannot re-form the gradients, and says so") {
    {
      LogOptions options;
      options.outputs_only = true;
      LogWriter writer(folder / "outputs.h5", experiment.header(), options);
      toy::Network device;
      Recorder recorder(device, writer);
      experiment.trainer(recorder, recorder).run(experiment.theta);
      writer.close(ExitStatus::finished, "");
    }
    const LogReader outputs(folder / "outputs.h5");
    Replay blind(outputs, {experiment.task.train.inputs});
    CHECK_THAT(message_of<std::invalid_argument>([&] { experiment.trainer(blind, check); }),
               Catch::Contains("hidden"));
  }
}

TEST_CASE("a training that was cut short is resumed from its log, as if it had not been") {
  const Folder folder;
  const Experiment experiment;
  const TrainingSummary whole = experiment.record(folder / "whole.h5", 1'000'000);
  const auto rows = GENERATE(std::uint64_t{1}, std::uint64_t{25}, std::uint64_t{30});
  experiment.record(folder / "run.h5", rows);
  {
    const LogReader log(folder / "run.h5");
    REQUIRE(log.checkpoints() > 0);
    // The first checkpoint: the steps after it are replayed.
    const Checkpoint from = log.checkpoint(0);
    LogWriter writer(folder / "run.h5", LogWriter::Continue{}, {});
    toy::Network device;
    Recorder recorder(device, writer);
    Replay replay(log, {experiment.task.train.inputs}, from.relaxations, &recorder);
    ReplayCheck check(log, from.step, &recorder);
    const TrainingSummary resumed = experiment.trainer(replay, check).resume(from);
    writer.close(ExitStatus::finished, resumed.message());
    CHECK(same_bits(resumed.theta, whole.theta));
    CHECK(resumed.best.step == whole.best.step);
    CHECK(same_bits(resumed.best_theta, whole.best_theta));
    CHECK(check.steps_compared() == log.steps() - from.step);
  }
  const LogReader is(folder / "run.h5"), was(folder / "whole.h5");
  REQUIRE(is.rows() == was.rows());
  REQUIRE(is.steps() == was.steps());
  REQUIRE(is.epochs() == was.epochs());
  for (std::uint64_t i = 0; i < is.rows(); ++i) {
    CHECK(is.row(i).theta_digest == was.row(i).theta_digest);
    CHECK(same_bits(is.row(i).relaxation.potential, was.row(i).relaxation.potential));
  }
  for (std::uint64_t i = 0; i < is.steps(); ++i) {
    CHECK(same_bits(is.theta(i), was.theta(i)));
    CHECK(is.step(i).relaxations == was.step(i).relaxations);
  }
  for (std::uint64_t i = 0; i < is.epochs(); ++i) {
    CHECK(is.epoch(i).epoch == i);
    CHECK(is.epoch(i).loss == was.epoch(i).loss);
    CHECK(is.epoch(i).best_so_far.step == was.epoch(i).best_so_far.step);
  }
}
