// A run whose process was killed after any row, and resumed, is bit for bit the run that was not.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <hdf5.h>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ness/device/error.hpp"
#include "ness/device/wrapping_device.hpp"
#include "ness/files/experiment.hpp"
#include "ness/record/recorder.hpp"
#include "ness/record/replay.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/session.hpp"
#include "ness/training/estimator_table.hpp"
#include "support.hpp"

using namespace ness;
using support::Folder;

namespace {

// An epoch has three steps of five samples; a minibatch is one group, or as many as its chains are long.
const std::string base = R"(title = "resumed"
seed = 3
[network]
law = "quantum-dot"
layers = [1, 4, 1]
[parameters.gamma]
value = 1.0
range = [1e-3, 100.0]
[parameters.a]
normal = [0.0, 2.0]
trainable = false
[parameters.b]
normal = [0.0, 1.0]
trainable = false
[parameters.g]
value = 1.0
trainable = false
[parameters.mu_ref]
value = 0.0
trainable = false
[task]
kind = "regression"
points = 20
hold_out_every = 0
validate_first = 1
validate_every = 4
input_scale = 2.0
[optimizer]
rate = 0.02
[training]
epochs = 3
batch = 5
validate_every = 1
)";

using Settings = std::vector<std::string>;

Experiment experiment_of(const Settings& settings) {
  LoadOptions options;
  options.set = settings;
  options.other_kinds = true;
  return experiment_from_text(base, "resume.toml", options);
}

// What a kill is to the run: nothing of it is caught, and nothing is logged of it.
struct Killed {};

// When the process dies: after so many rows, at once or when the next one is due.
struct Death {
  std::uint64_t rows = std::numeric_limits<std::uint64_t>::max();
  bool late = false;
};

// Above the recorder: the process dies when so many rows are in the log.
class Dying final : public WrappingDevice {
 public:
  Dying(Device& inner, Death death) : WrappingDevice(inner), left_(death.rows), late_(death.late) {}

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    if (left_ == 0) throw Killed{};
    pass_on(
        inner(), drives,
        [&](std::size_t index, const Relaxation& row) {
          --left_;
          if (left_ == 0 && !(late_ && index + 1 == drives.size())) throw Killed{};
          sink(index, row);
        },
        stop);
  }

 private:
  std::uint64_t left_;
  bool late_;
};

// Below the recorder: relaxes the drives of one call in two groups, as a resumed run of before did.
class Splitting final : public WrappingDevice {
 public:
  Splitting(Device& inner, std::uint64_t call, std::size_t first)
      : WrappingDevice(inner), call_(call), first_(first) {}

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    if (call_-- != 0 || drives.size() <= first_) return pass_on(inner(), drives, sink, stop);
    pass_on(inner(), drives.first(first_), sink, stop);
    pass_on(
        inner(), drives.subspan(first_),
        [&](std::size_t index, const Relaxation& row) { sink(first_ + index, row); }, stop);
  }

 private:
  std::uint64_t call_;
  std::size_t first_;
};

void train(const Settings& settings, const std::string& path, Death death = {},
           std::optional<std::pair<std::uint64_t, std::size_t>> split = {}) {
  const Experiment experiment = experiment_of(settings);
  Run run = prepare(experiment);
  Progress progress(experiment.training.epochs, steps_per_epoch(*experiment.task, experiment.training), true);
  LogWriter log(path, log_header(experiment, run, "a test"), experiment.log);
  std::optional<Splitting> splitting;
  if (split) splitting.emplace(run.device(), split->first, split->second);
  Recorder recorder(splitting ? static_cast<Device&>(*splitting) : run.device(), log);
  Dying dying(recorder, death);
  Session session(dying, run, experiment, progress);
  session.trainer().observe(recorder);
  try {
    const Outcome outcome = session.run(std::nullopt, {});
    log.close(ExitStatus::finished, outcome.summary.message());
  } catch (const Killed&) {}  // the log is left as it is
}

// As `ness train --resume` does, with nothing of the process that was killed.
void resume(const Settings& settings, const std::string& path) {
  const Experiment experiment = experiment_of(settings);
  std::optional<Checkpoint> checkpoint;
  if (const LogReader log(path); log.checkpoints() > 0) checkpoint = log.checkpoint(log.checkpoints() - 1);
  Run run = prepare(experiment);
  Progress progress(experiment.training.epochs, steps_per_epoch(*experiment.task, experiment.training), true);
  LogWriter log(path, LogWriter::Continue{}, experiment.log);
  const LogReader recorded(path);
  Recorder recorder(run.device(), log);
  const std::uint64_t step = checkpoint ? checkpoint->step : 0;
  Replay replay(recorded, pattern_sets(*experiment.task), checkpoint ? checkpoint->relaxations : 0,
                &recorder);
  ReplayCheck check(recorded, step, &recorder);
  Session session(replay, run, experiment, progress);
  session.trainer().observe(check);
  if (experiment.training.start == TrainingOptions::StartFrom::last)
    remember_from(recorded, step, experiment.task->train.size(), session.trainer());
  const Outcome outcome = session.run(checkpoint, {});
  log.close(ExitStatus::finished, outcome.summary.message());
}

// What a replay finds: nothing, or the difference.
std::string replayed(const Settings& settings, const std::string& path, bool relaxed_again) {
  const Experiment experiment = experiment_of(settings);
  const LogReader log(path);
  Run run = prepare(experiment);
  Progress progress(experiment.training.epochs, steps_per_epoch(*experiment.task, experiment.training), true);
  Replay replay(log, pattern_sets(*experiment.task), 0, relaxed_again ? &run.device() : nullptr);
  if (relaxed_again) replay.relax_everything_again();
  ReplayCheck check(log);
  Session session(replay, run, experiment, progress);
  session.trainer().observe(check);
  try {
    session.run(std::nullopt, {});
  } catch (const ReplayMismatch& mismatch) {
    return mismatch.what();
  }
  return check.steps_compared() == log.steps() && replay.next_row() == log.rows() ? "" : "the log holds more";
}

// ---- comparison of logs, column by column ---------------------------------------------------------------

using Columns = std::map<std::string, std::vector<char>>;

herr_t read_column(hid_t group, const char* name, const H5L_info_t*, void* to) {
  // Wall time, and what covers it.
  if (std::string(name) == "recorded" || std::string(name) == "crc32") return 0;
  const hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT), space = H5Dget_space(dataset),
              type = H5Dget_type(dataset);
  std::vector<char> bytes(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space)) * H5Tget_size(type));
  if (!bytes.empty()) H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data());
  static_cast<Columns*>(to)->emplace(name, std::move(bytes));
  H5Tclose(type);
  H5Sclose(space);
  H5Dclose(dataset);
  return 0;
}

std::map<std::string, Columns> columns_of(const std::string& path) {
  std::map<std::string, Columns> found;
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_file_locking(access, false, true);
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  H5Pclose(access);
  REQUIRE(file >= 0);
  for (const char* table : {"relaxations", "training", "epochs", "checkpoints"}) {
    const hid_t group = H5Gopen2(file, ("/entry/" + std::string(table)).c_str(), H5P_DEFAULT);
    H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, &read_column, &found[table]);
    H5Gclose(group);
  }
  H5Fclose(file);
  return found;
}

void check_equal(const std::map<std::string, Columns>& is, const std::map<std::string, Columns>& was) {
  for (const auto& [table, columns] : was) {
    REQUIRE(is.at(table).size() == columns.size());
    for (const auto& [name, bytes] : columns) {
      INFO(table << "/" << name << ", " << is.at(table).at(name).size() << " of " << bytes.size()
                 << " bytes");
      CHECK(is.at(table).at(name) == bytes);
    }
  }
}

// The rows of a step: [first, end).
std::pair<std::uint64_t, std::uint64_t> rows_of_step(const LogReader& log, std::uint64_t step) {
  return {step == 0 ? 0 : log.step(step - 1).relaxations, log.step(step).relaxations};
}

// Kills the run after each of these rows, and resumes it.
void check_kills(const Settings& settings, std::uint64_t first, std::uint64_t end, const Folder& folder,
                 const std::map<std::string, Columns>& whole, const Settings& resumed_with = {}) {
  Settings then = settings;
  then.insert(then.end(), resumed_with.begin(), resumed_with.end());
  // Of many rows some: every one at the group's beginning, then as many as a test has time for.
  constexpr std::uint64_t every = 8, most = 16;
  const std::uint64_t stride = std::max<std::uint64_t>(1, (end - first) / most);
  for (std::uint64_t k = first; k <= end; k += k < first + every ? 1 : stride) {
    INFO("killed after row " << k << " of [" << first << ", " << end << ")");
    const std::string path = folder / ("killed-" + std::to_string(k) + ".h5");
    train(settings, path, {k, k == first});
    REQUIRE(LogReader(path).rows() == k);
    resume(then, path);
    check_equal(columns_of(path), whole);
    std::filesystem::remove(path);
  }
}

struct Whole {
  const Folder folder;
  Settings settings;
  std::string path = folder / "whole.h5";
  std::map<std::string, Columns> columns;

  explicit Whole(Settings given) : settings(std::move(given)) {
    train(settings, path);
    columns = columns_of(path);
  }
  std::uint64_t rows() const { return LogReader(path).rows(); }
  // The second step of the second epoch: behind it lie a checkpoint and a step.
  void check_a_minibatch(const Settings& resumed_with = {}) const {
    const auto [first, end] = rows_of_step(LogReader(path), 4);
    REQUIRE(end > first);
    check_kills(settings, first, end, folder, columns, resumed_with);
  }
};

Settings joined(Settings a, const Settings& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

namespace {

void check_every_estimator(const std::string& batches) {
  for (const EstimatorEntry& entry : estimator_table()) {
    INFO(entry.name << ", batches " << batches);
    const Whole whole(
        {"estimator.kind=\"" + std::string(entry.name) + "\"", "solver.batches=\"" + batches + "\""});
    whole.check_a_minibatch();
  }
}

}  // namespace

TEST_CASE("a run killed within a minibatch is resumed bit for bit, with every estimator", "[resume]") {
  check_every_estimator("off");
}

TEST_CASE("a run killed within a minibatch is resumed bit for bit, with every estimator, in batches",
          "[resume]") {
  check_every_estimator("double");
}

TEST_CASE("a run killed within a minibatch is resumed bit for bit, whatever the device does", "[resume]") {
  const Settings noise{"estimator.kind=\"ep-centred\"", "device.read_noise=1e-2", "device.flicker=1e-3"};
  const std::vector<Settings> all = {
      noise,
      joined(noise, {"device.write_noise=1e-3", "device.variation=0.05"}),
      joined(noise, {"device.drift=1e-4", "device.drift_rate=1e-4", "drift.reference_every=1"}),
      joined(noise, {"device.drift=1e-4", "drift.reference_every=2", "noise.target_error=0.2",
                     "noise.max_repeats=3"}),
      joined(noise, {"noise.when_noise_wins=\"average\""}),
      joined(noise, {"device.jump_rate=0.02", "device.jump_size=0.2", "device.parameter_drift=1e-3"}),
      {"device.gate_gain=0.02", "device.resolution=1e-3", "device.nudge_resolution=1e-3",
       "device.readback=true"},
      {"training.start=\"last\""},
      {"training.start=\"last\"", "training.restart_every=2", "estimator.kind=\"ep-centred\""},
      {"training.rest_rate=0.5", "budget.time=1e6", "estimator.kind=\"ep-centred\""},
      {"training.observe.time=3", "training.observe.samples=4", "training.observe.every=0.5",
       "training.observe.path=true", "log.paths=30"},
      {"estimator.kind=\"spsa\"", "estimator.directions=2", "estimator.c=0.01"},
      {"log.group_rows=3", "log.background=false"},
  };
  for (const Settings& settings : all) {
    for (const char* batches : {"off", "single"}) {
      std::string said;
      for (const std::string& one : settings) said += one + " ";
      INFO(said << "batches " << batches);
      const Whole whole(joined(settings, {"solver.batches=\"" + std::string(batches) + "\""}));
      whole.check_a_minibatch();
    }
  }
}

TEST_CASE("a run killed before the first checkpoint, in an evaluation, or resumed by other threads",
          "[resume]") {
  const Whole whole({"solver.batches=\"double\"", "estimator.kind=\"ep-centred\""});
  SECTION("before the first checkpoint") {
    const auto [first, end] = rows_of_step(LogReader(whole.path), 0);
    check_kills(whole.settings, first, end, whole.folder, whole.columns);
  }
  SECTION("in the validation after an epoch") {
    const LogReader log(whole.path);
    const std::uint64_t first = log.step(2).relaxations;
    REQUIRE(log.row(first).label.purpose == Label::Purpose::validation);
    check_kills(whole.settings, first, first + 5, whole.folder, whole.columns);
  }
  SECTION("in the evaluation at the end") {
    const std::uint64_t first = LogReader(whole.path).step(8).relaxations, end = whole.rows();
    REQUIRE(end > first + 15);
    check_kills(whole.settings, first, end, whole.folder, whole.columns);
  }
  SECTION("by another number of threads") {
    const Whole one(joined(whole.settings, {"device.threads=1"}));
    check_equal(one.columns, whole.columns);
    one.check_a_minibatch({"device.threads=2"});
  }
  SECTION("again and again") {
    const auto [first, end] = rows_of_step(LogReader(whole.path), 4);
    const std::string path = whole.folder / "again.h5";
    train(whole.settings, path, {first + 2});
    for (std::uint64_t k = first + 4; k < end; k += 3) {
      // Resumed by a process that dies in its turn.
      const Experiment experiment = experiment_of(whole.settings);
      const LogReader recorded(path);
      const Checkpoint from = recorded.checkpoint(recorded.checkpoints() - 1);
      Run run = prepare(experiment);
      Progress progress(3, 3, true);
      LogWriter log(path, LogWriter::Continue{}, experiment.log);
      Recorder recorder(run.device(), log);
      Replay replay(recorded, pattern_sets(*experiment.task), from.relaxations, &recorder);
      ReplayCheck check(recorded, from.step, &recorder);
      Dying dying(replay, {k - from.relaxations});
      Session session(dying, run, experiment, progress);
      session.trainer().observe(check);
      CHECK_THROWS_AS(session.run(from, {}), Killed);
    }
    resume(whole.settings, path);
    check_equal(columns_of(path), whole.columns);
  }
}

TEST_CASE("a run that logs the outputs alone goes on as the device that it was begun with", "[resume]") {
  // Where nothing has to be answered from the log: after a checkpoint.
  const Settings settings{"log.rows=\"outputs\"", "estimator.kind=\"fd-central\"", "task.validate_every=0"};
  const Whole whole(settings);
  const std::uint64_t k = LogReader(whole.path).checkpoint(0).relaxations;
  const std::string path = whole.folder / "cut.h5";
  train(settings, path, {k, true});
  const Experiment experiment = experiment_of(settings);
  Run run = prepare(experiment);
  const LogReader recorded(path);
  REQUIRE(recorded.checkpoints() == 1);
  const Checkpoint from = recorded.checkpoint(0);
  REQUIRE(recorded.rows() == from.relaxations);
  LogWriter log(path, LogWriter::Continue{}, experiment.log);
  Recorder recorder(run.device(), log);
  ReplayCheck check(recorded, from.step, &recorder);
  Progress progress(3, 3, true);
  Session session(recorder, run, experiment, progress);
  session.trainer().observe(check);
  const Outcome outcome = session.run(from, {});
  log.close(ExitStatus::finished, outcome.summary.message());
  check_equal(columns_of(path), whole.columns);
}

TEST_CASE("a replay that relaxes everything again tells rows that were made in other groups", "[resume]") {
  const Settings settings{"solver.batches=\"double\"", "estimator.kind=\"ep-centred\""};
  const Whole whole(settings);
  CHECK(replayed(settings, whole.path, false).empty());
  CHECK(replayed(settings, whole.path, true).empty());

  // A call of a training step, relaxed in two groups. Its rows replay, since they are what the steps were
  // made of; that the device does not give them is seen by relaxing them again.
  const std::string other = whole.folder / "other.h5";
  std::string found;
  for (std::uint64_t call = 0; call < 9 && found.empty(); ++call) {
    std::filesystem::remove(other);
    train(settings, other, {}, std::pair(call, std::size_t{2}));
    CHECK(replayed(settings, other, false).empty());
    found = replayed(settings, other, true);
  }
  CHECK_THAT(found, Catch::StartsWith("row ") && Catch::Contains(", recorded ") &&
                        Catch::Contains("made in another group"));

  // And on the way a resumed run refuses rows that its device does not give.
  Settings wrong = settings;
  wrong.push_back("solver.batches=\"off\"");
  const auto [first, end] = rows_of_step(LogReader(whole.path), 4);
  const std::string cut = whole.folder / "cut.h5";
  train(settings, cut, {first + 2});
  CHECK_THROWS_AS(resume(wrong, cut), ReplayMismatch);
}
