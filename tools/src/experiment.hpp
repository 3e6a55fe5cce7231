// Experiment files: TOML bound to the option structs of the libraries, each key in one place.
//
// load_experiment reads, prepare (run.hpp) builds. Neither prints; both may be used from several threads on different objects.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ness/core/dataset.hpp"
#include "ness/core/log.hpp"
#include "ness/core/noisy.hpp"
#include "ness/core/optimizer.hpp"
#include "ness/core/trainer.hpp"
#include "ness/core/twin.hpp"
#include "ness/sim/network.hpp"
#include "ness/sim/simulation.hpp"
#include "parameter_rules.hpp"

namespace ness {

/// Which estimator, with its options.
struct EstimatorOptions {
  enum class Kind : std::uint8_t {
    adjoint,
    finite_differences_forward,
    finite_differences_central,
    equilibrium_propagation_one_sided,
    equilibrium_propagation_centred,
  } kind = Kind::adjoint;
  double beta = EquilibriumPropagationOptions{}.beta;
  double step = FiniteDifferenceOptions{}.step;
  std::vector<std::uint32_t> parameters;  ///< finite differences: only these; empty: all trainable ones
};
/// Names and their meanings, the long ones first: "adjoint", .., then "fd-forward", "fd-central", "ep-one-sided", "ep-centred".
const std::vector<std::pair<std::string, EstimatorOptions::Kind>>& estimator_names();
/// Throws std::invalid_argument that lists the names there are.
EstimatorOptions::Kind estimator_of(const std::string& name);
/// The long name.
const std::string& to_string(EstimatorOptions::Kind kind);

/// An experiment as its file describes it.
struct Experiment {
  std::string path;   ///< where it was read from, for messages
  /// The whole, as TOML, with everything that was set on the command line, and no reference to a network file.
  std::string text;
  std::string title;
  /// Of initial parameters, the order of samples, and noise. May be changed; `text` then no longer fits.
  std::uint64_t seed = 0;

  sim::NetworkSpec network;        ///< as described, initial values not drawn (NaN where a rule gives them)
  ParameterRules parameters;
  std::shared_ptr<const Task> task;
  EstimatorOptions estimator;
  OptimizerOptions optimizer;
  TrainingOptions training;        ///< the seed is set by prepare
  /// What a calibration found: the model is seen through these, and so is a simulated device; a bench is what it is.
  TwinOffsets twin;
  double twin_read_noise = 0;      ///< of the calibrated device's readings (kT): a simulation reads with it where [device] says nothing
  NoiseOptions noise;
  bool noise_has_seed = false;     ///< else noise is drawn with the experiment's seed
  sim::SimulationOptions simulation;
  LogOptions log;
  bool evaluate_train = true;      ///< evaluate the training set too when training has ended
};

struct LoadOptions {
  std::vector<std::string> set;      ///< "key=value", in order
  std::optional<std::uint64_t> seed; ///< instead of the file's
  std::string data;                  ///< the root of data directories (find_data); empty: the usual places
  /// A data directory that held the experiment's files before (from a log): looked at first, unless `data` is given.
  std::string recorded_data;
};

/// Reads an experiment file. Throws FileError, one line: file, line, key, what was expected and what was found.
Experiment load_experiment(const std::string& path, const LoadOptions& options = {});
/// From the text; `path` names it in messages, and relative paths in it start from its directory.
Experiment experiment_from_text(const std::string& text, const std::string& path, const LoadOptions& options = {});

}  // namespace ness
