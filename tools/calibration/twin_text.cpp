// The calibrated twin as an experiment file.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "ness/calibration/calibration.hpp"
#include "ness/files/toml_table.hpp"
#include "toml_number.hpp"

namespace ness {

std::string toml_number(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", x);
  std::string shortest = text;
  // TOML wants a point or an exponent in a number that is no integer.
  if (shortest.find_first_of(".eni") == std::string::npos) shortest += ".0";
  return shortest;
}

namespace {

std::string brief(double x, int digits = 2) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, x);
  return text;
}

}  // namespace

std::string twin_text(const Experiment& experiment, const sim::Network& network, const CalibrationData& data,
                      const Calibration& found, const CalibrationOptions& options, const std::string& log) {
  // Written anew, and without its comments, only where it says what has now been measured.
  Document document(experiment.text, experiment.path);
  for (const char* key : {"twin", "device.variation", "device.read_noise"}) document.erase(key);
  std::string text = document.text();
  if (!text.ends_with("\n")) text += "\n";
  const auto line = [&](const std::string& name, double value, const CalibratedUnknown& unknown) {
    text += "\"" + name + "\" = " + toml_number(value);
    text += unknown.identified && !found.withheld.empty() ? "  # interval withheld\n"
            : unknown.identified ? "  # +- " + brief(0.5 * (unknown.high - unknown.low)) +
                                       (unknown.scale == Scale::log ? " (of the logarithm)" : "") + "\n"
                                 : "  # not identified\n";
  };
  double squares = 0;
  std::size_t potentials = 0;
  for (std::size_t r = 0; r < data.readings.size(); ++r) {
    if (data.readings[r].current) continue;
    squares += found.noise[r] * found.noise[r];
    ++potentials;
  }
  text += "\n# The calibrated twin: what `ness calibrate` found in " + log + ", with " +
          brief(100 * options.confidence, 4) + " % intervals.\n[twin]\n";
  if (potentials > 0)
    text += "read_noise = " + toml_number(std::sqrt(squares / static_cast<double>(potentials))) + "  # kT\n";
  text += "\n[twin.offset]\n";
  const auto parameters = network.parameters();
  for (std::size_t i = 0; i < parameters; ++i)
    line(found.unknowns[i].name, found.twin.theta[static_cast<Eigen::Index>(i)], found.unknowns[i]);
  const std::vector<ParameterInfo> infos = network.parameter_info();
  const auto of_gates = [&](const char* table, const Vector& values) {
    if (values.size() == 0) return;
    text += std::string("\n[twin.") + table + "]\n";
    for (std::size_t i = 0; i < infos.size(); ++i) {
      const double value = values[static_cast<Eigen::Index>(i)];
      if (value != 0) text += "\"" + infos[i].name + "\" = " + toml_number(value) + "\n";
    }
  };
  of_gates("gate-gain", found.twin.gate_gain);
  of_gates("gate-zero", found.twin.gate_zero);
  if (!found.twin.cross_talk.empty()) text += "\n[twin.cross-talk]\n";
  for (const TwinCrossTalk& talk : found.twin.cross_talk)
    text +=
        "\"" + infos[talk.to].name + " " + infos[talk.from].name + "\" = " + toml_number(talk.share) + "\n";
  const auto of_nodes = [&](const char* table, const std::vector<std::uint32_t>& nodes, const Vector& values,
                            const std::vector<const CalibratedUnknown*>& unknowns) {
    if (values.size() == 0) return;
    text += std::string("\n[twin.") + table + "]\n";
    for (std::size_t k = 0; k < nodes.size(); ++k) {
      const std::string name = "node-" + std::to_string(nodes[k]);
      if (unknowns.empty()) text += name + " = " + toml_number(values[static_cast<Eigen::Index>(k)]) + "\n";
      else if (unknowns[k]) line(name, values[static_cast<Eigen::Index>(k)], *unknowns[k]);
    }
  };
  // Of each free node the unknown of its reading, null where it was not read.
  const auto of_readings = [&](std::size_t first) {
    std::vector<const CalibratedUnknown*> unknowns;
    if (!options.gains) return unknowns;
    unknowns.resize(network.free().size(), nullptr);
    for (std::size_t r = 0; r < data.readings.size(); ++r) {
      if (data.readings[r].current) continue;
      unknowns[static_cast<std::size_t>(
          std::lower_bound(network.free().begin(), network.free().end(), data.readings[r].node) -
          network.free().begin())] = &found.unknowns[first + r];
    }
    return unknowns;
  };
  const auto of_inputs = [&](std::size_t first) {
    std::vector<const CalibratedUnknown*> unknowns;
    for (std::size_t i = 0; i < network.clamped().size() && options.inputs; ++i)
      unknowns.push_back(&found.unknowns[first + i]);
    return unknowns;
  };
  const std::size_t inputs = parameters + (options.gains ? 2 * data.readings.size() : 0);
  of_nodes("reading-gain", network.free(), found.twin.gain, of_readings(parameters));
  of_nodes("reading-offset", network.free(), found.twin.reading_offset,
           of_readings(parameters + data.readings.size()));
  of_nodes("input-gain", network.clamped(), found.twin.input_gain, of_inputs(inputs));
  of_nodes("input-offset", network.clamped(), found.twin.input_offset,
           of_inputs(inputs + network.clamped().size()));
  return text;
}

}  // namespace ness
