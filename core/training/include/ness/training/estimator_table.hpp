// The estimators there are, by name. Adding one: its file, which holds the function that lists its keys, and
// a row of the table.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ness/device/keys.hpp"
#include "ness/training/estimator.hpp"

namespace ness {

/// What an estimator is made with, beside its keys.
struct EstimatorContext {
  std::shared_ptr<const Model> model = nullptr;  ///< of the device; null where there is none
  std::uint64_t seed = 0;                        ///< of directions drawn at random
  /// Finite differences: only these parameters are differenced; empty: all trainable ones. Others take no
  /// notice.
  std::vector<std::uint32_t> parameters = {};
  /// Coupled learning: divides by the holding current however noise hides it, as logs before format 5 did.
  bool unbounded = false;
};
/// Makes an estimator with the options that its keys gave. Throws std::invalid_argument for options that
/// cannot be used.
using EstimatorMaker = std::function<std::unique_ptr<Estimator>(const EstimatorContext&)>;

/// A row of the table.
struct EstimatorEntry {
  std::string_view name;    ///< "equilibrium-propagation-centred"
  std::string_view alias;   ///< "ep-centred"
  std::string_view needs;   ///< of the terminals, in words
  std::string_view cost;    ///< relaxations a sample, as a formula: m trainable parameters, n free nodes
  std::string_view source;  ///< equation or paper
  bool uses_model = false;  ///< dI/dtheta (or the Jacobian) comes from a model unless the law is measured
  /// Lists the keys, and returns what makes the estimator with the options they give. With NoKeys: with its
  /// defaults.
  EstimatorMaker (*read)(Keys& keys) = nullptr;
};
std::span<const EstimatorEntry> estimator_table();
/// By name or alias, from these rows. Throws std::invalid_argument that lists the names there are.
const EstimatorEntry& estimator_entry(std::string_view name,
                                      std::span<const EstimatorEntry> rows = estimator_table());
/// Makes the estimator of that name or alias with its defaults. Throws as estimator_entry does.
EstimatorMaker estimator_maker(std::string_view name);

}  // namespace ness
