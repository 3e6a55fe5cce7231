// ness check: is everything wired as the bench file says?
#include <cstdio>
#include <memory>

#include "ness/bench/bench_check.hpp"
#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/runs/evaluations.hpp"
#include "live_bench.hpp"
#include "messages.hpp"
#include "ness/device/error.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/runs/progress.hpp"

namespace ness {

namespace {

struct CheckOptions {
  std::string bench, experiment;
  std::vector<std::string> set;
  DeviceKind device = DeviceKind::bench;
  bool json = false, keep = false, write = false;
};

constexpr std::chrono::milliseconds safe_budget{10000};

Report report_of(const WiringReport& report, const std::vector<TomlEdit>& written, double seconds) {
  Report channels = Report::list(), readings = channels, steps = channels, undecided = channels,
         found = channels;
  for (const ChannelReport& c : report.channels) {
    Report entry{{"name", c.name},         {"verdict", to_string(c.verdict)},
                 {"answered", c.answered}, {"gain", c.gain},
                 {"strength", c.strength}, {"expected", c.expected},
                 {"error", c.error},       {"misfit", c.misfit}};
    if (!c.of.empty()) entry["of"] = c.of;
    if (c.conductance) entry["conductance"] = *c.conductance;
    channels.add(std::move(entry));
  }
  for (const ReadingReport& r : report.readings) {
    Report entry{{"name", r.name},
                 {"verdict", to_string(r.verdict)},
                 {"offset", r.offset},
                 {"offset_error", r.offset_error},
                 {"noise", r.noise}};
    if (!r.of.empty()) entry["of"] = r.of;
    readings.add(std::move(entry));
  }
  for (const StepResponse& s : report.steps) {
    Report entry{{"channel", s.channel}, {"reading", s.reading}, {"change", s.change}};
    if (s.tau) entry["tau"] = *s.tau;
    else entry["faster_than"] = s.bound;
    steps.add(std::move(entry));
  }
  for (const auto& [a, b] : report.undecided) undecided.add(Report::list({a, b}));
  for (const TomlEdit& edit : written) {
    std::string table;
    for (const std::string& part : edit.table) table += (table.empty() ? "" : ".") + part;
    found.add({{"table", table}, {"key", edit.key}, {"value", edit.value}});
  }
  return {{"passed", report.passed()},
          {"failures", report.failures},
          {"warnings", report.warnings},
          {"undecided", undecided},
          {"channels", channels},
          {"readings", readings},
          {"steps", steps},
          {"relaxations", report.relaxations},
          {"bench_seconds", seconds},
          {"written", found}};
}

void print(const WiringReport& report) {
  std::printf("%-16s %-14s %9s %9s  %s\n", "moved", "is", "gain", "kT", "answered by");
  for (const ChannelReport& c : report.channels) {
    std::string who;
    for (const std::string& name : c.answered) who += (who.empty() ? "" : " ") + name;
    const std::string verdict = c.verdict == WiringVerdict::exchanged ? "like " + c.of : to_string(c.verdict);
    std::printf("%-16s %-14s %+9.3f %9.4f  %s\n", c.name.c_str(), verdict.c_str(), c.gain, c.strength,
                who.c_str());
  }
  std::printf("\n%-16s %-14s %12s %12s\n", "read", "is", "offset, kT", "noise, kT");
  for (const ReadingReport& r : report.readings) {
    const std::string verdict = r.verdict == WiringVerdict::exchanged ? "like " + r.of : to_string(r.verdict);
    std::printf("%-16s %-14s %+12.2e %12.2e\n", r.name.c_str(), verdict.c_str(), r.offset, r.noise);
  }
  std::printf("\n%-16s %-16s %9s  %s\n", "step of", "seen by", "kT", "time constant");
  for (const StepResponse& s : report.steps) {
    std::printf("%-16s %-16s %+9.4f  %s%.3g s\n", s.channel.c_str(), s.reading.c_str(), s.change,
                s.tau ? "" : "faster than ", s.tau.value_or(s.bound));
  }
}

int check(const CheckOptions& options, const Command& command) {
  if (options.device == DeviceKind::simulation)
    throw std::invalid_argument("a simulation has no cables to check; expected --device bench or emulated");
  const BenchFile file = load_bench(options.bench, options.set);
  Platform expected;
  if (!options.experiment.empty()) {
    const Experiment experiment = load_experiment(options.experiment);
    expected = experiment.platform->made(experiment.seed, experiment.threads);
    if (!expected.device)
      throw std::invalid_argument(
          options.experiment +
          ": what it describes cannot be simulated, so a bench cannot be checked against it");
  } else if (file.emulation) {
    NetworkDescription described;
    described.network = file.emulation->network;
    expected = described.made(0, 0);
  } else {
    throw FileError(file.path +
                    ": expected --experiment FILE, or a table [emulation]: which network should this be?");
  }
  const std::shared_ptr<const sim::Network> network = network_of(expected);
  const sim::NetworkSpec* sample = network ? &network->spec() : nullptr;
  BenchDevice device = make_bench(file, options.device, {expected.info, expected.theta, sample});
  drivers::Bench& bench = *device.bench;
  const LiveBench live(command, options.device == DeviceKind::bench);
  WiringReport report;
  double seconds = 0;
  try {
    bench.start(command.stop);
    const double begin = device.sessions->clock()->now();
    report = check_bench(file, bench, *expected.device, expected.theta, command.stop);
    seconds = device.sessions->clock()->now() - begin;
  } catch (const Cancelled&) {
    if (const SafeReport safe = bench.make_safe(safe_budget, SafeProfile::cancel); !safe.safe)
      throw std::runtime_error("stopped on request; " + safe.message());
    throw;
  } catch (...) {
    if (const SafeReport safe = bench.make_safe(safe_budget, SafeProfile::emergency); !safe.safe)
      complain(safe.message());
    throw;
  }
  const SafeReport safe = bench.make_safe(safe_budget);

  std::vector<TomlEdit> written;
  if (!safe.safe) complain(safe.message());
  // What a rehearsal finds are the emulated instruments' offsets, which the real ones do not have.
  if (report.passed() && !options.keep && (options.device == DeviceKind::bench || options.write)) {
    written = findings(file, report);
    if (!written.empty()) edit_file(options.bench, written);
  }
  if (options.json) {
    report_of(report, written, seconds).print_json();
  } else {
    print(report);
    std::printf("\n%llu relaxations, %s of the bench's time\n",
                static_cast<unsigned long long>(report.relaxations), duration_text(seconds).c_str());
    for (const TomlEdit& edit : written) {
      std::string table;
      for (const std::string& part : edit.table) table += (table.empty() ? "" : ".") + part;
      std::printf("written: [%s] %s = %s\n", table.c_str(), edit.key.c_str(), edit.value.c_str());
    }
    if (report.passed()) std::printf("everything is wired as %s says\n", file.path.c_str());
  }
  for (const std::string& warning : report.warnings) warn(warning);
  for (const std::string& failure : report.failures) complain(failure);
  return report.passed() && safe.safe ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void declare_check(Options& line, const Command& command) {
  auto options = std::make_shared<CheckOptions>();
  add_bench_file(line, options->bench);
  line.add("--experiment", options->experiment,
           "the experiment whose network it should be; default: the bench file's [emulation]")
      .value_name("FILE");
  line.choice("--device", options->device, {{"bench", DeviceKind::bench}, {"emulated", DeviceKind::emulated}},
              "bench (real instruments, the default), emulated (the same, emulated, in virtual time)")
      .value_name("KIND");
  add_set_of_bench(line, options->set);
  const Option keep = line.flag("--keep", options->keep, "leave the bench file as it is");
  line.flag("--write", options->write,
            "write what was found into the bench file also where the instruments are emulated")
      .excludes(keep);
  line.flag("--json", options->json, "the result as one JSON object on standard output");
  line.footer(
      "Within a small share of its limits ([check] share) each source is moved alone, at operating points at "
      "which exchanging any two\n"
      "cables would show, and what answers is compared with the simulated network. Where all is as it should "
      "be, time constants,\n"
      "noise and offsets of real instruments are written into the bench file; its comments stay. Exit code 0 "
      "only if all passed; `ness train` refuses\n"
      "a bench that fails.\n"
      "\n"
      "Examples:\n"
      "  ness check bench.toml --experiment xor-bench.toml\n"
      "  ness check bench-emulated.toml --device emulated --set "
      "'emulation.swapped=[[\"input-0\",\"input-1\"]]'");
  line.action([options, &command] { return check(*options, command); });
}

}  // namespace ness
