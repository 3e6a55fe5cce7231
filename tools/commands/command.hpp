// What the subcommands know of the process they run in, and how they end it.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "options.hpp"

namespace ness {

/// How the command ends.
struct ExitCode {
  static constexpr int success = 0;
  static constexpr int failure = 1;      ///< it went wrong, or the answer is no
  static constexpr int misuse = 2;       ///< the command line, an experiment or a data file is wrong
  static constexpr int cancelled = 130;  ///< stopped by a signal, ended cleanly
};

/// The process.
struct Command {
  std::stop_token stop;
  std::function<void(bool)> live;        ///< to be called when a bench goes live, and when it is safe again
  std::function<void()> leave_at_first;  ///< to be called where nothing is imposed or written: the first
                                         ///< signal may then leave at once
  std::string line;                      ///< as it was typed, for the log
};

}  // namespace ness
