#include "bind_training.hpp"

#include <array>

namespace ness {

namespace {

/// Limits of a run: the documented name, and one that loads as well.
constexpr std::array<std::pair<const char*, const char*>, 2> limits{
    {{"relaxations", "max_relaxations"}, {"time", "max_time"}}};

constexpr About about_estimator{"", "how the gradient of the loss is measured"};
constexpr About about_optimizer{"", "how a step is made from the gradient"};
constexpr About about_schedule{"", "the learning rate over the run, behind the warm-up"};

/// `name` becomes that of a row, also where its alias is given.
void choose_estimator(Keys& keys, const KindTables& kinds, std::string& name) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const bool alias : {false, true}) {
    for (const EstimatorEntry& entry : kinds.estimators) {
      if (alias && entry.alias == entry.name) continue;
      names.emplace_back(alias ? entry.alias : entry.name, entry.name);
    }
  }
  keys.choice<std::string>("kind", name, names, about_estimator);
}

/// The page goes by the alias where the name is of several words.
KeyKind listed(const EstimatorEntry& entry) {
  std::string name(entry.name), alias(entry.alias);
  if (name.find('-') != std::string::npos) std::swap(name, alias);
  if (name == alias) alias.clear();
  return {name,
          alias,
          {{"relaxations a sample", std::string(entry.cost)},
           {"needs", std::string(entry.needs)},
           {"source", std::string(entry.source)}}};
}

const OptimizerEntry* standard_optimizer(const KindTables& kinds) {
  for (const OptimizerEntry& entry : kinds.optimizers) {
    if (entry.name == "adam") return &entry;
  }
  return nullptr;
}

void read_schedule(Table& table, Document& document, const KindTables& kinds, Schedule& schedule,
                   OtherKinds& others) {
  const ScheduleEntry* shape = &kinds.schedules.front();
  choose_row(table, kinds.schedules, shape, about_schedule);
  schedule.read(table);
  schedule.shape = shape->read(table);
  keep_to_kind(table, document, std::string(shape->name), kinds_of(kinds.schedules), others);
  table.finish();
  table.require(schedule.problem());
}

}  // namespace

void read_estimator(Table& table, Document& document, const KindTables& kinds, Experiment& experiment,
                    OtherKinds& others) {
  choose_estimator(table, kinds, experiment.estimator);
  experiment.make_estimator = estimator_entry(experiment.estimator, kinds.estimators).read(table);
  keep_to_kind(table, document, experiment.estimator, kinds_of(kinds.estimators), others);
}

void read_optimizer(Table& table, Document& document, const KindTables& kinds, OptimizerOptions& options,
                    OtherKinds& others) {
  const OptimizerEntry* row = standard_optimizer(kinds);
  choose_row(table, kinds.optimizers, row, about_optimizer);
  options.read(table);
  options.make = row->read(table);
  if (auto schedule = table.table("schedule"))
    read_schedule(*schedule, document, kinds, options.schedule, others);
  keep_to_kind(table, document, std::string(row->name), kinds_of(kinds.optimizers), others);
  table.require(options.problem());
}

void list_estimator_keys(const KeyList& top, const KindTables& kinds) {
  KeyList keys = top.table(
      "estimator",
      "How dL/dtheta, the gradient of the loss, is measured ([more](commands.md#estimators)). n free nodes, "
      "m trainable parameters. Beside the keys of its own kind the table may hold those of kinds that "
      "`[compare]` names");
  std::string standard = Experiment{}.estimator;
  choose_estimator(keys, kinds, standard);
  for (const EstimatorEntry& entry : kinds.estimators) keys.kind(listed(entry), entry.read);
}

void list_optimizer_keys(const KeyList& top, const KindTables& kinds) {
  KeyList keys = top.table("optimizer", "How the parameters step");
  const OptimizerEntry* optimizer = standard_optimizer(kinds);
  choose_row(keys, kinds.optimizers, optimizer, about_optimizer);
  OptimizerOptions().read(keys);
  list_kinds(keys, kinds.optimizers);
  KeyList of_rate = top.table("optimizer.schedule", "A factor on the learning rate");
  const ScheduleEntry* shape = &kinds.schedules.front();
  choose_row(of_rate, kinds.schedules, shape, about_schedule);
  Schedule().read(of_rate);
  list_kinds(of_rate, kinds.schedules);
}

void read_limits(Keys& keys, TrainingOptions& options) {
  keys.whole("relaxations", options.max_relaxations, 0,
             {"", "training stops before the step that would need more relaxations than this; 0: no limit"});
  keys.number("time", options.max_time, Number::not_negative,
              {"device time", "training ends once relaxations have taken this long; 0: no limit"});
}

void read_budget(Table& table, const std::optional<Table>& training, TrainingOptions& options,
                 OtherKinds& others) {
  for (const auto& [name, other] : limits) {
    if (!table.has(name) || !training || !training->has(other)) continue;
    const std::string spelling = "'" + training->dotted(other) + "'";
    if (!others.passed_over)
      table.fail(name, "is " + spelling + " by another name, and both are given: expected one of them");
    others.notes.push_back("key " + spelling + " is passed over: '" + table.dotted(name) +
                           "' is given as well");
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
