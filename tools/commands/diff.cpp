// ness diff: what differs between the runs of two logs.
#include <cstdio>
#include <memory>
#include <optional>

#include "command.hpp"
#include "messages.hpp"
#include "ness/files/differences.hpp"
#include "ness/record/log.hpp"
#include "ness/runs/bench_record.hpp"
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
  return {{"experiment", differences(a.experiment, b.experiment, one.path() + " or " + other.path())},
          {"seed", differences(Values{{"seed", std::to_string(a.seed)}}, {{"seed", std::to_string(b.seed)}})},
          {"device", differences(Values{{"identity", a.info.identity}}, {{"identity", b.info.identity}})},
          {"bench", of_benches(a.bench, b.bench)},
          {"data", differences(data_of(one), data_of(other))},
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
      if (!difference.then.empty()) entry["one"] = difference.then;
      if (!difference.now.empty()) entry["other"] = difference.now;
      list.add(entry);
      if (options.json) continue;
      const auto shown = [](const std::string& value) { return value.empty() ? "nothing" : value.c_str(); };
      std::printf("%-10s  %s: %s | %s\n", section.name, difference.key.c_str(), shown(difference.then),
                  shown(difference.now));
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
      "Compares what two runs were: experiment, seed, device, bench, data and program, key by key; not what "
      "came of them.\n"
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
