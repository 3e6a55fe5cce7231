// The subcommands: each in a file of its own, which adds itself to the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/files/experiment.hpp"

namespace ness {

/// How the command ends.
struct ExitCode {
  static constexpr int success = 0;
  static constexpr int failure = 1;     ///< it went wrong, or the answer is no
  static constexpr int misuse = 2;      ///< the command line, an experiment or a data file is wrong
  static constexpr int cancelled = 130; ///< stopped by a signal, ended cleanly
};

/// What the parsed command line asks for: the chosen subcommand sets `run`.
struct Command {
  std::function<int()> run;
  std::stop_token stop;
  std::function<void(bool)> live;  ///< told when a bench goes live, and when it is safe again
  bool heeds_stop = true;  ///< false: nothing is imposed or written, and the first signal may leave at once
  std::string line;  ///< as it was typed, for the log
};

void add_train(CLI::App& app, Command& command);
void add_evaluate(CLI::App& app, Command& command);
void add_replay(CLI::App& app, Command& command);
void add_check(CLI::App& app, Command& command);
void add_check_gradient(CLI::App& app, Command& command);
void add_calibrate(CLI::App& app, Command& command);
void add_inspect(CLI::App& app, Command& command);
void add_solve(CLI::App& app, Command& command);
void add_emulate(CLI::App& app, Command& command);
void add_idn(CLI::App& app, Command& command);
void add_query(CLI::App& app, Command& command);
void add_list(CLI::App& app, Command& command);
void add_safe(CLI::App& app, Command& command);
void add_sweep(CLI::App& app, Command& command);
void add_compare(CLI::App& app, Command& command);
void add_advise(CLI::App& app, Command& command);

/// Options that several subcommands share, worded once.
struct CommonOptions {
  std::vector<std::string> set;
  std::optional<std::uint64_t> seed;
  std::string data;
  unsigned threads = 0;
  bool json = false;

  void add_set(CLI::App& app);
  void add_data(CLI::App& app);
  void add_threads(CLI::App& app);
  void add_json(CLI::App& app);
  LoadOptions load() const { return {set, seed, data, {}}; }
  /// `experiment` with --threads.
  Experiment with_threads(Experiment experiment) const {
    if (threads > 0) experiment.simulation.threads = threads;
    return experiment;
  }
};

/// Throws LogError unless nothing is at `path` yet.
void refuse_existing_log(const std::string& path, const std::string& advice);

}  // namespace ness
