#include "bench_device.hpp"

#include <algorithm>
#include <map>

#include "ness/core/error.hpp"

namespace ness {

namespace {

bool is_source(InstrumentModel model) { return model == InstrumentModel::keithley_2400; }
bool sets_levels(InstrumentModel model) { return is_source(model) || model == InstrumentModel::qdac2; }
bool is_scanner(InstrumentModel model) { return model == InstrumentModel::keysight_34970a || model == InstrumentModel::keysight_daq970a; }

}  // namespace

BenchDevice make_bench(const BenchFile& file, DeviceKind kind, const sim::Network& network, const DeviceInfo& info, Transcript transcript) {
  const auto refuse = [&](const std::string& where, const std::string& reason) { throw FileError(file.path + ": [" + where + "]: " + reason); };
  BenchDevice device;
  device.sessions = std::make_unique<BenchSessions>(file, kind, &network.spec(), std::move(transcript));

  drivers::BenchInstruments instruments;
  drivers::BenchSettings settings;
  settings.scale = {file.scale.volts_per_kT, file.scale.amperes_per_unit, file.scale.carrier, file.error_share};
  settings.settle = file.settle;
  settings.settle_timeout = file.settle_timeout;
  settings.rest_time = file.rest;
  settings.hold_time = file.hold;
  settings.pause_every = file.pause_every;
  settings.pause_timeout = file.pause_timeout;

  std::vector<std::size_t> place(file.instruments.size());  // of each instrument among those of its role
  for (std::size_t i = 0; i < file.instruments.size(); ++i) {
    const BenchInstrument& described = file.instruments[i];
    auto session = device.sessions->session(i);
    switch (described.model) {
      case InstrumentModel::keithley_2400:
        place[i] = instruments.sources.size();
        instruments.sources.push_back(drivers::keithley_2400(std::move(session)));
        instruments.source_settings.push_back(described.source);
        break;
      case InstrumentModel::keysight_34970a:
      case InstrumentModel::keysight_daq970a:
        place[i] = instruments.scanners.size();
        instruments.scanners.push_back(described.model == InstrumentModel::keysight_34970a ? drivers::keysight_34970a(std::move(session)) : drivers::keysight_daq970a(std::move(session)));
        settings.scanners.push_back(described.meter);
        break;
      case InstrumentModel::agilent_34401a:
      case InstrumentModel::keysight_34461a:
        place[i] = instruments.voltmeters.size();
        instruments.voltmeters.push_back(described.model == InstrumentModel::agilent_34401a ? drivers::agilent_34401a(std::move(session)) : drivers::keysight_34461a(std::move(session)));
        settings.voltmeters.push_back(described.meter);
        break;
      case InstrumentModel::qdac2:
        place[i] = instruments.dacs.size();
        instruments.dacs.push_back(drivers::qdac2(std::move(session)));
        instruments.dac_settings.push_back(described.dac);
        break;
    }
  }

  using Meter = drivers::BenchMeter;
  const auto meter_of = [&](std::size_t i, std::uint32_t channel, Meter::Kind of_source) {
    const InstrumentModel model = file.instruments[i].model;
    return Meter{is_source(model) ? of_source : is_scanner(model) ? Meter::Kind::scanner : Meter::Kind::voltmeter, place[i], channel};
  };
  std::map<std::string, std::uint32_t> parameters;
  for (const ParameterInfo& parameter : info.parameters) parameters.emplace(parameter.name, static_cast<std::uint32_t>(parameters.size()));
  const Vector constants = network.theta();
  std::map<std::string, std::size_t> channel_of;  // of each wire that has a level
  for (const BenchWire& wire : file.wiring) {
    const BenchInstrument& instrument = file.instruments[wire.instrument];
    const std::string where = "wiring." + wire.name;
    if (wire.node && *wire.node >= info.terminals.size()) refuse(where, "node " + std::to_string(*wire.node) + "; the experiment's network has " + std::to_string(info.terminals.size()) + " nodes");
    if (!sets_levels(instrument.model)) {
      settings.readings.push_back({meter_of(wire.instrument, wire.channel, {}), *wire.node, 1 / wire.gain, -wire.volts / wire.gain, false, wire.tau_input, wire.tau_gate});
      continue;
    }
    if (!wire.limits) refuse(where, "has no limits = [low, high] in volts: nothing is moved without");
    drivers::BenchChannel channel;
    channel.kind = is_source(instrument.model) ? drivers::LevelChannel::Kind::source : drivers::LevelChannel::Kind::dac;
    channel.instrument = place[wire.instrument];
    channel.channel = wire.channel;
    channel.plan = {wire.name, *wire.limits, wire.step, wire.rate};
    channel.safe = wire.safe;
    channel.gain = wire.gain;
    channel.offset = wire.volts;
    channel.per_volt = wire.per_volt;
    channel.zero = wire.offset;
    if (wire.node) {
      channel.terminal = *wire.node;
      channel.on_demand = !info.terminals[*wire.node].clamped && instrument.source.sourced == drivers::Sourced::voltage;
      if (wire.read) settings.readings.push_back({meter_of(wire.instrument, 1, Meter::Kind::source_volts), *wire.node, 1 / wire.gain, -wire.volts / wire.gain, false, wire.tau_input, wire.tau_gate});
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
  const auto level_of = [&](const std::string& where, const std::string& wire) {
    const auto found = channel_of.find(wire);
    if (found == channel_of.end()) refuse(where, "expected wires whose levels are set; '" + wire + "' is read");
    return found->second;
  };
  for (const BenchDifference& difference : file.differences) {
    const std::string where = "limits." + difference.name;
    settings.cross_limits.push_back({difference.name, {{level_of(where, difference.first), 1.0}, {level_of(where, difference.second), -1.0}}, difference.range});
  }
  for (const BenchTalk& talk : file.cross_talk) {
    const std::size_t to = level_of("cross-talk." + talk.name, talk.to);
    settings.cross_talk.push_back({*settings.channels[to].parameter, level_of("cross-talk." + talk.name, talk.from), talk.per_volt});
  }
  for (const BenchSurroundings& entry : file.environment) {
    settings.environment.push_back({entry.name, entry.unit, meter_of(entry.instrument, entry.channel, Meter::Kind::source_amperes), entry.gain, entry.offset, entry.pause});
  }
  DeviceInfo described = info;
  described.identity = (kind == DeviceKind::emulated ? "emulated bench: " : "bench: ") + file.path;
  for (const BenchInstrument& instrument : file.instruments) {
    described.identity += "; " + instrument.name + " = " + to_string(instrument.model) + (instrument.address ? " at " + to_string(*instrument.address) : std::string());
  }
  device.bench = std::make_unique<drivers::Bench>(described, constants, std::move(instruments), std::move(settings), device.sessions->clock());
  return device;
}

}  // namespace ness
