// Runs and their logs: what a log says of a run before the first row, and how a run is rebuilt from it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ness/files/experiment.hpp"
#include "ness/record/log.hpp"
#include "ness/training/trainer.hpp"
#include "ness/runs/run.hpp"

namespace ness {

LogHeader log_header(const Experiment& experiment, Run& run, const std::string& command);

/// What a run of this program says of it: names and versions.
std::vector<std::pair<std::string, std::string>> program_versions();

/// The task as a log holds it, with the usual loss of its targets; null where a set is not whole in it
/// (RecordedSet::whole), and for logs before format 6. Throws LogError where a set is not what its digest
/// says.
std::shared_ptr<const Task> task_of(const LogReader& log);

/// The experiment a log was made by, from the text in it, with the data in it. Where a set is not whole in
/// it, or `options` sets a key of [task], data are read from files: looked for where `options` says, else
/// where the log found them; what is not as logged is refused, unless a key of [task] is set. Throws
/// FileError or LogError, naming the log.
Experiment experiment_of(const LogReader& log, LoadOptions options = {});

/// A parameter vector that a log holds, and the step it stands before.
struct LoggedTheta {
  Vector theta;
  std::uint64_t step = 0;
  std::string kind;  ///< "last", "best", "checkpoint" or "step"
  std::string what;  ///< "the last, after 600 steps", "checkpoint 12, after 120 of 600 steps"
  Best best;         ///< of the best ones
};
/// The last checkpoint's, or the numbered one's. Throws LogError where there is none.
LoggedTheta logged_theta(const LogReader& log, std::optional<std::uint64_t> checkpoint = {});
/// What the best parameters were chosen by, and the step they stand before; BestBy::none where there are none
/// (in a log before format 5: where nothing was validated).
Best logged_best(const LogReader& log, const Experiment& experiment);
/// The best parameters (logged_best). Throws LogError where there are none, or the log holds no vector of
/// them.
LoggedTheta best_logged_theta(const LogReader& log, const Experiment& experiment);
/// The parameters after that many steps. Throws LogError where the log holds no vector of them.
LoggedTheta step_logged_theta(const LogReader& log, std::uint64_t step);
/// The checkpoint that holds the parameters after that many steps; nothing where none does.
std::optional<std::uint64_t> checkpoint_at(const LogReader& log, std::uint64_t step);

/// Gives the trainer back where each training sample settled last before step `step`. Throws LogError where
/// the rows hold the outputs alone.
void remember_from(const LogReader& log, std::uint64_t step, std::uint64_t samples, Trainer& trainer);

/// Makes this process compute with the vector target that the log was written with, so that equal bits may be
/// expected. Returns what stands against that, or nothing.
std::string use_recorded_target(const LogReader& log);

/// Hexadecimal, as digests are told.
std::string digest_text(std::uint64_t digest);

}  // namespace ness
