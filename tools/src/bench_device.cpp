#include "bench_device.hpp"

#include <algorithm>
#include <map>

#include "bench_links.hpp"
#include "line_elements.hpp"
#include "ness/core/error.hpp"

namespace ness {

namespace {

bool is_source(InstrumentModel model) { return model == InstrumentModel::keithley_2400; }
bool is_scanner(InstrumentModel model) { return model == InstrumentModel::keysight_34970a || model == InstrumentModel::keysight_daq970a; }

}  // namespace

BenchDevice make_bench(const BenchFile& file, DeviceKind kind, const sim::Network& network, const DeviceInfo& info) {
  const auto refuse = [&](const std::string& where, const std::string& reason) { throw FileError(file.path + ": [" + where + "]: " + reason); };
  BenchDevice device;
  BenchLinks links = bench_links(file, kind == DeviceKind::emulated, &network.spec());
  device.emulated = links.emulated;
  device.clock = links.clock;

  drivers::BenchInstruments instruments;
  drivers::BenchSettings settings;
  settings.scale = {file.scale.volts_per_kT, file.scale.amperes_per_unit, file.scale.carrier};
  settings.settle = file.settle;
  settings.settle_timeout = file.settle_timeout;
  settings.rest_time = file.rest;

  std::vector<std::size_t> place(file.instruments.size());  // of each instrument among those of its role
  for (std::size_t i = 0; i < file.instruments.size(); ++i) {
    const BenchInstrument& described = file.instruments[i];
    const std::string where = "instruments." + described.name;
    auto session = links.session(file, i);
    if (is_source(described.model)) {
      place[i] = instruments.sources.size();
      instruments.sources.push_back(drivers::keithley_2400(std::move(session)));
      settings.sources.push_back(described.source);
    } else if (is_scanner(described.model)) {
      place[i] = instruments.scanners.size();
      instruments.scanners.push_back(described.model == InstrumentModel::keysight_34970a ? drivers::keysight_34970a(std::move(session)) : drivers::keysight_daq970a(std::move(session)));
      settings.scanners.push_back(described.meter);
    } else if (described.model == InstrumentModel::qdac2) {
      place[i] = instruments.dacs.size();
      instruments.dacs.push_back(drivers::qdac2(std::move(session)));
      settings.dacs.push_back(described.dac);
    } else {
      refuse(where, "a " + to_string(described.model) + " has no part in a bench that trains yet; expected a source-meter, a scanner or a DAC");
    }
  }

  device.connections = std::move(links.connections);

  std::map<std::string, std::uint32_t> parameters;
  for (const ParameterInfo& parameter : info.parameters) parameters.emplace(parameter.name, static_cast<std::uint32_t>(parameters.size()));
  const Vector constants = network.theta();
  std::map<std::string, std::size_t> channel_of;  // of each wire that has a level
  for (const BenchWire& wire : file.wiring) {
    const BenchInstrument& instrument = file.instruments[wire.instrument];
    const std::string where = "wiring." + wire.name;
    const LineScale line = line_scale(wire, instrument.model);
    if (is_scanner(instrument.model)) {
      settings.readings.push_back({place[wire.instrument], wire.channel, *wire.node, 1 / line.gain, -line.volts / line.gain});
      continue;
    }
    if (!wire.limits) refuse(where, "has no limits = [low, high] in volts: nothing is moved without");
    drivers::BenchChannel channel;
    channel.kind = is_source(instrument.model) ? drivers::BenchChannel::Kind::source : drivers::BenchChannel::Kind::dac;
    channel.instrument = place[wire.instrument];
    channel.channel = wire.channel;
    const double resolution = is_source(instrument.model) ? 5e-5 : 1e-6;
    channel.plan = {wire.name, *wire.limits, wire.step, wire.rate, resolution};
    channel.safe = wire.safe;
    channel.safe_order = wire.order;
    channel.gain = line.gain;
    channel.offset = line.volts;
    channel.per_volt = wire.per_volt;
    channel.zero = wire.offset;
    if (wire.node) {
      channel.terminal = *wire.node;
    } else {
      const auto found = parameters.find(wire.parameter);
      if (found == parameters.end()) refuse(where, "the experiment's network has no parameter '" + wire.parameter + "'");
      channel.parameter = found->second;
      if (wire.nudge) {
        const std::uint32_t node = static_cast<std::uint32_t>(info.parameters[found->second].node);
        const auto g = parameters.find("g[" + std::to_string(node) + "]");
        settings.nudges.push_back({node, found->second, constants[static_cast<Eigen::Index>(g->second)], *wire.nudge});
      }
    }
    channel_of.emplace(wire.name, settings.channels.size());
    settings.channels.push_back(channel);
  }
  for (const BenchDifference& difference : file.differences) {
    const auto first = channel_of.find(difference.first), second = channel_of.find(difference.second);
    if (first == channel_of.end() || second == channel_of.end()) refuse("limits." + difference.name, "expected wires whose levels are set; '" + (first == channel_of.end() ? difference.first : difference.second) + "' is read");
    settings.cross_limits.push_back({difference.name, {{first->second, 1.0}, {second->second, -1.0}}, difference.range});
  }
  DeviceInfo described = info;
  described.identity = (kind == DeviceKind::emulated ? "emulated bench: " : "bench: ") + file.path;
  for (const BenchInstrument& instrument : file.instruments) {
    described.identity += "; " + instrument.name + " = " + to_string(instrument.model) + (instrument.address ? " at " + to_string(*instrument.address) : std::string());
  }
  device.bench = std::make_unique<drivers::Bench>(described, constants, std::move(instruments), std::move(settings), device.clock);
  return device;
}

}  // namespace ness
