// ness safe: every output of a bench to its safe level, whoever left it where it is.
#include <cstdio>
#include <map>
#include <memory>

#include "ness/bench/bench_device.hpp"
#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/files/line_elements.hpp"
#include "live_bench.hpp"
#include "messages.hpp"

namespace ness {

namespace {

struct SafeOptions {
  std::string bench;
  std::vector<std::string> set;
  SafeProfile profile = SafeProfile::stop;
  double budget = 10;
  bool json = false;
};

int make_safe(const SafeOptions& options, const Command& command) {
  const BenchFile file = load_bench(options.bench, options.set);
  BenchSessions sessions(file, DeviceKind::bench);
  std::vector<std::size_t> wires;
  for (std::size_t w = 0; w < file.wiring.size(); ++w) {
    if (sets_levels(file.instrument(file.wiring[w]).role())) wires.push_back(w);
  }
  const auto bench = make_levels(file, sessions, wires);
  const LiveBench live(command);
  // What answers is made safe, also where something else does not, or is not what it should be.
  SafeReport report = bench->make_safe(
      std::chrono::milliseconds(static_cast<std::int64_t>(options.budget * 1e3)), options.profile);
  const std::vector<double>& levels = bench->present();
  Report channels = Report::list();
  for (std::size_t c = 0; c < levels.size(); ++c) {
    const std::string& name = bench->channels()[c].plan.name;
    const bool known = bench->is_known(c);
    const Report level = known ? levels[c] : Report(), on = known ? bench->is_on(c) : Report();
    if (options.json) channels.add({{"name", name}, {"level", level}, {"on", on}});
    else if (known) std::printf("%-16s %12g  %s\n", name.c_str(), levels[c], bench->is_on(c) ? "on" : "off");
    else std::printf("%-16s %12s  %s\n", name.c_str(), "unknown", "unknown");
  }
  if (options.json) {
    Report{{"safe", report.safe},
           {"profile", to_string(options.profile)},
           {"channels", channels},
           {"stuck", report.stuck}}
        .print_json();
  }
  if (!report.safe) complain(report.message());
  return report.safe ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void declare_safe(Options& line, const Command& command) {
  auto options = std::make_shared<SafeOptions>();
  add_bench_file(line, options->bench);
  line.choice("--profile", options->profile,
              {{"stop", SafeProfile::stop},
               {"cancel", SafeProfile::cancel},
               {"emergency", SafeProfile::emergency}},
              "stop, cancel or emergency, as the bench file describes them (stop)")
      .value_name("NAME");
  add_set_of_bench(line, options->set);
  line.add("--budget", options->budget, "seconds that an instrument which does not answer is waited for (10)")
      .within(0.1, 86400.0);
  line.flag("--json", options->json, "machine-readable result on standard output");
  line.footer(
      "Levels are asked for first and ramped from there, within all limits, in the profile's order; then the "
      "profile's last act. What\n"
      "cannot be reached is told as stuck, the others go to the nearest levels allowed beside it, and the "
      "exit code is 1.\n"
      "\n"
      "Example:\n"
      "  ness safe bench.toml --profile emergency");
  line.action([options, &command] { return make_safe(*options, command); });
}

}  // namespace ness
