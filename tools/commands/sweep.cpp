// ness sweep: the I-V curve of one edge, with its regions of negative differential conductance.
#include "ness/bench/sweep.hpp"

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "ness/bench/bench_device.hpp"
#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/runs/evaluations.hpp"
#include "live_bench.hpp"
#include "messages.hpp"
#include "ness/device/error.hpp"

namespace ness {

namespace {

struct SweepCommand {
  std::string bench, out;
  std::vector<std::string> set, hold;
  std::vector<double> range;
  SweepOptions sweep;
  DeviceKind device = DeviceKind::bench;
  bool json = false;
};

std::vector<std::pair<std::string, double>> held(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, double>> hold;
  for (const std::string& text : texts) {
    const auto equals = text.rfind('=');
    double volts = 0;
    const char* end = text.data() + text.size();
    const auto [last, error] = equals == std::string::npos
                                   ? std::from_chars_result{end, std::errc::invalid_argument}
                                   : std::from_chars(text.data() + equals + 1, end, volts);
    if (error != std::errc() || last != end || !std::isfinite(volts))
      throw std::invalid_argument("--hold " + text + ": expected WIRE=VOLTS");
    hold.emplace_back(text.substr(0, equals), volts);
  }
  return hold;
}

// A file of its own, before anything is switched on; what was measured is written into it on every way out.
class CurveFile {
 public:
  explicit CurveFile(const std::string& path) : path_(path) {
    if (path_.empty()) return;
    if (std::filesystem::exists(std::filesystem::symlink_status(path_)))
      throw FileError(path_ +
                      ": exists already, and is not overwritten; choose another name with --out FILE");
    file_.open(path_);
    if (!file_) throw FileError(path_ + ": cannot be written");
  }
  void write(const std::vector<SweepPoint>& points) {
    if (path_.empty()) return;
    file_.precision(17);
    file_ << "level (V),voltage (V),voltage error (V),current (A),current error (A),slope (S),slope error "
             "(S),ndc,in compliance,over range\n";
    for (const SweepPoint& p : points) {
      file_ << p.level << ',' << p.volts << ',' << p.volts_error << ',' << p.amperes << ',' << p.amperes_error
            << ',' << p.slope << ',' << p.slope_error << ',' << p.ndc << ',' << p.in_compliance << ','
            << p.over_range << '\n';
    }
    if (!file_.flush()) throw FileError(path_ + ": could not be written to its end");
  }

 private:
  std::string path_;
  std::ofstream file_;
};

Report report_of(const SweepPoint& p) {
  return {{"level", p.level},
          {"volts", p.volts},
          {"volts_error", p.volts_error},
          {"amperes", p.amperes},
          {"amperes_error", p.amperes_error},
          {"slope", p.slope},
          {"slope_error", p.slope_error},
          {"ndc", p.ndc},
          {"in_compliance", p.in_compliance},
          {"over_range", p.over_range}};
}

void tell(const SweepCommand& command, const BenchFile& file, const Sweep& sweep, const std::string& status) {
  const auto in_kT = [&](const NdcRegion& r) {
    const double low = r.volts.low / file.scale.volts_per_kT, high = r.volts.high / file.scale.volts_per_kT;
    return file.scale.carrier > 0 ? Range{low, high} : Range{-high, -low};
  };
  const auto regions = ndc_regions(sweep.points(), command.sweep.errors);
  if (command.json) {
    Report points = Report::list(), found = Report::list();
    for (const SweepPoint& p : sweep.points()) points.add(report_of(p));
    for (const NdcRegion& r : regions) {
      found.add({{"volts", Report::list({r.volts.low, r.volts.high})},
                 {"kT", Report::list({in_kT(r).low, in_kT(r).high})},
                 {"amperes", Report::list({r.at_low, r.at_high})},
                 {"steepest", r.steepest}});
    }
    const SafeReport& safe = sweep.safe();
    Report{{"bench", file.path},       {"from", command.sweep.from},
           {"to", command.sweep.to},   {"status", status},
           {"settle", sweep.settle()}, {"errors", command.sweep.errors},
           {"points", points},         {"ndc", found},
           {"safe", safe.safe},        {"stuck", safe.stuck}}
        .print_json();
    return;
  }
  std::printf("%12s %12s %10s %13s %10s %11s %10s\n", "level V", "voltage V", "+- V", "current A", "+- A",
              "slope S", "+- S");
  for (const SweepPoint& p : sweep.points()) {
    std::printf("%12.6f %12.6f %10.2e %13.6e %10.2e %11.3e %10.2e %s%s%s\n", p.level, p.volts, p.volts_error,
                p.amperes, p.amperes_error, p.slope, p.slope_error, p.ndc ? " NDC" : "",
                p.in_compliance ? " compliance" : "", p.over_range ? " over-range" : "");
  }
  for (const NdcRegion& r : regions) {
    std::printf("NDC from %.6f V to %.6f V (%.4f kT to %.4f kT): %.4e A falls to %.4e A, steepest %.3e S\n",
                r.volts.low, r.volts.high, in_kT(r).low, in_kT(r).high, r.at_low, r.at_high, r.steepest);
  }
  if (regions.empty())
    std::printf("no NDC: no slope is negative by more than %g of its standard errors\n",
                command.sweep.errors);
}

int sweep_edge(const SweepCommand& command, const Command& process) {
  SweepOptions options = command.sweep;
  options.first = command.range[0];
  options.last = command.range[1];
  options.hold = held(command.hold);
  const BenchFile file = load_bench(command.bench, command.set);
  Sweep sweep(file, options, command.device == DeviceKind::emulated);
  CurveFile table(command.out);
  const LiveBench live(process, command.device == DeviceKind::bench);
  std::string status = "finished";
  const auto end = [&] {
    if (!sweep.safe().safe) complain(sweep.safe().message());
    tell(command, file, sweep, status);
    table.write(sweep.points());
  };
  try {
    auto told = std::chrono::steady_clock::time_point::min();
    sweep.run(
        [&](const SweepPoint& point) {
          const auto now = std::chrono::steady_clock::now();
          if (sweep.points().size() > 1 && now - told < std::chrono::seconds(1)) return;
          told = now;
          inform("point " + std::to_string(sweep.points().size()) + "/" + std::to_string(options.points) +
                 " at " + std::to_string(point.volts) + " V");
        },
        process.stop);
  } catch (const Cancelled&) {
    status = "cancelled";
    end();
    return sweep.safe().safe ? ExitCode::cancelled : ExitCode::failure;
  } catch (const std::exception&) {
    status = "failed";
    end();
    throw;
  }
  end();
  return sweep.safe().safe ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void declare_sweep(Options& line, const Command& command) {
  auto options = std::make_shared<SweepCommand>();
  add_bench_file(line, options->bench);
  line.add("--from", options->sweep.from, "the wire that is swept, of a source-meter")
      .required()
      .value_name("WIRE");
  line.add("--to", options->sweep.to,
           "the wire of the edge's other end: a source-meter or a DAC's channel, held at 0 V; a "
           "preamplifier, whose current is then the edge's; or a meter")
      .value_name("WIRE");
  line.add("--range", options->range, "from where to where, V at the swept instrument")
      .required()
      .takes(2)
      .value_name("V V");
  line.add("--points", options->sweep.points, "how many points (51)").value_name("N").within(2u, 1000000u);
  line.add("--readings", options->sweep.readings, "readings a point (8)")
      .value_name("N")
      .within(2u, 1000000u);
  line.add("--settle", options->sweep.settle,
           "seconds after each level; default: ten times the slowest time constant the file states")
      .value_name("S")
      .within(0.0, 86400.0);
  line.add("--errors", options->sweep.errors, "standard errors by which a slope must be negative (3)")
      .value_name("K")
      .not_negative();
  line.add("--hold", options->hold, "holds another wire meanwhile, V at its instrument; may be repeated")
      .value_name("WIRE=V")
      .one_at_a_time();
  line.choice("--device", options->device, {{"bench", DeviceKind::bench}, {"emulated", DeviceKind::emulated}},
              "bench (real instruments, the default), emulated (the same, emulated, in virtual time)")
      .value_name("KIND");
  line.add("--out", options->out, "a table of the points (CSV)").value_name("FILE");
  add_set_of_bench(line, options->set);
  line.flag("--json", options->json, "results as one JSON object on standard output");
  line.footer(
      "The voltage is the edge's own: what was read back, behind leads, series resistors and dividers. "
      "Levels are ramped in the wires'\n"
      "steps and rates within all limits, and are safe again, outputs off, on every way out, Ctrl-C "
      "included. Other instruments are\n"
      "left alone. NDC is where the slope between neighbouring points is negative by more than its standard "
      "errors.\n"
      "\n"
      "Example:\n"
      "  ness sweep bench.toml --from input-0 --to drain --range -0.5 0.5 --points 101 --out edge.csv\n"
      "  ness sweep bench.toml --from input-0 --to preamp --range 0 0.4 --hold a-0=-0.3 --device emulated");
  line.action([options, &command] { return sweep_edge(*options, command); });
}

}  // namespace ness
