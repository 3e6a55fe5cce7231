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
  if (outcome.cancelled() || outcome.summary.end == TrainingSummary::End::unusable) return outcome;
  const TrainingSummary& summary = outcome.summary;
  const auto say = [this](const std::string& line) { progress_.say(line); };
  outcome.evaluations = evaluate_sets(device_, summary.theta, experiment_, experiment_.evaluate_train,
                                      summary.steps, stop, say);
  outcome.best_is_last = summary.best.by == BestBy::none || summary.best_theta == summary.theta;
  if (!outcome.best_is_last && experiment_.evaluate_best) {
    progress_.say(std::string("the best parameters by ") + to_string(summary.best.by) + ", after " +
                  grouped(summary.best.step) + " steps, are not the last:");
    outcome.of_best = evaluate_sets(device_, summary.best_theta, experiment_, experiment_.evaluate_train,
                                    summary.best.step, stop, say);
  }
  return outcome;
}

}  // namespace ness
