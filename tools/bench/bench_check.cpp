#include "ness/bench/bench_check.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "ness/files/line_elements.hpp"

namespace ness {

namespace {

bool sets_level(const BenchFile& file, const BenchWire& wire) {
  return sets_levels(file.instrument(wire).role());
}

// What a cable plugs into: only cables of one kind can be exchanged.
const char* plug_of(drivers::Role role) { return sets_parameters(role) ? "gate" : "source"; }

// What reads a node's potential: a meter's wire without a preamplifier, or a source-meter's that reads too.
const BenchWire* reader_of(const BenchFile& file, std::uint32_t node) {
  const auto found = std::find_if(file.wiring.begin(), file.wiring.end(), [&](const BenchWire& wire) {
    return wire.node == node && (sets_level(file, wire) ? wire.read : !wire.elements.preamplifier);
  });
  return found == file.wiring.end() ? nullptr : &*found;
}

// As TOML has floating-point numbers: three digits, or as many as show the three first of `part` of it.
std::string three_digits(double x, double part = 0) {
  std::array<char, 32> text;
  const int more =
      part == 0 || x == 0 ? 0 : std::clamp(static_cast<int>(std::ceil(std::log10(std::abs(x / part)))), 0, 9);
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), x, std::chars_format::general, 3 + more);
  std::string number(text.data(), end);
  return number.find_first_of(".e") == std::string::npos ? number + ".0" : number;
}

}  // namespace

WiringCheckOptions check_options(const BenchFile& file, const DeviceInfo& bench) {
  WiringCheckOptions options = file.check.options;
  std::map<std::string, std::uint32_t> parameters;
  for (const ParameterInfo& parameter : bench.parameters)
    parameters.emplace(parameter.name, static_cast<std::uint32_t>(parameters.size()));
  std::map<std::string, std::size_t> channel_of;
  std::map<std::string, double> at_rest;
  for (const BenchWire& wire : file.wiring) {
    if (!sets_level(file, wire)) continue;
    const double safe = wire.safe[static_cast<std::size_t>(SafeProfile::stop)].level;
    at_rest.emplace(wire.name, safe);
    WiringChannel channel;
    channel.name = wire.name;
    channel.plug = plug_of(file.instrument(wire).role());
    channel.safe = safe;
    Range possible;
    if (wire.node) {
      const Terminal& terminal = bench.terminals[*wire.node];
      if (!terminal.clamped) {
        if (!terminal.can_hold || !terminal.reads_potential) continue;
        const double reach = file.check.share * (terminal.level.high - terminal.level.low);
        options.holders.push_back({wire.name, *wire.node, reach / 5});
        continue;
      }
      channel.terminal = *wire.node;
      const LineScale line = line_scale(wire, file.instrument(wire).role());
      channel.gain = file.scale.carrier * line.gain / file.scale.volts_per_kT;
      channel.offset = file.scale.carrier * line.volts / file.scale.volts_per_kT;
      possible = bench.terminals[*wire.node].level;
    } else {
      channel.parameter = parameters.at(wire.parameter);
      channel.gain = wire.per_volt;
      channel.offset = wire.offset;
      possible = bench.parameters[*channel.parameter].range;
    }
    const double a = (possible.low - channel.offset) / channel.gain,
                 b = (possible.high - channel.offset) / channel.gain;
    const double reach = file.check.share * (wire.limits->high - wire.limits->low);
    channel.tiny.low = std::max({safe - reach, wire.limits->low, std::min(a, b)});
    channel.tiny.high = std::min({safe + reach, wire.limits->high, std::max(a, b)});
    channel_of.emplace(wire.name, options.channels.size());
    options.channels.push_back(std::move(channel));
  }
  for (const std::uint32_t node : bench.read()) options.readings.push_back(reader_of(file, node)->name);
  const double unit_conductance = file.scale.amperes_per_unit / file.scale.volts_per_kT;  // S
  options.leakage = file.check.leakage / file.scale.amperes_per_unit;
  options.short_conductance = 1 / file.check.short_circuit / unit_conductance;
  options.shortest = 1e-6;
  options.longest = file.check.longest > 0 ? file.check.longest : file.settle_timeout;
  options.allowed = [differences = file.differences, channel_of, at_rest](const Vector& level) {
    const auto volts = [&](const std::string& wire) {
      const auto channel = channel_of.find(wire);
      return channel == channel_of.end() ? at_rest.at(wire)
                                         : level[static_cast<Eigen::Index>(channel->second)];
    };
    return std::all_of(differences.begin(), differences.end(), [&](const BenchDifference& d) {
      return d.range.contains(volts(d.first) - volts(d.second));
    });
  };
  return options;
}

WiringReport check_bench(const BenchFile& file, Device& bench, Device& twin, const Vector& theta,
                         std::stop_token stop) {
  return check_wiring(bench, twin, theta, check_options(file, bench.info()), stop);
}

std::vector<TomlEdit> findings(const BenchFile& file, const WiringReport& report) {
  std::vector<TomlEdit> edits;
  if (report.tau() > 0) edits.push_back({{"settle"}, "tau_max", three_digits(report.tau())});
  else if (const double bound = report.tau_bound();
           bound > 0 && !(file.settle.tau_max > 0 && file.settle.tau_max <= bound))
    edits.push_back({{"settle"}, "tau_max", three_digits(bound)});
  if (report.noise() > 0) edits.push_back({{"settle"}, "noise", three_digits(report.noise())});

  for (const BenchWire& wire : file.wiring) {
    const auto reading = std::find_if(report.readings.begin(), report.readings.end(),
                                      [&](const ReadingReport& r) { return r.name == wire.name; });
    if (reading == report.readings.end()) continue;
    for (const StepResponse& step : report.steps) {
      if (step.reading != wire.name || !step.tau) continue;
      const auto moved = std::find_if(file.wiring.begin(), file.wiring.end(),
                                      [&](const BenchWire& w) { return w.name == step.channel; });
      edits.push_back(
          {{"wiring", wire.name}, moved->node ? "tau_input" : "tau_gate", three_digits(*step.tau)});
    }
    // A level's own offset is another thing than a reading's, though a source-meter's wire has one key for
    // both. What is within the tolerance may as well be the sources' or the gates' error as the meter's.
    if (sets_level(file, wire) ||
        !(std::abs(reading->offset) > std::max(file.settle.tolerance, 3 * reading->offset_error)))
      continue;
    const double beyond = file.scale.carrier * reading->offset * file.scale.volts_per_kT;
    edits.push_back({{"wiring", wire.name}, "volts", three_digits(wire.volts - beyond, beyond)});
  }
  return edits;
}

std::string summary(const BenchFile& file, const WiringReport& report) {
  std::string line = file.path + ": the bench fails its check: " + report.failures.front();
  if (report.failures.size() > 1)
    line += " (and " + std::to_string(report.failures.size() - 1) + " more; `ness check` lists all)";
  return line;
}

}  // namespace ness
