// ness train: trains, and logs every relaxation; continues a run that was stopped.
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "bench_run.hpp"
#include "command.hpp"
#include "results.hpp"
#include "common_options.hpp"
#include "ness/runs/bench_record.hpp"
#include "ness/runs/changes.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/origin.hpp"
#include "messages.hpp"
#include "ness/device/digest.hpp"
#include "ness/device/error.hpp"
#include "ness/record/recorder.hpp"
#include "ness/record/replay.hpp"
#include "ness/runs/session.hpp"

namespace ness {

namespace {

struct TrainOptions : CommonOptions, BenchOptions {
  std::string experiment, log, resume, from;
  std::vector<std::string> changed;  // keys in which what is there now may differ from the log
  bool quiet = false;
};

std::string shell_word(const std::string& path) {
  return path.find_first_of(" \t'\"\\$&|;<>()*?") == std::string::npos ? path : "'" + path + "'";
}

/// What the log says beside the reason.
std::string remark(const SafeReport& report) { return report.safe ? "" : "; " + report.message(); }

ExitStatus status_of(const Outcome& outcome) {
  return outcome.cancelled()        ? ExitStatus::cancelled
         : outcome.summary.failed() ? ExitStatus::failed
                                    : ExitStatus::finished;
}

/// Runs `body`, then closes the log with how it ended. Whatever goes wrong, the device is made safe and the
/// log says so, unless it is the log itself that failed: then no further call is made on it.
Outcome closing(LogWriter& log, const std::string& path, Device& device, const Run& run,
                const TerminalName& name, const std::function<Outcome()>& body) {
  try {
    Outcome outcome = body();
    outcome.safe = leave(device, outcome.cancelled() ? SafeProfile::cancel : SafeProfile::stop);
    record_settings_at_end(log, run);
    log.close(status_of(outcome), outcome.summary.message(name) + remark(outcome.safe));
    return outcome;
  } catch (const LogError&) {
    leave(device, SafeProfile::emergency);
    throw;
  } catch (const Cancelled&) {
    const SafeReport safe = leave(device, SafeProfile::cancel);
    record_settings_at_end(log, run);
    log.close(ExitStatus::cancelled,
              "stopped on request while evaluating, after training had ended" + remark(safe));
    inform("training has ended, its evaluation has not; continue: " + called() + " train --resume " +
           shell_word(path));
    if (!safe.safe) throw std::runtime_error("stopped on request; " + safe.message());
    throw;
  } catch (const std::exception& error) {
    const SafeReport safe = leave(device, SafeProfile::emergency);
    record_settings_at_end(log, run);
    log.close(ExitStatus::failed, error.what() + remark(safe));
    throw;
  }
}

Report report_of(const Outcome& outcome, const std::string& log, std::uint64_t seed, double seconds,
                 const TerminalName& name) {
  const TrainingSummary& summary = outcome.summary;
  Report result;
  result["log"] = log;
  result["seed"] = seed;
  result["status"] = to_string(status_of(outcome));
  result["end"] = to_string(summary.end);
  result["epochs"] = summary.epochs;
  result["steps"] = summary.steps;
  result["relaxations"] = summary.relaxations;
  result["left_out"] = summary.left_out;
  result["skipped"] = summary.skipped;
  result["loss"] = summary.loss;
  if (summary.loss_left_out > 0) {
    result["loss_is_of_a_part"] = true;
    result["loss_samples"] = summary.loss_samples;
    result["loss_left_out"] = summary.loss_left_out;
  }
  if (!summary.never_used.empty()) result["never_used"] = summary.never_used;
  if (!summary.causes.empty()) result["left_out_for"] = left_out_text(summary.causes, name);
  result["best_validation_loss"] = summary.best_validation_loss;
  result["theta_digest"] = digest_text(digest(summary.theta));
  result["safe"] = outcome.safe.safe;
  result["seconds"] = seconds;
  if (!outcome.evaluations.empty()) result["parameters"] = "last";
  result.add_all(report_of(outcome.evaluations, name));
  if (summary.best.by != BestBy::none) {
    Report best{{"by", to_string(summary.best.by)},
                {"loss", summary.best.loss},
                {"step", summary.best.step},
                {"theta_digest", digest_text(digest(summary.best_theta))},
                {"is_last", outcome.best_is_last}};
    best.add_all(report_of(outcome.of_best, name));
    result["best"] = best;
  }
  return result;
}

/// The command that continues a run.
std::string continuation(const std::string& log, const TrainOptions& options) {
  std::string command = called() + " train --resume " + shell_word(log);
  if (options.device != DeviceKind::simulation) {
    command += std::string(" --device ") + (options.device == DeviceKind::bench ? "bench" : "emulated") +
               " --bench " + shell_word(options.bench);
  }
  return command;
}

void tell(const Outcome& outcome, const std::string& log, std::uint64_t seed, double seconds,
          const TrainOptions& options, const TerminalName& name,
          const std::vector<std::string>& warnings = {}) {
  if (outcome.summary.failed() && !outcome.cancelled())
    complain("this run has failed: " + outcome.summary.message(name));
  if (options.json) {
    Report result = report_of(outcome, log, seed, seconds, name);
    if (!warnings.empty()) result["warnings"] = warnings;
    result.print_json();
    if (outcome.cancelled()) inform("continue: " + continuation(log, options));
    return;
  }
  const std::string word = shell_word(log);
  std::printf("%s\n", outcome.summary.message(name).c_str());
  const Best& best = outcome.summary.best;
  const std::string chosen = std::string("the best parameters by ") + to_string(best.by) + " (" +
                             short_number(best.loss) + ", after " + grouped(best.step) + " steps)";
  if (!outcome.evaluations.empty()) {
    std::printf("the last parameters%s:\n%s",
                best.by == BestBy::none || !outcome.best_is_last ? "" : (", also " + chosen).c_str(),
                text_of(outcome.evaluations, name).c_str());
  }
  if (!outcome.best_is_last) {
    std::printf("%s%s\n%s", chosen.c_str(), outcome.of_best.empty() ? "" : ":",
                text_of(outcome.of_best, name).c_str());
  }
  std::printf("%s, every relaxation is in %s\n", duration_text(seconds).c_str(), log.c_str());
  if (outcome.cancelled()) {
    std::printf("continue: %s\n", continuation(log, options).c_str());
  } else {
    std::printf("next:\n");
    for (const auto& [subcommand, what] : {std::pair{"inspect", "what the log holds"},
                                           {"evaluate",
                                            "loss on every set, from cold starts; --best: of the best "
                                            "parameters"},
                                           {"replay", "the training again from its log, bit for bit"}}) {
      std::printf("  %s %-8s %s    # %s\n", called().c_str(), subcommand, word.c_str(), what);
    }
  }
}

int exit_code(const Outcome& outcome) {
  return !outcome.safe.safe         ? ExitCode::failure
         : outcome.cancelled()      ? ExitCode::cancelled
         : outcome.summary.failed() ? ExitCode::failure
                                    : ExitCode::success;
}

Run prepared(const Experiment& experiment, const TrainOptions& options) {
  const bool simulated = options.device == DeviceKind::simulation;
  if (simulated != options.bench.empty()) {
    throw std::invalid_argument(
        simulated ? "--bench belongs to --device bench or emulated"
                  : "--device bench and emulated need --bench FILE, which says what is wired to what");
  }
  if (simulated && !options.transcript.empty())
    throw std::invalid_argument("--transcript belongs to --device bench or emulated");
  return simulated ? prepare(experiment)
                   : prepare(experiment, load_bench(options.bench), options.device,
                             transcript_to(options.transcript));
}

/// How rows are kept together. On a bench each is in the file before the next relaxation begins.
LogOptions log_options(const Experiment& experiment, const TrainOptions& options) {
  LogOptions log = experiment.log;
  if (options.device == DeviceKind::bench) log.group_rows = 1;
  return log;
}

int train(const TrainOptions& options, const Command& command) {
  const std::string path =
      options.log.empty() ? std::filesystem::path(options.experiment).stem().string() + ".h5" : options.log;
  refuse_existing_log(path, "choose another name with --log FILE, or continue that run: " + called() +
                                " train --resume " + shell_word(path));
  const Experiment experiment = options.with_threads(load_experiment(options.experiment, options.load()));
  const LiveBench live(command, options.device == DeviceKind::bench);  // goes last
  Run run = prepared(experiment, options);
  std::optional<LogOrigin> from;
  if (!options.from.empty()) {
    from = origin_of(options.from, run);
    run.theta = from->theta;
  }
  Progress progress(experiment.training.epochs, steps_per_epoch(*experiment.task, experiment.training),
                    options.quiet);
  // Whatever does not fit is found here, before there is a log.
  Session(run.device(), run, experiment, progress);
  std::vector<std::string> warnings;
  if (!told_mistakes(experiment, run, &warnings)) return ExitCode::misuse;
  const Leaving leaving{run};
  start(run, options, command);
  require_right_bench(run, options, command);

  LogHeader header = log_header(experiment, run, command.line);
  header.from = from;
  LogWriter log(path, header, log_options(experiment, options));
  Recorder recorder(run.device(), log);
  Session session(recorder, run, experiment, progress);
  session.trainer().observe(recorder);
  session.trainer().observe(progress);
  const TerminalName name = [&run](std::uint32_t terminal) { return run.terminal_name(terminal); };
  progress.watch(name);
  const Outcome outcome =
      closing(log, path, recorder, run, name, [&] { return session.run(std::nullopt, command.stop); });
  progress.end();
  tell(outcome, path, experiment.seed, progress.seconds(), options, name, warnings);
  return exit_code(outcome);
}

/// What stands against continuing a log; throws LogError.
void check_resumable(const LogReader& log, const Experiment& experiment, std::uint64_t first_row) {
  if (log.outputs_only() &&
      (log.rows() > first_row || experiment.training.start == TrainingOptions::StartFrom::last)) {
    throw LogError(log.path() +
                   ": its rows hold the outputs alone (log.rows = \"outputs\"), from which the steps since "
                   "the last checkpoint "
                   "cannot be formed again: this run cannot be continued");
  }
}

int tell_finished(const LogReader& log, const TrainOptions& options) {
  const std::string message =
      log.path() + " is of a run that has finished (" + log.reason() + "): there is nothing to continue";
  if (options.json) {
    Report{{"log", log.path()}, {"status", "finished"}, {"message", message}}.print_json();
  } else {
    std::printf("%s\n", message.c_str());
  }
  return ExitCode::success;
}

/// From the last checkpoint: what was done after it is done again from the recorded rows; where they end, the
/// device goes on.
int resume(const TrainOptions& options, const Command& command) {
  const std::string& path = options.resume;
  std::optional<Experiment> experiment;
  std::optional<Checkpoint> checkpoint;
  Changes changes;
  {
    const LogReader log(path);
    if (log.status() == ExitStatus::finished) return tell_finished(log, options);
    const DeviceKind recorded = recorded_kind(log);
    if (recorded != options.device) {
      throw std::invalid_argument(
          path + " was recorded " +
          (recorded == DeviceKind::simulation
               ? "in simulation: expected no --device and --bench"
               : std::string("on ") +
                     (recorded == DeviceKind::bench ? "a bench: expected --device bench"
                                                    : "an emulated bench: expected --device emulated") +
                     " and --bench, as it was begun with"));
    }
    if (const std::string doubt = use_recorded_target(log); !doubt.empty()) warn(doubt);
    LoadOptions load;
    load.data = options.data;
    experiment = options.recorded(log, load);
    if (log.checkpoints() > 0) checkpoint = log.checkpoint(log.checkpoints() - 1);
    check_resumable(log, *experiment, checkpoint ? checkpoint->relaxations : 0);
    changes = changes_since(log, experiment->task, options.data);
  }
  for (const std::string& note : changes.notes) warn(note);
  if (experiment->training.start == TrainingOptions::StartFrom::present) {
    warn(
        "training.start = \"present\": the device's state of then is gone, so the continued run is not bit "
        "for bit what it "
        "would have been");
  }
  if (options.device != DeviceKind::simulation) {
    warn(
        "a bench has no state to restore: the continued run goes on from the last checkpoint's parameters, "
        "and is not bit for bit what it would have been");
  }
  const LiveBench live(command, options.device == DeviceKind::bench);  // goes last
  Run run = prepared(*experiment, options);
  begin_as_logged(run, LogReader(path).header());
  const std::uint64_t first_row = checkpoint ? checkpoint->relaxations : 0,
                      first_step = checkpoint ? checkpoint->step : 0;
  Progress progress(experiment->training.epochs, steps_per_epoch(*experiment->task, experiment->training),
                    options.quiet, first_step);

  // Before anything is switched on.
  const std::optional<BenchRecord> then = last_bench(LogReader(path).header());
  const bool compares = then && run.bench.bench;
  if (compares) changes.bench = bench_differences(*then, bench_record(run));
  require_unchanged(changes, options.changed, path, compares);
  // The writer first: it keeps out another that may still be at this log, and at these instruments; and it
  // trims the log to what is counted, which the reader then sees.
  LogWriter log(path, LogWriter::Continue{}, log_options(*experiment, options));
  const Leaving leaving{run};
  start(run, options, command);
  require_right_bench(run, options, command);
  // Now with what the instruments answered.
  if (compares) changes.bench = bench_differences(*then, bench_record(run));
  for (const std::string& line : require_unchanged(changes, options.changed, path)) warn(line);
  const LogReader recorded(path);
  Recorder recorder(run.device(), log);
  Replay replay(recorded, pattern_sets(*experiment->task), first_row, &recorder);
  replay.report_other_bits([](const std::string& difference) {
    warn(difference + ": the continued run is not bit for bit what it would have been");
  });
  ReplayCheck check(recorded, first_step, &recorder);
  // Of rows that hold the outputs alone none is answered again (check_resumable): the device that goes on is
  // the one the run was begun with, with all it can read.
  Device& device = recorded.outputs_only() ? static_cast<Device&>(recorder) : replay;
  Session session(device, run, *experiment, progress);
  session.trainer().observe(check);
  session.trainer().observe(progress);
  progress.say("continuing " + path + " after " + grouped(first_step) + " steps");
  const TerminalName name = [&run](std::uint32_t terminal) { return run.terminal_name(terminal); };
  progress.watch(name);
  if (run.bench.bench) {
    BenchContinuation now{bench_record(run), recorded.rows(), {}, {}};
    if (then) {
      for (const Difference& one : bench_differences(*then, now.bench)) now.differences.push_back(one.text());
    }
    log.bench_now(now);
  }
  const Outcome outcome = closing(log, path, recorder, run, name, [&] {
    if (experiment->training.start == TrainingOptions::StartFrom::last) {
      remember_from(recorded, first_step, experiment->task->train.size(), session.trainer());
    }
    return session.run(checkpoint, command.stop);
  });
  progress.end();
  tell(outcome, path, experiment->seed, progress.seconds(), options, name);
  return exit_code(outcome);
}

}  // namespace

void declare_train(Options& line, const Command& command) {
  auto options = std::make_shared<TrainOptions>();
  const Option experiment =
      line.add("EXPERIMENT", options->experiment, "experiment file (TOML)").value_name("FILE");
  const Option log =
      line.add("--log", options->log, "the log to write; default: the experiment's name with .h5, here")
          .value_name("FILE");
  Option resumed = line.add("--resume", options->resume, "continue the run of this log where it stopped")
                       .value_name("LOG");
  const Option from =
      line.add("--from", options->from,
               "begin with the parameters of this log, matched by name, instead of the experiment's own: its "
               "last, its best, or those after some steps")
          .value_name("LOG[@last|@best|@STEP]");
  options->add_bench(line, "the bench file of --device bench or emulated",
                     "train on a bench without checking first that its cables are where its file says");
  line.add("--changed", options->changed,
           "with --resume: what may differ from the log; keys of the experiment or bench file, "
           "data.SET.inputs "
           "or .targets, instruments.NAME.identity, versions.NAME; a table's name stands for all its keys. "
           "The run goes on as it was logged, on the bench and by the program of now")
      .value_name("KEYS")
      .comma_separated()
      .one_at_a_time();
  options->add_set(line);
  options->add_data(line);
  options->add_threads(line);
  options->add_json(line);
  line.flag("--quiet,-q", options->quiet, "no progress");
  resumed.excludes(experiment).excludes(log).excludes(from).excludes("--set").excludes("--seed");
  line.footer(
      "Ctrl-C ends the run cleanly: the log is closed, and the run can be continued with --resume; in "
      "simulation bit for bit as if\n"
      "it had not been interrupted. So can a run whose process was killed. A second Ctrl-C leaves at once, "
      "but never a live bench.\n"
      "\n"
      "The last parameters are evaluated, and the best ones where they are others: by the validation set, "
      "else "
      "by the training loss\n"
      "of an epoch; never by the test set. Exit code 1 if some sample could never be used: what was "
      "minimised "
      "is then not the\n"
      "loss of the task.\n"
      "\n"
      "Examples:\n"
      "  ness train xor.toml\n"
      "  ness train xor-bench.toml --device emulated --bench bench-emulated.toml\n"
      "  ness train mnist.toml --data ~/data --set training.epochs=3 --log short.h5 --json\n"
      "  ness train --resume short.h5\n"
      "  ness train xor-bench.toml --from twin.h5@best --device bench --bench bench.toml");
  line.demand([options] {
    const bool any = !options->resume.empty() || !options->experiment.empty();
    return any ? std::string() : "an experiment file, or --resume LOG";
  });
  line.action([options, &command] {
    return options->resume.empty() ? train(*options, command) : resume(*options, command);
  });
}

}  // namespace ness
