#include "bind_task.hpp"

#include <stdexcept>

namespace ness {

namespace {

std::string one_of_names(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += "'" + names[i] + "'";
  }
  return text;
}

Task read_kind(Table& table, Document& document, const TaskContext& context, const KindTables& kinds, OtherKinds& others) {
  std::vector<std::string> names;
  for (const TaskEntry& entry : kinds.tasks) names.emplace_back(entry.name);
  const TaskEntry* row = nullptr;
  if (!choose_row(table, kinds.tasks, row)) table.fail("", "expected kind = " + one_of_names(names));
  const TaskMaker make = row->read(table);
  keep_to_kind(table, document, std::string(row->name), kinds_of(kinds.tasks), others);
  table.finish();
  TaskContext with_document = context;
  with_document.replace = [&](const std::string& key, const std::string& value) { document.set_text(table.dotted(key), value); };
  return make(with_document);
}

/// The loss that [loss] names, or else the first that fits the task's targets: the targets decide whether it is one of classes.
std::shared_ptr<const Loss> read_loss(Table& root, Document& document, const Task& task, const KindTables& kinds, OtherKinds& others) {
  std::optional<Table> table = root.table("loss");
  if (!table) return task.loss;
  const bool classes = task.loss->classifies();
  std::vector<std::string> fitting;
  const LossEntry* row = nullptr;
  for (const LossEntry& entry : kinds.losses) {
    if (entry.classifies != classes) continue;
    if (!row) row = &entry;
    fitting.emplace_back(entry.name);
  }
  choose_row(*table, kinds.losses, row);
  if (row->classifies != classes) {
    table->fail("kind", "the targets of this " + task.name + " task are " + (classes ? "classes" : "potentials") + ": expected " +
                            one_of_names(fitting));
  }
  const std::shared_ptr<const Loss> loss = row->read(*table);
  keep_to_kind(*table, document, std::string(row->name), kinds_of(kinds.losses), others);
  table->finish();
  return loss;
}

}  // namespace

std::shared_ptr<const Task> read_task(Table& root, Document& document, const TaskContext& context, const KindTables& kinds,
                                      OtherKinds& others) {
  std::optional<Table> table = root.table("task");
  if (!table) {
    std::vector<std::string> names;
    for (const TaskEntry& entry : kinds.tasks) names.emplace_back(entry.name);
    root.fail("", "expected a table [task] with kind = " + one_of_names(names));
  }
  std::uint64_t validation = 0, validation_seed = 0;
  table->whole("validation", validation, 0,
               {"samples", "taken from the training set, at random, as the validation set; 0: none"});
  table->whole("validation_seed", validation_seed, 0, {"", "seed of that choice"});
  auto task = std::make_shared<Task>(read_kind(*table, document, context, kinds, others));
  task->loss = read_loss(root, document, *task, kinds, others);
  if (validation > 0 && task->validation.size() > 0) {
    table->fail("validation", "the validation points are chosen by 'validate_every' here: expected one of the two");
  }
  if (validation > 0) {
    if (validation >= task->train.size()) {
      table->fail("validation", "expected fewer than the " + std::to_string(task->train.size()) + " training samples, found " +
                                    std::to_string(validation));
    }
    task->validation = split_off(task->train, validation, validation_seed);
  }
  return task;
}

}  // namespace ness
