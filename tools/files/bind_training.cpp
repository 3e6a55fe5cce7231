#include "bind_training.hpp"

#include <array>

namespace ness {

namespace {

/// Limits of a run: the documented name, and one that loads as well.
constexpr std::array<std::pair<const char*, const char*>, 2> limits{{{"relaxations", "max_relaxations"}, {"time", "max_time"}}};

void read_schedule(Table& table, Document& document, const KindTables& kinds, Schedule& schedule, OtherKinds& others) {
  const ScheduleEntry* shape = &kinds.schedules.front();
  choose_row(table, kinds.schedules, shape);
  schedule.read(table);
  schedule.shape = shape->read(table);
  keep_to_kind(table, document, std::string(shape->name), kinds_of(kinds.schedules), others);
  table.finish();
  table.require(schedule.problem());
}

}  // namespace

void read_estimator(Table& table, Document& document, const KindTables& kinds, Experiment& experiment, OtherKinds& others) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const bool alias : {false, true}) {
    for (const EstimatorEntry& entry : kinds.estimators) {
      if (!alias || entry.alias != entry.name) names.emplace_back(alias ? entry.alias : entry.name, entry.name);
    }
  }
  table.choice<std::string>("kind", experiment.estimator, names);
  experiment.make_estimator = estimator_entry(experiment.estimator, kinds.estimators).read(table);
  keep_to_kind(table, document, experiment.estimator, kinds_of(kinds.estimators), others);
}

void read_optimizer(Table& table, Document& document, const KindTables& kinds, OptimizerOptions& options, OtherKinds& others) {
  const OptimizerEntry* row = nullptr;
  for (const OptimizerEntry& entry : kinds.optimizers) {
    if (entry.name == "adam") row = &entry;
  }
  choose_row(table, kinds.optimizers, row);
  options.read(table);
  options.make = row->read(table);
  if (auto schedule = table.table("schedule")) read_schedule(*schedule, document, kinds, options.schedule, others);
  keep_to_kind(table, document, std::string(row->name), kinds_of(kinds.optimizers), others);
  table.require(options.problem());
}

void read_limits(Keys& keys, TrainingOptions& options) {
  keys.whole("relaxations", options.max_relaxations, 0,
             {"", "training ends before a step that would exceed it; 0: no limit"});
  keys.number("time", options.max_time, Number::not_negative,
              {"device time", "training ends once relaxations have taken this long; 0: no limit"});
}

void read_budget(Table& table, const std::optional<Table>& training, TrainingOptions& options, OtherKinds& others) {
  for (const auto& [name, other] : limits) {
    if (!table.has(name) || !training || !training->has(other)) continue;
    const std::string spelling = "'" + training->dotted(other) + "'";
    if (!others.passed_over) table.fail(name, "is " + spelling + " by another name, and both are given: expected one of them");
    others.notes.push_back("key " + spelling + " is passed over: '" + table.dotted(name) + "' is given as well");
  }
  read_limits(table, options);
}

void remove_other_spelling(Document& document, const std::string& assignment) {
  const std::string key = assigned_key(assignment);
  for (const auto& [name, other] : limits) {
    const std::string budget = std::string("budget.") + name, training = std::string("training.") + other;
    if (key == budget) document.erase(training);
    if (key == training) document.erase(budget);
  }
}

}  // namespace ness
