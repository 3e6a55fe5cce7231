// The kinds of tasks that experiment files name. Adding one: the function that lists its keys, and a row of
// the table.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ness/device/keys.hpp"
#include "ness/training/dataset.hpp"

namespace ness {

/// Where a task finds its files.
struct TaskContext {
  std::string directory;         ///< of the experiment file: where relative paths start
  std::string data;              ///< LoadOptions::data
  std::string recorded;          ///< LoadOptions::recorded_data
  std::uint64_t log_format = 0;  ///< LoadOptions::log_format
  /// Keys `validation` and `validation_seed` of [task]: for kinds that learn from what these leave
  /// (TaskEntry::splits)
  std::uint64_t validation = 0, validation_seed = 0;
  /// Replaces a key of [task] in the experiment's text: a file's name by its absolute path, so that the text
  /// can be read again from anywhere.
  std::function<void(const std::string& key, const std::string& value)> replace = [](const std::string&,
                                                                                     const std::string&) {};
  /// The same with several strings: what was learned from the data, so that the text states it.
  std::function<void(const std::string& key, const std::vector<std::string>& values)> replace_list =
      [](const std::string&, const std::vector<std::string>&) {};
};
/// Reads the data. The task's loss is the usual one of its targets. Throws FileError for data that cannot be
/// used.
using TaskMaker = std::function<Task(const TaskContext&)>;

/// A row of the table.
struct TaskEntry {
  std::string_view name;
  std::string_view meaning;
  /// Lists the keys of this kind alone, and returns what makes the task; that reports what is wrong through
  /// `keys`, which must outlive it.
  TaskMaker (*read)(Keys& keys) = nullptr;
  /// It takes the samples of TaskContext::validation from the training set itself.
  bool splits = false;
};
std::span<const TaskEntry> task_table();

/// The path from the directory, unless it is absolute.
std::string path_from(const std::string& directory, const std::string& path);

}  // namespace ness
