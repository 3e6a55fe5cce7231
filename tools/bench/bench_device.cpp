#include "ness/bench/bench_device.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "ness/files/line_elements.hpp"
#include "ness/device/error.hpp"

namespace ness {

namespace {

[[noreturn]] void refuse(const BenchFile& file, const std::string& where, const std::string& reason) {
  throw FileError((file.place ? file.place(where) : file.path + ": [" + where + "]") + ": " + reason);
}

[[noreturn]] void no_use(const InstrumentKind& kind) {
  throw std::logic_error(kind.name + ": a bench has no use for an instrument of its role");
}

/// Drivers by role, and which instrument of the file is which of them.
struct Instruments {
  drivers::BenchInstruments drivers;
  std::vector<drivers::MeterSettings> scanners, voltmeters;
  std::vector<std::size_t> position;  ///< of each instrument of the file among those of its role

  explicit Instruments(const BenchFile& file) : position(file.instruments.size()) {}

  /// Makes the driver of instrument `i` of the file.
  void add(const BenchFile& file, std::size_t i, BenchSessions& sessions) {
    const InstrumentKind& kind = file.instruments[i].kind;
    const drivers::InstrumentSettings& settings = file.instruments[i].settings;
    switch (kind.role) {
      case drivers::Role::source_meter:
        position[i] = drivers.sources.size();
        drivers.sources.push_back(driver_of<drivers::SourceMeter>(kind, sessions.session(i)));
        drivers.source_settings.push_back(settings.source);
        return;
      case drivers::Role::scanner:
        position[i] = drivers.scanners.size();
        drivers.scanners.push_back(driver_of<drivers::Scanner>(kind, sessions.session(i)));
        scanners.push_back(settings.meter);
        return;
      case drivers::Role::voltmeter:
        position[i] = drivers.voltmeters.size();
        drivers.voltmeters.push_back(driver_of<drivers::Voltmeter>(kind, sessions.session(i)));
        voltmeters.push_back(settings.meter);
        return;
      case drivers::Role::dac:
        position[i] = drivers.dacs.size();
        drivers.dacs.push_back(driver_of<drivers::Dac>(kind, sessions.session(i)));
        drivers.dac_settings.push_back(settings.dac);
        return;
    }
    no_use(kind);
  }
};

drivers::LevelChannel::Kind level_kind(const InstrumentKind& kind) {
  switch (kind.role) {
    case drivers::Role::source_meter: return drivers::LevelChannel::Kind::source;
    case drivers::Role::dac: return drivers::LevelChannel::Kind::dac;
    case drivers::Role::scanner:
    case drivers::Role::voltmeter:
      throw std::logic_error(kind.name + ": a " + to_string(kind.role) + " sets no level");
  }
  no_use(kind);
}

/// `of_source`: which of a source-meter's two readings is meant.
drivers::BenchMeter::Kind meter_kind(const InstrumentKind& kind, drivers::BenchMeter::Kind of_source) {
  switch (kind.role) {
    case drivers::Role::source_meter: return of_source;
    case drivers::Role::scanner: return drivers::BenchMeter::Kind::scanner;
    case drivers::Role::voltmeter: return drivers::BenchMeter::Kind::voltmeter;
    case drivers::Role::dac:
      throw std::logic_error(kind.name + ": a " + to_string(kind.role) + " reads nothing");
  }
  no_use(kind);
}

/// The channel of a wire that sets a level.
drivers::LevelChannel level_channel(const BenchFile& file, const BenchWire& wire,
                                    const std::vector<std::size_t>& position) {
  if (!wire.limits)
    refuse(file, "wiring." + wire.name, "has no limits = [low, high] in volts: nothing is moved without");
  drivers::LevelChannel channel;
  channel.kind = level_kind(file.instrument(wire).kind);
  channel.instrument = position[wire.instrument];
  channel.channel = wire.channel;
  channel.plan = {wire.name, *wire.limits, wire.step, wire.rate};
  channel.safe = wire.safe;
  return channel;
}

/// `channels`: by the names of their wires.
std::vector<drivers::CrossLimit> cross_limits(const BenchFile& file,
                                              const std::map<std::string, std::size_t>& channels) {
  std::vector<drivers::CrossLimit> limits;
  for (const BenchDifference& difference : file.differences) {
    const auto first = channels.find(difference.first), second = channels.find(difference.second);
    if (first == channels.end() || second == channels.end()) {
      refuse(file, "limits." + difference.name,
             "expected wires whose levels are set; '" +
                 (first == channels.end() ? difference.first : difference.second) + "' is read");
    }
    limits.push_back({difference.name, {{first->second, 1.0}, {second->second, -1.0}}, difference.range});
  }
  return limits;
}

// What a file states of the whole bench: no instrument, no wire.
drivers::BenchSettings settings_of(const BenchFile& file) {
  drivers::BenchSettings settings;
  settings.scale = {file.scale.volts_per_kT, file.scale.amperes_per_unit, file.scale.carrier,
                    file.error_share};
  settings.settle = file.settle;
  settings.settle_timeout = file.settle_timeout;
  settings.burst = static_cast<std::size_t>(file.burst);
  settings.burst_noise = file.burst_noise;
  settings.rest_time = file.rest;
  settings.hold_time = file.hold;
  settings.pause_every = file.pause_every;
  settings.pause_timeout = file.pause_timeout;
  return settings;
}

// What identifies the bench in a log.
std::string identity_of(const BenchFile& file, DeviceKind kind) {
  std::string identity = (kind == DeviceKind::emulated ? "emulated bench: " : "bench: ") + file.path;
  for (const BenchInstrument& instrument : file.instruments) {
    identity += "; " + instrument.name + " = " + instrument.kind.name;
    if (instrument.address) identity += " at " + to_string(*instrument.address);
  }
  return identity;
}

using Meter = drivers::BenchMeter;

/// What the wires of a file come to on a bench: channels, readings, nudges.
class Wires {
 public:
  Wires(const BenchFile& file, const std::vector<std::size_t>& position, const Sample& sample)
      : file_(file), position_(position), sample_(sample) {
    for (const ParameterInfo& parameter : sample.info.parameters) {
      parameters_.emplace(parameter.name, static_cast<std::uint32_t>(parameters_.size()));
    }
  }

  /// `of_source`: which of a source-meter's two readings is meant.
  Meter meter(std::size_t instrument, std::uint32_t channel, Meter::Kind of_source) const {
    return {meter_kind(file_.instruments[instrument].kind, of_source), position_[instrument], channel};
  }

  void add(const BenchWire& wire, drivers::BenchSettings& settings) {
    const std::size_t nodes = sample_.info.terminals.size();
    if (wire.node && *wire.node >= nodes) {
      refuse(file_, "wiring." + wire.name,
             "node " + std::to_string(*wire.node) + "; the experiment's network has " +
                 std::to_string(nodes) + " nodes");
    }
    const bool sets = sets_levels(file_.instrument(wire).role());
    if (!sets || wire.read) refuse_second(wire, "read");
    if (sets) refuse_second(wire, wire.node ? "held" : "set");
    if (!sets) settings.readings.push_back(reading(wire));
    else add_level(wire, settings);
  }

  /// Of a wire that sets a level; none for others.
  const std::map<std::string, std::size_t>& channels() const { return channel_of_; }

 private:
  // Two wires that do the same with one thing; of a preamplifier, which reads a current, there may be
  // several.
  void refuse_second(const BenchWire& wire, const std::string& done) {
    if (done == "read" && line_scale(wire, file_.instrument(wire).role()).amperes_per_volt != 0) return;
    const std::string what = wire.node ? "node " + std::to_string(*wire.node) : wire.parameter;
    const auto [earlier, is_new] = wire_of_.emplace(what + " is " + done, wire.name);
    if (!is_new)
      refuse(file_, "wiring." + wire.name,
             earlier->first + " by wire '" + earlier->second + "' already; expected one wire that does");
  }

  drivers::BenchReading reading(const BenchWire& wire) const {
    const LineScale line = line_scale(wire, file_.instrument(wire).role());
    const Meter by = meter(wire.instrument, wire.channel, {});
    // What flows into a preamplifier leaves the network.
    if (line.amperes_per_volt != 0)
      return {by, *wire.node, -1 / line.amperes_per_volt, line.zero, true, -1, -1};
    return {by, *wire.node, 1 / line.gain, -line.volts / line.gain, false, wire.tau_input, wire.tau_gate};
  }

  void add_level(const BenchWire& wire, drivers::BenchSettings& settings) {
    const BenchInstrument& instrument = file_.instrument(wire);
    const LineScale line = line_scale(wire, instrument.role());
    drivers::BenchChannel channel;
    static_cast<drivers::LevelChannel&>(channel) = level_channel(file_, wire, position_);
    channel.gain = line.gain;
    channel.offset = line.volts;
    channel.per_volt = wire.per_volt;
    channel.zero = wire.offset;
    if (wire.node) {
      channel.terminal = *wire.node;
      channel.on_demand = !sample_.info.terminals[*wire.node].clamped &&
                          instrument.settings.source.sourced == drivers::Sourced::voltage;
      if (wire.read) {
        settings.readings.push_back({meter(wire.instrument, 1, Meter::Kind::source_volts), *wire.node,
                                     1 / line.gain, -line.volts / line.gain, false, wire.tau_input,
                                     wire.tau_gate});
      }
    } else {
      channel.parameter = parameter(wire);
      if (wire.nudge) settings.nudges.push_back(nudge(wire, *channel.parameter));
    }
    channel_of_.emplace(wire.name, settings.channels.size());
    settings.channels.push_back(channel);
  }

  std::uint32_t parameter(const BenchWire& wire) const {
    const auto found = parameters_.find(wire.parameter);
    if (found == parameters_.end())
      refuse(file_, "wiring." + wire.name,
             "the experiment's network has no parameter '" + wire.parameter + "'");
    return found->second;
  }

  /// A node is nudged by the reference of its leak.
  drivers::BenchNudge nudge(const BenchWire& wire, std::uint32_t reference) const {
    const auto node = static_cast<std::uint32_t>(sample_.info.parameters[reference].node);
    const auto g = parameters_.find("g[" + std::to_string(node) + "]");
    if (g == parameters_.end())
      refuse(file_, "wiring." + wire.name,
             "nudges through a leak, but the sample has no parameter 'g[" + std::to_string(node) + "]'");
    return {node, reference, sample_.theta[static_cast<Eigen::Index>(g->second)], *wire.nudge};
  }

  const BenchFile& file_;
  const std::vector<std::size_t>& position_;
  const Sample& sample_;
  std::map<std::string, std::uint32_t> parameters_;
  std::map<std::string, std::size_t> channel_of_;
  std::map<std::string, std::string> wire_of_;  // "node 3 is read": by which
};

}  // namespace

std::unique_ptr<drivers::Levels> make_levels(const BenchFile& file, BenchSessions& sessions,
                                             std::span<const std::size_t> wires) {
  Instruments instruments(file);
  std::set<std::size_t> made;
  std::vector<drivers::LevelChannel> channels;
  std::map<std::string, std::size_t> channel_of;
  for (const std::size_t w : wires) {
    const BenchWire& wire = file.wiring[w];
    if (made.insert(wire.instrument).second) instruments.add(file, wire.instrument, sessions);
    channel_of.emplace(wire.name, channels.size());
    channels.push_back(level_channel(file, wire, instruments.position));
  }
  std::vector<drivers::CrossLimit> limits;
  for (const BenchDifference& difference : file.differences) {
    const auto first = channel_of.find(difference.first), second = channel_of.find(difference.second);
    if (first != channel_of.end() && second != channel_of.end())
      limits.push_back({difference.name, {{first->second, 1.0}, {second->second, -1.0}}, difference.range});
  }
  return std::make_unique<drivers::Levels>(std::move(instruments.drivers), std::move(channels), limits,
                                           sessions.clock());
}

BenchDevice make_bench(const BenchFile& file, DeviceKind kind, const Sample& sample, Transcript transcript) {
  BenchDevice device;
  device.sessions = std::make_unique<BenchSessions>(file, kind, sample.network, std::move(transcript));
  Instruments instruments(file);
  for (std::size_t i = 0; i < file.instruments.size(); ++i) instruments.add(file, i, *device.sessions);
  drivers::BenchSettings settings = settings_of(file);
  settings.scanners = instruments.scanners;
  settings.voltmeters = instruments.voltmeters;

  Wires wires(file, instruments.position, sample);
  for (const BenchWire& wire : file.wiring) wires.add(wire, settings);
  settings.cross_limits = cross_limits(file, wires.channels());
  for (const BenchTalk& talk : file.cross_talk) {
    const auto from = wires.channels().find(talk.from);
    if (from == wires.channels().end())
      refuse(file, "cross-talk." + talk.name,
             "expected a wire whose level is set; '" + talk.from + "' is read");
    settings.cross_talk.push_back(
        {*settings.channels[wires.channels().at(talk.to)].parameter, from->second, talk.per_volt});
  }
  for (const BenchSurroundings& entry : file.environment) {
    settings.environment.push_back({entry.name, entry.unit,
                                    wires.meter(entry.instrument, entry.channel, Meter::Kind::source_amperes),
                                    entry.gain, entry.offset, entry.pause});
  }
  DeviceInfo described = sample.info;
  described.identity = identity_of(file, kind);
  device.bench = std::make_unique<drivers::Bench>(described, sample.theta, std::move(instruments.drivers),
                                                  std::move(settings), device.sessions->clock());
  return device;
}

}  // namespace ness
