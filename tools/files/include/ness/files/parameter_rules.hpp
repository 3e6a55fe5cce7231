// What an experiment says of each kind of parameter: where it starts, how far it may go, how it is trained.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ness/training/optimizer.hpp"
#include "ness/network/network.hpp"
#include "ness/files/key_list.hpp"
#include "ness/files/toml_table.hpp"

namespace ness {

/// A rule for an initial value. `fold`, of a quantum dot's a alone: a = -b x, x uniform in [first, second],
/// which places the edge's fold at x (kT above its target). `ratio`, of an enzyme's Kb and Ki alone: the
/// edge's Ka times the exponential of a normal number, so that the enzyme works, and is inhibited, around one
/// concentration.
struct InitialValue {
  enum class Kind : std::uint8_t {
    value,
    normal,
    uniform,
    log_normal,
    log_uniform,
    fold,
    ratio
  } kind = Kind::value;
  /// The value, the mean, or the lower end (log_normal, log_uniform, ratio: of the logarithm)
  double first = 0;
  double second = 0;  ///< the standard deviation, or the upper end
  /// Of an interval's rules: each of the n edges into a layer (or leaks of a layer) has its own n-th part of
  /// the interval, in order, so that no part of it stays empty.
  bool stratified = false;
};

/// What is said of some parameters. What is not said is inherited: from their layer, then from their kind.
struct ParameterRefinement {
  std::optional<InitialValue> initial;
  std::optional<Range> range;
  std::optional<bool> trainable;
  std::optional<double> decay, rate;
};

/// All that is said of one kind.
struct KindRules {
  ParameterRefinement base;
  std::map<std::uint32_t, ParameterRefinement> layers;  ///< edges into, or leaks of, a layer
  std::map<std::uint32_t, ParameterRefinement> items;   ///< single edges, or nodes
  /// Field by field: the item's, else the layer's, else the kind's.
  ParameterRefinement of(std::uint32_t item, std::uint32_t layer) const;
};
using ParameterRules = std::map<std::string, KindRules>;

/// Names of the keys that give an initial value, of which a table may have one.
const std::vector<std::string>& initial_value_keys();

/// Reads [parameters]: a table a kind (those of the laws in `spec`, and the leaks' g and mu_ref), refined in
/// [parameters.b.layer-2], [parameters.b.edge-5], [parameters.g.node-3]. Throws FileError; also where a kind
/// has no initial value at all.
ParameterRules read_parameter_rules(Table& root, const sim::NetworkSpec& spec);

/// The keys of [parameters.KIND], listed.
void list_parameter_keys(const KeyList& top);

/// An initial value that its range clips.
struct ClippedValue {
  std::string key;        ///< that gives it: "parameters.gamma.value"
  std::string parameter;  ///< "gamma[3]"
  double value = 0;       ///< before
  Range range;
  bool drawn = true;  ///< by a rule; false: stated as it is
};

/// `spec` with initial values drawn. Each is a function of (seed, kind, edge or node) and of the graph alone,
/// so that refining one parameter shifts no other. Values are clipped to their range; those that were are
/// added to `clipped`.
sim::NetworkSpec drawn(const sim::NetworkSpec& spec, const ParameterRules& rules, std::uint64_t seed,
                       std::vector<ClippedValue>* clipped = nullptr);

/// Training rules for each parameter. What cannot be stepped on its logarithm (a leak of 0, an inhibition
/// constant at infinity) is not trained.
std::vector<ParameterRule> training_rules(const std::vector<ParameterInfo>& parameters, const Vector& theta,
                                          const Graph& graph, const ParameterRules& rules);

}  // namespace ness
