// From the command line to the exit code.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>

#include "messages.hpp"
#include "ness/device/error.hpp"
#include "signals.hpp"
#include "subcommands.hpp"

namespace ness {

namespace {

std::string quoted_line(int argc, const char* const* argv) {
  std::string line;
  for (int i = 0; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain =
        !word.empty() && word.find_first_of(" \t\n'\"\\$&|;<>()*?[]{}~#`") == std::string::npos;
    line += (i > 0 ? " " : "") + (plain ? word : "'" + word + "'");
  }
  return line;
}

constexpr const char* about =
    "Ness trains physical networks in place: it imposes inputs, waits until the network has settled, reads "
    "it, learns,\n"
    "and writes every relaxation to an HDF5 log. The network is simulated, or stands on a bench of "
    "instruments; TOML files describe "
    "both.";

constexpr const char* examples =
    "Examples:\n"
    "  ness train xor.toml                          train, and log every relaxation to xor.h5\n"
    "  ness train xor.toml --seed 7 --set optimizer.rate=0.05 --log fast.h5\n"
    "  ness train --resume xor.h5                   continue a run that was stopped or cut short\n"
    "  ness evaluate xor.h5                         loss on every set, from cold starts\n"
    "  ness replay xor.h5                           re-execute the training from its log, bit for bit\n"
    "  ness inspect xor.h5                          what the log holds, and whether it is whole\n"
    "  ness check-gradient xor.toml --estimator ep-centred\n"
    "  ness calibrate bench.h5 --out twin.toml      the twin of the device behind a log, with intervals; an "
    "experiment file again\n"
    "  ness advise xor.toml                         which estimators the device allows, and what each costs\n"
    "  ness compare xor-noisy.toml                  every estimator over many seeds, beside the twin "
    "deployed\n"
    "  ness check bench.toml                        is everything wired as the file says?\n"
    "  ness emulate bench.toml                      the instruments of a bench, emulated on TCP ports and "
    "pseudo-terminals\n"
    "  ness idn TCPIP::10.0.0.7::5025::SOCKET       who is there\n"
    "  ness query ASRL/dev/ttyUSB0 ':READ?'         one message, its reply, the error queue\n"
    "  ness safe bench.toml                         every output of a bench to its safe level, then off\n"
    "  ness sweep bench.toml --from a --to b --range -0.5 0.5   the I-V curve of an edge, and its NDC\n"
    "  ness solve net.json --clamp 0,3 --json       one steady state, with 17 digits\n"
    "\n"
    "`ness SUBCOMMAND --help` says more. Progress and messages go to standard error, results to standard "
    "output.\n"
    "Exit codes: 0 done, 1 failed, 2 the command line or an input file is wrong, 130 stopped by a signal.";

/// Runs it; what it throws decides the exit code.
int ended(const Options::Action& action) {
  try {
    const int code = action();
    // Results that nobody could be given are no success.
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    complain(std::string("standard output could not be written: ") + std::strerror(errno));
    return code == ExitCode::success ? ExitCode::failure : code;
  } catch (const Cancelled&) {
    complain("stopped on request");
    return ExitCode::cancelled;
  } catch (const FileError& error) {
    complain(error.what());
    return ExitCode::misuse;
  } catch (const std::invalid_argument& error) {
    complain(error.what());
    return ExitCode::misuse;
  } catch (const std::bad_alloc&) {
    complain("out of memory");
    return ExitCode::failure;
  } catch (const std::exception& error) {
    complain(error.what());
    return ExitCode::failure;
  }
}

}  // namespace

int run_command(std::span<const Subcommand> table, int argc, const char* const* argv) {
  StopOnSignal signals;
  Command command;
  command.stop = signals.token();
  command.live = [&signals](bool on) { signals.live(on); };
  command.leave_at_first = [&signals] { signals.leave_at_first(); };
  command.line = quoted_line(argc, argv);

  CommandLine line("ness", about, std::string("ness ") + NESS_VERSION, examples);
  std::vector<Options> options;  // until the line is parsed
  options.reserve(table.size());
  for (const Subcommand& row : table)
    row.declare(options.emplace_back(line.subcommand(row.name, row.summary)), command);
  const CommandLine::Parsed parsed = line.parse(argc, argv);
  if (std::holds_alternative<CommandLine::Answered>(parsed)) return ExitCode::success;
  if (const auto* nothing = std::get_if<CommandLine::Nothing>(&parsed)) {
    std::printf("%s", nothing->help.c_str());
    return ExitCode::misuse;
  }
  if (const auto* mistake = std::get_if<CommandLine::Mistake>(&parsed)) {
    complain(mistake->message);
    return ExitCode::misuse;
  }
  return ended(std::get<Options::Action>(parsed));
}

}  // namespace ness
