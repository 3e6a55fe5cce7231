#include "bench_wiring.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <utility>

#include "number.hpp"

namespace ness::drivers {

void refuse(const std::string& reason) { throw std::invalid_argument("bench: " + reason); }

namespace {

Range between(double a, double b) { return {std::min(a, b), std::max(a, b)}; }

// Checks if the wiring is possible, and derives the capabilities of the device.
class Wiring {
 public:
  Wiring(const DeviceInfo& network, const BenchSettings& settings, const BenchInstruments& instruments)
      : network_(network), settings_(settings), instruments_(instruments), info_(network) {}

  DeviceInfo info(const Vector& constants) {
    info_.restores_state = false;
    info_.deterministic = false;
    info_.reads_serial = true;
    info_.reads_repeat = false;
    info_.reads_path = true;
    info_.time_unit = "s";
    for (std::size_t i = 0; i < info_.parameters.size(); ++i) {
      const double value = constants[static_cast<Eigen::Index>(i)];
      info_.parameters[i].range = {value, value};
      info_.parameters[i].trainable = false;
    }
    for (Terminal& terminal : info_.terminals) {
      terminal.can_hold = false;
      terminal.nudge = {0, 0};
      terminal.reads_potential = false;
      terminal.reads_current = false;
      if (!terminal.clamped) terminal.level = {0, 0};
    }
    for (std::size_t c = 0; c < settings_.channels.size(); ++c) channel(c);
    ranges_with_cross_talk();
    readings();
    nudges();
    surroundings();
    complete();
    errors();
    return std::move(info_);
  }

  std::map<std::uint32_t, std::size_t> of_terminal, of_parameter;

 private:
  bool current(const BenchChannel& channel) const {
    return channel.kind == LevelChannel::Kind::source &&
           instruments_.source_settings[channel.instrument].sourced == Sourced::current;
  }
  std::string name(std::size_t c) const { return "channel '" + settings_.channels[c].plan.name + "': "; }
  // Range of volts or amperes at the terminal for the channel's limits.
  static Range reached(const BenchChannel& channel) {
    return between(channel.gain * channel.plan.limits.low + channel.offset,
                   channel.gain * channel.plan.limits.high + channel.offset);
  }
  Range in_kT(const Range& volts) const {
    const double unit = settings_.scale.carrier * settings_.scale.volts_per_kT;
    return between(volts.low / unit, volts.high / unit);
  }

  void channel(std::size_t c) {
    const BenchChannel& channel = settings_.channels[c];
    if (channel.terminal.has_value() == channel.parameter.has_value())
      refuse(name(c) + "it leads to a terminal or to a parameter, one of the two");
    if (channel.terminal) terminal(c, *channel.terminal);
    else parameter(c, *channel.parameter);
  }

  void terminal(std::size_t c, std::uint32_t number) {
    const BenchChannel& channel = settings_.channels[c];
    if (number >= info_.terminals.size()) refuse(name(c) + "there is no terminal " + std::to_string(number));
    if (channel.gain == 0) refuse(name(c) + "its gain is 0");
    if (!of_terminal.emplace(number, c).second)
      refuse(name(c) + "terminal " + std::to_string(number) + " is held or injected into by another channel");
    Terminal& terminal = info_.terminals[number];
    const bool source = channel.kind == LevelChannel::Kind::source;
    // Behind a divider, the source's current is not the terminal's.
    terminal.reads_current = source && (current(channel) || channel.gain == 1);
    if (current(channel)) {
      if (terminal.clamped)
        refuse(name(c) + "terminal " + std::to_string(number) +
               " is an input, which a source of current cannot hold");
      const Range amperes = reached(channel);
      const double unit = settings_.scale.carrier * settings_.scale.amperes_per_unit;
      terminal.nudge = between(amperes.low / unit, amperes.high / unit);
      return;
    }
    terminal.level = in_kT(reached(channel));
    if (terminal.clamped) return;
    if (!channel.on_demand)
      refuse(name(c) + "terminal " + std::to_string(number) +
             " is a free one: it is held only where a drive asks for it (on demand)");
    if (!channel.plan.limits.contains(0))
      refuse(name(c) + "its limits leave out 0, where it stands while nothing is held");
    if (instruments_.source_settings[channel.instrument].off != OffState::high_impedance)
      refuse(name(c) + "its output when off would still load terminal " + std::to_string(number) +
             ", a free one; expected an off state of high impedance");
    terminal.can_hold = true;
  }

  void parameter(std::size_t c, std::uint32_t number) {
    const BenchChannel& channel = settings_.channels[c];
    if (number >= info_.parameters.size())
      refuse(name(c) + "there is no parameter " + std::to_string(number));
    if (channel.on_demand || current(channel)) refuse(name(c) + "a gate is a voltage that is always there");
    if (channel.per_volt == 0) refuse(name(c) + "a volt changes nothing");
    if (!of_parameter.emplace(number, c).second)
      refuse(name(c) + info_.parameters[number].name + " is set twice");
  }

  // Range that a gate reaches for any levels of the other channels within their limits.
  void ranges_with_cross_talk() {
    for (const BenchCrossTalk& talk : settings_.cross_talk) {
      if (talk.channel >= settings_.channels.size())
        refuse("cross-talk names channel " + std::to_string(talk.channel) + ", which is not there");
      const auto gate = of_parameter.find(talk.parameter);
      if (gate == of_parameter.end())
        refuse("cross-talk from '" + settings_.channels[talk.channel].plan.name +
               "' changes a parameter that no channel sets");
      if (gate->second == talk.channel)
        refuse("cross-talk from '" + settings_.channels[talk.channel].plan.name +
               "' to itself: that is its per_volt");
      if (!std::isfinite(talk.per_volt))
        refuse("cross-talk from '" + settings_.channels[talk.channel].plan.name + "' must be finite");
    }
    for (const auto& [number, c] : of_parameter) {
      const BenchChannel& channel = settings_.channels[c];
      ParameterInfo& parameter = info_.parameters[number];
      Range own = between(channel.zero + channel.per_volt * channel.plan.limits.low,
                          channel.zero + channel.per_volt * channel.plan.limits.high);
      for (const BenchCrossTalk& talk : settings_.cross_talk) {
        if (talk.parameter != number) continue;
        const Range& limits = settings_.channels[talk.channel].plan.limits;
        const Range others = between(talk.per_volt * limits.low, talk.per_volt * limits.high);
        own = {own.low + others.high, own.high + others.low};
      }
      const Range described = network_.parameters[number].range;
      parameter.range = {std::max(described.low, own.low), std::min(described.high, own.high)};
      parameter.trainable = network_.parameters[number].trainable;
      const bool source = channel.kind == LevelChannel::Kind::source;
      parameter.resolution =
          std::abs(channel.per_volt) * (source ? instruments_.sources[channel.instrument]->resolution(
                                                     instruments_.source_settings[channel.instrument])
                                               : instruments_.dacs[channel.instrument]->resolution(
                                                     instruments_.dac_settings[channel.instrument]));
      if (!(parameter.range.low <= parameter.range.high))
        refuse(name(c) + "no level within its limits gives " + parameter.name +
               " a value it may have, cross-talk included");
    }
  }

  void meter(const BenchMeter& meter, const std::string& who) {
    using Kind = BenchMeter::Kind;
    const std::size_t there = [&] {
      switch (meter.kind) {
        case Kind::scanner: return instruments_.scanners.size();
        case Kind::voltmeter: return instruments_.voltmeters.size();
        case Kind::source_volts:
        case Kind::source_amperes: return instruments_.sources.size();
      }
      return std::size_t{0};
    }();
    if (meter.instrument >= there)
      refuse(who + " names instrument " + std::to_string(meter.instrument) + ", which is not there");
    const bool sense = meter.kind == Kind::source_volts || meter.kind == Kind::source_amperes;
    if (!meters_.insert({meter.kind, {meter.instrument, meter.kind == Kind::scanner ? meter.channel : 1}})
             .second &&
        !sense)
      refuse(who + " is read by a channel that another reading has");
  }

  void readings() {
    for (const BenchReading& reading : settings_.readings) {
      const std::string who = "the reading of terminal " + std::to_string(reading.terminal);
      if (reading.terminal >= info_.terminals.size())
        refuse("a reading names terminal " + std::to_string(reading.terminal) + ", which is not there");
      if (reading.gain == 0) refuse("a reading's gain is 0");
      meter(reading.meter, who);
      Terminal& terminal = info_.terminals[reading.terminal];
      bool& read = reading.current ? terminal.reads_current : terminal.reads_potential;
      if (std::exchange(read, true) && !reading.current)
        refuse("terminal " + std::to_string(reading.terminal) + " is read twice");
    }
  }

  void nudges() {
    for (const BenchNudge& nudge : settings_.nudges) {
      if (nudge.terminal >= info_.terminals.size() || info_.terminals[nudge.terminal].clamped)
        refuse("a nudge names terminal " + std::to_string(nudge.terminal) + ", which is no free one");
      if (!of_parameter.contains(nudge.mu_ref))
        refuse("the leak reference that nudges terminal " + std::to_string(nudge.terminal) +
               " is set by no channel");
      if (!(nudge.conductance > 0))
        refuse("the leak that nudges terminal " + std::to_string(nudge.terminal) + " has no conductance");
      if (!info_.terminals[nudge.terminal].nudge.empty())
        refuse("terminal " + std::to_string(nudge.terminal) + " is nudged twice");
      info_.terminals[nudge.terminal].nudge = nudge.range;
    }
  }

  void surroundings() {
    for (const BenchEnvironment& entry : settings_.environment) {
      meter(entry.meter, "environment '" + entry.name + "'");
      const bool sense = entry.meter.kind == BenchMeter::Kind::source_volts ||
                         entry.meter.kind == BenchMeter::Kind::source_amperes;
      const bool always_on =
          std::any_of(settings_.channels.begin(), settings_.channels.end(), [&](const BenchChannel& c) {
            return c.kind == LevelChannel::Kind::source && c.instrument == entry.meter.instrument &&
                   !c.on_demand;
          });
      if (sense && !always_on)
        refuse("environment '" + entry.name +
               "' is read by a source-meter whose output is not always on; expected one that holds an input "
               "or injects");
      if (!(entry.pause.low <= entry.pause.high))
        refuse("environment '" + entry.name + "': the run would always pause");
      info_.environment.push_back({entry.name, entry.unit});
    }
  }

  void complete() {
    for (std::size_t t = 0; t < info_.terminals.size(); ++t) {
      if (info_.terminals[t].clamped && !of_terminal.contains(static_cast<std::uint32_t>(t)))
        refuse("nothing holds the input terminal " + std::to_string(t) + " (" + info_.terminals[t].name +
               ")");
    }
    for (const std::uint32_t output : info_.outputs) {
      if (!info_.terminals[output].reads_potential)
        refuse("nothing reads the output terminal " + std::to_string(output) + " (" +
               info_.terminals[output].name + ")");
    }
  }

  // At a scale of microvolts per kT, the offset of an instrument acts as an additional input.
  void errors() {
    const BenchScale& scale = settings_.scale;
    const auto too_large = [&](const std::string& who, double error, double unit, const std::string& in) {
      if (error <= scale.error_share * unit) return;
      refuse(who + ": its one-year error of " + number(error) + ' ' + in + " is " + number(error / unit) +
             (in == "V" ? " kT" : " units of current") + " at this scale; expected at most " +
             number(scale.error_share) + " (scale.error_share)");
    };
    double largest = 0;  // voltage on a terminal
    for (const auto& [terminal, c] : of_terminal) {
      const BenchChannel& channel = settings_.channels[c];
      const bool amperes = current(channel);
      if (!amperes)
        largest = std::max({largest, std::abs(reached(channel).low), std::abs(reached(channel).high)});
      if (channel.kind != LevelChannel::Kind::source) continue;
      const double far = std::max(std::abs(channel.plan.limits.low), std::abs(channel.plan.limits.high));
      const double error =
          std::abs(channel.gain) * instruments_.sources[channel.instrument]->level_error(
                                       instruments_.source_settings[channel.instrument], far);
      too_large("channel '" + channel.plan.name + "'", error,
                amperes ? scale.amperes_per_unit : scale.volts_per_kT, amperes ? "A" : "V");
    }
    for (const BenchReading& reading : settings_.readings) {
      if (reading.current) continue;
      const double volts = std::abs(reading.gain) * largest;
      const BenchMeter& meter = reading.meter;
      double error = 0;
      switch (meter.kind) {
        case BenchMeter::Kind::scanner:
          error = instruments_.scanners[meter.instrument]->reading_error(settings_.scanners[meter.instrument],
                                                                         volts);
          break;
        case BenchMeter::Kind::voltmeter:
          error = instruments_.voltmeters[meter.instrument]->reading_error(
              settings_.voltmeters[meter.instrument], volts);
          break;
        case BenchMeter::Kind::source_volts: continue;  // a source's reading is as accurate as its level
        case BenchMeter::Kind::source_amperes:
          refuse("the reading of terminal " + std::to_string(reading.terminal) +
                 " is a source-meter's current; expected a potential");
      }
      too_large("the reading of terminal " + std::to_string(reading.terminal), error / std::abs(reading.gain),
                scale.volts_per_kT, "V");
    }
  }

  const DeviceInfo& network_;
  const BenchSettings& settings_;
  const BenchInstruments& instruments_;
  DeviceInfo info_;
  std::set<std::pair<BenchMeter::Kind, std::pair<std::size_t, std::uint32_t>>> meters_;
};

}  // namespace

BenchWiring wired(const DeviceInfo& network, const Vector& constants, const BenchSettings& settings,
                  const BenchInstruments& instruments) {
  Wiring wiring(network, settings, instruments);
  DeviceInfo info = wiring.info(constants);
  return {std::move(info), std::move(wiring.of_terminal), std::move(wiring.of_parameter)};
}

}  // namespace ness::drivers
