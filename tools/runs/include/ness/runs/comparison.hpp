// Estimators compared on one task and one kind of device, over many seeds; beside them what needs no in-situ
// gradient at all.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/files/experiment.hpp"

namespace ness {

/// How one seed of one contestant ended.
struct Trial {
  std::uint64_t seed = 0;
  double loss = 0;  ///< at the last parameters, of the training set from cold starts, on the device without
                    ///< noise of readings and writing; NaN: some sample found no steady state
  double test_loss = 0, test_accuracy = 0;  ///< of the test set, likewise; NaN where there is
                                            ///< none, or it is the training set
  bool solved = false;                      ///< that loss is below the comparison's
  std::uint64_t relaxations = 0;            ///< in situ
  std::uint64_t steps = 0, skipped = 0, lost = 0;
  bool reached = false;  ///< training ended at its own target
  bool failed = false;   ///< TrainingSummary::failed: some sample was never used. Not solved
};

/// One line of the table.
struct Contestant {
  enum class Kind : std::uint8_t {
    in_situ,   ///< trained on the device from its initial parameters
    deployed,  ///< trained on the twin (the network as described, without noise) with the exact adjoint, then
               ///< used on the device as it is
    tuned,     ///< trained on the twin, deployed, and trained on in situ
  } kind = Kind::in_situ;
  std::string label;
  Experiment experiment;  ///< its estimator and settings
  double cost = 0;        ///< relaxations a sample and step; 0: deployed
  std::string refused;    ///< why the device cannot serve it; empty: it can
};

/// The options that load an experiment with another of the estimators and the settings that its
/// [compare.settings] have for it, under its name or its alias. Keys of [estimator] that this one does not
/// read are passed over.
LoadOptions with_estimator(LoadOptions options, const Experiment& base, const EstimatorEntry& entry);

/// The contestants of an experiment: the estimators of its [compare] table (every one of estimator_table()
/// where it names none), with their settings; then the baselines, the tuned and in-situ ones with the
/// experiment's own estimator.
std::vector<Contestant> contestants(const std::string& path, const LoadOptions& options,
                                    const std::vector<std::string>& estimators);

/// Trains one seed. `age`: relaxations the device has been used for before (its drift and jumps go on).
Trial run_trial(const Contestant& contestant, std::uint64_t seed, std::uint64_t age, double solved_below,
                std::stop_token stop);

/// All seeds of a contestant, on all cores; `done` is told after each, one at a time. Throws Cancelled if
/// stopped.
std::vector<Trial> run_trials(const Contestant& contestant, std::uint64_t first, std::uint64_t seeds,
                              std::uint64_t age, double solved_below, std::stop_token stop,
                              const std::function<void(const Trial&)>& done = {});

/// The q-quantile (0.5: the median) of the relaxations of the solved trials; NaN where none is.
double relaxations_to_target(const std::vector<Trial>& trials, double q);
/// Solved trials.
std::size_t solved(const std::vector<Trial>& trials);

}  // namespace ness
