// ness evaluate: losses and accuracies of what was learned, from cold starts.
#include <cstdio>

#include "bench_run.hpp"
#include "command.hpp"
#include "results.hpp"
#include "common_options.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/runs/bench_record.hpp"
#include "ness/runs/changes.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/origin.hpp"
#include "messages.hpp"
#include "ness/device/digest.hpp"
#include "ness/device/error.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/record/recorder.hpp"
#include "ness/runs/progress.hpp"

namespace ness {

namespace {

struct EvaluateOptions : CommonOptions, BenchOptions {
  std::string trained, log;
  std::vector<std::string> changed;  // keys of the bench file that may differ from the log's
  std::optional<std::uint64_t> checkpoint;
  std::optional<std::uint64_t> step;
  bool best = false, last = false;
};

LoggedTheta chosen(const LogReader& log, const Experiment& experiment, const EvaluateOptions& options) {
  if (options.best) return best_logged_theta(log, experiment);
  if (options.step) return step_logged_theta(log, *options.step);
  return logged_theta(log, options.checkpoint);
}

/// The bench file of --bench, or the one that the log holds.
BenchFile bench_of(const LogReader& trained, const Experiment& experiment, const EvaluateOptions& options) {
  if (!options.bench.empty()) return load_bench(options.bench);
  const std::optional<BenchRecord> held = last_bench(trained.header());
  if (!held)
    throw std::invalid_argument(options.trained +
                                ": holds no bench: --device bench and emulated need --bench FILE, which says "
                                "what is wired to what");
  const std::string path = held->path + " (as " + options.trained + " holds it)";
  const Platform platform = experiment.platform->made(experiment.seed, experiment.threads);
  const std::shared_ptr<const sim::Network> network = network_of(platform);
  if (!network)
    throw std::invalid_argument(path +
                                ": what the experiment describes is no network; expected --bench FILE");
  return bench_from_text(held->text, path, network->spec());
}

Run prepared(const LogReader& trained, const Experiment& experiment, const EvaluateOptions& options) {
  if (options.device != DeviceKind::simulation)
    return prepare(experiment, bench_of(trained, experiment, options), options.device,
                   transcript_to(options.transcript));
  for (const auto& [given, name] : {std::pair{!options.bench.empty(), "--bench"},
                                    {!options.transcript.empty(), "--transcript"},
                                    {!options.changed.empty(), "--changed"}}) {
    if (given) throw std::invalid_argument(std::string(name) + " belongs to --device bench or emulated");
  }
  return prepare(experiment);
}

/// Refuses to measure on another bench than that of the run, as --resume does; of a rehearsal it is reported
/// what differs. Called before anything is switched on, and when the instruments have said what they are.
void compare_benches(const LogReader& trained, const Run& run, const EvaluateOptions& options) {
  std::optional<BenchRecord> then = last_bench(trained.header());
  if (!then) {
    if (!options.changed.empty())
      throw std::invalid_argument("--changed: " + options.trained + " holds no bench to compare with");
    return;
  }
  BenchRecord now = bench_record(run);
  const bool asked = !now.instruments.empty();
  // Emulated instruments are others by their nature.
  if (recorded_kind(trained) != options.device) then->instruments.clear();
  if (options.device == DeviceKind::bench) {
    Changes changes;
    changes.bench = bench_differences(*then, now);
    const std::vector<std::string> allowed =
        require_unchanged(changes, options.changed, options.trained, !asked);
    if (!asked) return;
    for (const std::string& line : allowed) warn(line);
  } else if (!asked) {
    for (const Difference& one : bench_differences(*then, now)) warn("the bench differs: " + one.text());
  }
}

/// On what it was evaluated, in a sentence's part.
std::string place_of(const LogReader& trained, const Run& run) {
  if (run.bench.bench) return "on " + run.bench.bench->info().identity;
  if (recorded_kind(trained) == DeviceKind::simulation) return "on the simulation of the log's network";
  return "on the simulated network, not on the bench that the run was made on; --device bench or emulated "
         "evaluates there";
}

const char* name_of(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::simulation: return "simulation";
    case DeviceKind::bench: return "bench";
    case DeviceKind::emulated: return "emulated";
  }
  return "unknown";
}

struct Evaluated {
  std::vector<SetEvaluation> sets;
  SafeReport safe;
};

/// Evaluates, and makes the bench safe on every way out.
Evaluated evaluated(Run& run, const Experiment& experiment, const LoggedTheta& theta,
                    const EvaluateOptions& options, const Command& command, Progress& progress) {
  std::optional<LogWriter> log;
  std::optional<Recorder> recorder;
  if (!options.log.empty()) {
    LogOptions rows = experiment.log;
    if (options.device == DeviceKind::bench) rows.group_rows = 1;
    log.emplace(options.log, log_header(experiment, run, command.line), rows);
    recorder.emplace(run.device(), *log);
  }
  Device& device = recorder ? static_cast<Device&>(*recorder) : run.device();
  const auto say = [&](const std::string& line) { progress.say(line); };
  const auto end = [&](SafeProfile profile, ExitStatus status, const std::string& reason) {
    SafeReport safe;
    if (run.bench.bench) safe = leave(device, profile);
    if (log) {
      record_settings_at_end(*log, run);
      log->close(status, reason + (safe.safe ? "" : "; " + safe.message()));
    }
    return safe;
  };
  Evaluated result;
  try {
    result.sets = evaluate_sets(device, theta.theta, experiment, true, theta.step, command.stop, say);
  } catch (const LogError&) {
    if (run.bench.bench) leave(device, SafeProfile::emergency);
    throw;
  } catch (const Cancelled&) {
    end(SafeProfile::cancel, ExitStatus::cancelled, "stopped on request");
    throw;
  } catch (const std::exception& error) {
    end(SafeProfile::emergency, ExitStatus::failed, error.what());
    throw;
  }
  result.safe =
      end(SafeProfile::stop, ExitStatus::finished, "evaluated " + options.trained + ", " + theta.what);
  return result;
}

int evaluate_log(const EvaluateOptions& options, const Command& command) {
  if (!options.log.empty()) refuse_existing_log(options.log, "choose another name with --log FILE");
  const LogReader trained(options.trained);
  if (const std::string doubt = use_recorded_target(trained); !doubt.empty()) warn(doubt);
  const Experiment experiment = options.recorded(trained, options.load());
  LoggedTheta theta = chosen(trained, experiment, options);
  const LiveBench live(command, options.device == DeviceKind::bench);  // goes last
  Run run = prepared(trained, experiment, options);
  if (theta.theta.size() != run.theta.size()) {
    throw std::invalid_argument(options.trained + ": holds " + std::to_string(theta.theta.size()) +
                                " parameters; the network as set now has " +
                                std::to_string(run.theta.size()));
  }
  const Leaving leaving{run};
  if (run.bench.bench) {
    theta.theta = theta_for(run, trained.header().info, theta.theta, options.trained);
    compare_benches(trained, run, options);
    start(run, options, command);
    require_right_bench(run, options, command);
    compare_benches(trained, run, options);
  }
  const TerminalName name = [&run](std::uint32_t terminal) { return run.terminal_name(terminal); };
  Progress progress(1, 1, options.json);
  const auto [evaluations, safe] = evaluated(run, experiment, theta, options, command, progress);
  const std::string place = place_of(trained, run);
  if (options.json) {
    Report result = report_of(evaluations, name);
    result["log"] = options.trained;
    result["device"] = name_of(options.device);
    result["evaluated"] = place;
    if (run.bench.bench) result["safe"] = safe.safe;
    result["parameters"] = theta.kind;
    result["step"] = theta.step;
    if (theta.best.by != BestBy::none)
      result["best"] = {
          {"by", to_string(theta.best.by)}, {"loss", theta.best.loss}, {"step", theta.best.step}};
    result["theta_digest"] = digest_text(digest(theta.theta));
    result.print_json();
  } else {
    std::printf("%s, parameters %s, %s:\n%s", options.trained.c_str(), theta.what.c_str(), place.c_str(),
                text_of(evaluations, name).c_str());
  }
  return safe.safe ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void declare_evaluate(Options& line, const Command& command) {
  auto options = std::make_shared<EvaluateOptions>();
  line.add("LOG", options->trained, "log of a training run").required().value_name("LOG");
  const Option best = line.flag("--best", options->best,
                                "the best parameters: by the validation loss, or without a validation set by "
                                "the training loss of an epoch");
  const Option last = line.flag("--last", options->last, "the last parameters: the default").excludes(best);
  const Option checkpoint =
      line.add("--checkpoint", options->checkpoint, "the parameters of this checkpoint, from 0")
          .value_name("K")
          .excludes(best)
          .excludes(last);
  line.add("--step", options->step, "the parameters after this many steps")
      .value_name("N")
      .excludes(best)
      .excludes(last)
      .excludes(checkpoint);
  line.add("--log", options->log, "log the relaxations of this evaluation too").value_name("FILE");
  options->add_bench(line,
                     "the bench file of --device bench or emulated; default: the one that the log holds",
                     "evaluate on a bench without checking first that its cables are where its file says");
  line.add("--changed", options->changed,
           "on a bench: keys of its file, or instruments.NAME.identity, that may differ from those of the "
           "log; a table's name stands for all its keys")
      .value_name("KEYS")
      .comma_separated()
      .one_at_a_time();
  options->add_set(line);
  options->add_data(line);
  options->add_threads(line);
  options->add_json(line);
  line.footer(
      "The experiment is rebuilt from the text in the log; --set changes it, so that trained parameters can "
      "be tried on\n"
      "another device. It is simulated unless --device says otherwise, whatever the run was made on.\n"
      "Samples without a steady state count as wrong in the accuracy, are left out of the loss, and are told "
      "as \"failures\".\n"
      "\n"
      "Examples:\n"
      "  ness evaluate mnist.h5 --json\n"
      "  ness evaluate mnist.h5 --best\n"
      "  ness evaluate in-situ.h5 --device bench\n"
      "  ness evaluate mnist.h5 --set device.read_noise=0.01");
  line.action([options, &command] { return evaluate_log(*options, command); });
}

}  // namespace ness
