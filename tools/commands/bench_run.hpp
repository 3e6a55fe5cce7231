// A run on a bench: what the commands that make one share.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "command.hpp"
#include "live_bench.hpp"
#include "ness/bench/bench_check.hpp"
#include "ness/record/log.hpp"
#include "ness/runs/run.hpp"
#include "options.hpp"

namespace ness {

/// Where a command runs.
struct BenchOptions {
  DeviceKind device = DeviceKind::simulation;
  std::string bench, transcript;
  bool check = true;

  /// --device, --bench, --transcript, --no-check; `bench_of`: which file --bench is.
  void add_bench(Options& line, const std::string& bench_of, const std::string& unchecked);
};

/// What a run was recorded on.
DeviceKind recorded_kind(const LogReader& log);

/// Every message of every session, a line each, as it happens; to no file: nothing.
Transcript transcript_to(const std::string& path);

/// Makes the device safe; what is stuck is told at once, whatever else goes wrong.
SafeReport leave(Device& device, SafeProfile profile);

/// A bench that an error left before a log was there to be closed: it is safe already, or is made so, and
/// what is stuck is told.
struct Leaving {
  Run& run;
  ~Leaving() {
    if (run.bench.bench) leave(*run.bench.bench, SafeProfile::emergency);
  }
};

/// Switches the bench on before there is a log: what cannot be reached, or is not what it should be, is found
/// here. Asks the instruments for their settings. Nothing happens in simulation.
void start(Run& run, const BenchOptions& options, const Command& command);

/// Refuses a bench whose cables are not where its file says. Throws std::runtime_error, the bench made safe.
void require_right_bench(Run& run, const BenchOptions& options, const Command& command);

/// Writes what the instruments say now that they are safe. Throws LogError.
void record_settings_at_end(LogWriter& log, const Run& run);

}  // namespace ness
