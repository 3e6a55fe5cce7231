#include "mnist.hpp"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stop_token>

#include "edges.hpp"
#include "logged_run.hpp"
#include "ness/core/recorder.hpp"

namespace benchmarks {

using namespace ness;

const Experiment& mnist() {
  static const Experiment experiment = [] {
    LoadOptions options;
    if (std::getenv("NESS_DATA") == nullptr) options.data = NESS_BENCHMARK_DATA;
    return load_experiment(std::string(NESS_EXPERIMENTS) + "/mnist.toml", options);
  }();
  return experiment;
}

namespace {
class Watch final : public TrainingObserver {
 public:
  Watch(std::uint64_t epochs, std::stop_source& stop) : epochs_(epochs), stop_(stop) {}
  void on_epoch(const EpochReport& report) override {
    const auto now = std::chrono::steady_clock::now();
    const Units::Moment moment = units_.now();
    if (report.epoch > 0) {
      found.seconds.push_back(std::chrono::duration<double>(now - last_).count());
      found.edge.push_back((moment.edge + before_.edge) / 2);
      found.exponential.push_back((moment.exponential + before_.exponential) / 2);
    }
    before_ = moment;
    last_ = std::chrono::steady_clock::now();
    if (report.epoch + 1 == epochs_) stop_.request_stop();
  }
  void on_checkpoint(const Checkpoint& checkpoint) override {
    if (checkpoint.epoch > found.theta.size()) found.theta.push_back(checkpoint.theta);
  }
  Epochs found;

 private:
  std::uint64_t epochs_;
  std::stop_source& stop_;
  std::chrono::steady_clock::time_point last_;
  Units units_;
  Units::Moment before_{};
};
}  // namespace

Epochs train(std::uint64_t epochs, const std::string& log) {
  const Experiment& experiment = mnist();
  Run run = prepare(experiment);
  std::unique_ptr<LogWriter> writer;
  std::unique_ptr<Recorder> recorder;
  if (!log.empty()) {
    writer = std::make_unique<LogWriter>(log, log_header(experiment, run, "ness-benchmarks"), experiment.log);
    recorder = std::make_unique<Recorder>(run.device(), *writer);
  }
  Device& device = recorder ? static_cast<Device&>(*recorder) : run.device();
  Trainer trainer(device, *run.estimator, *experiment.task, *run.space, experiment.optimizer, run.training);
  std::stop_source stop;
  Watch watch(epochs, stop);
  if (recorder) trainer.observe(*recorder);
  trainer.observe(watch);
  const TrainingSummary summary = trainer.run(run.theta, stop.get_token());
  watch.found.left_out = summary.left_out;
  if (writer) {
    writer->close(ExitStatus::finished, "");
    std::filesystem::remove(log);
    std::filesystem::remove(log + ".lock");
  }
  return std::move(watch.found);
}

const Epochs& trained() {
  static const Epochs epochs = train(8, {});
  return epochs;
}

std::vector<Drive> drives(const Vector& theta, std::size_t n) {
  const Dataset& set = mnist().task->train;
  const Parameters parameters = Parameters::of(theta);
  std::vector<Drive> all(n);
  for (std::size_t i = 0; i < n; ++i) {
    all[i].theta = parameters;
    all[i].clamp = set.pattern(i * (set.size() / n));
  }
  return all;
}

}  // namespace benchmarks
