#include "benchmarks/mnist.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "benchmarks/edges.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/record/recorder.hpp"

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
// Lets two trainings run epochs alternately; when one has ended, the other continues alone.
class Alternation {
 public:
  void await(std::size_t mine) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return at_ == mine || ended_[1 - mine]; });
  }
  void pass(std::size_t mine, bool ended) {
    const std::lock_guard lock(mutex_);
    ended_[mine] = ended_[mine] || ended;
    at_ = 1 - mine;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t at_ = 0;
  bool ended_[2] = {};
};

class Watch final : public TrainingObserver {
 public:
  Watch(std::uint64_t epochs, std::stop_source& stop, LogWriter* log, Alternation* alternation,
        std::size_t mine)
      : epochs_(epochs), stop_(stop), log_(log), alternation_(alternation), mine_(mine) {}
  void on_epoch(const EpochReport& report) override {
    if (log_ != nullptr) log_->commit();  // what it still writes belongs to this epoch
    const auto now = std::chrono::steady_clock::now();
    const Units::Moment moment = units_.now();
    if (report.epoch > 0) {
      found.seconds.push_back(std::chrono::duration<double>(now - last_).count());
      found.edge.push_back((moment.edge + before_.edge) / 2);
      found.exponential.push_back((moment.exponential + before_.exponential) / 2);
    }
    const bool last = report.epoch + 1 == epochs_;
    if (last) stop_.request_stop();
    if (alternation_ != nullptr) alternation_->pass(mine_, last);
    if (alternation_ != nullptr && !last) alternation_->await(mine_);
    before_ = alternation_ == nullptr ? moment : units_.now();
    last_ = std::chrono::steady_clock::now();
  }
  void on_checkpoint(const Checkpoint& checkpoint) override {
    if (checkpoint.epoch > found.theta.size()) found.theta.push_back(checkpoint.theta);
  }
  Epochs found;

 private:
  std::uint64_t epochs_;
  std::stop_source& stop_;
  LogWriter* log_;
  Alternation* alternation_;
  std::size_t mine_;
  std::chrono::steady_clock::time_point last_;
  Units units_;
  Units::Moment before_{};
};

Epochs train(std::uint64_t epochs, const std::string& log, Alternation* alternation, std::size_t mine) {
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
  Watch watch(epochs, stop, writer.get(), alternation, mine);
  if (recorder) trainer.observe(*recorder);
  trainer.observe(watch);
  if (alternation != nullptr) alternation->await(mine);
  const TrainingSummary summary = trainer.run(run.theta, stop.get_token());
  watch.found.left_out = summary.left_out;
  if (writer) {
    writer->close(ExitStatus::finished, "");
    std::filesystem::remove(log);
    std::filesystem::remove(log + ".lock");
  }
  return std::move(watch.found);
}
}  // namespace

InTurns train_in_turns(std::uint64_t epochs, const std::string& log) {
  mnist();
  Alternation alternation;
  InTurns found;
  std::exception_ptr failure[2];
  const auto one = [&](std::size_t mine) {
    try {
      (mine == 0 ? found.without : found.with) = train(epochs, mine == 0 ? "" : log, &alternation, mine);
    } catch (...) {
      failure[mine] = std::current_exception();
    }
    alternation.pass(mine, true);
  };
  {
    const std::jthread other(one, 1);
    one(0);
  }
  for (const std::exception_ptr& each : failure) {
    if (each) std::rethrow_exception(each);
  }
  return found;
}

const Epochs& trained() {
  static const Epochs epochs = train(2, {}, nullptr, 0);
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
