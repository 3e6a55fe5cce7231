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
  const auto one = [&](const std::string& name, const Dataset& set, Purpose purpose) {
    if (set.size() == 0) return;
    if (says)
      says("evaluating the " + grouped(set.size()) + " samples of the " + name + " set from cold starts");
    results.push_back({name,
                       task.loss->classifies(),
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
  if (train) one("train", task.train, Purpose::none);
  one("validation", task.validation, Purpose::validation);
  one("test", task.test, Purpose::test);
  return results;
}

std::string text_of(const std::vector<SetEvaluation>& evaluations) {
  std::string text;
  for (const SetEvaluation& set : evaluations) {
    char name[32], accuracy[64];
    std::snprintf(name, sizeof name, "  %-11s", set.name.c_str());
    text += name + std::string("loss ") + short_number(set.evaluation.loss);
    if (set.classifies) {
      std::snprintf(accuracy, sizeof accuracy, "  accuracy %.4f", set.evaluation.accuracy);
      text += accuracy;
    }
    text += "  (" + grouped(set.evaluation.samples + set.evaluation.failures) + " samples";
    if (set.evaluation.failures > 0)
      text += ", " + grouped(set.evaluation.failures) + " without a steady state";
    text += ")\n";
    for (Eigen::Index i = 0; i < set.inputs.rows(); ++i) {
      const auto numbers = [&](const auto& row) {
        std::string all;
        for (Eigen::Index k = 0; k < row.size(); ++k) {
          char number[32];
          std::snprintf(number, sizeof number, "%s%.4g", k > 0 ? ", " : "", row[k]);
          all += number;
        }
        return all;
      };
      text += "    " + numbers(set.inputs.row(i)) + " kT -> " + numbers(set.evaluation.outputs.row(i)) +
              " kT, wanted " + numbers(set.targets.row(i)) + '\n';
    }
  }
  return text;
}

}  // namespace ness
