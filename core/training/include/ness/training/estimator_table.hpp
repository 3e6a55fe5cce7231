// The estimators there are, by name. Adding one: its file, its factory in estimator.hpp, and a row here.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ness/training/estimator.hpp"

namespace ness {

/// All that can be said of an estimator, by the names that experiment files use. What is not set is the estimator's own default; what
/// does not concern an estimator is passed over.
struct EstimatorSettings {
  std::optional<double> beta, nudge, step, probe, eta, c, gamma, sigma, crossover, reset, contraction, block;
  std::optional<bool> central, blocking, skew_measured;
  std::optional<std::uint32_t> rounds, refresh, directions, population, parents;
  std::optional<std::uint64_t> measure_every;
  ContrastOptions contrasts = {};
  CurrentLawOptions law = {};
  std::vector<std::uint32_t> parameters;  ///< finite differences: only these; empty: all trainable ones
  std::uint64_t seed = 0;                 ///< of directions drawn by lot
};

/// A row of the table.
struct EstimatorEntry {
  std::string_view name;     ///< "equilibrium-propagation-centred"
  std::string_view alias;    ///< "ep-centred"
  std::string_view needs;    ///< of the terminals, in words
  std::string_view cost;     ///< relaxations a sample, as a formula: m trainable parameters, n free nodes
  std::string_view source;   ///< equation or paper
  bool uses_model = false;   ///< dI/dtheta (or the Jacobian) comes from a model unless the law is measured
  std::unique_ptr<Estimator> (*make)(const EstimatorSettings& settings, std::shared_ptr<const Model> model);
};
std::span<const EstimatorEntry> estimator_table();
/// By name or alias. Throws std::invalid_argument that lists the names there are.
const EstimatorEntry& estimator_entry(std::string_view name);

}  // namespace ness
