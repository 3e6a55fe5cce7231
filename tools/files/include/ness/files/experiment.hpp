// Experiment files: TOML bound to the option structs of the libraries, each key in one place.
//
// load_experiment reads, prepare (run.hpp) builds. Neither prints; both may be used from several threads on
// different objects.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ness/training/dataset.hpp"
#include "ness/training/estimator_table.hpp"
#include "ness/record/log.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/training/optimizer.hpp"
#include "ness/files/task_table.hpp"
#include "ness/training/trainer.hpp"
#include "ness/laboratory/twin.hpp"
#include "ness/files/key_list.hpp"
#include "ness/files/platform.hpp"

namespace ness {

/// An experiment as its file describes it.
struct Experiment {
  std::string path;  ///< where it was read from, for messages
  /// The whole, as TOML, with everything that was set on the command line, and no reference to a network
  /// file.
  std::string text;
  std::string title;
  /// Of initial parameters, the order of samples, and noise. May be changed; `text` then no longer fits.
  std::uint64_t seed = 0;

  std::shared_ptr<const PlatformDescription> platform;  ///< what the experiment is run on
  std::shared_ptr<const Task> task;
  std::string estimator = "adjoint";                           ///< its name in the table
  EstimatorMaker make_estimator = estimator_maker("adjoint");  ///< with its keys
  OptimizerOptions optimizer;
  TrainingOptions training;  ///< the seed is set by prepare
  /// What a calibration found: the model is seen through these, and so is a simulated device; a bench is what
  /// it is.
  TwinOffsets twin;
  double twin_read_noise = 0;  ///< of the calibrated device's readings (kT): a simulation reads with it where
                               ///< [device] says nothing
  NoiseOptions noise;
  bool noise_has_seed = false;         ///< else noise is drawn with the experiment's seed
  unsigned threads = 0;                ///< of the simulation; 0: all cores
  LogOptions log{.background = true};  // of a simulation; on a bench rows are committed one by one
  /// What `ness compare` takes from the file.
  struct Compare {
    std::uint64_t seeds = 20;
    double solved = 0;                                         ///< loss; 0: twice the target loss
    std::vector<std::string> estimators;                       ///< empty: all
    std::map<std::string, std::vector<std::string>> settings;  ///< of an estimator: "key=value", ..
  } compare;
  bool evaluate_train = true;  ///< evaluate the training set too when training has ended
  bool evaluate_best = true;   ///< evaluate the best parameters too, where they are not the last
  /// Test data that are the training data are evaluated a second time, as a run that was logged before format
  /// 5 did.
  bool repeats_test = false;
  /// Where a key is, for messages: "xor.toml:12: key 'task.low'"; the table that would hold it, where it is
  /// not given.
  std::function<std::string(const std::string& key)> place;
  /// A sentence for each key that was passed over (LoadOptions::other_kinds)
  std::vector<std::string> notes;
  /// The file, and what was set beside it (load_experiment); no path where the text came from elsewhere.
  ExperimentSource source = {};
};

/// What can be named in an experiment file: rows may be added to those of Ness. The rows must outlive what is
/// loaded with them.
struct KindTables {
  std::span<const PlatformEntry> platforms = platform_table();
  std::span<const EstimatorEntry> estimators = estimator_table();
  std::span<const OptimizerEntry> optimizers = optimizer_table();
  std::span<const ScheduleEntry> schedules = schedule_table();
  std::span<const LossEntry> losses = loss_table();
  std::span<const TaskEntry> tasks = task_table();
};

struct LoadOptions {
  std::vector<std::string> set;       ///< "key=value", in order
  std::optional<std::uint64_t> seed;  ///< instead of the file's
  std::string data;                   ///< the root of data directories (find_data); empty: the usual places
  /// A data directory that held the experiment's files before (from a log): looked at first, unless `data` is
  /// given.
  std::string recorded_data = {};
  /// The task as a log holds it, with the usual loss of its targets: the keys of [task] are read, but no data
  /// file is opened. Null: [task] says where the data are.
  std::shared_ptr<const Task> recorded_task = {};
  /// A key that the chosen kind (of estimator, optimizer, ..) does not read, but another one does, is passed
  /// over, and named in Experiment::notes; else it is refused. For logs, since such keys were passed over
  /// when the first were written, and to load one file with several kinds.
  bool other_kinds = false;
  /// A vector target that this program or machine lacks is replaced by one of equal bits, or the best; else
  /// it is refused. For logs.
  bool other_targets = false;
  /// The format of the log that the experiment is in; 0: a file. What a run did by itself then is done where
  /// the text says nothing: so that it replays and goes on as it began.
  std::uint64_t log_format = 0;
  KindTables kinds = {};
};

/// Reads an experiment file. Throws FileError, one line: file, line, key, what was expected and what was
/// found.
Experiment load_experiment(const std::string& path, const LoadOptions& options = {});
/// From the text; `path` names it in messages, and relative paths in it start from its directory.
Experiment experiment_from_text(const std::string& text, const std::string& path,
                                const LoadOptions& options = {});

/// The keys of an experiment's text with `options.set` and `options.seed` applied, not bound to anything:
/// what experiment_from_text begins with. Throws FileError where the text is no TOML.
Document experiment_document(const std::string& text, const std::string& path, const LoadOptions& options);

/// Every key of an experiment file, as it is read, with default, unit, range, meaning and kinds that read it.
KeyList experiment_keys(const KindTables& kinds = {});

}  // namespace ness
