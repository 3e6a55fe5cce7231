#include "ness/runs/session.hpp"

namespace ness {

Session::Session(Device& device, Run& run, const Experiment& experiment, Progress& progress)
    : device_(device),
      run_(run),
      experiment_(experiment),
      progress_(progress),
      trainer_(device, *run.estimator, *experiment.task, *run.space, experiment.optimizer, run.training) {}

Outcome Session::run(const std::optional<Checkpoint>& from, std::stop_token stop) {
  Outcome outcome;
  outcome.summary = from ? trainer_.resume(*from, stop) : trainer_.run(run_.theta, stop);
  if (outcome.cancelled()) return outcome;
  const TrainingSummary& summary = outcome.summary;
  outcome.evaluations =
      evaluate_sets(device_, summary.theta, experiment_, experiment_.evaluate_train, summary.steps, stop,
                    [this](const std::string& line) { progress_.say(line); });
  return outcome;
}

}  // namespace ness
