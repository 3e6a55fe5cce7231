// ness compare: every estimator on one task and one kind of device, over many seeds, beside training on the
// twin.
#include <cmath>
#include <cstdio>
#include <unistd.h>

#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/runs/comparison.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/runs/progress.hpp"

namespace ness {

namespace {

struct CompareOptions : CommonOptions {
  std::string experiment, vary;
  std::vector<std::string> estimators;
  std::optional<std::uint64_t> seeds;
  std::optional<double> solved;
  std::uint64_t age = 0;
  bool baselines = false, quiet = false;
};

/// "device.variation=0,0.05,0.1" apart.
struct Variation {
  std::string key;
  std::vector<std::string> values;
};

Variation variation_of(const std::string& text) {
  Variation varied;
  if (text.empty()) return {"", {""}};
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw std::invalid_argument("--vary " + text + ": expected KEY=VALUE,VALUE,..");
  varied.key = text.substr(0, equals);
  for (std::size_t at = equals + 1; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    if (comma == at)
      throw std::invalid_argument("--vary " + text + ": a value is missing; expected KEY=VALUE,VALUE,..");
    varied.values.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  if (varied.values.empty()) throw std::invalid_argument("--vary " + text + ": expected KEY=VALUE,VALUE,..");
  return varied;
}

double median(std::vector<double> values) {
  if (values.empty()) return std::nan("");
  for (double& x : values) {
    if (std::isnan(x)) x = INFINITY;  // what found no steady state is worse than any loss
  }
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  const double m = (values[(n - 1) / 2] + values[n / 2]) / 2;
  return std::isinf(m) ? std::nan("") : m;
}

Report report_of(const Contestant& contestant, const std::vector<Trial>& trials) {
  static constexpr const char* kinds[] = {"in situ", "deployed", "tuned"};
  Report object{{"label", contestant.label},
                {"kind", kinds[static_cast<std::size_t>(contestant.kind)]},
                {"estimator", contestant.experiment.estimator},
                {"parameters", "last"}};
  if (!contestant.refused.empty()) {
    object["refused"] = contestant.refused;
    return object;
  }
  object["relaxations_a_sample"] = contestant.cost;
  object["seeds"] = trials.size();
  object["solved"] = solved(trials);
  for (const auto& [name, q] : {std::pair{"first_quartile", 0.25}, {"median", 0.5}, {"third_quartile", 0.75}})
    object["relaxations_to_target"][name] = relaxations_to_target(trials, q);
  for (const Trial& t : trials) {
    object["trials"].add({{"seed", t.seed},
                          {"solved", t.solved},
                          {"loss", t.loss},
                          {"test_loss", t.test_loss},
                          {"test_accuracy", t.test_accuracy},
                          {"relaxations", t.relaxations},
                          {"steps", t.steps},
                          {"skipped", t.skipped},
                          {"lost", t.lost},
                          {"reached", t.reached},
                          {"failed", t.failed}});
  }
  return object;
}

std::string count_text(double count) {
  return std::isnan(count) ? "-" : grouped(static_cast<std::uint64_t>(std::llround(count)));
}

std::string three_digits(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", number);
  return text;
}

/// One line of the table; the first is the head.
void print_head() {
  std::printf("%-58s %8s %9s %26s %12s %10s\n", "", "a sample", "solved", "relaxations to target", "loss",
              "test");
}

void print_row(const Contestant& contestant, const std::vector<Trial>& trials) {
  std::vector<double> losses, tests;
  bool accuracy = false;
  for (const Trial& t : trials) {
    losses.push_back(t.loss);
    accuracy = accuracy || !std::isnan(t.test_accuracy);
    tests.push_back(std::isnan(t.test_accuracy) ? t.test_loss : t.test_accuracy);
  }
  const double first = relaxations_to_target(trials, 0.25), third = relaxations_to_target(trials, 0.75);
  std::string count = count_text(relaxations_to_target(trials, 0.5));
  if (!std::isnan(first) && contestant.kind != Contestant::Kind::deployed)
    count += " (" + count_text(first) + " .. " + count_text(third) + ")";
  const double test = median(tests), loss = median(losses);
  std::printf("%-58s %8.4g %9s %26s %12s %10s\n", contestant.label.c_str(), contestant.cost,
              (std::to_string(solved(trials)) + "/" + std::to_string(trials.size())).c_str(), count.c_str(),
              std::isnan(loss) ? "-" : three_digits(loss).c_str(),
              std::isnan(test) ? "-" : short_number(test).c_str());
  std::fflush(stdout);
}

// At a value of what is varied: solved by the deployed, the tuned, and from scratch.
struct Baselines {
  std::string value;
  std::size_t deployed = 0, tuned = 0, scratch = 0;
};

/// The loss below which a run counts as solved.
double solved_below(const CompareOptions& options, const Experiment& base) {
  const double target = base.training.target_loss;
  const double below = options.solved.value_or(base.compare.solved > 0 ? base.compare.solved : 2 * target);
  if (!(below > 0)) {
    throw std::invalid_argument(
        options.experiment +
        ": what counts as solved? Expected --solved LOSS, compare.solved or training.target_loss");
  }
  return below;
}

void print_title(const CompareOptions& options, const std::string& title, std::uint64_t seeds, double below) {
  std::printf(
      "%s: %s seeds; solved: loss < %g of the last parameters from cold starts, read without noise%s\n",
      title.c_str(), grouped(seeds).c_str(), below,
      options.age > 0 ? (", on a device used for " + grouped(options.age) + " relaxations before").c_str()
                      : "");
  print_head();
}

/// Runs the seeds of a contestant, with a line of progress on a terminal.
std::vector<Trial> trials_of(const Contestant& contestant, std::uint64_t first, std::uint64_t seeds,
                             double below, const CompareOptions& options, const Command& command) {
  if (!contestant.refused.empty()) return {};
  const bool show = !options.quiet && isatty(STDERR_FILENO) == 1;
  std::size_t made = 0;
  std::vector<Trial> trials =
      run_trials(contestant, first, seeds, options.age, below, command.stop, [&](const Trial&) {
        ++made;
        if (!show) return;
        std::fprintf(stderr, "\r%s: %zu of %llu seeds\033[K", contestant.label.c_str(), made,
                     static_cast<unsigned long long>(seeds));
      });
  if (show) std::fputs("\r\033[K", stderr);
  return trials;
}

/// From which value on training in situ wins over deploying the twin.
void print_verdict(const std::string& key, const std::vector<Baselines>& wins) {
  if (wins.size() < 2) return;
  const auto first = [&](auto better) {
    const auto found = std::find_if(wins.begin(), wins.end(), better);
    return found == wins.end() ? std::string("at none of these values")
                               : "from " + key + " = " + found->value + " on";
  };
  std::printf("in situ wins over deploying the twin: tuning %s; from scratch %s\n",
              first([](const Baselines& b) { return b.tuned > b.deployed; }).c_str(),
              first([](const Baselines& b) { return b.scratch > b.deployed; }).c_str());
}

int compare(const CompareOptions& options, const Command& command) {
  const Variation varied = variation_of(options.vary);
  Report report;
  std::vector<Baselines> wins;
  for (const std::string& value : varied.values) {
    LoadOptions load = options.load();
    if (!varied.key.empty()) load.set.push_back(varied.key + "=" + value);
    std::vector<Contestant> all = contestants(options.experiment, load, options.estimators);
    if (options.baselines) all.erase(all.begin(), all.end() - 3);
    const Experiment& base = all.back().experiment;
    if (&value == &varied.values.front() && !told_mistakes(base, prepare(base))) return ExitCode::misuse;
    const std::uint64_t seeds = options.seeds.value_or(base.compare.seeds);
    const double below = solved_below(options, base);
    if (!options.json)
      print_title(options, base.title + (varied.key.empty() ? "" : ", " + varied.key + " = " + value), seeds,
                  below);
    Report rows = Report::list();
    Baselines won{value, 0, 0, 0};
    for (std::size_t c = 0; c < all.size(); ++c) {
      const Contestant& contestant = all[c];
      const std::vector<Trial> trials = trials_of(contestant, base.seed, seeds, below, options, command);
      if (c + 3 == all.size()) won.deployed = solved(trials);
      if (c + 2 == all.size()) won.tuned = solved(trials);
      if (c + 1 == all.size()) won.scratch = solved(trials);
      rows.add(report_of(contestant, trials));
      if (options.json) continue;
      if (contestant.refused.empty()) print_row(contestant, trials);
      else std::printf("%-58s refused: %s\n", contestant.label.c_str(), contestant.refused.c_str());
    }
    wins.push_back(won);
    report.add({{"value", varied.key.empty() ? "" : value}, {"solved_below", below}, {"rows", rows}});
  }
  if (options.json) {
    Report{{"experiment", options.experiment}, {"vary", varied.key}, {"age", options.age}, {"tables", report}}
        .print_json();
  } else {
    print_verdict(varied.key, wins);
  }
  return ExitCode::success;
}

}  // namespace

void declare_compare(Options& line, const Command& command) {
  auto options = std::make_shared<CompareOptions>();
  line.add("EXPERIMENT", options->experiment, "experiment file (TOML)").required().value_name("FILE");
  line.add("--estimator", options->estimators,
           "these estimators; default: those of the file's [compare] table, or all")
      .value_name("NAME")
      .comma_separated();
  line.add("--seeds", options->seeds, "seeds, from the experiment's on; default: the file's, or 20")
      .value_name("N")
      .within(1, 1000000);
  line.add("--solved", options->solved,
           "the loss below which a seed counts as solved; default: the file's, or twice its target loss")
      .value_name("LOSS")
      .positive();
  line.add("--age", options->age,
           "relaxations the device has been used for since its twin was made: its drift and jumps have gone "
           "on")
      .value_name("N");
  line.add("--vary", options->vary,
           "a table for each value of a key, and from which on in-situ training wins")
      .value_name("KEY=V,V,..");
  line.flag("--baselines", options->baselines,
            "only the twin deployed, tuned in situ, and in situ from scratch");
  options->add_set(line);
  options->add_data(line);
  options->add_json(line);
  line.flag("--quiet,-q", options->quiet, "no progress");
  line.footer(
      "The device is the simulation with the noise of [device]; its losses are judged without noise of "
      "readings. The last three lines\n"
      "are always there: an estimator is worth its relaxations only where it does better than training the "
      "twin and deploying it.\n"
      "\n"
      "Examples:\n"
      "  ness compare xor-noisy.toml\n"
      "  ness compare xor-noisy.toml --estimator probing,ep-centred --seeds 60\n"
      "  ness compare xor-noisy.toml --baselines --vary device.variation=0,0.05,0.1,0.2");
  line.action([options, &command] { return compare(*options, command); });
}

}  // namespace ness
