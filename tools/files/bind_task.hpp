// [task] and [loss] of an experiment file.
#pragma once

#include <memory>
#include <string>

#include "ness/training/dataset.hpp"
#include "ness/files/toml_table.hpp"

namespace ness {

struct DataPlaces {
  std::string directory;  ///< of the experiment file: where relative paths start
  std::string data;       ///< LoadOptions::data
  std::string recorded;   ///< LoadOptions::recorded_data
};

/// Reads the task and its data. Throws FileError. Relative names of CSV files become absolute in `document`, so that its text
/// can be read again from anywhere.
std::shared_ptr<const Task> read_task(Table& root, const DataPlaces& places, Document& document);

/// The path from the directory, unless it is absolute.
std::string path_from(const std::string& directory, const std::string& path);

}  // namespace ness
