#include "bind_task.hpp"

#include <stdexcept>

namespace ness {

namespace {

constexpr About about_task{"", "needed: what is to be learned"};
constexpr About about_loss{"", "what is minimised: the mean of it over the samples",
                           "the first that fits the targets of the task, potentials or classes"};

/// The validation samples of a task, whatever its kind.
struct SplitOff {
  std::uint64_t samples = 0, seed = 0;
};

void read_split_off(Keys& keys, SplitOff& split) {
  keys.whole("validation", split.samples, 0,
             {"samples", "taken from the training set, at random, as the validation set; 0: none"});
  keys.whole("validation_seed", split.seed, 0, {"", "seed of that choice"});
}

std::string one_of_names(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += "'" + names[i] + "'";
  }
  return text;
}

Task read_kind(Table& table, Document& document, const TaskContext& context, const KindTables& kinds,
               OtherKinds& others, const Task* recorded, bool& splits) {
  std::vector<std::string> names;
  for (const TaskEntry& entry : kinds.tasks) names.emplace_back(entry.name);
  const TaskEntry* row = nullptr;
  if (!choose_row(table, kinds.tasks, row, about_task)) {
    table.fail("", "expected kind = " + one_of_names(names));
  }
  splits = row->splits;
  const TaskMaker make = row->read(table);
  keep_to_kind(table, document, std::string(row->name), kinds_of(kinds.tasks), others);
  table.finish();
  if (recorded != nullptr) return *recorded;
  TaskContext with_document = context;
  with_document.replace = [&](const std::string& key, const std::string& value) {
    document.set_text(table.dotted(key), value);
  };
  with_document.replace_list = [&](const std::string& key, const std::vector<std::string>& values) {
    document.set_texts(table.dotted(key), values);
  };
  return make(with_document);
}

/// The loss that [loss] names, or else the first that fits the task's targets: the targets decide whether it
/// is one of classes.
std::shared_ptr<const Loss> read_loss(Table& root, Document& document, const Task& task,
                                      const KindTables& kinds, OtherKinds& others) {
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
  choose_row(*table, kinds.losses, row, about_loss);
  if (row->classifies != classes) {
    table->fail("kind", "the targets of this " + task.name + " task are " +
                            (classes ? "classes" : "potentials") + ": expected " + one_of_names(fitting));
  }
  std::shared_ptr<const Loss> loss = row->read(*table);
  if (const auto threshold = task.loss->threshold()) {
    if (auto judging = loss->with_threshold(*threshold)) loss = std::move(judging);
  }
  keep_to_kind(*table, document, std::string(row->name), kinds_of(kinds.losses), others);
  table->finish();
  return loss;
}

}  // namespace

std::shared_ptr<const Task> read_task(Table& root, Document& document, const TaskContext& context,
                                      const KindTables& kinds, OtherKinds& others, const Task* recorded) {
  std::optional<Table> table = root.table("task");
  if (!table) {
    std::vector<std::string> names;
    for (const TaskEntry& entry : kinds.tasks) names.emplace_back(entry.name);
    root.fail("", "expected a table [task] with kind = " + one_of_names(names));
  }
  SplitOff split;
  read_split_off(*table, split);
  TaskContext with_split = context;
  with_split.validation = split.samples;
  with_split.validation_seed = split.seed;
  bool splits = false;
  auto task =
      std::make_shared<Task>(read_kind(*table, document, with_split, kinds, others, recorded, splits));
  task->loss = read_loss(root, document, *task, kinds, others);
  if (recorded != nullptr || splits) return task;  // its validation set is split off already
  if (split.samples > 0 && task->validation.size() > 0) {
    table->fail("validation",
                "the validation points are chosen by 'validate_every' here: expected one of the two");
  }
  if (split.samples > 0) {
    if (split.samples >= task->train.size()) {
      table->fail("validation", "expected fewer than the " + std::to_string(task->train.size()) +
                                    " training samples, found " + std::to_string(split.samples));
    }
    task->validation = split_off(task->train, split.samples, split.seed);
  }
  return task;
}

void list_task_keys(const KeyList& top, const KindTables& kinds) {
  KeyList task = top.table("task", "What is to be learned: samples of levels and targets");
  const TaskEntry* no_task = nullptr;
  choose_row(task, kinds.tasks, no_task, about_task);
  SplitOff split;
  read_split_off(task, split);
  list_kinds(task, kinds.tasks);
  KeyList loss = top.table("loss", "The loss of a sample: of its outputs' potentials mu and its target");
  const LossEntry* no_loss = nullptr;
  choose_row(loss, kinds.losses, no_loss, about_loss);
  list_kinds(loss, kinds.losses);
}

}  // namespace ness
