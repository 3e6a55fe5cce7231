#include "json.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

namespace ness {

nlohmann::ordered_json json_number(double number) {
  return std::isfinite(number) ? nlohmann::ordered_json(number) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json json_vector(const Vector& values) {
  auto array = nlohmann::ordered_json::array();
  for (const double value : values) array.push_back(json_number(value));
  return array;
}

nlohmann::ordered_json json_of(const std::vector<SetEvaluation>& evaluations) {
  auto object = nlohmann::ordered_json::object();
  for (const SetEvaluation& set : evaluations) {
    nlohmann::ordered_json& entry = object[set.name];
    entry["loss"] = json_number(set.evaluation.loss);
    if (set.classifies) entry["accuracy"] = json_number(set.evaluation.accuracy);
    entry["samples"] = set.evaluation.samples;
    entry["failures"] = set.evaluation.failures;
  }
  return object;
}

}  // namespace ness
