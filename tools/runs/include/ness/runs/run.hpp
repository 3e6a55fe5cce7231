// An experiment made ready to run.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ness/bench/bench_device.hpp"
#include "ness/files/experiment.hpp"
#include "ness/training/estimator.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/training/optimizer.hpp"
#include "ness/training/trainer.hpp"
#include "ness/laboratory/twin.hpp"

namespace ness {

/// The device, and all that training needs beside the task: a run's own, so that runs of several seeds can go
/// on side by side.
struct Run {
  Platform platform;
  std::unique_ptr<TwinDevice> twin;  ///< the simulation seen through [twin]; null without
  BenchDevice bench;                 ///< empty in simulation
  /// What the bench's instruments said they are set to when it was started (Bench::settings), and what the
  /// check of its cables found; for the log
  std::vector<drivers::StatedSettings> bench_settings;
  std::optional<WiringReport> bench_check;
  std::unique_ptr<Noisy> noisy;        ///< null without noise
  std::shared_ptr<const Model> model;  ///< seen through [twin], on a bench too; null: the platform has none
  std::unique_ptr<Estimator> estimator;
  std::unique_ptr<ParameterSpace> space;
  TrainingOptions training;  ///< with the seed
  Vector theta;              ///< initial, within all limits

  /// Names a terminal in messages; on a bench the wires that lead to it, and what limits their instruments.
  std::string terminal_name(std::uint32_t terminal) const;

  /// What the trainer sees, before a recorder.
  Device& device() {
    if (bench.bench) return *bench.bench;
    if (noisy) return *noisy;
    if (twin) return *twin;
    return *platform.device;
  }
};

/// Draws the initial parameters with experiment.seed and builds everything. Throws std::invalid_argument for
/// a platform or options that cannot be, and for a platform that has no simulation.
Run prepare(const Experiment& experiment);
/// The same on another device than the simulation: the bench of a file, real or emulated. Nothing is sent
/// yet.
Run prepare(const Experiment& experiment, const BenchFile& bench, DeviceKind kind,
            Transcript transcript = {});
/// The same for a device that is not here, as a log describes it: for replays.
Run prepare(const Experiment& experiment, const DeviceInfo& recorded);

/// The pattern sets of a task, each once, in the order in which a log lists them.
std::vector<std::shared_ptr<const PatternSet>> pattern_sets(const Task& task);

/// Steps of an epoch of the training set.
std::uint64_t steps_per_epoch(const Task& task, const TrainingOptions& options);

}  // namespace ness
