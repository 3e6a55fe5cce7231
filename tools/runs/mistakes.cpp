#include "ness/runs/mistakes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "ness/device/digest.hpp"

namespace ness {

namespace {

// Potentials in kT. At room temperature 100 kT are 2.6 V, and 1e4 kT are 260 V: a column in volts or in
// counts, not in kT.
constexpr double doubtful = 100, absurd = 1e4;
// Numbers that are looked at one by one; larger sets (of images) are looked at in their labels alone.
constexpr std::uint64_t most_numbers = 20'000'000;
constexpr std::size_t most_named = 4;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string counted(std::uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

// "d[0], d[1], d[2], d[3] and 5 more".
std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < most_named; ++i) text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > most_named) text += " and " + std::to_string(names.size() - most_named) + " more";
  return text;
}

struct NamedSet {
  const char* name;  // "training", "validation", "test"
  const Dataset* set;
};

// What the checks look at.
class Search {
 public:
  Search(const Experiment& experiment, const Run& run)
      : experiment_(experiment),
        run_(run),
        info_(run.bench.bench ? run.bench.bench->info() : run.platform.info) {
    const Task& task = *experiment.task;
    for (const NamedSet& one :
         {NamedSet{"training", &task.train}, {"validation", &task.validation}, {"test", &task.test}}) {
      if (one.set->size() > 0) sets_.push_back(one);
    }
  }

  const Experiment& experiment() const { return experiment_; }
  const Task& task() const { return *experiment_.task; }
  const Run& run() const { return run_; }
  const DeviceInfo& info() const { return info_; }
  const std::vector<NamedSet>& sets() const { return sets_; }

  void refuse(const std::string& place, const std::string& what) { found_.push_back({true, place, what}); }
  void warn(const std::string& place, const std::string& what) { found_.push_back({false, place, what}); }
  std::string key(const std::string& name) const {
    return experiment_.place ? experiment_.place(name) : experiment_.path + ": key '" + name + "'";
  }
  // "points.csv:7", "xor.toml: test sample 3".
  std::string sample(const NamedSet& of, std::uint64_t i) const {
    const bool in_file = of.set->origin && of.set->rows[i] < of.set->origin->lines.size();
    return in_file ? of.set->where(i) : experiment_.path + ": " + of.name + " " + of.set->where(i);
  }
  // The same where its target is.
  std::string target_of(const NamedSet& of, std::uint64_t i) const {
    const bool in_file = of.set->origin && of.set->rows[i] < of.set->origin->lines.size();
    return in_file ? of.set->where_target(i) : sample(of, i);
  }
  // Of column `i` of the inputs: "column 'x'", "input 0".
  static std::string input(const Dataset& set, std::size_t i) {
    return set.origin && i < set.origin->inputs.size() ? "column '" + set.origin->inputs[i] + "'"
                                                       : "input " + std::to_string(i);
  }
  static std::string target(const Dataset& set, std::size_t i) {
    return set.origin && i < set.origin->targets.size() ? "column '" + set.origin->targets[i] + "'"
                                                        : "target " + std::to_string(i);
  }
  static bool small(const Dataset& set) { return set.size() * set.inputs->width() <= most_numbers; }
  std::vector<Mistake> found() && {
    std::stable_partition(found_.begin(), found_.end(), [](const Mistake& m) { return m.refused; });
    return std::move(found_);
  }

 private:
  const Experiment& experiment_;
  const Run& run_;
  const DeviceInfo& info_;
  std::vector<NamedSet> sets_;
  std::vector<Mistake> found_;
};

// ---- parameters -----------------------------------------------------------------------------------------

void in_the_platform(Search& search) {
  for (const Mistake& one : search.experiment().platform->mistakes(search.experiment().seed)) {
    if (one.refused) search.refuse(search.key(one.place), one.what);
    else search.warn(search.key(one.place), one.what);
  }
}

// Whether the experiment trains each parameter, if the device lets it.
std::vector<ParameterRule> wanted(const Search& search) {
  const Platform& platform = search.run().platform;
  return search.experiment().platform->rules(platform.info.parameters, platform.theta);
}

void parameters_without_a_wire(Search& search) {
  const BenchFile* file = search.run().bench.sessions ? &search.run().bench.sessions->file() : nullptr;
  if (file == nullptr) return;
  const std::vector<ParameterRule> rules = wanted(search);
  std::vector<std::string> frozen;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (rules[i].trainable && !search.info().parameters[i].trainable)
      frozen.push_back(search.info().parameters[i].name);
  }
  if (frozen.empty()) return;
  search.warn(
      file->place("wiring"),
      "no wire sets " + std::to_string(frozen.size()) + " of " + counted(rules.size(), "parameter") + " (" +
          some_of(frozen) +
          "): they keep their initial values and are not trained; [parameters.KIND] trainable = false "
          "says that this is meant");
}

void values_beyond_a_wire(Search& search) {
  const BenchFile* file = search.run().bench.sessions ? &search.run().bench.sessions->file() : nullptr;
  if (file == nullptr) return;
  const Vector& stated = search.run().platform.theta;
  const std::vector<ParameterRule> rules = wanted(search);
  for (const BenchWire& wire : file->wiring) {
    if (wire.parameter.empty()) continue;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const ParameterInfo& parameter = search.info().parameters[i];
      const double value = stated[static_cast<Eigen::Index>(i)];
      if (parameter.name != wire.parameter || parameter.range.contains(value)) continue;
      const std::string what = "the initial value " + number(value) + " of " + parameter.name +
                               " is outside what this wire sets, " + number(parameter.range.low) + " to " +
                               number(parameter.range.high);
      const std::string place = file->place("wiring." + wire.name + ".limits");
      if (rules[i].trainable) search.warn(place, what + ": it begins at the nearer end");
      else search.refuse(place, what + ", and it is not trained: it could not be imposed");
    }
  }
}

void nothing_to_train(Search& search) {
  if (search.run().space->trainable() > 0 || search.run().space->size() == 0) return;
  search.refuse(search.key("parameters"),
                "no parameter can be trained: each is constant, by its rule or since "
                "the device cannot set it");
}

void ranges_of_one_value(Search& search) {
  std::vector<std::string> stuck;
  const DeviceInfo narrowed = search.run().space->narrowed(search.info());
  for (std::size_t i = 0; i < narrowed.parameters.size(); ++i) {
    if (search.run().space->trains(i) && narrowed.parameters[i].range.empty())
      stuck.push_back(narrowed.parameters[i].name);
  }
  if (!stuck.empty())
    search.warn(search.key("parameters"),
                "the range of " + some_of(stuck) + " holds one value: it cannot move");
}

// ---- keys that do nothing -------------------------------------------------------------------------------

void keys_without_effect(Search& search) {
  const TrainingOptions& training = search.experiment().training;
  const std::uint64_t size = search.task().train.size();
  if (training.batch > size)
    search.warn(search.key("training.batch"), "a batch of " + std::to_string(training.batch) +
                                                  "; the training set has " + counted(size, "sample") +
                                                  ", and all are in each step");
  if (training.validate_every > 0 && search.task().validation.size() == 0)
    search.warn(search.key("training.validate_every"),
                "there is no validation set, so nothing is validated; expected task.validation");
  if (training.restart_every > 0 && training.start != TrainingOptions::StartFrom::last)
    search.warn(search.key("training.restart_every"), "it belongs to start = \"last\", and has no effect");
}

void budget_below_a_step(Search& search) {
  const TrainingOptions& training = search.experiment().training;
  if (training.max_relaxations == 0) return;
  const std::uint64_t size = search.task().train.size();
  const std::uint64_t batch = training.batch == 0 ? size : std::min(training.batch, size);
  const double step =
      search.run().estimator->cost(search.run().space->narrowed(search.info())) * static_cast<double>(batch);
  if (step <= static_cast<double>(training.max_relaxations)) return;
  const std::string budget = search.key("budget.relaxations"), other = search.key("training.max_relaxations");
  search.refuse(other.find("max_relaxations") != std::string::npos ? other : budget,
                "the first step needs " + number(step) + " relaxations, the budget is " +
                    std::to_string(training.max_relaxations) + ": nothing would be trained");
}

// ---- data: columns --------------------------------------------------------------------------------------

void columns_named_twice(Search& search) {
  const auto& origin = search.task().train.origin;
  if (!origin) return;
  std::set<std::string> inputs, targets;
  for (const std::string& name : origin->inputs) {
    if (!inputs.insert(name).second)
      search.refuse(search.key("task.inputs"), "column '" + name + "' is imposed at two inputs");
  }
  for (const std::string& name : origin->targets) {
    if (!targets.insert(name).second)
      search.refuse(search.key("task.targets"), "column '" + name + "' is the target of two outputs");
    if (inputs.count(name) > 0 && origin->targets_file.empty())
      search.refuse(search.key("task.targets"),
                    "column '" + name +
                        "' is among the inputs too: what is to be learned would be "
                        "imposed");
  }
}

void inputs_that_count_rows(Search& search) {
  const auto& origin = search.task().train.origin;
  if (!origin || origin->inputs.size() < 2) return;
  for (const std::string& name : origin->counting) {
    search.warn(search.key("task.inputs"),
                "column '" + name +
                    "' counts the rows; is it an index? expected what was measured, as by \"all but " + name +
                    "\"");
  }
}

// Columns of at most so many inputs are looked at: pixels at the edge of images never vary.
bool has_columns(const Dataset& set) { return set.inputs->width() <= 256 && Search::small(set); }

void inputs_that_never_vary(Search& search) {
  const Dataset& set = search.task().train;
  if (set.size() < 2 || !has_columns(set)) return;
  Vector first(static_cast<Eigen::Index>(set.inputs->width())), levels = first;
  set.inputs->levels(set.rows[0], first);
  std::vector<bool> varies(set.inputs->width(), false);
  for (std::uint64_t i = 1; i < set.size(); ++i) {
    set.inputs->levels(set.rows[i], levels);
    for (std::size_t k = 0; k < varies.size(); ++k) {
      const auto at = static_cast<Eigen::Index>(k);
      varies[k] = varies[k] || levels[at] != first[at];
    }
  }
  std::vector<std::size_t> constant;
  for (std::size_t k = 0; k < varies.size(); ++k) {
    if (!varies[k]) constant.push_back(k);
  }
  std::vector<std::string> names;
  for (const std::size_t k : constant) names.push_back(Search::input(set, k));
  if (names.size() == 1)
    search.warn(search.key("task.inputs"),
                names[0] + " is " + number(first[static_cast<Eigen::Index>(constant[0])]) +
                    " kT in every training sample: nothing can be learned from it");
  else if (!names.empty())
    search.warn(search.key("task.inputs"), some_of(names) +
                                               " are the same in every training sample: nothing can be "
                                               "learned from them");
}

void targets_that_never_vary(Search& search) {
  const Dataset& set = search.task().train;
  if (set.size() < 2) return;
  for (Eigen::Index k = 0; k < set.targets.cols(); ++k) {
    const double first = set.targets(0, k);
    if ((set.targets.col(k).array() != first).any()) continue;
    search.warn(search.key("task.targets"),
                Search::target(set, static_cast<std::size_t>(k)) + " is " + number(first) +
                    (search.task().loss->classifies() ? "" : " kT") +
                    " in every training sample: a constant is all that can be learned");
  }
}

// ---- data: levels and targets ---------------------------------------------------------------------------

void levels_out_of_range(Search& search) {
  const std::vector<std::uint32_t> clamped = search.info().clamped();
  const BenchFile* file = search.run().bench.sessions ? &search.run().bench.sessions->file() : nullptr;
  for (const NamedSet& of : search.sets()) {
    const Dataset& set = *of.set;
    if (set.inputs->width() != clamped.size()) continue;
    const std::uint64_t looked_at =
        std::min(set.size(), most_numbers / std::max<std::uint64_t>(1, clamped.size()));
    Vector levels(static_cast<Eigen::Index>(clamped.size()));
    std::uint64_t outside = 0;
    std::string place, what;
    double largest = 0;
    for (std::uint64_t i = 0; i < looked_at; ++i) {
      set.inputs->levels(set.rows[i], levels);
      for (std::size_t k = 0; k < clamped.size(); ++k) {
        const double level = levels[static_cast<Eigen::Index>(k)];
        const Range& range = search.info().terminals[clamped[k]].level;
        if (range.contains(level)) continue;
        if (outside++ > 0) continue;
        place = search.sample(of, i);
        what = Search::input(set, k) + ": a level of " + number(level) + " kT; " +
               search.run().terminal_name(clamped[k]) + " takes " + number(range.low) + " to " +
               number(range.high) + " kT" + (file ? " (" + file->path + ")" : "");
      }
      Eigen::Index at = 0;
      const double here = levels.cwiseAbs().maxCoeff(&at);
      if (outside > 0 || !(here > doubtful) || here <= largest) continue;
      largest = here;
      place = search.sample(of, i);
      what = Search::input(set, static_cast<std::size_t>(at)) + ": a level of " + number(levels[at]) +
             " kT; is the column in another unit? expected kT, or task.input_scale in kT per unit";
    }
    if (outside > 1) what += "; " + std::to_string(outside - 1) + " more levels are outside";
    if (outside > 0 || largest > absurd) search.refuse(place, what);
    else if (largest > doubtful) search.warn(place, what);
  }
}

void targets_out_of_range(Search& search) {
  if (search.task().loss->classifies()) return;
  for (const NamedSet& of : search.sets()) {
    const Dataset& set = *of.set;
    if (set.targets.size() == 0) continue;
    Eigen::Index row = 0, column = 0;
    const double largest = set.targets.cwiseAbs().maxCoeff(&row, &column);
    if (!(largest > doubtful)) continue;
    const std::string what = Search::target(set, static_cast<std::size_t>(column)) + ": a target of " +
                             number(set.targets(row, column)) +
                             " kT; is the column in another unit? expected a potential in kT";
    const std::string place = search.target_of(of, static_cast<std::uint64_t>(row));
    if (largest > absurd) search.refuse(place, what);
    else search.warn(place, what);
  }
}

// A target that the meter of its output cannot read.
void targets_beyond_a_meter(Search& search) {
  const BenchFile* file = search.run().bench.sessions ? &search.run().bench.sessions->file() : nullptr;
  if (file == nullptr || search.task().loss->classifies()) return;
  for (const BenchWire& wire : file->wiring) {
    if (!wire.node || sets_levels(file->instrument(wire).role())) continue;
    const auto& outputs = search.info().outputs;
    const auto output = std::find(outputs.begin(), outputs.end(), *wire.node);
    if (output == outputs.end()) continue;
    const Eigen::Index column = output - outputs.begin();
    const double range = file->instrument(wire).settings.meter.range;
    for (const NamedSet& of : search.sets()) {
      if (column >= of.set->targets.cols()) continue;
      for (std::uint64_t i = 0; i < of.set->size(); ++i) {
        const double volts = (of.set->targets(static_cast<Eigen::Index>(i), column) *
                                  file->scale.volts_per_kT * file->scale.carrier -
                              wire.volts) /
                             wire.gain;
        if (std::abs(volts) <= range) continue;
        search.warn(search.sample(of, i), "a target of " +
                                              number(of.set->targets(static_cast<Eigen::Index>(i), column)) +
                                              " kT is " + number(volts) + " V at the meter of " +
                                              search.run().terminal_name(*wire.node) +
                                              ": it may be over range where it is to be reached");
        break;
      }
    }
  }
}

// ---- data: classes --------------------------------------------------------------------------------------

void classes_without_samples(Search& search) {
  if (!search.task().loss->classifies()) return;
  const std::size_t classes = search.info().outputs.size();
  std::vector<std::uint64_t> samples(classes, 0);
  const Dataset& train = search.task().train;
  for (std::uint64_t i = 0; i < train.size(); ++i) {
    const double label = train.target(i)[0];
    if (label >= 0 && label < static_cast<double>(classes)) ++samples[static_cast<std::size_t>(label)];
  }
  std::vector<std::string> without;
  for (std::size_t c = 0; c < classes; ++c) {
    if (samples[c] == 0) without.push_back(std::to_string(c));
  }
  if (without.empty()) return;
  search.warn(search.key("task.classes"), "no training sample is of class " + some_of(without) + ", of the " +
                                              std::to_string(classes) +
                                              " that outputs stand for (classes are counted from 0)");
}

// Two classes at one output: a target of another set that is neither of the two.
void targets_of_neither_class(Search& search) {
  if (!search.task().loss->threshold()) return;
  const RowMatrix& two = search.task().train.targets;
  for (const NamedSet& of : search.sets()) {
    for (std::uint64_t i = 0; i < of.set->size(); ++i) {
      const double target = of.set->target(i)[0];
      if (target == two.minCoeff() || target == two.maxCoeff()) continue;
      search.warn(search.target_of(of, i), "a target of " + number(target) + " kT; in training it is " +
                                               number(two.minCoeff()) + " or " + number(two.maxCoeff()));
      break;
    }
  }
}

// ---- data: samples --------------------------------------------------------------------------------------

std::uint64_t digest_of_levels(const Dataset& set, std::uint64_t i, Vector& room) {
  set.inputs->levels(set.rows[i], room);
  return digest(room);
}

bool equal_levels(const Dataset& a, std::uint64_t i, const Dataset& b, std::uint64_t k) {
  return a.pattern(i).levels() == b.pattern(k).levels();
}

bool equal_targets(const Dataset& a, std::uint64_t i, const Dataset& b, std::uint64_t k) {
  return std::ranges::equal(a.target(i), b.target(k));
}

void samples_that_meet_again(Search& search) {
  const Dataset& train = search.task().train;
  if (!Search::small(train)) return;
  const NamedSet training{"training", &train};
  Vector room(static_cast<Eigen::Index>(train.inputs->width()));
  std::multimap<std::uint64_t, std::uint64_t> known;
  std::uint64_t contradictions = 0, first = 0, other = 0;
  for (std::uint64_t i = 0; i < train.size(); ++i) {
    const std::uint64_t key = digest_of_levels(train, i, room);
    const auto [begin, end] = known.equal_range(key);
    for (auto it = begin; it != end; ++it) {
      if (!equal_levels(train, i, train, it->second) || equal_targets(train, i, train, it->second)) continue;
      if (contradictions++ == 0) {
        first = i;
        other = it->second;
      }
      break;
    }
    // Of equal samples one is enough; of equal inputs with many targets, a few.
    constexpr std::ptrdiff_t enough = 16;
    const bool is_known = std::any_of(begin, end, [&](const auto& one) {
      return equal_targets(train, i, train, one.second) && equal_levels(train, i, train, one.second);
    });
    if (!is_known && std::distance(begin, end) < enough) known.emplace(key, i);
  }
  if (contradictions > 0) {
    search.warn(search.sample(training, first),
                "the same inputs as " + search.sample(training, other) + ", but another target (" +
                    counted(contradictions, "sample") + " of this kind): no parameters fit both");
  }
  for (const NamedSet& of : search.sets()) {
    const Dataset& set = *of.set;
    if (of.set == &train || !Search::small(set) || set.inputs->width() != train.inputs->width()) continue;
    // The table of a logical function has nothing to hold out: its result says so.
    if (same_samples(train, set) && !set.origin) continue;
    std::uint64_t shared = 0, at = 0, met = 0;
    for (std::uint64_t i = 0; i < set.size(); ++i) {
      const auto [begin, end] = known.equal_range(digest_of_levels(set, i, room));
      const auto it = std::find_if(begin, end, [&](const auto& one) {
        return equal_levels(set, i, train, one.second) && equal_targets(set, i, train, one.second);
      });
      if (it == end || shared++ > 0) continue;
      at = i;
      met = it->second;
    }
    if (shared == 0) continue;
    search.warn(search.sample(of, at), std::to_string(shared) + " of " + counted(set.size(), "sample") +
                                           " of the " + of.name + " set " + (shared == 1 ? "is" : "are") +
                                           " trained on too; the first is " + search.sample(training, met));
  }
}

using Look = void (*)(Search&);
constexpr std::array table{
    // parameters and wires
    Look{in_the_platform},
    Look{parameters_without_a_wire},
    Look{values_beyond_a_wire},
    Look{nothing_to_train},
    Look{ranges_of_one_value},
    // keys
    Look{keys_without_effect},
    Look{budget_below_a_step},
    // data
    Look{columns_named_twice},
    Look{inputs_that_count_rows},
    Look{inputs_that_never_vary},
    Look{targets_that_never_vary},
    Look{levels_out_of_range},
    Look{targets_out_of_range},
    Look{targets_beyond_a_meter},
    Look{classes_without_samples},
    Look{targets_of_neither_class},
    Look{samples_that_meet_again},
};

}  // namespace

std::vector<Mistake> mistakes(const Experiment& experiment, const Run& run) {
  Search search(experiment, run);
  for (const Look& look : table) look(search);
  return std::move(search).found();
}

}  // namespace ness
