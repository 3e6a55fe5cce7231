// [task] and [loss] of an experiment file.
#pragma once

#include <memory>

#include "kind_keys.hpp"
#include "ness/files/experiment.hpp"

namespace ness {

/// Reads the task, its data and its loss. `recorded`: the data instead of those that [task] names, or null.
/// Throws FileError.
std::shared_ptr<const Task> read_task(Table& root, Document& document, const TaskContext& context,
                                      const KindTables& kinds, OtherKinds& others, const Task* recorded);

/// Lists the keys of [task] and [loss].
void list_task_keys(const KeyList& top, const KindTables& kinds);

}  // namespace ness
