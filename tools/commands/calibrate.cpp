// ness calibrate: the twin's offsets, gains and noise from logged relaxations, with intervals.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "ness/calibration/calibration.hpp"
#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/origin.hpp"
#include "messages.hpp"
#include "ness/device/error.hpp"
#include "ness/runs/progress.hpp"
#include "ness/files/text_file.hpp"

namespace ness {

namespace {

struct CalibrateOptions : CommonOptions {
  std::string log, out;
  std::uint64_t rows = 2000;
  std::vector<std::string> accuracy;
  CalibrationOptions fit;
};

/// "meter-zero=4e-5", as --accuracy says it.
void state(const std::string& accuracy, CalibrationOptions& fit) {
  const std::size_t equals = accuracy.find('=');
  std::string all;
  for (std::size_t k = 0; k < nuisance_kinds; ++k) {
    const std::string key = key_of(static_cast<NuisanceKind>(k));
    all += (k > 0 ? ", " : "") + key;
    if (equals == std::string::npos || accuracy.substr(0, equals) != key) continue;
    char* end = nullptr;
    const double value = std::strtod(accuracy.c_str() + equals + 1, &end);
    if (end == accuracy.c_str() + equals + 1 || *end != '\0' || !(value > 0) || std::isinf(value))
      throw std::invalid_argument("--accuracy " + accuracy + ": expected a finite number > 0 behind '='");
    fit.stated[k] = value;
    return;
  }
  throw std::invalid_argument("--accuracy " + accuracy + ": expected KIND=X, KIND one of " + all);
}

std::string sum_text(const Calibration& found, const Combination& sum) {
  std::string text;
  for (const auto& [coefficient, unknown] : sum) {
    char number[32];
    std::snprintf(number, sizeof number, "%s%.2f ",
                  text.empty()      ? (coefficient < 0 ? "-" : "")
                  : coefficient < 0 ? " - "
                                    : " + ",
                  std::abs(coefficient));
    text += number + found.unknowns[unknown].name;
  }
  return text;
}

std::string interval_title(double confidence) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g %% interval", 100 * confidence);
  return text;
}

const char* text_of(Calibration::LeftOut::Why why) {
  switch (why) {
    case Calibration::LeftOut::Why::no_state: return "no steady state of the model";
    case Calibration::LeftOut::Why::other_branch: return "on another branch than the model";
    case Calibration::LeftOut::Why::unexplained: return "not explained";
  }
  return "?";
}

/// "3 rows on another branch than the model: 12, 99, 130".
std::vector<std::string> left_out_lines(const Calibration& found) {
  using Why = Calibration::LeftOut::Why;
  std::vector<std::string> lines;
  for (const Why why : {Why::no_state, Why::other_branch, Why::unexplained}) {
    std::vector<std::uint64_t> rows;
    for (const Calibration::LeftOut& one : found.left_out) {
      if (one.why == why) rows.push_back(one.row);
    }
    if (rows.empty()) continue;
    std::string line = grouped(rows.size()) + (rows.size() == 1 ? " row " : " rows ") + text_of(why) + ":";
    for (std::size_t i = 0; i < std::min<std::size_t>(rows.size(), 12); ++i)
      line += (i > 0 ? ", " : " ") + std::to_string(rows[i]);
    lines.push_back(line + (rows.size() > 12 ? ", .." : ""));
  }
  return lines;
}

Report report_of(const Calibration& found, const CalibrationData& data, const CalibrateOptions& options) {
  Report result{{"log", options.log},
                {"rows", data.rows.size()},
                {"usable_rows", data.usable},
                {"logged_rows", data.logged},
                {"readings", found.numbers}};
  result["degrees_of_freedom"] = found.degrees_of_freedom;
  if (std::isfinite(found.chi_squared)) result["chi_squared_per_degree"] = found.chi_squared;
  result["confidence"] = options.fit.confidence;
  result["converged"] = found.converged;
  result["rank"] = found.rank;
  result["unknowns"] = Report::list();
  for (const CalibratedUnknown& unknown : found.unknowns) {
    Report one{{"name", unknown.name},
               {"scale", unknown.scale == Scale::log ? "log" : "linear"},
               {"unit", unknown.unit},
               {"offset", unknown.offset},
               {"identified", unknown.identified}};
    if (unknown.identified && found.withheld.empty()) {
      one["standard_error"] = unknown.standard_error;
      one["interval"] = Report::list({unknown.low, unknown.high});
    }
    result["unknowns"].add(one);
  }
  result["not_identified"] = Report::list();
  for (const Combination& sum : found.not_identified) {
    Report one = Report::table();
    for (const auto& [coefficient, unknown] : sum) one[found.unknowns[unknown].name] = coefficient;
    result["not_identified"].add(one);
  }
  result["noise"] = Report::table();
  for (std::size_t r = 0; r < data.readings.size(); ++r)
    result["noise"][data.readings[r].name] = found.noise[r];
  result["drift"] = Report::table();
  result["flicker"] = Report::table();
  for (std::size_t r = 0; r < data.readings.size(); ++r) {
    result["drift"][data.readings[r].name] = found.walk[r];
    result["flicker"][data.readings[r].name] = found.flicker[r];
  }
  result["nuisances"] = Report::table();
  for (std::size_t k = 0; k < nuisance_kinds; ++k) {
    if (found.nuisance[k] > 0)
      result["nuisances"][to_string(static_cast<NuisanceKind>(k))] = found.nuisance[k];
  }
  result["doubts"] = Report::list();
  for (const std::string& line : found.doubts) result["doubts"].add(line);
  result["widened"] = found.widened;
  result["withheld"] = found.withheld;
  result["left_out"] = Report::list();
  for (const Calibration::LeftOut& one : found.left_out)
    result["left_out"].add({{"row", one.row}, {"why", text_of(one.why)}});
  if (!options.out.empty()) result["experiment"] = options.out;
  return result;
}

void tell(const Calibration& found, const CalibrationData& data, const CalibrateOptions& options) {
  if (options.json) {
    report_of(found, data, options).print_json();
    return;
  }
  std::printf("%s: %s of %s usable relaxations, %s readings; %zu of %zu unknowns identified\n",
              options.log.c_str(), grouped(data.rows.size()).c_str(), grouped(data.usable).c_str(),
              grouped(found.numbers).c_str(),
              static_cast<std::size_t>(std::count_if(found.unknowns.begin(), found.unknowns.end(),
                                                     [](const auto& u) { return u.identified; })),
              found.unknowns.size());
  std::size_t wide = 9;
  for (const CalibratedUnknown& unknown : found.unknowns) wide = std::max(wide, unknown.name.size());
  std::printf("  %-*s  %11s  %-26s  %s\n", static_cast<int>(wide), "parameter", "offset",
              interval_title(options.fit.confidence).c_str(), "unit");
  for (const CalibratedUnknown& unknown : found.unknowns) {
    char interval[64] = "not identified";
    if (unknown.identified && !found.withheld.empty()) std::snprintf(interval, sizeof interval, "withheld");
    else if (unknown.identified)
      std::snprintf(interval, sizeof interval, "[%+.6f, %+.6f]", unknown.low, unknown.high);
    std::printf("  %-*s  %+11.6f  %-26s  %s\n", static_cast<int>(wide), unknown.name.c_str(), unknown.offset,
                interval, unknown.unit.c_str());
  }
  std::printf("  offsets add to the setpoint; those in \"ln\" to its logarithm\n");
  for (std::size_t r = 0; r < data.readings.size(); ++r) {
    const char* unit = data.readings[r].current ? "" : " kT";
    std::printf("noise of %s: %.3g%s", data.readings[r].name.c_str(), found.noise[r], unit);
    if (found.walk[r] > 0) std::printf(", drift of %.3g%s per root relaxation", found.walk[r], unit);
    if (found.flicker[r] > 0) std::printf(", flicker of %.3g%s", found.flicker[r], unit);
    std::printf("\n");
  }
  for (std::size_t k = 0; k < nuisance_kinds; ++k) {
    if (found.nuisance[k] > 0)
      std::printf("found, and allowed for: %s, of standard deviation %.2g\n",
                  to_string(static_cast<NuisanceKind>(k)), found.nuisance[k]);
  }
  for (const std::string& line : found.doubts) std::printf("doubt: %s\n", line.c_str());
  if (std::isfinite(found.chi_squared)) {
    std::printf("chi^2 per degree of freedom, by the standard errors in the log: %.3f (%.0f degrees)\n",
                found.chi_squared, found.degrees_of_freedom);
  }
  if (!found.not_identified.empty()) {
    std::printf(
        "not identified: %zu %s of the parameters, along which the Fisher matrix (rank %zu of %zu) allows "
        "standard errors beyond %g, or any:\n",
        found.not_identified.size(), found.not_identified.size() == 1 ? "combination" : "combinations",
        found.rank, found.unknowns.size(), options.fit.largest);
    for (const Combination& sum : found.not_identified) std::printf("  %s\n", sum_text(found, sum).c_str());
  }
  for (const std::string& line : left_out_lines(found)) std::printf("left out: %s\n", line.c_str());
  if (!options.out.empty()) std::printf("twin: %s\n", options.out.c_str());
}

int calibrate_log(const CalibrateOptions& options, const Command& command) {
  if (!options.out.empty()) refuse_existing_log(options.out, "choose another name with --out FILE");
  const LogReader log(options.log);
  if (const std::string doubt = use_recorded_target(log); !doubt.empty()) warn(doubt);
  const Experiment experiment = options.recorded(log, options.load());
  Run run = prepare(experiment, log.header().info);
  begin_as_logged(run, log.header());
  const CalibrationData data = calibration_data(log, experiment, run, options.rows);
  if (data.unknown_theta > 0)
    warn(grouped(data.unknown_theta) +
         " relaxations are not used: the log holds only digests of their parameters (log.full_theta)");
  CalibrationOptions fit = options.fit;
  for (const std::string& accuracy : options.accuracy) state(accuracy, fit);
  fit.threads = options.threads;
  const NetworkDescription& described = network_description(experiment);
  const std::shared_ptr<const sim::Network> network = network_of(run.platform);
  Calibration found;
  try {
    found = calibrate(*network, described.simulation.steady_state, data, experiment.twin, fit, command.stop);
  } catch (const Cancelled&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw LogError(options.log + ": " + error.what());
  }
  if (!found.withheld.empty()) warn("no intervals: " + found.withheld);
  else if (found.widened > 1) {
    char times[32];
    std::snprintf(times, sizeof times, "%.2g", found.widened);
    warn(std::string("intervals are ") + times + " times as wide as the model's, for " +
         found.doubts.front());
  }
  // 5 of the chi-squared's own standard deviations, and so much that it matters.
  if (found.chi_squared > 1.5 && (found.chi_squared - 1) * std::sqrt(found.degrees_of_freedom / 2) > 5) {
    char times[32];
    std::snprintf(times, sizeof times, "%.3g", std::sqrt(found.chi_squared));
    warn(std::string("what the twin leaves unexplained is ") + times +
         " times the standard errors in the log: the device is off in ways that are not fitted" +
         (options.fit.gains && options.fit.inputs ? "" : " (inputs: --inputs, readings: --gains)") +
         ", or noise is made by what is imposed; the intervals take it for white noise of the readings");
  }
  if (!options.out.empty())
    write_text_file(options.out, twin_text(experiment, *network, data, found, options.fit, options.log));
  tell(found, data, options);
  return found.converged ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void declare_calibrate(Options& line, const Command& command) {
  auto options = std::make_shared<CalibrateOptions>();
  line.add("LOG", options->log, "log of a run on the device").required().value_name("LOG");
  line.add("--out", options->out, "write the log's experiment with the calibrated twin here")
      .value_name("FILE");
  line.add("--rows", options->rows, "relaxations to fit to, spread over the usable ones; default: 2000")
      .value_name("N")
      .within(std::uint64_t{1}, std::uint64_t{1} << 40);
  line.flag("--gains", options->fit.gains, "fit a gain and an offset of each reading too");
  line.flag("--inputs", options->fit.inputs, "fit a gain and an offset of each input too");
  line.add("--accuracy", options->accuracy,
           "standard deviation of a nuisance as a data sheet states it, such as meter-zero=4e-5; repeatable")
      .value_name("KIND=X")
      .one_at_a_time();
  line.add("--confidence", options->fit.confidence, "of the intervals; default: 0.95")
      .value_name("P")
      .within(0.5, 0.9999);
  line.add("--outlier", options->fit.outlier,
           "leave out, and name, relaxations with a residual of more standard deviations; default: 6")
      .value_name("X")
      .within(4.0, 1e9);
  options->add_data(line);
  options->add_threads(line);
  options->add_json(line);
  line.footer(
      "A device told a setpoint has another: setpoint + offset, or setpoint x exp(offset) where parameters "
      "are stepped on their logarithm. Fitted is one\n"
      "offset a parameter, constants of the device included, and the noise of each reading, to every "
      "relaxation that settled: free, nudged and held.\n"
      "What the data cannot tell apart is named, and has no interval: without a current that is injected or "
      "measured, for instance, only ratios of\n"
      "conductances are known. With --out the twin is an experiment file again: in simulation it is the "
      "calibrated device, on a bench its model.\n"
      "\n"
      "Examples:\n"
      "  ness calibrate bench.h5 --out twin.toml\n"
      "  ness train twin.toml --log on-the-twin.h5\n"
      "  ness calibrate bench.h5 --gains --json");
  line.action([options, &command] { return calibrate_log(*options, command); });
}

}  // namespace ness
