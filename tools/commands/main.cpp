// The `ness` command.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "commands.hpp"
#include "messages.hpp"
#include "ness/files/nearest.hpp"
#include "ness/device/error.hpp"
#include "signals.hpp"

namespace {

std::string quoted_line(int argc, char** argv) {
  std::string line;
  for (int i = 0; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain = !word.empty() && word.find_first_of(" \t\n'\"\\$&|;<>()*?[]{}~#`") == std::string::npos;
    line += (i > 0 ? " " : "") + (plain ? word : "'" + word + "'");
  }
  return line;
}

/// A mistake on the command line, with the word that was probably meant.
std::string explained(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<const CLI::App*> all = app.get_subcommands([](const CLI::App*) { return true; });
  const std::vector<const CLI::App*> chosen = app.get_subcommands([](const CLI::App* sub) { return sub->parsed(); });
  const std::string help = " (ness " + (chosen.empty() ? std::string() : chosen.front()->get_name() + " ") + "--help)";
  std::vector<std::string> known;
  if (chosen.empty()) {
    for (const CLI::App* sub : all) known.push_back(sub->get_name());
  } else {
    for (const CLI::Option* option : chosen.front()->get_options()) known.push_back(option->get_single_name());
    for (std::string& name : known) name.insert(0, "--");
  }
  for (const std::string& word : app.remaining(true)) {
    if (chosen.empty() || word.starts_with("--")) {
      const std::string name = word.substr(0, word.find('=')), what = chosen.empty() ? "subcommand" : "option";
      return "unknown " + what + " '" + name + "'; " + ness::suggestion(name, known) + help;
    }
  }
  return error.what() + help;
}

constexpr const char* examples =
    "Examples:\n"
    "  ness train xor.toml                          train, and log every relaxation to xor.h5\n"
    "  ness train xor.toml --seed 7 --set optimizer.rate=0.05 --log fast.h5\n"
    "  ness train --resume xor.h5                   continue a run that was stopped or cut short\n"
    "  ness evaluate xor.h5                         loss on every set, from cold starts\n"
    "  ness replay xor.h5                           re-execute the training from its log, bit for bit\n"
    "  ness inspect xor.h5                          what the log holds, and whether it is whole\n"
    "  ness check-gradient xor.toml --estimator ep-centred\n"
    "  ness calibrate bench.h5 --out twin.toml      the twin of the device behind a log, with intervals; an experiment file again\n"
    "  ness advise xor.toml                         which estimators the device allows, and what each costs\n"
    "  ness compare xor-noisy.toml                  every estimator over many seeds, beside the twin deployed\n"
    "  ness check bench.toml                        is everything wired as the file says?\n"
    "  ness emulate bench.toml                      the instruments of a bench, emulated on TCP ports and pseudo-terminals\n"
    "  ness idn TCPIP::10.0.0.7::5025::SOCKET       who is there\n"
    "  ness query ASRL/dev/ttyUSB0 ':READ?'         one message, its reply, the error queue\n"
    "  ness safe bench.toml                         every output of a bench to its safe level, then off\n"
    "  ness sweep bench.toml --from a --to b --range -0.5 0.5   the I-V curve of an edge, and its NDC\n"
    "  ness solve net.json --clamp 0,3 --json       one steady state, with 17 digits\n"
    "\n"
    "`ness SUBCOMMAND --help` says more. Progress and messages go to standard error, results to standard output.\n"
    "Exit codes: 0 done, 1 failed, 2 the command line or an input file is wrong, 130 stopped by a signal.";

int run(int argc, char** argv) {
  using namespace ness;
  StopOnSignal signals;
  Command command;
  command.stop = signals.token();
  command.live = [&signals](bool on) { signals.live(on); };
  command.line = quoted_line(argc, argv);

  CLI::App app(
      "Ness trains physical networks in place: it imposes inputs, waits until the network has settled, reads it, learns,\n"
      "and writes every relaxation to an HDF5 log. The network is simulated, or stands on a bench of instruments; TOML files describe both.",
      "ness");
  app.set_version_flag("--version", std::string("ness ") + NESS_VERSION);
  app.require_subcommand(1);
  app.footer(examples);
  app.get_formatter()->column_width(34);
  add_train(app, command);
  add_evaluate(app, command);
  add_replay(app, command);
  add_check_gradient(app, command);
  add_calibrate(app, command);
  add_advise(app, command);
  add_compare(app, command);
  add_inspect(app, command);
  add_solve(app, command);
  add_check(app, command);
  add_emulate(app, command);
  add_idn(app, command);
  add_query(app, command);
  add_list(app, command);
  add_safe(app, command);
  add_sweep(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    if (argc == 1) {
      std::printf("%s", app.help().c_str());
      return ExitCode::misuse;
    }
    complain(explained(app, error));
    return ExitCode::misuse;
  }
  if (!command.heeds_stop) signals.leave_at_first();
  try {
    const int code = command.run();
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

int main(int argc, char** argv) {
  ness::start_messages();
  return run(argc, argv);
}
