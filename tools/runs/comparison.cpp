#include "ness/runs/comparison.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "ness/device/error.hpp"
#include "ness/device/wrapping_device.hpp"
#include "ness/runs/run.hpp"

namespace ness {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// A device that has been used before.
class Aged final : public WrappingDevice {
 public:
  Aged(Device& device, std::uint64_t age) : WrappingDevice(device), age_(age) {}
  void seek(std::uint64_t ordinal) override { inner().seek(age_ + ordinal); }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    pass_on(inner(), drives, sink, stop);
  }

 private:
  std::uint64_t age_;
};

/// What the device is, without what is only in its readings and its writing.
NoiseOptions lasting(NoiseOptions noise) {
  noise.read = noise.read_current = noise.drift = noise.drift_rate = noise.flicker = noise.write = 0;
  return noise;
}

/// The network as it is described: no noise, the exact adjoint.
Experiment twin_of(Experiment experiment) {
  const std::uint64_t seed = experiment.noise.seed;
  experiment.noise = {};
  experiment.noise.seed = seed;
  experiment.estimator = "adjoint";
  experiment.make_estimator = estimator_maker("adjoint");
  experiment.training.max_relaxations = 0;
  experiment.training.max_time = 0;
  experiment.training.reference_every = 0;
  experiment.training.target_error = 0;
  experiment.training.on_noise = TrainingOptions::OnNoise::step;
  return experiment;
}

TrainingSummary trained(Run& run, const Experiment& experiment, const Vector& theta, std::uint64_t age,
                        std::stop_token stop) {
  Aged device(run.device(), age);
  Trainer trainer(device, *run.estimator, *experiment.task, *run.space, experiment.optimizer, run.training);
  TrainingSummary summary = trainer.run(theta, stop);
  if (summary.end == TrainingSummary::End::cancelled) throw Cancelled();
  return summary;
}

/// Losses on the device as it is after so many relaxations.
void judge(Trial& trial, Run& run, const Experiment& experiment, const Vector& theta, std::uint64_t age) {
  NoiseOptions options = lasting(experiment.noise);
  if (!experiment.noise_has_seed) options.seed = experiment.seed;
  Noisy clean(*run.platform.device, options);
  const Task& task = *experiment.task;
  const auto evaluated = [&](const Dataset& data, Label::Purpose purpose) {
    clean.seek(age);
    return evaluate(clean, Parameters::of(theta), data, *task.loss,
                    {Rest{experiment.training.rest_rate}, experiment.training.observe}, purpose, 0);
  };
  const Evaluation train = evaluated(task.train, Label::Purpose::probe);
  trial.loss = train.failures == 0 ? train.loss : nan;
  trial.test_loss = trial.test_accuracy = nan;
  // Nothing was held out where the test data are the training data.
  if (task.test.size() == 0 || same_samples(task.train, task.test)) return;
  const Evaluation test = evaluated(task.test, Label::Purpose::test);
  trial.test_loss = test.failures == 0 ? test.loss : nan;
  trial.test_accuracy = task.loss->has_accuracy() ? test.accuracy : nan;
}

Contestant contestant_of(Contestant::Kind kind, std::string label, Experiment experiment) {
  Contestant made{kind, std::move(label), std::move(experiment), 0, {}};
  if (kind == Contestant::Kind::deployed) return made;
  try {
    Run run = prepare(made.experiment);
    const DeviceInfo info = run.space->narrowed(run.device().info());
    made.refused = run.estimator->unmet_needs(info);
    if (made.refused.empty()) made.cost = run.estimator->cost(info);
  } catch (const std::invalid_argument& error) {
    made.refused = error.what();
  }
  return made;
}

}  // namespace

LoadOptions with_estimator(LoadOptions options, const Experiment& base, const EstimatorEntry& entry) {
  options.other_kinds = true;
  options.set.push_back("estimator.kind=\"" + std::string(entry.name) + "\"");
  std::vector<std::string_view> keys{entry.name};
  if (entry.alias != entry.name) keys.push_back(entry.alias);
  for (const std::string_view key : keys) {
    const auto settings = base.compare.settings.find(std::string(key));
    if (settings != base.compare.settings.end())
      options.set.insert(options.set.end(), settings->second.begin(), settings->second.end());
  }
  return options;
}

std::vector<Contestant> contestants(const std::string& path, const LoadOptions& options,
                                    const std::vector<std::string>& estimators) {
  const Experiment base = load_experiment(path, options);
  std::vector<std::string> names = estimators.empty() ? base.compare.estimators : estimators;
  if (names.empty()) {
    for (const EstimatorEntry& entry : estimator_table()) names.emplace_back(entry.name);
  }
  std::vector<Contestant> all;
  using Kind = Contestant::Kind;
  for (const std::string& name : names) {
    const EstimatorEntry& entry = estimator_entry(name);
    all.push_back(contestant_of(Kind::in_situ, std::string(entry.name),
                                load_experiment(path, with_estimator(options, base, entry))));
  }
  const std::string own(base.estimator);
  all.push_back(contestant_of(Kind::deployed, "twin, deployed", base));
  all.push_back(contestant_of(Kind::tuned, "twin, deployed, tuned in situ by " + own, base));
  all.push_back(contestant_of(Kind::in_situ, "in situ from scratch by " + own, base));
  return all;
}

Trial run_trial(const Contestant& contestant, std::uint64_t seed, std::uint64_t age, double solved_below,
                std::stop_token stop) {
  using Kind = Contestant::Kind;
  Experiment experiment = contestant.experiment;
  experiment.seed = seed;
  experiment.threads = 1;
  Run run = prepare(experiment);
  Trial trial;
  trial.seed = seed;
  Vector theta = run.theta;
  if (contestant.kind != Kind::in_situ) {
    const Experiment described = twin_of(experiment);
    Run twin = prepare(described);
    theta = trained(twin, described, twin.theta, 0, stop).theta;
  }
  if (contestant.kind != Kind::deployed) {
    const TrainingSummary summary = trained(run, experiment, theta, age, stop);
    theta = summary.theta;
    trial.relaxations = summary.relaxations;
    trial.steps = summary.steps;
    trial.skipped = summary.skipped;
    trial.lost = summary.lost;
    trial.reached = summary.end == TrainingSummary::End::target;
    trial.failed = summary.failed();
  }
  judge(trial, run, experiment, theta, age + trial.relaxations);
  trial.solved = !trial.failed && trial.loss < solved_below;
  return trial;
}

std::vector<Trial> run_trials(const Contestant& contestant, std::uint64_t first, std::uint64_t seeds,
                              std::uint64_t age, double solved_below, std::stop_token stop,
                              const std::function<void(const Trial&)>& done) {
  std::vector<Trial> trials(seeds);
  std::atomic<std::uint64_t> next{0};
  std::mutex telling;
  std::exception_ptr failed;
  const auto work = [&] {
    for (std::uint64_t i = next++; i < seeds; i = next++) {
      try {
        if (stop.stop_requested()) throw Cancelled();
        trials[i] = run_trial(contestant, first + i, age, solved_below, stop);
        const std::scoped_lock lock(telling);
        if (done) done(trials[i]);
      } catch (...) {
        const std::scoped_lock lock(telling);
        if (!failed) failed = std::current_exception();
        next = seeds;
      }
    }
  };
  std::vector<std::thread> threads;
  const std::uint64_t workers =
      std::min<std::uint64_t>(seeds, std::max(1u, std::thread::hardware_concurrency()));
  for (std::uint64_t t = 0; t < workers; ++t) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  if (failed) std::rethrow_exception(failed);
  return trials;
}

std::size_t solved(const std::vector<Trial>& trials) {
  return static_cast<std::size_t>(
      std::count_if(trials.begin(), trials.end(), [](const Trial& t) { return t.solved; }));
}

double relaxations_to_target(const std::vector<Trial>& trials, double q) {
  std::vector<double> counts;
  for (const Trial& trial : trials) {
    if (trial.solved) counts.push_back(static_cast<double>(trial.relaxations));
  }
  if (counts.empty()) return nan;
  std::sort(counts.begin(), counts.end());
  const double place = q * static_cast<double>(counts.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, counts.size() - 1);
  return counts[low] + (place - static_cast<double>(low)) * (counts[high] - counts[low]);
}

}  // namespace ness
