// What has changed since a log was begun: experiment, data, program, bench.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ness/files/differences.hpp"
#include "ness/record/log.hpp"
#include "ness/training/dataset.hpp"

namespace ness {

/// Differences between what a log's run was made with and what is there now.
struct Changes {
  std::vector<Difference> bench;       ///< bench_differences
  std::vector<Difference> experiment;  ///< keys of the experiment
  std::vector<Difference> data;        ///< "data.train.targets"
  std::vector<Difference> program;     ///< "versions.ness", "device.arithmetic"
  std::vector<std::string> notes;      ///< what could not be compared, a sentence each
};

/// Where the sets of a task are not those that the log's run was made with: "data.train.rows", ".inputs" and
/// ".targets", each with the first sample that differs, by file and line where they are known; "data.train"
/// where the log holds its digest alone. None for logs before format 6.
std::vector<Difference> data_differences(const LogReader& log, const Task& now);

/// Versions, and the vector target of the arithmetic (the process computes with the log's where it can:
/// use_recorded_target).
std::vector<Difference> program_differences(const LogReader& log);

/// What differs from the log, but for the bench: the experiment file is read again as it was then (the keys
/// set beside it too), with its data. A file that is gone, or is none that can be read twice, is not
/// compared. `data`: the root of data directories, instead of that of then. `logged`: the task of the log
/// (Experiment::task), by which keys are compared where the data cannot be read.
Changes changes_since(const LogReader& log, const std::shared_ptr<const Task>& logged,
                      const std::string& data = {});

/// Refuses to go on with a run under changes that are not `allowed` by name, or by the name of a table that
/// holds the key. Returns those that were allowed, a sentence each. Throws FileError naming `log`, every key
/// that is not allowed, both values, and how to allow it; where a name allows nothing, that name (unless
/// more may be found: the instruments of a bench have not been asked yet).
std::vector<std::string> require_unchanged(const Changes& changes, std::span<const std::string> allowed,
                                           const std::string& log, bool more_may_be_found = false);

}  // namespace ness
