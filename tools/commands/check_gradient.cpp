// ness check-gradient: an estimator against central differences.
#include <algorithm>
#include <cstdio>
#include <numbers>

#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/files/key_names.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"
#include "ness/training/gradient_check.hpp"
#include "ness/device/random.hpp"
#include "ness/record/recorder.hpp"
#include "ness/runs/progress.hpp"

namespace ness {

namespace {

constexpr std::uint64_t choice_stream = 0x63686b67;  // of the seed: which samples and parameters are checked

struct CheckOptions : CommonOptions {
  std::string experiment, estimator, from, log;
  std::optional<std::uint64_t> samples, parameters;
  std::optional<double> beta, probe, step;
};

/// The file's experiment, with the estimator that is to be checked and the sizes of its perturbations. The
/// step is that of the reference too, and need not be the estimator's.
Experiment experiment_to_check(const CheckOptions& options) {
  LoadOptions load = options.load();
  const auto set = [&load](const std::string& key, const std::string& value) {
    load.set.push_back("estimator." + key + "=" + value);
  };
  if (!options.estimator.empty())
    set("kind", "\"" + std::string(estimator_entry(options.estimator).name) + "\"");
  if (options.beta) set("beta", number_text(*options.beta));
  if (options.probe) set("probe", number_text(*options.probe));
  if (options.step) {
    const std::string name =
        options.estimator.empty() ? load_experiment(options.experiment, load).estimator : options.estimator;
    if (key_names(estimator_entry(name).read).count("step") > 0) set("step", number_text(*options.step));
  }
  return options.with_threads(load_experiment(options.experiment, load));
}

/// `count` of these, chosen by the seed, in order; all where there are no more.
template <typename T>
std::vector<T> chosen(std::vector<T> all, std::uint64_t count, Random& random) {
  if (count >= all.size()) return all;
  std::vector<std::uint64_t> order = random.permutation(all.size());
  order.resize(count);
  std::sort(order.begin(), order.end());
  std::vector<T> some;
  for (const std::uint64_t i : order) some.push_back(all[i]);
  return some;
}

/// The device as it is, without what differs from reading to reading and from setpoint to setpoint.
NoiseOptions fixed_deviations(const Experiment& experiment) {
  NoiseOptions fixed;
  fixed.seed = experiment.noise_has_seed ? experiment.noise.seed : experiment.seed;
  fixed.variation = experiment.noise.variation;
  fixed.cross_talk = experiment.noise.cross_talk;
  return fixed;
}

GradientCheck check(Device& device, Run& run, const Experiment& experiment, const CheckOptions& options,
                    const Vector& theta, std::stop_token stop) {
  Random random(experiment.seed, choice_stream);
  std::vector<std::uint64_t> samples(experiment.task->train.size());
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i;
  std::vector<std::uint32_t> trainable;
  for (std::size_t i = 0; i < run.space->size(); ++i) {
    if (run.space->trains(i)) trainable.push_back(static_cast<std::uint32_t>(i));
  }
  Minibatch batch;
  batch.data = &experiment.task->train;
  batch.samples = chosen(samples, options.samples.value_or(8), random);
  batch.starts.assign(batch.samples.size(), Rest{experiment.training.rest_rate});
  batch.observe = experiment.training.observe;
  batch.theta = Parameters::of(theta);
  GradientCheckOptions check_options;
  if (options.step) check_options.step = *options.step;
  // Differences on a noisy device are of its noise, and would find fault with an estimator that is right.
  std::optional<Noisy> exact;
  if (run.noisy)
    exact.emplace(run.twin ? static_cast<Device&>(*run.twin) : *run.platform.device,
                  fixed_deviations(experiment));
  check_options.reference = exact ? &*exact : &device;
  check_options.parameters = options.parameters ? chosen(trainable, *options.parameters, random) : trainable;

  const auto estimator = experiment.make_estimator(
      {.model = run.model, .seed = experiment.seed, .parameters = check_options.parameters});
  if (const std::string unmet = estimator->unmet_needs(device.info()); !unmet.empty())
    throw Unsupported(std::string(estimator->name()) + ": " + unmet);
  estimator->prepare(device, device.info(), batch, *experiment.task->loss, stop);
  return check_gradient(device, *estimator, batch, *experiment.task->loss, check_options, stop);
}

void tell(const GradientCheck& result, const std::string& name, bool noisy, bool json) {
  if (json) {
    const Report object{{"estimator", name},
                        {"cosine", result.cosine},
                        {"angle", result.angle},
                        {"relative_error", result.relative_error},
                        {"norm", result.norm},
                        {"reference_norm", result.reference_norm},
                        {"error", result.error},
                        {"reference", noisy ? "the device without noise" : "the device"},
                        {"reference_error", result.reference_error},
                        {"relaxations", result.relaxations},
                        {"reference_relaxations", result.reference_relaxations},
                        {"samples", result.samples},
                        {"parameters", result.parameters},
                        {"left_out", result.estimate.left_out}};
    object.print_json();
    return;
  }
  std::printf("%s against central differences%s: %s samples, %s parameters\n", name.c_str(),
              noisy ? " on the device without noise" : "", grouped(result.samples).c_str(),
              grouped(result.parameters).c_str());
  if (result.samples == 0) {
    std::printf("  nothing to compare: no sample could be used\n");
    return;
  }
  std::printf("  cosine          %.12g   (an angle of %.3g degrees)\n", result.cosine,
              result.angle * 180 / std::numbers::pi);
  std::printf("  relative error  %.3g   (of a gradient of norm %.6g)\n", result.relative_error,
              result.reference_norm);
  if (result.error > 0)
    std::printf("  expected error  %.3g   (of the estimate, from the noise of its readings)\n",
                result.error / result.reference_norm);
  std::printf("  relaxations     %s, the reference %s\n", grouped(result.relaxations).c_str(),
              grouped(result.reference_relaxations).c_str());
  if (result.estimate.left_out > 0) {
    std::printf("  %s samples were left out: a relaxation of theirs found no steady state\n",
                grouped(result.estimate.left_out).c_str());
  }
}

std::string names_of_estimators() {
  std::string text = "Estimators, or short:\n";
  for (const EstimatorEntry& entry : estimator_table())
    text += "  " + std::string(entry.name) + ", " + std::string(entry.alias) + "\n";
  return text;
}

int check_estimator(const CheckOptions& options, const Command& command) {
  if (!options.log.empty()) refuse_existing_log(options.log, "choose another name with --log FILE");
  const Experiment experiment = experiment_to_check(options);
  Run run = prepare(experiment);
  Vector theta = run.theta;
  if (!options.from.empty()) {
    theta = logged_theta(LogReader(options.from)).theta;
    if (theta.size() != run.theta.size()) {
      throw std::invalid_argument(options.from + ": holds " + std::to_string(theta.size()) +
                                  " parameters; the network of " + options.experiment + " has " +
                                  std::to_string(run.theta.size()));
    }
  }
  GradientCheck result;
  if (options.log.empty()) {
    result = check(run.device(), run, experiment, options, theta, command.stop);
  } else {
    LogWriter log(options.log, log_header(experiment, run, command.line), experiment.log);
    Recorder recorder(run.device(), log);
    result = check(recorder, run, experiment, options, theta, command.stop);
    log.close(ExitStatus::finished, "checked a gradient");
  }
  tell(result, experiment.estimator, run.noisy != nullptr, options.json);
  return ExitCode::success;
}

}  // namespace

void declare_check_gradient(Options& line, const Command& command) {
  auto options = std::make_shared<CheckOptions>();
  line.add("EXPERIMENT", options->experiment, "experiment file (TOML)").required().value_name("FILE");
  line.add("--estimator", options->estimator, "the estimator to check; default: the experiment's")
      .value_name("NAME");
  line.add("--samples", options->samples, "training samples, chosen by the seed; default: 8, or all if fewer")
      .value_name("N")
      .positive();
  line.add("--parameters", options->parameters,
           "parameters compared, chosen by the seed; default: all trainable ones")
      .value_name("N")
      .positive();
  line.add("--beta", options->beta, "nudge strength of equilibrium propagation").value_name("X").positive();
  line.add("--probe", options->probe, "injected current, or step of a held potential, of a measured Jacobian")
      .value_name("X")
      .positive();
  line.add("--step", options->step, "step of the differences").value_name("X").positive();
  line.add("--from", options->from, "check at the last parameters of this log; default: at the initial ones")
      .value_name("LOG");
  line.add("--log", options->log, "log the relaxations").value_name("FILE");
  options->add_set(line);
  options->add_data(line);
  options->add_threads(line);
  options->add_json(line);
  line.footer(
      names_of_estimators() +
      "\n"
      "Of a device with noise the reference is that of the same device without it; its relaxations are not "
      "logged.\n"
      "\n"
      "\n"
      "Examples:\n"
      "  ness check-gradient xor.toml --estimator ep-centred --json\n"
      "  ness check-gradient mnist.toml --estimator adjoint --samples 4 --parameters 50 --from mnist.h5");
  line.action([options, &command] { return check_estimator(*options, command); });
}

}  // namespace ness
