#include "ness/drivers/bench.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "bench_impl.hpp"
#include "ness/device/error.hpp"
#include "number.hpp"

namespace ness::drivers {

namespace {

constexpr std::chrono::milliseconds own_budget{10000};  // for making safe where nobody said how long

[[noreturn]] void refuse(const std::string& reason) { throw std::invalid_argument("bench: " + reason); }

std::vector<LevelChannel> level_channels(const BenchSettings& settings) { return {settings.channels.begin(), settings.channels.end()}; }

Range between(double a, double b) { return {std::min(a, b), std::max(a, b)}; }

// Finds out whether the wiring can be, and what the device can do with it.
class Wiring {
 public:
  Wiring(const DeviceInfo& network, const BenchSettings& settings, const BenchInstruments& instruments)
      : network_(network), settings_(settings), instruments_(instruments), info_(network) {}

  DeviceInfo info(const Vector& constants) {
    info_.restores_state = false;
    info_.deterministic = false;
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
    return channel.kind == LevelChannel::Kind::source && instruments_.source_settings[channel.instrument].sourced == Sourced::current;
  }
  std::string name(std::size_t c) const { return "channel '" + settings_.channels[c].plan.name + "': "; }
  // Volts or amperes at the terminal, over a channel's limits.
  static Range reached(const BenchChannel& channel) {
    return between(channel.gain * channel.plan.limits.low + channel.offset, channel.gain * channel.plan.limits.high + channel.offset);
  }
  Range in_kT(const Range& volts) const {
    const double unit = settings_.scale.carrier * settings_.scale.volts_per_kT;
    return between(volts.low / unit, volts.high / unit);
  }

  void channel(std::size_t c) {
    const BenchChannel& channel = settings_.channels[c];
    if (channel.terminal.has_value() == channel.parameter.has_value()) refuse(name(c) + "it leads to a terminal or to a parameter, one of the two");
    if (channel.terminal) terminal(c, *channel.terminal);
    else parameter(c, *channel.parameter);
  }

  void terminal(std::size_t c, std::uint32_t number) {
    const BenchChannel& channel = settings_.channels[c];
    if (number >= info_.terminals.size()) refuse(name(c) + "there is no terminal " + std::to_string(number));
    if (channel.gain == 0) refuse(name(c) + "its gain is 0");
    if (!of_terminal.emplace(number, c).second) refuse(name(c) + "terminal " + std::to_string(number) + " is held or injected into by another channel");
    Terminal& terminal = info_.terminals[number];
    const bool source = channel.kind == LevelChannel::Kind::source;
    terminal.reads_current = source && (current(channel) || channel.gain == 1);  // behind a divider a source's own current is not the terminal's
    if (current(channel)) {
      if (terminal.clamped) refuse(name(c) + "terminal " + std::to_string(number) + " is an input, which a source of current cannot hold");
      const Range amperes = reached(channel);
      const double unit = settings_.scale.carrier * settings_.scale.amperes_per_unit;
      terminal.nudge = between(amperes.low / unit, amperes.high / unit);
      return;
    }
    terminal.level = in_kT(reached(channel));
    if (terminal.clamped) return;
    if (!channel.on_demand) refuse(name(c) + "terminal " + std::to_string(number) + " is a free one: it is held only where a drive asks for it (on demand)");
    if (!channel.plan.limits.contains(0)) refuse(name(c) + "its limits leave out 0, where it stands while nothing is held");
    if (instruments_.source_settings[channel.instrument].off != OffState::high_impedance) refuse(name(c) + "its output when off would still load terminal " + std::to_string(number) + ", a free one; expected an off state of high impedance");
    terminal.can_hold = true;
  }

  void parameter(std::size_t c, std::uint32_t number) {
    const BenchChannel& channel = settings_.channels[c];
    if (number >= info_.parameters.size()) refuse(name(c) + "there is no parameter " + std::to_string(number));
    if (channel.on_demand || current(channel)) refuse(name(c) + "a gate is a voltage that is always there");
    if (channel.per_volt == 0) refuse(name(c) + "a volt changes nothing");
    if (!of_parameter.emplace(number, c).second) refuse(name(c) + info_.parameters[number].name + " is set twice");
  }

  // What a gate is sure to reach, whatever the other channels do within their limits.
  void ranges_with_cross_talk() {
    for (const BenchCrossTalk& talk : settings_.cross_talk) {
      if (talk.channel >= settings_.channels.size()) refuse("cross-talk names channel " + std::to_string(talk.channel) + ", which is not there");
      const auto gate = of_parameter.find(talk.parameter);
      if (gate == of_parameter.end()) refuse("cross-talk from '" + settings_.channels[talk.channel].plan.name + "' changes a parameter that no channel sets");
      if (gate->second == talk.channel) refuse("cross-talk from '" + settings_.channels[talk.channel].plan.name + "' to itself: that is its per_volt");
      if (!std::isfinite(talk.per_volt)) refuse("cross-talk from '" + settings_.channels[talk.channel].plan.name + "' must be finite");
    }
    for (const auto& [number, c] : of_parameter) {
      const BenchChannel& channel = settings_.channels[c];
      ParameterInfo& parameter = info_.parameters[number];
      Range own = between(channel.zero + channel.per_volt * channel.plan.limits.low, channel.zero + channel.per_volt * channel.plan.limits.high);
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
      parameter.resolution = std::abs(channel.per_volt) * (source ? instruments_.sources[channel.instrument]->resolution(instruments_.source_settings[channel.instrument])
                                                                  : instruments_.dacs[channel.instrument]->resolution(instruments_.dac_settings[channel.instrument]));
      if (!(parameter.range.low <= parameter.range.high)) refuse(name(c) + "no level within its limits gives " + parameter.name + " a value it may have, cross-talk included");
    }
  }

  void meter(const BenchMeter& meter, const std::string& who) {
    using Kind = BenchMeter::Kind;
    const std::size_t there = meter.kind == Kind::scanner ? instruments_.scanners.size() : meter.kind == Kind::voltmeter ? instruments_.voltmeters.size() : instruments_.sources.size();
    if (meter.instrument >= there) refuse(who + " names instrument " + std::to_string(meter.instrument) + ", which is not there");
    const bool sense = meter.kind == Kind::source_volts || meter.kind == Kind::source_amperes;
    if (!meters_.insert({meter.kind, {meter.instrument, meter.kind == Kind::scanner ? meter.channel : 1}}).second && !sense) refuse(who + " is read by a channel that another reading has");
  }

  void readings() {
    for (const BenchReading& reading : settings_.readings) {
      const std::string who = "the reading of terminal " + std::to_string(reading.terminal);
      if (reading.terminal >= info_.terminals.size()) refuse("a reading names terminal " + std::to_string(reading.terminal) + ", which is not there");
      if (reading.gain == 0) refuse("a reading's gain is 0");
      meter(reading.meter, who);
      Terminal& terminal = info_.terminals[reading.terminal];
      bool& read = reading.current ? terminal.reads_current : terminal.reads_potential;
      if (std::exchange(read, true) && !reading.current) refuse("terminal " + std::to_string(reading.terminal) + " is read twice");
    }
  }

  void nudges() {
    for (const BenchNudge& nudge : settings_.nudges) {
      if (nudge.terminal >= info_.terminals.size() || info_.terminals[nudge.terminal].clamped) refuse("a nudge names terminal " + std::to_string(nudge.terminal) + ", which is no free one");
      if (!of_parameter.contains(nudge.mu_ref)) refuse("the leak reference that nudges terminal " + std::to_string(nudge.terminal) + " is set by no channel");
      if (!(nudge.conductance > 0)) refuse("the leak that nudges terminal " + std::to_string(nudge.terminal) + " has no conductance");
      if (!info_.terminals[nudge.terminal].nudge.empty()) refuse("terminal " + std::to_string(nudge.terminal) + " is nudged twice");
      info_.terminals[nudge.terminal].nudge = nudge.range;
    }
  }

  void surroundings() {
    for (const BenchEnvironment& entry : settings_.environment) {
      meter(entry.meter, "environment '" + entry.name + "'");
      const bool sense = entry.meter.kind == BenchMeter::Kind::source_volts || entry.meter.kind == BenchMeter::Kind::source_amperes;
      const bool always_on = std::any_of(settings_.channels.begin(), settings_.channels.end(), [&](const BenchChannel& c) {
        return c.kind == LevelChannel::Kind::source && c.instrument == entry.meter.instrument && !c.on_demand;
      });
      if (sense && !always_on) refuse("environment '" + entry.name + "' is read by a source-meter whose output is not always on; expected one that holds an input or injects");
      if (!(entry.pause.low <= entry.pause.high)) refuse("environment '" + entry.name + "': the run would always pause");
      info_.environment.push_back({entry.name, entry.unit});
    }
  }

  void complete() {
    for (std::size_t t = 0; t < info_.terminals.size(); ++t) {
      if (info_.terminals[t].clamped && !of_terminal.contains(static_cast<std::uint32_t>(t))) refuse("nothing holds the input terminal " + std::to_string(t) + " (" + info_.terminals[t].name + ")");
    }
    for (const std::uint32_t output : info_.outputs) {
      if (!info_.terminals[output].reads_potential) refuse("nothing reads the output terminal " + std::to_string(output) + " (" + info_.terminals[output].name + ")");
    }
  }

  // At a scale of microvolts a kT an instrument's offset is an input of its own.
  void errors() {
    const BenchScale& scale = settings_.scale;
    const auto too_large = [&](const std::string& who, double error, double unit, const std::string& in) {
      if (error <= scale.error_share * unit) return;
      refuse(who + ": its one-year error of " + number(error) + ' ' + in + " is " + number(error / unit) + (in == "V" ? " kT" : " units of current") + " at this scale; expected at most " + number(scale.error_share) + " (scale.error_share)");
    };
    double largest = 0;  // voltage on a terminal
    for (const auto& [terminal, c] : of_terminal) {
      const BenchChannel& channel = settings_.channels[c];
      const bool amperes = current(channel);
      if (!amperes) largest = std::max({largest, std::abs(reached(channel).low), std::abs(reached(channel).high)});
      if (channel.kind != LevelChannel::Kind::source) continue;
      const double far = std::max(std::abs(channel.plan.limits.low), std::abs(channel.plan.limits.high));
      const double error = std::abs(channel.gain) * instruments_.sources[channel.instrument]->level_error(instruments_.source_settings[channel.instrument], far);
      too_large("channel '" + channel.plan.name + "'", error, amperes ? scale.amperes_per_unit : scale.volts_per_kT, amperes ? "A" : "V");
    }
    for (const BenchReading& reading : settings_.readings) {
      if (reading.current || reading.meter.kind == BenchMeter::Kind::source_volts) continue;
      const double volts = std::abs(reading.gain) * largest;
      const bool scanner = reading.meter.kind == BenchMeter::Kind::scanner;
      const double error = scanner ? instruments_.scanners[reading.meter.instrument]->reading_error(settings_.scanners[reading.meter.instrument], volts)
                                   : instruments_.voltmeters[reading.meter.instrument]->reading_error(settings_.voltmeters[reading.meter.instrument], volts);
      too_large("the reading of terminal " + std::to_string(reading.terminal), error / std::abs(reading.gain), scale.volts_per_kT, "V");
    }
  }

  const DeviceInfo& network_;
  const BenchSettings& settings_;
  const BenchInstruments& instruments_;
  DeviceInfo info_;
  std::set<std::pair<BenchMeter::Kind, std::pair<std::size_t, std::uint32_t>>> meters_;
};

}  // namespace

Bench::Bench(const DeviceInfo& network, const Vector& constants, BenchInstruments instruments, BenchSettings settings, std::shared_ptr<Clock> clock) {
  if (!clock) refuse("a bench needs a clock");
  if (constants.size() != static_cast<Eigen::Index>(network.parameters.size())) refuse(std::to_string(constants.size()) + " constants for " + std::to_string(network.parameters.size()) + " parameters");
  if (settings.scanners.size() != instruments.scanners.size() || settings.voltmeters.size() != instruments.voltmeters.size()) refuse("every instrument needs its settings");
  if (const std::string problem = settings.settle.problem(); !problem.empty()) refuse("settling: " + problem);
  if (!(settings.settle_timeout > 0)) refuse("the settle timeout must be more than 0");
  if (settings.burst > 0 && (settings.burst < 4 || !(settings.burst_noise > 0))) refuse("a burst needs 4 readings or more, and their noise");
  if (!(settings.pause_every > 0) || !(settings.pause_timeout >= 0)) refuse("looks at the surroundings must be more than 0 s apart, and end");
  if (!(settings.scale.volts_per_kT > 0) || !(settings.scale.amperes_per_unit > 0)) refuse("volts per kT and amperes per unit must be more than 0");
  if (!(settings.scale.error_share > 0)) refuse("an instrument's error must be allowed more than 0 kT");
  if (settings.scale.carrier != 1 && settings.scale.carrier != -1) refuse("the sign of the carrier is 1 or -1");
  for (std::size_t i = 0; i < instruments.scanners.size(); ++i) instruments.scanners[i]->require(settings.scanners[i]);
  for (std::size_t i = 0; i < instruments.voltmeters.size(); ++i) instruments.voltmeters[i]->require(settings.voltmeters[i]);
  for (const BenchChannel& channel : settings.channels) {
    const std::size_t there = channel.kind == LevelChannel::Kind::source ? std::min(instruments.sources.size(), instruments.source_settings.size()) : instruments.dacs.size();
    if (channel.instrument >= there) refuse("channel '" + channel.plan.name + "': there is no such instrument");
  }
  Wiring wiring(network, settings, instruments);
  info_ = wiring.info(constants);
  if (settings.rest_time <= 0) settings.rest_time = 10 * settings.settle.tau_max;
  if (settings.hold_time <= 0) settings.hold_time = settings.rest_time;

  Levels levels(std::move(static_cast<LevelInstruments&>(instruments)), level_channels(settings), settings.cross_limits, clock);
  impl_ = std::make_unique<Impl>(std::move(levels), std::move(instruments.scanners), std::move(instruments.voltmeters), std::move(settings), std::move(clock));
  Impl& bench = *impl_;
  bench.clamped = info_.clamped();
  bench.read = info_.read();
  bench.nudgeable = info_.nudgeable();
  bench.channel_of_terminal = std::move(wiring.of_terminal);
  bench.gates.assign(wiring.of_parameter.begin(), wiring.of_parameter.end());
  const auto position = [&](std::uint32_t parameter) {
    return std::find_if(bench.gates.begin(), bench.gates.end(), [&](const auto& gate) { return gate.first == parameter; }) - bench.gates.begin();
  };
  bench.gate_zero = Vector::Zero(static_cast<Eigen::Index>(bench.gates.size()));
  bench.coupling = Matrix::Zero(static_cast<Eigen::Index>(bench.gates.size()), static_cast<Eigen::Index>(bench.settings.channels.size()));
  for (std::size_t g = 0; g < bench.gates.size(); ++g) {
    const BenchChannel& channel = bench.channel(bench.gates[g].second);
    bench.gate_zero[static_cast<Eigen::Index>(g)] = channel.zero;
    bench.coupling(static_cast<Eigen::Index>(g), static_cast<Eigen::Index>(bench.gates[g].second)) = channel.per_volt;
  }
  for (const BenchCrossTalk& talk : bench.settings.cross_talk) bench.coupling(position(talk.parameter), static_cast<Eigen::Index>(talk.channel)) += talk.per_volt;
  if (!bench.gates.empty()) {
    Matrix own(bench.coupling.rows(), bench.coupling.rows());
    for (std::size_t g = 0; g < bench.gates.size(); ++g) own.col(static_cast<Eigen::Index>(g)) = bench.coupling.col(static_cast<Eigen::Index>(bench.gates[g].second));
    bench.of_gates.compute(own);
  }
  for (const std::uint32_t terminal : bench.nudgeable) {
    const auto nudge = std::find_if(bench.settings.nudges.begin(), bench.settings.nudges.end(), [&](const BenchNudge& n) { return n.terminal == terminal; });
    const bool by_leak = nudge != bench.settings.nudges.end();
    bench.nudge_gate.push_back(by_leak ? std::optional<std::size_t>(static_cast<std::size_t>(position(nudge->mu_ref))) : std::nullopt);
    bench.nudge_conductance.push_back(by_leak ? nudge->conductance : 0);
  }
  bench.scanned.resize(bench.scanners.size());
  bench.metered.resize(bench.voltmeters.size());
  bench.reading_of.resize(bench.read.size());
  const auto place = [&](const BenchMeter& meter, const Impl::Place& where) {
    if (meter.kind == BenchMeter::Kind::scanner) bench.scanned[meter.instrument].push_back({meter.channel, where});
    else if (meter.kind == BenchMeter::Kind::voltmeter) bench.metered[meter.instrument] = where;
    else bench.sensed.emplace_back(meter.instrument, where);
  };
  for (std::size_t r = 0; r < bench.settings.readings.size(); ++r) {
    const BenchReading& reading = bench.settings.readings[r];
    place(reading.meter, {false, r});
    const auto at = std::find(bench.read.begin(), bench.read.end(), reading.terminal);
    if (at != bench.read.end() && !reading.current) bench.reading_of[static_cast<std::size_t>(at - bench.read.begin())] = r;
  }
  for (std::size_t e = 0; e < bench.settings.environment.size(); ++e) place(bench.settings.environment[e].meter, {true, e});
}

Bench::~Bench() {
  if (impl_ && impl_->levels.started()) make_safe(own_budget, SafeProfile::emergency);
}

Levels& Bench::levels() { return impl_->levels; }

void Bench::start(std::stop_token stop) {
  Impl& bench = *impl_;
  if (bench.levels.started()) return;
  bench.last_safe = {};
  // Everyone is asked who they are before anyone is told to do anything.
  bench.levels.connect();
  for (const auto& instrument : bench.scanners) instrument->connect();
  for (const auto& instrument : bench.voltmeters) instrument->connect();
  try {
    for (std::size_t s = 0; s < bench.scanned.size(); ++s) {
      std::vector<std::uint32_t> channels;
      for (const Impl::Scanned& scanned : bench.scanned[s]) channels.push_back(scanned.channel);
      if (!channels.empty()) bench.scanners[s]->configure(channels, bench.settings.scanners[s]);
    }
    for (std::size_t v = 0; v < bench.metered.size(); ++v) {
      if (bench.metered[v]) bench.voltmeters[v]->configure(bench.settings.voltmeters[v]);
    }
    bench.levels.start(stop);
    bench.check_queues();
    bench.input_moved = bench.gate_moved = true;
  } catch (const Cancelled&) {
    if (bench.levels.started()) make_safe(own_budget, SafeProfile::cancel);
    throw;
  } catch (...) {
    if (bench.levels.started()) make_safe(own_budget, SafeProfile::emergency);
    throw;
  }
}

void Bench::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  Impl& bench = *impl_;
  bench.check(drives);
  start(stop);
  for (std::size_t i = 0; i < drives.size(); ++i) {
    if (stop.stop_requested()) throw Cancelled();
    const Drive& drive = drives[i];
    Relaxation row;
    try {
      for (;;) {
        row = {};
        if (!bench.settings.environment.empty()) bench.pause_while_outside(stop);
        bench.impose(drive, stop);
        row.timing.start = bench.clock->now();
        std::vector<Impl::Numbers> scans;
        if (const At* at = std::get_if<At>(&drive.observe)) bench.sample(row, scans, *at, row.timing.start, stop);
        else bench.settle(row, scans, stop);
        bench.fill(row, scans, info_);
        row.timing.read = bench.clock->now();
        bench.check_queues();
        if (bench.settings.environment.empty() || bench.outside(scans.back()).empty()) break;
        // The surroundings went out of bounds on the way: it is waited for, and done again.
      }
    } catch (const Cancelled&) {
      throw;
    } catch (...) {
      make_safe(own_budget, SafeProfile::emergency);
      // What is still to be answered must not answer the next who asks.
      for (const auto& scanner : bench.scanners) scanner->session().close();
      for (const auto& voltmeter : bench.voltmeters) voltmeter->session().close();
      throw;
    }
    sink(i, row);
  }
}

SafeReport Bench::do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) {
  // Nothing was switched on since. What was stuck then is tried again.
  if (!impl_->levels.started() && impl_->last_safe.safe) return impl_->last_safe;
  return impl_->last_safe = impl_->levels.make_safe(budget, profile);
}

}  // namespace ness::drivers
