#include "results.hpp"

namespace ness {

Report report_of(const Vector& values) { return std::vector<double>(values.begin(), values.end()); }

Report report_of(const std::vector<SetEvaluation>& evaluations, const TerminalName& name) {
  Report sets = Report::table();
  for (const SetEvaluation& set : evaluations) {
    Report& entry = sets[set.name];
    if (set.evaluation.samples > 0) entry["loss"] = set.evaluation.loss;
    if (set.has_accuracy) entry["accuracy"] = set.evaluation.accuracy;
    entry["samples"] = set.evaluation.samples;
    entry["failures"] = set.evaluation.failures;
    if (set.evaluation.failures > 0) {
      entry["loss_is_of_a_part"] = true;
      entry["left_out_for"] = left_out_text(set.evaluation.causes, name);
    }
    if (set.is_test_too) entry["is_test_set_too"] = true;
  }
  return sets;
}

}  // namespace ness
