// ness replay: the training of a log, re-executed from it.
#include <cstdio>
#include <stdexcept>

#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/origin.hpp"
#include "messages.hpp"
#include "ness/device/error.hpp"
#include "ness/record/replay.hpp"
#include "ness/runs/session.hpp"

namespace ness {

namespace {

struct ReplayOptions : CommonOptions {
  std::string log;
  bool relax = false;
};

struct ReplayResult {
  bool equal = false;
  std::uint64_t steps = 0, rows = 0;
  std::string message;
};

/// A run that did not finish ends its replay where its rows or steps end: that is no difference.
bool at_the_end(const LogReader& log, std::uint64_t next_row, std::uint64_t steps) {
  return log.status() != ExitStatus::finished && next_row == log.rows() && steps >= log.steps();
}

ReplayResult replay_log(const LogReader& log, const Experiment& experiment, bool quiet, bool relax,
                        std::stop_token stop) {
  Run run = relax ? prepare(experiment) : prepare(experiment, log.header().info);
  begin_as_logged(run, log.header());
  Progress progress(experiment.training.epochs, steps_per_epoch(*experiment.task, experiment.training),
                    quiet);
  Replay device(log, pattern_sets(*experiment.task), 0, relax ? &run.device() : nullptr);
  if (relax) device.relax_everything_again();
  ReplayCheck check(log);
  Session session(device, run, experiment, progress);
  session.trainer().observe(check);
  session.trainer().observe(progress);
  ReplayResult result;
  try {
    const Outcome outcome = session.run(std::nullopt, stop);
    if (outcome.cancelled()) throw Cancelled();
    result.equal = true;
  } catch (const ReplayMismatch& mismatch) {
    result.equal = at_the_end(log, device.next_row(), check.steps_compared());
    result.message = mismatch.what();
  }
  result.steps = check.steps_compared();
  result.rows = device.next_row();
  if (result.equal && (result.steps != log.steps() || result.rows != log.rows())) {
    result.equal = false;
    result.message = "re-executed " + grouped(result.steps) + " of " + grouped(log.steps()) + " steps and " +
                     grouped(result.rows) + " of " + grouped(log.rows()) +
                     " rows: the log holds more than its experiment does";
  }
  if (result.equal) result.message.clear();
  return result;
}

/// Rows of a bench cannot be made again.
void require_simulation(const LogReader& log) {
  const std::string& identity = log.header().info.identity;
  if (identity.starts_with("bench: ") || identity.starts_with("emulated bench: ")) {
    throw std::invalid_argument(log.path() + " was recorded on " +
                                (identity.starts_with("bench") ? "a bench" : "an emulated bench") +
                                ": expected no --relax, since its readings cannot be made again");
  }
}

int replay(const ReplayOptions& options, const Command& command) {
  const LogReader log(options.log);
  if (options.relax) require_simulation(log);
  if (log.outputs_only()) {
    throw LogError(options.log +
                   ": its rows hold the potentials of the outputs alone (log.rows = \"outputs\"), and the "
                   "gradients cannot be "
                   "formed again from them: nothing can be replayed");
  }
  if (const std::string doubt = use_recorded_target(log); !doubt.empty()) warn(doubt);
  LoadOptions load;
  load.data = options.data;
  const Experiment experiment = options.recorded(log, load);
  const ReplayResult result = replay_log(log, experiment, options.json, options.relax, command.stop);
  if (options.json) {
    Report json{{"log", options.log},        {"equal", result.equal},    {"status", to_string(log.status())},
                {"steps", result.steps},     {"rows", result.rows},      {"logged_steps", log.steps()},
                {"logged_rows", log.rows()}, {"message", result.message}};
    json.print_json();
  } else if (result.equal) {
    std::printf("%s: %s steps re-executed from %s rows; every parameter vector%s is bit-equal\n",
                options.log.c_str(), grouped(result.steps).c_str(), grouped(result.rows).c_str(),
                options.relax ? ", and every row relaxed again," : "");
    if (log.status() != ExitStatus::finished)
      std::printf("(the run itself did not finish: %s)\n", to_string(log.status()));
  }
  if (!result.equal) {
    complain(options.log + ": the replay differs after " + grouped(result.steps) +
             " bit-equal steps, at row " + std::to_string(result.rows) + ": " + result.message);
  }
  return result.equal ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void declare_replay(Options& line, const Command& command) {
  auto options = std::make_shared<ReplayOptions>();
  line.add("LOG", options->log, "log of a training run").required().value_name("LOG");
  line.flag("--relax", options->relax,
            "of a simulation: relax every row again, and compare it with the recorded one");
  options->add_data(line);
  options->add_threads(line);
  options->add_json(line);
  line.footer(
      "Every drive is compared with the recorded one, field by field, and answered with the recorded "
      "relaxation; every step's\n"
      "parameters are compared by digest. The first difference ends the replay with the row and what "
      "differs: exit code 1.\n"
      "What the steps were made of is in the rows: that the device gives those rows is what --relax tells, "
      "at "
      "the cost of the run.\n"
      "Equal bits are promised for the same program and vector target; the recorded target is used where "
      "this machine has it.\n"
      "\n"
      "Example:\n"
      "  ness replay xor.h5 --threads 1");
  line.action([options, &command] { return replay(*options, command); });
}

}  // namespace ness
