#include "ness/runs/logged_run.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "ness/device/error.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/network/vector_target.hpp"
#include "ness/runs/bench_record.hpp"
#include "ness/runs/changes.hpp"

namespace ness {

namespace {

Dataset& set_named(Task& task, const std::string& name) {
  return name == "train" ? task.train : name == "validation" ? task.validation : task.test;
}
const Dataset& set_named(const Task& task, const std::string& name) {
  return name == "train" ? task.train : name == "validation" ? task.validation : task.test;
}

RecordedTask recorded_task(const Task& task, const std::vector<std::shared_ptr<const PatternSet>>& patterns) {
  RecordedTask recorded{task.name, {}, task.loss->classifies(), task.loss->threshold()};
  for (const char* name : {"train", "validation", "test"}) {
    const Dataset& data = set_named(task, name);
    if (!data.inputs) continue;
    const auto place = std::find(patterns.begin(), patterns.end(), data.inputs) - patterns.begin();
    recorded.sets.push_back({name, data, data.size(), data.digest(), static_cast<std::uint32_t>(place)});
  }
  return recorded;
}

std::optional<RecordedEdges> recorded_edges(const Run& run) {
  const std::shared_ptr<const sim::Network> network = network_of(run.platform);
  if (!network) return std::nullopt;
  const sim::NetworkSpec& spec = network->spec();
  RecordedEdges edges;
  for (std::size_t e = 0; e < spec.edges.size(); ++e) {
    edges.from.push_back(spec.graph.edges[e].source);
    edges.to.push_back(spec.graph.edges[e].target);
    edges.law.emplace_back(spec.edges[e].law->name);
  }
  return edges;
}

}  // namespace

LogHeader log_header(const Experiment& experiment, Run& run, const std::string& command) {
  LogHeader header;
  header.title = experiment.title;
  header.experiment = experiment.text;
  header.command = command;
  header.seed = experiment.seed;
  header.versions = program_versions();
  header.info = run.device().info();
  if (run.bench.bench) header.bench = bench_record(run);
  header.pattern_sets = pattern_sets(*experiment.task);
  header.task = recorded_task(*experiment.task, header.pattern_sets);
  header.edges = recorded_edges(run);
  if (!experiment.source.path.empty()) header.source = experiment.source;
  return header;
}

std::vector<std::pair<std::string, std::string>> program_versions() {
  return {{"ness", NESS_VERSION},
          {"compiler", "g++ " __VERSION__},
          {"Eigen", std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
                        std::to_string(EIGEN_MINOR_VERSION)}};
}

std::shared_ptr<const Task> task_of(const LogReader& log) {
  const std::optional<RecordedTask>& recorded = log.header().task;
  if (!recorded) return nullptr;
  auto task = std::make_shared<Task>();
  task->name = recorded->name;
  if (recorded->classifies) task->loss = std::make_shared<CrossEntropy>(1);
  else if (recorded->threshold) task->loss = std::make_shared<SquaredError>(*recorded->threshold);
  else task->loss = std::make_shared<SquaredError>();
  for (const RecordedSet& set : recorded->sets) {
    if (!set.whole()) return nullptr;
    if (const std::uint64_t found = set.data.digest(); found != set.digest) {
      throw LogError("the log '" + log.path() + "' is damaged: its set '" + set.name + "' has digest " +
                     digest_text(found) + ", and was written with " + digest_text(set.digest));
    }
    set_named(*task, set.name) = set.data;
  }
  return task;
}

namespace {

bool sets_the_task(const std::vector<std::string>& assignments) {
  return std::any_of(assignments.begin(), assignments.end(), [](const std::string& assignment) {
    const std::string key = assignment.substr(0, assignment.find_first_of(" ="));
    return key == "task" || key.starts_with("task.");
  });
}

/// Data that were read again are those of the run.
void require_same_data(const LogReader& log, const Task& now) {
  const RecordedTask& then = *log.header().task;
  const std::vector<Difference> found = data_differences(log, now);
  if (found.empty()) return;
  std::string message = log.path() + ": the data that it names are not those of its run any more:";
  for (const RecordedSet& set : then.sets) {
    const Dataset& of_now = set_named(now, set.name);
    if (!of_now.inputs || of_now.digest() == set.digest) continue;
    const LogReader::SetInfo& levels = log.pattern_sets()[set.pattern_set];
    message += " set '" + set.name + "'" + (levels.path.empty() ? "" : " of " + levels.path) + ": digest " +
               digest_text(set.digest) + " then, " + digest_text(of_now.digest()) + " now;";
  }
  for (const Difference& one : found) {
    if (!one.then.starts_with("digest ")) message += " " + one.text() + ";";
  }
  message.pop_back();
  throw LogError(message);
}

}  // namespace

Experiment experiment_of(const LogReader& log, LoadOptions options) {
  for (const LogReader::SetInfo& set : log.pattern_sets()) {
    if (set.path.empty() || !options.recorded_data.empty()) continue;
    options.recorded_data = std::filesystem::path(set.path).parent_path().string();
  }
  if (log.header().experiment.empty()) {
    throw LogError(
        log.path() +
        ": holds no experiment text: it was not made by `ness train`, and its run cannot be rebuilt");
  }
  const bool other_task = sets_the_task(options.set);
  if (!other_task) options.recorded_task = task_of(log);
  options.other_kinds = true;
  options.other_targets = true;
  options.log_format = log.format();
  Experiment experiment =
      experiment_from_text(log.header().experiment, log.path() + " (its experiment)", options);
  constexpr std::uint64_t two_errors = 5;  // format that introduced them
  experiment.training.one_error = log.format() < two_errors;
  if (!other_task && !options.recorded_task && log.header().task) require_same_data(log, *experiment.task);
  return experiment;
}

LoggedTheta logged_theta(const LogReader& log, std::optional<std::uint64_t> checkpoint) {
  const std::uint64_t count = log.checkpoints();
  if (count == 0) throw LogError(log.path() + ": holds no checkpoint, so no parameters to use");
  if (checkpoint && *checkpoint >= count) {
    throw LogError(log.path() + ": has no checkpoint " + std::to_string(*checkpoint) + "; expected 0 to " +
                   std::to_string(count - 1));
  }
  const std::uint64_t index = checkpoint.value_or(count - 1);
  Checkpoint found = log.checkpoint(index);
  const std::string step = std::to_string(found.step), steps = std::to_string(log.steps());
  const bool last = found.step == log.steps();
  return {std::move(found.theta),
          found.step,
          checkpoint ? "checkpoint" : "last",
          last ? (checkpoint ? "checkpoint " + std::to_string(index) + ", " : "") + "after the last of " +
                     step + " steps"
               : "checkpoint " + std::to_string(index) + ", after " + step + " of " + steps + " steps",
          {}};
}

std::optional<std::uint64_t> checkpoint_at(const LogReader& log, std::uint64_t step) {
  // They are in the order of their steps.
  std::uint64_t low = 0, high = log.checkpoints();
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (log.checkpoint(middle).step < step) low = middle + 1;
    else high = middle;
  }
  if (low == log.checkpoints() || log.checkpoint(low).step != step) return std::nullopt;
  return low;
}

namespace {

/// The parameters after that many steps, if the log holds them.
Vector theta_at(const LogReader& log, std::uint64_t step) {
  if (step > 0 && step <= log.steps()) {
    if (Vector theta = log.theta(step - 1); theta.size() > 0) return theta;
  }
  if (const auto checkpoint = checkpoint_at(log, step)) return log.checkpoint(*checkpoint).theta;
  if (step == 0 && log.header().from) return log.header().from->theta;
  return {};
}

}  // namespace

LoggedTheta step_logged_theta(const LogReader& log, std::uint64_t step) {
  const std::string steps = std::to_string(log.steps());
  if (step > log.steps())
    throw LogError(log.path() + ": holds " + steps + " steps, not " + std::to_string(step));
  Vector theta = theta_at(log, step);
  if (theta.size() == 0) {
    throw LogError(log.path() + ": holds no parameters after " + std::to_string(step) +
                   " steps (log.full_theta and training.checkpoint_every say which are kept)");
  }
  return {std::move(theta), step, "step", "after " + std::to_string(step) + " of " + steps + " steps", {}};
}

Best logged_best(const LogReader& log, const Experiment& experiment) {
  if (log.epochs() == 0) return {};
  if (log.format() >= 5) return log.epoch(log.epochs() - 1).best_so_far;
  Best best;
  for (std::uint64_t i = 0; i < log.epochs(); ++i) {
    const EpochReport epoch = log.epoch(i);
    if (!epoch.best) continue;
    best = {BestBy::validation_loss, epoch.validation_loss,
            (epoch.epoch + 1) * steps_per_epoch(*experiment.task, experiment.training), epoch.epoch};
  }
  return best;
}

LoggedTheta best_logged_theta(const LogReader& log, const Experiment& experiment) {
  const Best best = logged_best(log, experiment);
  if (best.by == BestBy::none) {
    throw LogError(log.path() +
                   (log.format() >= 5
                        ? ": no epoch of this run has shown a loss of the whole set, so there are "
                          "no best parameters"
                        : ": nothing was validated in this run, so there is no best epoch (set "
                          "task.validation and training.validate_every)"));
  }
  char loss[32];
  std::snprintf(loss, sizeof loss, "%.6g", best.loss);
  const std::string what = std::string("the best by ") + to_string(best.by) + ", " + loss + " in epoch " +
                           std::to_string(best.epoch + 1) + "; after " + std::to_string(best.step) + " of " +
                           std::to_string(log.steps()) + " steps";
  Vector theta = theta_at(log, best.step);
  // Each checkpoint carries the best parameters so far.
  for (std::uint64_t i = log.checkpoints(); theta.size() == 0 && i-- > 0;) {
    auto [of_checkpoint, vector] = best_of(log.checkpoint(i));
    if (of_checkpoint.by == best.by && (of_checkpoint.step == best.step || log.format() < 5) &&
        of_checkpoint.loss == best.loss)
      theta = std::move(vector);
    else break;
  }
  if (theta.size() == 0) {
    throw LogError(log.path() + ": the best parameters stand after " + std::to_string(best.step) +
                   " steps, and no checkpoint holds them (training.checkpoint_every)");
  }
  return {std::move(theta), best.step, "best", what, best};
}

void remember_from(const LogReader& log, std::uint64_t step, std::uint64_t samples, Trainer& trainer) {
  if (step == 0) return;
  if (log.outputs_only()) {
    throw LogError(
        log.path() +
        ": its rows hold the outputs alone (log.rows = \"outputs\"), so the states from which training "
        "continues are not in it");
  }
  std::vector<std::shared_ptr<const Vector>> last(samples);
  std::uint64_t missing = samples, end = log.rows();
  // Backwards in blocks, forwards in each, since the reader is fast in that order; an epoch back, every
  // sample has been met.
  constexpr std::uint64_t block = 8192;
  while (end > 0 && missing > 0) {
    const std::uint64_t begin = (end - 1) / block * block;
    std::vector<std::shared_ptr<const Vector>> here(samples);
    for (std::uint64_t i = begin; i < end; ++i) {
      // Of a bench whose log was cut, rows may be lost; a simulation has none such.
      std::optional<LogRow> whole = log.row_if_whole(i);
      if (!whole && log.header().info.restores_state) whole = log.row(i);  // reports it
      if (!whole) continue;
      LogRow& row = *whole;
      const Label& label = row.label;
      const bool free_state =
          label.purpose == Label::Purpose::train && label.position == 0 && label.step < step;
      if (!free_state || !row.fault.empty() || !row.relaxation.quality.usable() || label.sample >= samples)
        continue;
      here[label.sample] = std::make_shared<const Vector>(std::move(row.relaxation.potential));
    }
    for (std::uint64_t s = 0; s < samples; ++s) {
      if (last[s] || !here[s]) continue;
      last[s] = std::move(here[s]);
      --missing;
    }
    end = begin;
  }
  for (std::uint64_t s = 0; s < samples; ++s) {
    if (last[s]) trainer.remember(s, std::move(last[s]));
  }
}

std::string use_recorded_target(const LogReader& log) {
  const std::string& recorded = log.header().info.arithmetic;
  if (recorded.empty() || recorded == sim::vector_target()) return {};
  if (const std::string equal = sim::equal_vector_target(recorded); !equal.empty()) {
    sim::force_vector_target(equal);
    return {};
  }
  std::string here;
  for (const std::string& target : sim::vector_targets()) here += (here.empty() ? "" : ", ") + target;
  return "the log was written with the vector target " + recorded +
         ", which this machine or program lacks (it has " + here +
         "): bits may differ, results agree within the solver's tolerances";
}

std::string digest_text(std::uint64_t digest) {
  char text[24];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(digest));
  return text;
}

}  // namespace ness
