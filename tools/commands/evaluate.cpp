// ness evaluate: losses and accuracies of what was learned, from cold starts.
#include <cstdio>

#include "command.hpp"
#include "results.hpp"
#include "common_options.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/runs/logged_run.hpp"
#include "messages.hpp"
#include "ness/device/digest.hpp"
#include "ness/record/recorder.hpp"
#include "ness/runs/progress.hpp"

namespace ness {

namespace {

struct EvaluateOptions : CommonOptions {
  std::string trained, log;
  std::optional<std::uint64_t> checkpoint;
  std::optional<std::uint64_t> step;
  bool best = false, last = false;
};

LoggedTheta chosen(const LogReader& log, const Experiment& experiment, const EvaluateOptions& options) {
  if (options.best) return best_logged_theta(log, experiment);
  if (options.step) return step_logged_theta(log, *options.step);
  return logged_theta(log, options.checkpoint);
}

int evaluate_log(const EvaluateOptions& options, const Command& command) {
  if (!options.log.empty()) refuse_existing_log(options.log, "choose another name with --log FILE");
  const LogReader trained(options.trained);
  if (const std::string doubt = use_recorded_target(trained); !doubt.empty()) warn(doubt);
  const Experiment experiment = options.recorded(trained, options.load());
  const LoggedTheta theta = chosen(trained, experiment, options);
  Run run = prepare(experiment);
  if (theta.theta.size() != run.theta.size()) {
    throw std::invalid_argument(options.trained + ": holds " + std::to_string(theta.theta.size()) +
                                " parameters; the network as set now has " +
                                std::to_string(run.theta.size()));
  }
  const TerminalName name = [&run](std::uint32_t terminal) { return run.terminal_name(terminal); };
  Progress progress(1, 1, options.json);
  std::vector<SetEvaluation> evaluations;
  const auto say = [&](const std::string& line) { progress.say(line); };
  if (options.log.empty()) {
    evaluations = evaluate_sets(run.device(), theta.theta, experiment, true, theta.step, command.stop, say);
  } else {
    LogWriter log(options.log, log_header(experiment, run, command.line), experiment.log);
    Recorder recorder(run.device(), log);
    evaluations = evaluate_sets(recorder, theta.theta, experiment, true, theta.step, command.stop, say);
    log.close(ExitStatus::finished, "evaluated " + options.trained + ", " + theta.what);
  }
  if (options.json) {
    Report result = report_of(evaluations, name);
    result["log"] = options.trained;
    result["parameters"] = theta.kind;
    result["step"] = theta.step;
    if (theta.best.by != BestBy::none)
      result["best"] = {
          {"by", to_string(theta.best.by)}, {"loss", theta.best.loss}, {"step", theta.best.step}};
    result["theta_digest"] = digest_text(digest(theta.theta));
    result.print_json();
  } else {
    std::printf("%s, parameters %s:\n%s", options.trained.c_str(), theta.what.c_str(),
                text_of(evaluations, name).c_str());
  }
  return ExitCode::success;
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
  options->add_set(line);
  options->add_data(line);
  options->add_threads(line);
  options->add_json(line);
  line.footer(
      "The experiment is rebuilt from the text in the log; --set changes it, so that trained parameters can "
      "be tried on\n"
      "another device.\n"
      "Samples without a steady state count as wrong in the accuracy, are left out of the loss, and are told "
      "as \"failures\".\n"
      "\n"
      "Examples:\n"
      "  ness evaluate mnist.h5 --json\n"
      "  ness evaluate mnist.h5 --best\n"
      "  ness evaluate mnist.h5 --set device.read_noise=0.01");
  line.action([options, &command] { return evaluate_log(*options, command); });
}

}  // namespace ness
