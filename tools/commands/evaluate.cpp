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
  bool best = false;
};

int evaluate_log(const EvaluateOptions& options, const Command& command) {
  if (!options.log.empty()) refuse_existing_log(options.log, "choose another name with --log FILE");
  const LogReader trained(options.trained);
  if (const std::string doubt = use_recorded_target(trained); !doubt.empty()) warn(doubt);
  const Experiment experiment = options.recorded(trained, options.load());
  const LoggedTheta theta =
      options.best ? best_logged_theta(trained, experiment) : logged_theta(trained, options.checkpoint);
  Run run = prepare(experiment);
  if (theta.theta.size() != run.theta.size()) {
    throw std::invalid_argument(options.trained + ": holds " + std::to_string(theta.theta.size()) +
                                " parameters; the network as set now has " +
                                std::to_string(run.theta.size()));
  }
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
    Report result = report_of(evaluations);
    result["log"] = options.trained;
    result["step"] = theta.step;
    result["theta_digest"] = digest_text(digest(theta.theta));
    result.print_json();
  } else {
    std::printf("%s, parameters %s:\n%s", options.trained.c_str(), theta.what.c_str(),
                text_of(evaluations).c_str());
  }
  return ExitCode::success;
}

}  // namespace

void declare_evaluate(Options& line, const Command& command) {
  auto options = std::make_shared<EvaluateOptions>();
  line.add("LOG", options->trained, "log of a training run").required().value_name("LOG");
  const Option best =
      line.flag("--best", options->best, "the parameters with the best validation loss; default: the last");
  line.add("--checkpoint", options->checkpoint, "the parameters of this checkpoint, from 0")
      .value_name("K")
      .excludes(best);
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
      "  ness evaluate mnist.h5 --set device.read_noise=0.01");
  line.action([options, &command] { return evaluate_log(*options, command); });
}

}  // namespace ness
