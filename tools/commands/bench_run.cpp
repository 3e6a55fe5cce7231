#include "bench_run.hpp"

#include <fstream>
#include <memory>
#include <stdexcept>

#include "messages.hpp"
#include "ness/device/error.hpp"
#include "ness/runs/bench_record.hpp"

namespace ness {

namespace {

constexpr std::chrono::milliseconds safe_budget{5000};

}  // namespace

void BenchOptions::add_bench(Options& line, const std::string& bench_of, const std::string& unchecked) {
  line.choice("--device", device,
              {{"simulation", DeviceKind::simulation},
               {"bench", DeviceKind::bench},
               {"emulated", DeviceKind::emulated}},
              "simulation, bench (real instruments), emulated (the same, emulated, in virtual time)")
      .value_name("KIND");
  line.add("--bench", bench, bench_of).value_name("FILE");
  line.add("--transcript", transcript, "every message to and from the bench's instruments, a line each")
      .value_name("FILE");
  line.flag("!--no-check", check, unchecked);
}

DeviceKind recorded_kind(const LogReader& log) {
  const std::string& identity = log.header().info.identity;
  return identity.starts_with("bench: ")            ? DeviceKind::bench
         : identity.starts_with("emulated bench: ") ? DeviceKind::emulated
                                                    : DeviceKind::simulation;
}

Transcript transcript_to(const std::string& path) {
  if (path.empty()) return {};
  auto file = std::make_shared<std::ofstream>(path);
  if (!*file) throw FileError(path + ": cannot be written");
  return [file](const protocols::Exchange& exchange) {
    static constexpr const char* marks[] = {"opened", ">", "<", "closed", "!"};
    *file << exchange.address << ' ' << marks[static_cast<std::size_t>(exchange.kind)] << ' ' << exchange.text
          << '\n'
          << std::flush;
  };
}

SafeReport leave(Device& device, SafeProfile profile) {
  SafeReport report = device.make_safe(safe_budget, profile);
  if (!report.safe) complain(report.message());
  return report;
}

void start(Run& run, const BenchOptions& options, const Command& command) {
  if (!run.bench.bench) return;
  const BenchFile& file = run.bench.sessions->file();
  if (options.check) {
    if (!run.platform.device) {
      throw std::invalid_argument("what the experiment describes cannot be simulated, so " + file.path +
                                  " cannot be checked against it; --no-check goes on without");
    }
    const DeviceInfo& info = run.bench.bench->info();
    if (const std::string problem = check_options(file, info).problem(info); !problem.empty())
      throw std::invalid_argument(file.path + ": it cannot be checked: " + problem);
  }
  run.bench.bench->start(command.stop);
  run.bench_settings = run.bench.bench->settings();
  for (const drivers::StatedSettings& one : run.bench_settings) {
    if (one.problem.empty()) continue;
    leave(*run.bench.bench, SafeProfile::emergency);
    throw std::runtime_error(file.path + ": an instrument does not say what it is set to: " + one.problem);
  }
}

void require_right_bench(Run& run, const BenchOptions& options, const Command& command) {
  if (!run.bench.bench) return;
  if (!options.check) {
    warn("the bench is not checked (--no-check): an exchanged cable will not be noticed");
    return;
  }
  const BenchFile& file = run.bench.sessions->file();
  Device& bench = *run.bench.bench;
  WiringReport report;
  try {
    report = check_bench(file, bench, *run.platform.device, run.platform.theta, command.stop);
  } catch (const Cancelled&) {
    leave(bench, SafeProfile::cancel);
    throw;
  } catch (...) {
    leave(bench, SafeProfile::emergency);
    throw;
  }
  for (const std::string& warning : report.warnings) warn(warning);
  run.bench_check = report;
  if (report.passed()) return;
  leave(bench, SafeProfile::stop);
  throw std::runtime_error(summary(file, report));
}

void record_settings_at_end(LogWriter& log, const Run& run) {
  if (run.bench.bench) log.settings_at_end(settings_now(run));
}

}  // namespace ness
