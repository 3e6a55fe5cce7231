// The subcommands there are. Adding one: its file, and its row in subcommands.cpp.
#pragma once

#include <span>

#include "command.hpp"

namespace ness {

/// A row of the table.
struct Subcommand {
  const char* name;     ///< as it is typed
  const char* summary;  ///< its line in the help
  /// Says which options it has and what it does. `command` lives as long as the process.
  void (*declare)(Options& line, const Command& command);
};

/// In the order of the help.
std::span<const Subcommand> subcommands();

/// A program of these subcommands, from its command line to its exit code. One at a time: it answers the
/// process's signals.
int run_command(std::span<const Subcommand> table, int argc, const char* const* argv);

}  // namespace ness
