// ness advise: which estimators a device allows, what each costs, and why the others are refused.
#include <cmath>
#include <cstdio>
#include <optional>

#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/runs/comparison.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/device/error.hpp"
#include "ness/runs/progress.hpp"
#include "ness/runs/run.hpp"

namespace ness {

namespace {

struct AdviseOptions : CommonOptions {
  std::string experiment, bench;
  std::uint64_t seeds = 3;
  bool dry_run = true;
};

struct Advice {
  const EstimatorEntry* entry = nullptr;
  std::string refused;  ///< empty: the device allows it
  double a_sample = 0;  ///< relaxations
  double a_step = 0;    ///< relaxations
  bool tried = false;
  std::size_t solved = 0, seeds = 0;
  double to_target = NAN;  ///< relaxations, the median of the seeds that were solved
};

/// Device time of one relaxation, s: the bench, emulated in virtual time, relaxes the first samples. NaN in
/// simulation, whose time has no unit.
double time_of_a_relaxation(const std::optional<BenchFile>& bench, const Experiment& experiment,
                            std::stop_token stop) {
  if (!bench) return NAN;
  Run run = prepare(experiment, *bench, DeviceKind::emulated);
  Drive drive;
  drive.theta = Parameters::of(run.theta);
  double first = NAN, last = NAN;
  constexpr int relaxations = 5;
  for (int i = 0; i < relaxations; ++i) {
    drive.clamp =
        experiment.task->train.pattern(static_cast<std::uint64_t>(i) % experiment.task->train.size());
    drive.start = Rest{experiment.training.rest_rate};
    drive.observe = experiment.training.observe;
    run.device().relax(
        {&drive, 1},
        [&](std::size_t, const Relaxation& row) {
          if (i == 0) first = row.timing.read;
          last = row.timing.read;
        },
        stop);
  }
  run.device().make_safe(std::chrono::milliseconds(5000), SafeProfile::stop);
  return (last - first) / (relaxations - 1);
}

std::vector<Advice> advice_on(const AdviseOptions& options, const std::optional<BenchFile>& bench,
                              const Experiment& base, std::stop_token stop) {
  const std::uint64_t size = base.task->train.size(),
                      batch = base.training.batch == 0 ? size : std::min(base.training.batch, size);
  const double below = base.compare.solved > 0 ? base.compare.solved : 2 * base.training.target_loss;
  std::vector<Advice> all;
  for (const EstimatorEntry& entry : estimator_table()) {
    Advice advice;
    advice.entry = &entry;
    try {
      const Experiment experiment =
          load_experiment(options.experiment, with_estimator(options.load(), base, entry));
      Run run = bench ? prepare(experiment, *bench, DeviceKind::emulated) : prepare(experiment);
      const DeviceInfo info = run.space->narrowed(run.device().info());
      advice.refused = run.estimator->unmet_needs(info);
      if (advice.refused.empty()) {
        advice.a_sample = run.estimator->cost(info);
        advice.a_step = advice.a_sample * static_cast<double>(batch);
        if (options.dry_run && below > 0) {
          Contestant contestant;
          contestant.label = entry.name;
          contestant.experiment = experiment;
          const std::vector<Trial> trials = run_trials(contestant, base.seed, options.seeds, 0, below, stop);
          advice.tried = true;
          advice.seeds = trials.size();
          advice.solved = solved(trials);
          advice.to_target = relaxations_to_target(trials, 0.5);
        }
      }
    } catch (const Unsupported& error) {
      advice.refused = error.what();
    }
    all.push_back(advice);
  }
  return all;
}

void tell(const AdviseOptions& options, const Experiment& base, const std::vector<Advice>& all,
          double seconds) {
  std::printf("%s on %s\n\n", base.title.c_str(),
              options.bench.empty() ? "the simulated network" : options.bench.c_str());
  std::printf("%-38s %9s %10s %12s %9s %14s%s\n", "estimator", "a sample", "a step", "", "dry run",
              "to target", std::isnan(seconds) ? "" : "     time");
  const Advice* best = nullptr;
  for (const Advice& advice : all) {
    if (!advice.refused.empty()) continue;
    std::printf(
        "%-38s %9.4g %10s %12s %9s %14s%s\n", std::string(advice.entry->name).c_str(), advice.a_sample,
        short_number(advice.a_step).c_str(),
        std::isnan(seconds) ? "" : duration_text(advice.a_step * seconds).c_str(),
        advice.tried ? (std::to_string(advice.solved) + "/" + std::to_string(advice.seeds)).c_str() : "-",
        std::isnan(advice.to_target) ? "-" : grouped(static_cast<std::uint64_t>(advice.to_target)).c_str(),
        std::isnan(seconds) || std::isnan(advice.to_target)
            ? ""
            : ("     " + duration_text(advice.to_target * seconds)).c_str());
    const bool sure = advice.tried && advice.solved == advice.seeds;
    // The model's own Jacobian costs nothing and is worth what the model is: it is no answer to the question.
    if (sure && advice.entry->name != "adjoint" && (best == nullptr || advice.to_target < best->to_target))
      best = &advice;
  }
  bool any = false;
  for (const Advice& advice : all) {
    if (advice.refused.empty()) continue;
    if (!any) std::printf("\nrefused:\n");
    any = true;
    std::printf("  %-36s %s; it needs to %s\n", std::string(advice.entry->name).c_str(),
                advice.refused.c_str(), std::string(advice.entry->needs).c_str());
  }
  std::printf("\n");
  if (best != nullptr) {
    std::printf(
        "advice: --set estimator.kind=%s, measured with the fewest relaxations to the target in the dry run; "
        "twin-adjoint is cheaper, as right as the model is (ness calibrate)\n",
        std::string(best->entry->alias).c_str());
  } else if (std::any_of(all.begin(), all.end(), [](const Advice& a) { return a.tried; })) {
    std::printf("advice: none solved every seed of the dry run; see [compare.settings], or more epochs\n");
  } else {
    std::printf("no dry run: %s\n", options.dry_run
                                        ? "the experiment has no training.target_loss to be reached"
                                        : "--no-dry-run");
  }
}

int advise(const AdviseOptions& options, const Command& command) {
  const Experiment base = load_experiment(options.experiment, options.load());
  std::optional<BenchFile> bench;
  if (!options.bench.empty()) bench = load_bench(options.bench);
  const double seconds = time_of_a_relaxation(bench, base, command.stop);
  const std::vector<Advice> all = advice_on(options, bench, base, command.stop);
  if (!options.json) {
    tell(options, base, all, seconds);
    return ExitCode::success;
  }
  Report rows = Report::list();
  for (const Advice& a : all) {
    Report row{{"estimator", a.entry->name},
               {"allowed", a.refused.empty()},
               {"needs", a.entry->needs},
               {"cost", a.entry->cost},
               {"source", a.entry->source}};
    if (!a.refused.empty()) row["refused"] = a.refused;
    else {
      row["relaxations_a_sample"] = a.a_sample;
      row["relaxations_a_step"] = a.a_step;
      row["seconds_a_step"] = a.a_step * seconds;
    }
    if (a.tried) {
      row.add_all({{"solved", a.solved},
                   {"seeds", a.seeds},
                   {"relaxations_to_target", a.to_target},
                   {"seconds_to_target", a.to_target * seconds}});
    }
    rows.add(row);
  }
  Report{{"experiment", options.experiment},
         {"bench", options.bench},
         {"seconds_a_relaxation", seconds},
         {"estimators", rows}}
      .print_json();
  return ExitCode::success;
}

}  // namespace

void declare_advise(Options& line, const Command& command) {
  auto options = std::make_shared<AdviseOptions>();
  line.add("EXPERIMENT", options->experiment, "experiment file (TOML)").required().value_name("FILE");
  line.add("--bench", options->bench,
           "of this bench; default: of the simulated network. A relaxation's time is that of its "
           "instruments, emulated")
      .value_name("FILE");
  line.add("--seeds", options->seeds,
           "seeds of the dry run of each estimator, in simulation with the noise of [device]; default: 3")
      .value_name("N")
      .within(1, 1000);
  line.flag("!--no-dry-run", options->dry_run, "costs alone, without training in simulation");
  options->add_set(line);
  options->add_data(line);
  options->add_json(line);
  line.footer(
      "Nothing real is switched on. The dry run trains the simulated network with each estimator until "
      "training.target_loss.\n"
      "\n"
      "Examples:\n"
      "  ness advise xor.toml\n"
      "  ness advise xor-bench.toml --bench bench-emulated.toml\n"
      "  ness advise mnist.toml --no-dry-run");
  line.action([options, &command] { return advise(*options, command); });
}

}  // namespace ness
