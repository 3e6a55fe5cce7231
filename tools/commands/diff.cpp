// ness diff: what differs between the runs of two logs.
#include <cstdio>
#include <memory>
#include <optional>

#include "command.hpp"
#include "messages.hpp"
#include "ness/device/number_text.hpp"
#include "ness/files/differences.hpp"
#include "ness/record/log.hpp"
#include "ness/runs/bench_record.hpp"
#include "ness/runs/changes.hpp"
#include "ness/runs/logged_run.hpp"
#include "options.hpp"
#include "report.hpp"

namespace ness {

namespace {

struct DiffOptions {
  std::string one, other;
  bool json = false;
};

/// Differences of one kind.
struct Section {
  const char* name;
  std::vector<Difference> found;
};

Values data_of(const LogReader& log) {
  Values values;
  char digest[24];
  for (const LogReader::SetInfo& set : log.pattern_sets()) {
    std::snprintf(digest, sizeof digest, "%016llx", static_cast<unsigned long long>(set.digest));
    values[set.name + " rows"] = std::to_string(set.rows);
    values[set.name + " levels of a row"] = std::to_string(set.width);
    values[set.name + " digest of levels"] = digest;
    if (!set.path.empty()) values[set.name + " file (SHA-256)"] = set.sha256;
  }
  return values;
}

/// Levels, then the sets: sample by sample where the logs hold them.
std::vector<Difference> of_data(const LogReader& one, const LogReader& other) {
  std::vector<Difference> found = differences(data_of(one), data_of(other));
  const std::optional<RecordedTask>&a = one.header().task, &b = other.header().task;
  if (!a || !b) return found;
  if (const std::shared_ptr<const Task> task = task_of(other)) {
    for (Difference& difference : data_differences(one, *task)) found.push_back(std::move(difference));
    return found;
  }
  const auto sets = [](const RecordedTask& task) {
    Values values;
    for (const RecordedSet& set : task.sets) {
      values["data." + set.name + ".samples"] = std::to_string(set.samples);
      values["data." + set.name + ".digest"] = digest_text(set.digest);
    }
    return values;
  };
  for (Difference& difference : differences(sets(*a), sets(*b))) found.push_back(std::move(difference));
  return found;
}

/// What differs between two lists of one kind: their lengths, else the first entry that differs, and how many
/// do.
template <class Entry, class Shown>
void compare_lists(const std::string& key, const std::vector<Entry>& one, const std::vector<Entry>& other,
                   const Shown& shown, std::vector<Difference>& found) {
  if (one.size() != other.size()) {
    found.push_back({key, std::to_string(one.size()), std::to_string(other.size())});
    return;
  }
  Difference first;
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    std::string a = shown(one[i]), b = shown(other[i]);
    if (a != b && count++ == 0) first = {key + "[" + std::to_string(i) + "]", std::move(a), std::move(b)};
  }
  if (count > 1) first.where = "the first of " + std::to_string(count);
  if (count > 0) found.push_back(std::move(first));
}

std::string terminal_text(const Terminal& terminal) {
  return terminal.name + (terminal.clamped ? ", clamped" : "") + ", levels " + range_text(terminal.level) +
         (terminal.can_hold ? ", can be held" : "") + ", nudge " + range_text(terminal.nudge) +
         (terminal.reads_potential ? ", potential read" : "") +
         (terminal.reads_current ? ", current read" : "");
}

std::string parameter_text(const ParameterInfo& parameter) {
  return parameter.name + " (" + parameter.unit + "), range " + range_text(parameter.range) +
         (parameter.scale == Scale::log ? ", logarithmic" : "") + (parameter.trainable ? "" : ", constant") +
         ", resolution " + number_text(parameter.resolution);
}

/// What the devices are and can do: limits, units and resolutions are its settings.
std::vector<Difference> of_devices(const DeviceInfo& one, const DeviceInfo& other) {
  const auto words = [](const DeviceInfo& info) {
    return Values{{"identity", info.identity},
                  {"potential_unit", info.potential_unit},
                  {"current_unit", info.current_unit},
                  {"time_unit", info.time_unit},
                  {"restores_state", info.restores_state ? "true" : "false"},
                  {"reads_serial", info.reads_serial ? "true" : "false"},
                  {"reads_repeat", info.reads_repeat ? "true" : "false"},
                  {"reads_path", info.reads_path ? "true" : "false"},
                  {"deterministic", info.deterministic ? "true" : "false"}};
  };
  std::vector<Difference> found = differences(words(one), words(other));
  compare_lists("terminals", one.terminals, other.terminals, terminal_text, found);
  compare_lists(
      "outputs", one.outputs, other.outputs, [](std::uint32_t output) { return std::to_string(output); },
      found);
  compare_lists("parameters", one.parameters, other.parameters, parameter_text, found);
  compare_lists(
      "environment", one.environment, other.environment,
      [](const EnvironmentInfo& of) { return of.name + " (" + of.unit + ")"; }, found);
  return found;
}

std::vector<Difference> of_edges(const std::optional<RecordedEdges>& one,
                                 const std::optional<RecordedEdges>& other) {
  if (!one || !other) return {};  // a log before format 6 does not say
  const auto words = [](const RecordedEdges& edges) {
    std::vector<std::string> all;
    for (std::size_t e = 0; e < edges.from.size(); ++e)
      all.push_back(std::to_string(edges.from[e]) + " to " + std::to_string(edges.to[e]) + ", " +
                    edges.law[e]);
    return all;
  };
  std::vector<Difference> found;
  compare_lists(
      "edges", words(*one), words(*other), [](const std::string& edge) { return edge; }, found);
  return found;
}

Values program_of(const LogReader& log) {
  Values values(log.header().versions.begin(), log.header().versions.end());
  values["log format"] = std::to_string(log.format());
  if (!log.header().info.arithmetic.empty()) values["vector target"] = log.header().info.arithmetic;
  return values;
}

/// What the instruments said of their calibration and their settings, and the verdicts of the check.
Values stated(const BenchRecord& bench) {
  Values values;
  for (const BenchRecord::Instrument& one : bench.instruments) {
    for (const auto& [of, all] : {std::pair{"calibration", &one.calibration},
                                  {"settings_start", &one.settings_start},
                                  {"settings_end", &one.settings_end}}) {
      for (const auto& [name, value] : *all)
        values["instruments." + one.name + '.' + of + '.' + name] = value;
    }
  }
  if (!bench.check) return values;
  for (const BenchCheck::Wire& wire : bench.check->wires)
    values["check." + wire.name] = wire.verdict + (wire.of.empty() ? "" : " (" + wire.of + ")");
  for (const BenchCheck::Reading& reading : bench.check->readings)
    values["check." + reading.name] = reading.verdict + (reading.of.empty() ? "" : " (" + reading.of + ")");
  return values;
}

std::vector<Difference> of_benches(const std::optional<BenchRecord>& one,
                                   const std::optional<BenchRecord>& other) {
  if (one && other) {
    std::vector<Difference> all = bench_differences(*one, *other);
    for (Difference& difference : differences(stated(*one), stated(*other)))
      all.push_back(std::move(difference));
    return all;
  }
  if (!one && !other) return {};
  return {{"bench file", one ? one->path : "", other ? other->path : ""}};
}

std::vector<Section> sections(const LogReader& one, const LogReader& other) {
  const LogHeader &a = one.header(), &b = other.header();
  return {
      {"experiment", experiment_differences(a.experiment, b.experiment, one.path() + " or " + other.path())},
      {"seed", differences(Values{{"seed", std::to_string(a.seed)}}, {{"seed", std::to_string(b.seed)}})},
      {"device", of_devices(a.info, b.info)},
      {"edges", of_edges(a.edges, b.edges)},
      {"bench", of_benches(a.bench, b.bench)},
      {"data", of_data(one, other)},
      {"program", differences(program_of(one), program_of(other))}};
}

int diff(const DiffOptions& options) {
  const LogReader one(options.one), other(options.other);
  bool any = false;
  Report result{{"one", options.one}, {"other", options.other}};
  for (const Section& section : sections(one, other)) {
    Report list = Report::list();
    for (const Difference& difference : section.found) {
      any = true;
      Report entry{{"key", difference.key}};
      if (!difference.where.empty()) entry["where"] = difference.where;
      if (!difference.then.empty()) entry["one"] = difference.then;
      if (!difference.now.empty()) entry["other"] = difference.now;
      list.add(entry);
      if (options.json) continue;
      const auto shown = [](const std::string& value) { return value.empty() ? "nothing" : value.c_str(); };
      const std::string where = difference.where.empty() ? "" : " (" + difference.where + ")";
      std::printf("%-10s  %s%s: %s | %s\n", section.name, difference.key.c_str(), where.c_str(),
                  shown(difference.then), shown(difference.now));
    }
    result[section.name] = list;
  }
  result["same"] = !any;
  if (options.json) result.print_json();
  else if (!any)
    std::printf("the runs of %s and %s are of the same experiment\n", options.one.c_str(),
                options.other.c_str());
  return any ? ExitCode::failure : ExitCode::success;
}

}  // namespace

void declare_diff(Options& line, const Command& command) {
  auto options = std::make_shared<DiffOptions>();
  line.add("LOG", options->one, "one log").required().value_name("LOG");
  line.add("OTHER", options->other, "the other").required().value_name("LOG");
  line.flag("--json", options->json, "results as one JSON object on standard output");
  line.footer(
      "Compares what two runs were: experiment, seed, device, edges, bench, data and program, key by key; "
      "not "
      "what came of them.\n"
      "What was set on the command line is in the experiment. Of a list it shows the first entry that "
      "differs.\n"
      "Exit code 0 if nothing differs, 1 if something does.\n"
      "\n"
      "Example:\n"
      "  ness diff monday.h5 tuesday.h5");
  line.action([options, &command] {
    command.leave_at_first();
    return diff(*options);
  });
}

}  // namespace ness
