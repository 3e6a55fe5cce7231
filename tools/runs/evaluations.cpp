#include "ness/runs/evaluations.hpp"

#include <cstdio>

#include "ness/runs/progress.hpp"

namespace ness {

namespace {
constexpr std::size_t most_shown = 8;  // samples, and inputs
}

std::vector<SetEvaluation> evaluate_sets(Device& device, const Vector& theta, const Experiment& experiment,
                                         bool train, std::uint64_t step, std::stop_token stop,
                                         const std::function<void(const std::string&)>& says) {
  using Purpose = Label::Purpose;
  const Task& task = *experiment.task;
  const Parameters parameters = Parameters::of(theta);
  const EvaluationPath path{Rest{experiment.training.rest_rate}, experiment.training.observe};
  std::vector<SetEvaluation> results;
  const bool nothing_held_out = same_samples(task.train, task.test);
  const auto one = [&](const std::string& name, const Dataset& set, Purpose purpose) {
    if (set.size() == 0) return;
    if (says)
      says("evaluating the " + grouped(set.size()) + " samples of the " + name + " set from cold starts");
    results.push_back({name,
                       task.loss->has_accuracy(),
                       nothing_held_out && name == "train",
                       evaluate(device, parameters, set, *task.loss, path, purpose, step, stop),
                       {},
                       {}});
    if (name == "train" && set.size() <= most_shown && set.inputs->width() <= most_shown &&
        !task.loss->classifies()) {
      results.back().inputs.resize(static_cast<Eigen::Index>(set.size()),
                                   static_cast<Eigen::Index>(set.inputs->width()));
      Vector levels(static_cast<Eigen::Index>(set.inputs->width()));
      for (std::size_t i = 0; i < set.size(); ++i) {
        set.inputs->levels(set.rows[i], levels);
        results.back().inputs.row(static_cast<Eigen::Index>(i)) = levels.transpose();
      }
      results.back().targets = set.targets;
    }
  };
  if (train || (nothing_held_out && !experiment.repeats_test)) one("train", task.train, Purpose::none);
  one("validation", task.validation, Purpose::validation);
  if (!nothing_held_out) {
    one("test", task.test, Purpose::test);
  } else if (experiment.repeats_test) {
    // Its rows are in the log that is replayed or continued; its figures are those of the training set.
    one("test", task.test, Purpose::test);
    results.pop_back();
  }
  return results;
}

std::string text_of(const std::vector<SetEvaluation>& evaluations, const TerminalName& terminal) {
  std::string text;
  for (const SetEvaluation& set : evaluations) {
    const Evaluation& found = set.evaluation;
    const std::string all = grouped(found.samples + found.failures);
    char name[32], accuracy[64];
    std::snprintf(name, sizeof name, "  %-11s", set.name.c_str());
    text += name;
    text += found.samples > 0 ? "loss " + short_number(found.loss) : std::string("no loss");
    if (found.samples > 0 && found.failures > 0)
      text += " of a part of the set, " + grouped(found.samples) + " of " + all + " samples";
    if (set.has_accuracy) {
      std::snprintf(accuracy, sizeof accuracy, "  accuracy %.4f", found.accuracy);
      text += accuracy;
    }
    text += "  (" + all + " samples";
    if (found.failures > 0)
      text += ", " + grouped(found.failures) +
              " without a steady state: " + left_out_text(found.causes, terminal);
    if (set.is_test_too) text += "; the test data are the training data: no test loss";
    text += ")\n";
    for (Eigen::Index i = 0; i < set.inputs.rows(); ++i) {
      const auto numbers = [&](const auto& row) {
        std::string list;
        for (Eigen::Index k = 0; k < row.size(); ++k) {
          char number[32];
          std::snprintf(number, sizeof number, "%s%.4g", k > 0 ? ", " : "", row[k]);
          list += number;
        }
        return list;
      };
      const bool settled = found.outputs.row(i).allFinite();
      text += "    " + numbers(set.inputs.row(i)) + " kT -> " +
              (settled ? numbers(found.outputs.row(i)) + " kT" : std::string("no steady state")) +
              ", wanted " + numbers(set.targets.row(i)) + '\n';
    }
  }
  return text;
}

}  // namespace ness
