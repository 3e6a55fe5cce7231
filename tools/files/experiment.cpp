#include "ness/files/experiment.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>

#include "bind_task.hpp"
#include "bind_training.hpp"
#include "ness/device/nearest.hpp"
#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"
#include "ness/files/parameter_rules.hpp"
#include "ness/files/text_file.hpp"

namespace ness {

namespace {

/// The system's inputs and outputs have to be those of the task.
void check_shapes(Table& root, const PlatformEntry& platform, const Experiment& experiment) {
  const std::string name(platform.name), key(platform.size_key);
  const std::size_t inputs = experiment.platform->inputs(), outputs = experiment.platform->outputs();
  const Dataset& train = experiment.task->train;
  const std::string of_task = "of task '" + experiment.task->name + "'";
  if (train.inputs && train.inputs->width() != inputs) {
    root.table(name)->fail(key, "the " + name + " has " + std::to_string(inputs) +
                                    " inputs, but the patterns " + of_task + " have " +
                                    std::to_string(train.inputs->width()) + " levels");
  }
  const std::size_t target = experiment.task->loss->target_size(outputs);
  bool fits = static_cast<std::size_t>(train.targets.cols()) == target;
  std::string wanted = std::to_string(train.targets.cols());
  if (fits && experiment.task->loss->classifies() && train.targets.size() > 0) {
    const auto classes = static_cast<std::size_t>(train.targets.maxCoeff()) + 1;
    fits = classes <= outputs;
    wanted = "at least " + std::to_string(classes);
  }
  if (!fits) {
    root.table(name)->fail(key, "the " + name + " has " + std::to_string(outputs) +
                                    " outputs, but the targets " + of_task + " need " + wanted);
  }
  if (!experiment.task->loss->classifies()) return;
  // Those of the training set are known to fit; the others are met after training, when it is too late.
  for (const auto& [set, of] :
       {std::pair{&experiment.task->validation, "validation"}, std::pair{&experiment.task->test, "test"}}) {
    for (std::uint64_t i = 0; i < set->size(); ++i) {
      const double label = set->target(i)[0];
      if (label >= 0 && label < static_cast<double>(outputs)) continue;
      throw FileError((set->origin ? "" : experiment.path + ": ") + set->where_target(i) +
                      ": a sample of the " + of + " set is of class " + number_text(label) +
                      ", for which no output stands: the " + name + " has " + std::to_string(outputs) +
                      " outputs, for classes from 0 to " + std::to_string(outputs - 1));
    }
  }
}

// ---- options: one function a table ----------------------------------------------------------------------

constexpr About about_observe{"",
                              "Potentials are read at a fixed time after the start, whether they have "
                              "settled or not; without this table when they have settled"};

/// False where the time is missing.
bool read_at(Keys& keys, At& at) {
  const bool timed = keys.number("time", at.time, Number::positive,
                                 {"device time", "of the first reading, after the start", "needed"});
  keys.whole("samples", at.samples, 1, {"", "readings that are averaged"});
  keys.number("every", at.every, Number::not_negative,
              {"device time", "between serial readings; 0: as closely as the device reads"});
  keys.choice<At::Mode>(
      "mode", at.mode, {{"serial", At::Mode::serial}, {"repeat", At::Mode::repeat}},
      {"", "readings of one relaxation, one after another; or each of a relaxation of its own"});
  keys.flag("path", at.path,
            {"",
             "every reading is kept in the log, `samples` times the terminals read, not their mean alone; of "
             "the first `[log] paths` relaxations"});
  return timed;
}

/// [training.observe]: when relaxations are read.
void read_observe(Keys& training, Observe& observe) {
  const auto keys = training.inner("observe", about_observe);
  if (!keys) return;
  At at;
  if (!read_at(*keys, at)) keys->fail("", "expected 'time', at which relaxations are read after their start");
  keys->finish();
  if (at.mode == At::Mode::repeat && at.every > 0) keys->fail("every", "belongs to mode = 'serial'");
  observe = at;
}

void read_training(Keys& keys, TrainingOptions& options) {
  using Start = TrainingOptions::StartFrom;
  keys.whole("epochs", options.epochs, 1, {"", "passes through the training set"});
  keys.whole("batch", options.batch, 0, {"", "samples a step; 0: all"});
  keys.choice<Start>(
      "start", options.start, {{"rest", Start::rest}, {"last", Start::last}, {"present", Start::present}},
      {"", "where free relaxations start: at rest, where the sample settled last, or where the device is"});
  keys.whole("restart_every", options.restart_every, 0,
             {"", "with `last`: epochs after which a sample starts at rest again; 0: never"});
  keys.number("rest_rate", options.rest_rate, Number::or_infinite,
              {"kT a unit of time", "rate at which inputs rise from rest; inf: they step"});
  keys.whole("validate_every", options.validate_every, 0,
             {"", "epochs between validations; 0: at the end alone"});
  keys.whole("patience", options.patience, 0,
             {"", "validations without a better loss after which training ends; 0: off"});
  keys.number("target_loss", options.target_loss, Number::not_negative,
              {"", "training ends after an epoch whose mean loss is below; 0: off"});
  keys.whole("max_relaxations", options.max_relaxations, 0, {"", "the same as `relaxations` of `[budget]`"});
  keys.number("max_time", options.max_time, Number::not_negative,
              {"device time", "the same as `time` of `[budget]`"});
  keys.whole("checkpoint_every", options.checkpoint_every, 1, {"", "epochs between checkpoints"});
  keys.number("max_left_out", options.max_left_out, Number::fraction,
              {"", "a step in which a larger share of samples cannot be used is skipped"});
  keys.whole(
      "max_unusable_steps", options.max_unusable_steps, 0,
      {"",
       "training ends after so many steps, one after another, in which every sample was left out; 0: never"});
  keys.whole("max_unused_epochs", options.max_unused_epochs, 0,
             {"", "training ends after so many epochs in none of which some sample could be used; 0: never"});
  keys.require(options.problem());
}

void read_noise(Keys& keys, TrainingOptions& options) {
  using OnNoise = TrainingOptions::OnNoise;
  keys.whole(
      "error_draws", options.error_draws, 0,
      {"",
       "redraws of the readings from which a gradient's error from readings is formed; 0: it is not formed"});
  keys.number("target_error", options.target_error, Number::not_negative,
              {"",
               "> 0: a minibatch is relaxed again until the error from readings is this share of the "
               "gradient; refused "
               "where the estimator does not state that error"});
  keys.whole("max_repeats", options.max_repeats, 1, {"", "times a minibatch is relaxed at most"});
  keys.choice<OnNoise>(
      "when_noise_wins", options.on_noise,
      {{"step", OnNoise::step}, {"skip", OnNoise::skip}, {"average", OnNoise::average}},
      {"",
       "of a gradient smaller than its error from readings: step along it, skip it, or average it with the "
       "next ones at the same parameters; the last two are refused where the estimator does not state that "
       "error"});
  keys.require(options.problem());
}

void read_drift(Keys& keys, TrainingOptions& options) {
  keys.whole(
      "reference_every", options.reference_every, 0,
      {"", "> 0: every so many steps a reference relaxation, whose drift is subtracted from all readings"});
}

void check_estimator(const Keys& keys, const std::string& key, const std::string& name,
                     const KindTables& kinds) {
  try {
    estimator_entry(name, kinds.estimators);
  } catch (const std::invalid_argument& error) {
    keys.fail(key, error.what());
  }
}

void read_compare(Keys& keys, Experiment::Compare& compare, const KindTables& kinds) {
  keys.whole("seeds", compare.seeds, 1, {"", "runs of each estimator"});
  keys.number("solved", compare.solved, Number::positive,
              {"",
               "loss below which a run counts as solved; 0, the default: "
               "twice the target loss"});
  keys.texts("estimators", compare.estimators, {"", "which are compared; none: all"});
  for (const std::string& name : compare.estimators) check_estimator(keys, "estimators", name, kinds);
}

constexpr About about_settings{"", "of this estimator alone: assignments such as \"optimizer.rate=0.05\""};

void read_compare_settings(Table& table, Experiment::Compare& compare, const KindTables& kinds) {
  auto settings = table.table("settings");
  if (!settings) return;
  for (const std::string& name : settings->keys()) {
    check_estimator(*settings, name, name, kinds);
    settings->texts(name, compare.settings[name], about_settings);
  }
  settings->finish();
}

void read_readings(Keys& keys, NoiseOptions& noise) {
  keys.number("read_noise", noise.read, Number::not_negative,
              {"kT", "standard deviation of each potential reading"});
  noise.read_current = noise.read;
  keys.number("current_noise", noise.read_current, Number::not_negative,
              {"unit current", "standard deviation of each measured current",
               "the number of `read_noise`, as at a conductance of 1"});
  keys.number("drift", noise.drift, Number::not_negative,
              {"kT", "random walk of each reading's offset, per square root of a relaxation"});
  keys.number("drift_rate", noise.drift_rate, Number::not_negative,
              {"kT", "steady drift of each reading's offset a relaxation, up or down"});
  keys.number("flicker", noise.flicker, Number::not_negative,
              {"kT", "1/f noise of each reading, up to times of 5e5 relaxations"});
}

void read_deviations(Keys& keys, NoiseOptions& noise) {
  keys.number("write_noise", noise.write, Number::not_negative,
              {"its scale",
               "standard deviation of each parameter as imposed, anew in each relaxation; as of all "
               "parameters below: relative where the scale is logarithmic"});
  keys.number("variation", noise.variation, Number::not_negative,
              {"its scale", "fixed deviation of each parameter from its setpoint"});
  keys.number("gate_gain", noise.gate_gain, Number::not_negative,
              {"",
               "fixed relative error of each trainable parameter's gate: of its setpoint, or of the "
               "setpoint's logarithm where the scale is logarithmic"});
  keys.number("parameter_drift", noise.parameter_drift, Number::not_negative,
              {"its scale", "random walk of each parameter, per square root of a relaxation"});
  keys.number("parameter_drift_rate", noise.parameter_drift_rate, Number::not_negative,
              {"its scale", "steady drift of each parameter a relaxation, up or down"});
  keys.number("jump_rate", noise.jump_rate, Number::fraction,
              {"", "probability in each relaxation that a parameter of `jump_kinds` shifts for good"});
  keys.number("jump_size", noise.jump_size, Number::not_negative,
              {"its scale", "standard deviation of such a shift"});
  keys.texts("jump_kinds", noise.jump_kinds, {"", "kinds of parameters that jump"});
  keys.number(
      "cross_talk", noise.cross_talk, Number::not_negative,
      {"",
       "how much a trainable linear parameter is moved by the others of its kind (of which there are at most "
       "2000), relative"});
}

void read_sources(Keys& keys, NoiseOptions& noise) {
  keys.number(
      "resolution", noise.resolution, Number::not_negative,
      {"its unit", "setpoints of parameters, levels and holds are rounded to multiples of this; 0: not"});
  keys.number("nudge_resolution", noise.nudge_resolution, Number::not_negative,
              {"unit current", "nudges are rounded to multiples of this; 0: not"});
  keys.flag("readback", noise.readback, {"", "the rounded setpoints are logged as `theta_readback`"});
}

void read_device(Keys& keys, Experiment& experiment) {
  NoiseOptions& noise = experiment.noise;
  experiment.noise_has_seed =
      keys.whole("noise_seed", noise.seed, 0, {"", "of all noise", "the experiment's `seed`"});
  read_readings(keys, noise);
  read_deviations(keys, noise);
  read_sources(keys, noise);
  keys.whole("threads", experiment.threads, 0,
             {"", "of the simulation; 0: all cores. Results do not depend on it"});
  keys.require(noise.problem());
}

void read_log(Keys& keys, LogOptions& options) {
  keys.choice<bool>(
      "rows", options.outputs_only, {{"all", false}, {"outputs", true}},
      {"",
       "potentials in a row: of all free nodes, or of the outputs alone (smaller, but cannot be replayed)"});
  keys.whole("largest_copy", options.largest_copy, 0,
             {"bytes",
              "up to which the levels of a data set that comes from a file are in the log, and any targets; "
              "of larger ones it has the file's name and digests"});
  keys.whole("group_rows", options.group_rows, 1,
             {"",
              "rows that a crash can lose at most; 1: each is in the file before the next begins, as on a "
              "bench always"});
  keys.choice<Durability>(
      "durability", options.durability,
      {{"group", Durability::group}, {"relaxation", Durability::relaxation}, {"fsync", Durability::fsync}},
      {"",
       "what rows survive once they are committed: group: the death of the program, in groups of "
       "`group_rows`; relaxation: the same, each before the next begins; fsync: the loss of power too, each "
       "group being on the disk"});
  double seconds = std::chrono::duration<double>(options.group_age).count();
  if (keys.number("group_age", seconds, Number::positive,
                  {"s", "age at which rows are written at the latest; at most 1e6"})) {
    if (seconds > 1e6) keys.fail("group_age", "expected seconds, at most 1e6");
    options.group_age = std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(seconds * 1000)));
  }
  keys.flag("background", options.background, {"", "a thread of the log's own writes"});
  keys.whole(
      "paths", options.paths, 0,
      {"", "relaxations whose readings are kept one by one (`[training.observe] path`), from the first on"});
  keys.whole(
      "full_theta", options.full_theta, 0,
      {"", "longest parameter vector that is logged at every step; a longer one at checkpoints alone"});
}

void read_evaluation(Keys& keys, Experiment& experiment) {
  keys.flag("train", experiment.evaluate_train,
            {"", "when training has ended the training set is evaluated too"});
  keys.flag(
      "best", experiment.evaluate_best,
      {"", "when training has ended the best parameters are evaluated too, where they are not the last"});
}

void read_top(Keys& keys, Experiment& experiment) {
  keys.text("title", experiment.title, {"", "in the log and in tables", "the file's name"});
  keys.whole("seed", experiment.seed, 0, {"", "of initial parameters, the order of samples, and noise"});
}

/// A table of [twin] with a number a node.
struct TwinTable {
  const char* key;
  double standard;
  Number must_be;
  About about;
};
constexpr TwinTable reading_gain{"reading-gain", 1, Number::positive, {"", "gain of a free node's reading"}};
constexpr TwinTable reading_offset{
    "reading-offset", 0, Number::finite, {"kT", "offset of a free node's reading"}};
constexpr TwinTable input_gain{"input-gain", 1, Number::positive, {"", "gain of an input's level"}};
constexpr TwinTable input_offset{"input-offset", 0, Number::finite, {"kT", "offset of an input's level"}};
constexpr About about_offset{
    "its scale",
    "of the parameter of this name, such as \"a[0]\": added to the setpoint, or to its "
    "logarithm where the scale is logarithmic"};

constexpr About about_gate_gain{"",
                                "of the parameter of this name: relative error of its gate, of the setpoint "
                                "or of the setpoint's logarithm"};
constexpr About about_gate_zero{
    "its unit", "of the parameter of this name, whose scale is logarithmic: added to its value"};
constexpr About about_cross_talk{
    "",
    "from the second parameter to the first, such as \"a[0] a[1]\": share of the second's setpoint that is "
    "added to the first's value"};

void read_twin_noise(Keys& keys, Experiment& experiment) {
  keys.number("read_noise", experiment.twin_read_noise, Number::not_negative,
              {"kT", "of the device's readings: a simulation reads with it where `[device]` says nothing"});
}

/// [twin]: what `ness calibrate` found.
void read_twin(Table& table, Experiment& experiment) {
  const DeviceInfo info = experiment.platform->made(experiment.seed, 1).info;
  const std::vector<ParameterInfo>& parameters = info.parameters;
  const std::vector<std::uint32_t> free = info.free(), clamped = info.clamped();
  const auto read_parameters = [&](const char* key, Vector& values, const About& about) {
    auto of_parameters = table.table(key);
    if (!of_parameters) return;
    values = Vector::Zero(static_cast<Eigen::Index>(parameters.size()));
    for (std::size_t i = 0; i < parameters.size(); ++i)
      of_parameters->number(parameters[i].name, values[static_cast<Eigen::Index>(i)], Number::finite, about);
    of_parameters->finish();
  };
  read_parameters("offset", experiment.twin.theta, about_offset);
  read_parameters("gate-gain", experiment.twin.gate_gain, about_gate_gain);
  read_parameters("gate-zero", experiment.twin.gate_zero, about_gate_zero);
  if (auto talks = table.table("cross-talk")) {
    for (std::uint32_t to = 0; to < parameters.size(); ++to) {
      for (std::uint32_t from = 0; from < parameters.size(); ++from) {
        TwinCrossTalk talk{to, from, 0};
        if (to == from || parameters[to].kind != parameters[from].kind) continue;
        talks->number(parameters[to].name + " " + parameters[from].name, talk.share, Number::finite,
                      about_cross_talk);
        if (talk.share != 0) experiment.twin.cross_talk.push_back(talk);
      }
    }
    talks->finish();
  }
  const auto read_nodes = [&](const TwinTable& of, const std::vector<std::uint32_t>& nodes, Vector& values) {
    if (auto of_nodes = table.table(of.key)) {
      values = Vector::Constant(static_cast<Eigen::Index>(nodes.size()), of.standard);
      for (std::size_t k = 0; k < nodes.size(); ++k) {
        of_nodes->number("node-" + std::to_string(nodes[k]), values[static_cast<Eigen::Index>(k)], of.must_be,
                         of.about);
      }
      of_nodes->finish();
    }
  };
  read_nodes(reading_gain, free, experiment.twin.gain);
  read_nodes(reading_offset, free, experiment.twin.reading_offset);
  read_nodes(input_gain, clamped, experiment.twin.input_gain);
  read_nodes(input_offset, clamped, experiment.twin.input_offset);
  read_twin_noise(table, experiment);
  table.require(experiment.twin.problem(parameters, free.size(), clamped.size()));
}

/// The estimators that [compare] names, all where it names none: the file's [estimator] holds keys of theirs
/// too.
std::vector<std::string> compared_kinds(const Experiment::Compare& compare, const KindTables& kinds) {
  std::vector<std::string> names;
  for (const std::string& name : compare.estimators)
    names.emplace_back(estimator_entry(name, kinds.estimators).name);
  if (names.empty()) {
    for (const EstimatorEntry& entry : kinds.estimators) names.emplace_back(entry.name);
  }
  return names;
}

/// An initial value set on the command line replaces the file's, whatever rule that is given by.
void remove_rivals(Document& document, const std::string& assignment) {
  const std::string key = assigned_key(assignment);
  const auto dot = key.rfind('.');
  const std::vector<std::string>& rules = initial_value_keys();
  if (!key.starts_with("parameters.") ||
      std::find(rules.begin(), rules.end(), key.substr(dot + 1)) == rules.end())
    return;
  for (const std::string& rule : rules) document.erase(key.substr(0, dot + 1) + rule);
}

/// The platform whose table the file has. Throws FileError for none, for several, and for tables that belong
/// to another one.
const PlatformEntry& platform_of(Table& root, std::span<const PlatformEntry> platforms) {
  std::vector<const PlatformEntry*> given;
  std::string names;
  for (const PlatformEntry& entry : platforms) {
    const std::string name = "[" + std::string(entry.name) + "]";
    names += (names.empty() ? "" : " or ") + name;
    if (root.table(std::string(entry.name))) given.push_back(&entry);
  }
  if (given.empty())
    root.fail("", "expected a table " + names + ", which says what the experiment is run on");
  if (given.size() > 1) {
    root.table(std::string(given[1]->name))
        ->fail("", "the file has [" + std::string(given[0]->name) + "] already: expected one platform");
  }
  const auto has = [](const PlatformEntry& entry, std::string_view table) {
    return std::find(entry.tables.begin(), entry.tables.end(), table) != entry.tables.end();
  };
  for (const PlatformEntry& entry : platforms) {
    for (const std::string_view name : entry.tables) {
      if (has(*given[0], name)) continue;
      if (auto table = root.table(std::string(name))) {
        table->fail("", "belongs to [" + std::string(entry.name) + "]; this experiment is run on [" +
                            std::string(given[0]->name) + "]");
      }
    }
  }
  return *given[0];
}

template <typename Read>
void read_section(Table& root, const std::string& name, const Read& read) {
  if (auto table = root.table(name)) {
    read(*table);
    table->finish();
  }
}

Experiment bind(Document document, const std::string& path, const LoadOptions& options) {
  Experiment experiment;
  experiment.path = path;
  Table root = document.root();
  const TaskContext places{std::filesystem::absolute(path).parent_path().string(), options.data,
                           options.recorded_data, options.log_format};
  OtherKinds others{
      .passed_over = options.other_kinds, .assignments = options.set, .compared = {}, .notes = {}};
  experiment.place = [document](const std::string& key) { return document.place(key); };
  if (options.log_format > 0 && options.log_format < 5) {
    experiment.training.max_unusable_steps = experiment.training.max_unused_epochs = 0;
    experiment.evaluate_best = false;
    experiment.repeats_test = true;
  }
  read_top(root, experiment);
  if (experiment.title.empty()) experiment.title = std::filesystem::path(path).stem().string();
  // First the names of the tables, so that a misspelt one is not reported as missing.
  for (const char* name : {"task", "loss", "estimator", "optimizer", "training", "device", "log",
                           "evaluation", "noise", "drift", "budget", "compare", "twin"}) {
    root.table(name);
  }
  for (const PlatformEntry& entry : options.kinds.platforms) {
    root.table(std::string(entry.name));
    for (const std::string_view name : entry.tables) root.table(std::string(name));
  }
  root.finish();
  read_section(root, "compare", [&](Table& table) {
    read_compare(table, experiment.compare, options.kinds);
    read_compare_settings(table, experiment.compare, options.kinds);
    others.compared = compared_kinds(experiment.compare, options.kinds);
  });
  read_section(root, "estimator",
               [&](Table& table) { read_estimator(table, document, options.kinds, experiment, others); });
  read_section(root, "optimizer", [&](Table& table) {
    read_optimizer(table, document, options.kinds, experiment.optimizer, others);
  });
  read_section(root, "training", [&](Table& table) {
    read_observe(table, experiment.training.observe);
    read_training(table, experiment.training);
  });
  read_section(root, "noise", [&](Table& table) { read_noise(table, experiment.training); });
  read_section(root, "drift", [&](Table& table) { read_drift(table, experiment.training); });
  read_section(root, "budget", [&](Table& table) {
    read_budget(table, root.table("training"), experiment.training, others);
  });
  read_section(root, "device", [&](Table& table) { read_device(table, experiment); });
  read_section(root, "log", [&](Table& table) { read_log(table, experiment.log); });
  read_section(root, "evaluation", [&](Table& table) { read_evaluation(table, experiment); });
  const PlatformEntry& platform = platform_of(root, options.kinds.platforms);
  experiment.platform =
      platform.read(root, {places.directory, document, experiment.seed, options.other_targets});
  read_section(root, "twin", [&](Table& table) { read_twin(table, experiment); });
  experiment.task = read_task(root, document, places, options.kinds, others, options.recorded_task.get());
  check_shapes(root, platform, experiment);
  experiment.text = document.text();
  experiment.notes = std::move(others.notes);
  return experiment;
}

}  // namespace

KeyList experiment_keys(const KindTables& kinds) {
  Experiment e;
  KeyList top("Tables and keys that are not in this list are refused, and so is a number out of its range");
  read_top(top, e);
  for (const PlatformEntry& entry : kinds.platforms) entry.list(top);
  list_task_keys(top, kinds);
  list_estimator_keys(top, kinds);
  list_optimizer_keys(top, kinds);
  const auto list = [&](const char* name, const char* meaning, const auto& read) {
    KeyList keys = top.table(name, meaning);
    read(keys);
  };
  list("training", "The loop", [&](Keys& keys) { read_training(keys, e.training); });
  list("training.observe", about_observe.meaning.data(), [&](Keys& keys) {
    At at;
    read_at(keys, at);
  });
  list("noise", "What is done about noisy gradients", [&](Keys& keys) { read_noise(keys, e.training); });
  list("drift", "What is done about drift", [&](Keys& keys) { read_drift(keys, e.training); });
  list("budget", "Where the run ends", [&](Keys& keys) { read_limits(keys, e.training); });
  list("device", "The shortcomings of a laboratory, each alone or together, and the simulation's threads",
       [&](Keys& keys) { read_device(keys, e); });
  list("log", "How the log is written", [&](Keys& keys) { read_log(keys, e.log); });
  list("evaluation", "What is evaluated when training has ended",
       [&](Keys& keys) { read_evaluation(keys, e); });
  list("compare", "Of `ness compare`, and of the dry run of `ness advise`",
       [&](Keys& keys) { read_compare(keys, e.compare, kinds); });
  std::vector<std::string> settings;
  list("compare.settings", "", [&](Keys& keys) { keys.texts("ESTIMATOR", settings, about_settings); });
  list("twin",
       "Written by `ness calibrate`: the device as its model sees it. A simulated device is seen so too; a "
       "bench, real "
       "or emulated, is given setpoints and is what it is",
       [&](Keys& keys) { read_twin_noise(keys, e); });
  list("twin.offset", "", [&](Keys& keys) {
    double none = 0;
    keys.number("PARAMETER", none, Number::finite, about_offset);
  });
  const auto of_parameter = [&](const char* table, const char* key, const About& about) {
    list(table, "", [&](Keys& keys) {
      double none = 0;
      keys.number(key, none, Number::finite, about);
    });
  };
  of_parameter("twin.gate-gain", "PARAMETER", about_gate_gain);
  of_parameter("twin.gate-zero", "PARAMETER", about_gate_zero);
  of_parameter("twin.cross-talk", "PARAMETER PARAMETER", about_cross_talk);
  for (const TwinTable& of : {reading_gain, reading_offset, input_gain, input_offset}) {
    const std::string name = std::string("twin.") + of.key;
    list(name.c_str(), "", [&](Keys& keys) {
      double value = of.standard;
      keys.number("node-N", value, of.must_be, of.about);
    });
  }
  return top;
}

Experiment load_experiment(const std::string& path, const LoadOptions& options) {
  Experiment experiment =
      experiment_from_text(text_of_file(path, "an experiment file (TOML)"), path, options);
  const auto whole = [](const std::string& name) {
    return std::filesystem::absolute(name).lexically_normal().string();
  };
  experiment.source = {whole(path), options.data.empty() ? "" : whole(options.data), options.set,
                       options.seed};
  return experiment;
}

Document experiment_document(const std::string& text, const std::string& path, const LoadOptions& options) {
  Document document(text, path);
  for (const std::string& assignment : options.set) {
    remove_rivals(document, assignment);
    remove_other_spelling(document, assignment);
    document.set(assignment);
  }
  if (options.seed) document.set("seed=" + std::to_string(*options.seed));
  return document;
}

Experiment experiment_from_text(const std::string& text, const std::string& path,
                                const LoadOptions& options) {
  return bind(experiment_document(text, path, options), path, options);
}

}  // namespace ness
