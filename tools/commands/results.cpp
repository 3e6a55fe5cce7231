#include "results.hpp"

namespace ness {

Report report_of(const Vector& values) { return std::vector<double>(values.begin(), values.end()); }

Report report_of(const std::vector<SetEvaluation>& evaluations) {
  Report sets = Report::table();
  for (const SetEvaluation& set : evaluations) {
    Report& entry = sets[set.name];
    entry["loss"] = set.evaluation.loss;
    if (set.classifies) entry["accuracy"] = set.evaluation.accuracy;
    entry["samples"] = set.evaluation.samples;
    entry["failures"] = set.evaluation.failures;
  }
  return sets;
}

}  // namespace ness
