// ness safe: every output of a bench to its safe level, whoever left it where it is.
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "ness/bench/bench_device.hpp"
#include "commands.hpp"
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
    if (!is_meter(file.instruments[file.wiring[w].instrument].model)) wires.push_back(w);
  }
  const auto bench = make_levels(file, sessions, wires);
  const LiveBench live(command);
  // What answers is made safe, also where something else does not, or is not what it should be.
  SafeReport report = bench->make_safe(std::chrono::milliseconds(static_cast<std::int64_t>(options.budget * 1e3)), options.profile);
  const std::vector<double>& levels = bench->present();
  nlohmann::ordered_json channels = nlohmann::ordered_json::array();
  for (std::size_t c = 0; c < levels.size(); ++c) {
    const std::string& name = bench->channels()[c].plan.name;
    const bool known = bench->is_known(c);
    if (options.json) channels.push_back({{"name", name}, {"level", known ? nlohmann::ordered_json(levels[c]) : nlohmann::ordered_json()}, {"on", known ? nlohmann::ordered_json(bench->is_on(c)) : nlohmann::ordered_json()}});
    else if (known) std::printf("%-16s %12g  %s\n", name.c_str(), levels[c], bench->is_on(c) ? "on" : "off");
    else std::printf("%-16s %12s  %s\n", name.c_str(), "unknown", "unknown");
  }
  if (options.json) std::printf("%s\n", nlohmann::ordered_json{{"safe", report.safe}, {"profile", to_string(options.profile)}, {"channels", channels}, {"stuck", report.stuck}}.dump().c_str());
  if (!report.safe) complain(report.message());
  return report.safe ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void add_safe(CLI::App& app, Command& command) {
  CLI::App& sub = *app.add_subcommand("safe", "every output of a bench to its safe level, whoever left it where it is");
  auto options = std::make_shared<SafeOptions>();
  sub.add_option("BENCH", options->bench, "bench file (TOML)")->required()->type_name("FILE");
  sub.add_option("--profile", options->profile, "stop, cancel or emergency, as the bench file describes them (stop)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, SafeProfile>{{"stop", SafeProfile::stop}, {"cancel", SafeProfile::cancel}, {"emergency", SafeProfile::emergency}}).description(""))
      ->type_name("NAME");
  sub.add_option("--set", options->set, "set any key of the bench file; may be repeated")->type_name("KEY=VALUE")->allow_extra_args(false);
  sub.add_option("--budget", options->budget, "seconds that an instrument which does not answer is waited for (10)")->check(CLI::Range(0.1, 86400.0));
  sub.add_flag("--json", options->json, "machine-readable result on standard output");
  sub.footer(
      "Levels are asked for first and ramped from there, within all limits, in the profile's order; then the profile's last act. What\n"
      "cannot be reached is told as stuck, the others go to the nearest levels allowed beside it, and the exit code is 1.\n"
      "\n"
      "Example:\n"
      "  ness safe bench.toml --profile emergency");
  sub.callback([options, &command] { command.run = [options, &command] { return make_safe(*options, command); }; });
}

}  // namespace ness
