// Options that several subcommands share, worded once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ness/files/experiment.hpp"
#include "ness/runs/run.hpp"
#include "options.hpp"

namespace ness {

/// Of commands that read an experiment.
struct CommonOptions {
  std::vector<std::string> set;
  std::optional<std::uint64_t> seed;
  std::string data;
  unsigned threads = 0;
  bool json = false;

  void add_set(Options& line);
  void add_data(Options& line);
  void add_threads(Options& line);
  void add_json(Options& line);
  LoadOptions load() const { return {set, seed, data}; }
  /// The experiment of a log, with --threads. Warns of what was passed over in it.
  Experiment recorded(const LogReader& log, const LoadOptions& load) const;
  /// `experiment` with --threads.
  Experiment with_threads(Experiment experiment) const {
    if (threads > 0) experiment.threads = threads;
    return experiment;
  }
};

/// Of commands that read a bench file: the file itself, and --set for its keys.
void add_bench_file(Options& line, std::string& path);
void add_set_of_bench(Options& line, std::vector<std::string>& set);

/// Tells what is wrong with an experiment (ness/runs/mistakes.hpp), a line each, before anything is trained;
/// adds the lines to `told` if given. False if some of it is refused.
bool told_mistakes(const Experiment& experiment, const Run& run, std::vector<std::string>* told = nullptr);

/// Throws LogError unless nothing is at `path` yet.
void refuse_existing_log(const std::string& path, const std::string& advice);

}  // namespace ness
