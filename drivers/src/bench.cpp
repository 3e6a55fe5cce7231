#include "ness/drivers/bench.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <stdexcept>

#include "ness/core/error.hpp"
#include "number.hpp"

namespace ness::drivers {

namespace {

// Levels are compared with what was read back: instruments answer with six or more digits.
bool same_level(double sent, double back, double resolution) { return std::abs(sent - back) <= std::max(resolution, 2e-6 * std::abs(sent)) * 1.01 + 1e-12; }

}  // namespace

struct Bench::Impl {
  BenchInstruments instruments;
  BenchSettings settings;
  std::shared_ptr<Clock> clock;
  SetpointPlanner planner;
  std::vector<std::uint32_t> clamped, read, nudgeable;
  std::map<std::uint32_t, std::size_t> channel_of_parameter, channel_of_terminal;
  std::vector<std::vector<std::pair<std::uint32_t, std::size_t>>> scanned;  // of each scanner: (channel, position in `read`)
  std::vector<double> present;  // levels, by channel, as last read back
  bool started = false;

  Impl(BenchInstruments i, BenchSettings s, std::shared_ptr<Clock> c, std::vector<PlannedChannel> planned)
      : instruments(std::move(i)), settings(std::move(s)), clock(std::move(c)), planner(std::move(planned), settings.cross_limits) {}

  const BenchChannel& channel(std::size_t c) const { return settings.channels[c]; }

  double kT_of_volts(double volts) const { return settings.scale.carrier * volts / settings.scale.volts_per_kT; }
  double volts_of_kT(double kT) const { return settings.scale.carrier * kT * settings.scale.volts_per_kT; }

  // Volts at the instrument for a terminal's level, or a parameter's value; and back.
  static double level_for(const BenchChannel& c, double volts_or_value) {
    return c.terminal ? (volts_or_value - c.offset) / c.gain : (volts_or_value - c.zero) / c.per_volt;
  }
  static double value_at(const BenchChannel& c, double level) { return c.terminal ? c.gain * level + c.offset : c.zero + c.per_volt * level; }

  // --- writing ---------------------------------------------------------------------------------------------------------------------

  void write(const RampStep& step) {
    std::map<std::size_t, std::vector<std::pair<std::uint32_t, double>>> dacs;
    for (const auto& [c, level] : step.writes) {
      const BenchChannel& to = channel(c);
      if (to.kind == BenchChannel::Kind::source) instruments.sources[to.instrument]->set_level(level);
      else dacs[to.instrument].emplace_back(to.channel, level);
    }
    for (const auto& [d, levels] : dacs) instruments.dacs[d]->set(levels);
  }

  // Levels of some channels as their instruments tell them.
  void read_back(const std::vector<std::size_t>& channels) {
    std::map<std::size_t, std::vector<std::size_t>> dacs;
    for (const std::size_t c : channels) {
      if (channel(c).kind == BenchChannel::Kind::source) present[c] = instruments.sources[channel(c).instrument]->level();
      else dacs[channel(c).instrument].push_back(c);
    }
    for (const auto& [d, which] : dacs) {
      std::vector<std::uint32_t> numbers;
      for (const std::size_t c : which) numbers.push_back(channel(c).channel);
      const auto levels = instruments.dacs[d]->targets(numbers);
      for (std::size_t i = 0; i < which.size(); ++i) present[which[i]] = levels[i];
    }
  }

  // Moves what differs, within all limits, and reads back what was moved.
  void go(const std::vector<double>& targets, std::stop_token stop) {
    const auto steps = planner.plan(present, targets);
    if (steps.empty()) return;
    std::set<std::size_t> moved;
    for (const RampStep& step : steps) {
      write(step);
      for (const auto& [c, level] : step.writes) {
        present[c] = level;  // until it is read back: what a stop on the way has to start from
        moved.insert(c);
      }
      // A ramp under way is finished to its step, whatever is asked: levels between are allowed levels.
      clock->wait(step.wait);
      if (stop.stop_requested()) throw Cancelled();
    }
    read_back({moved.begin(), moved.end()});
    for (const std::size_t c : moved) {
      if (same_level(targets[c], present[c], planner.channels()[c].resolution)) continue;
      throw InstrumentError(address_of(c), "level of '" + planner.channels()[c].name + "'", number(present[c]), "the level was not taken: " + number(targets[c]) + " was sent");
    }
  }

  std::string address_of(std::size_t c) const {
    return channel(c).kind == BenchChannel::Kind::source ? instruments.sources[channel(c).instrument]->address() : instruments.dacs[channel(c).instrument]->address();
  }

  // Levels of a drive: inputs and nudges scaled by `share` (0: at rest), parameters as they are.
  std::vector<double> levels_of(const Drive& drive, double share) const {
    std::vector<double> targets = present;
    Vector inputs(static_cast<Eigen::Index>(clamped.size()));
    drive.clamp.set->levels(drive.clamp.row, inputs);
    for (std::size_t i = 0; i < clamped.size(); ++i) {
      const std::size_t c = channel_of_terminal.at(clamped[i]);
      targets[c] = level_for(channel(c), volts_of_kT(share * inputs[static_cast<Eigen::Index>(i)]));
    }
    for (const auto& [parameter, c] : channel_of_parameter) targets[c] = level_for(channel(c), drive.theta[parameter]);
    for (std::size_t i = 0; i < nudgeable.size() && drive.nudge.size() > 0; ++i) {
      const double u = share * drive.nudge[static_cast<Eigen::Index>(i)];
      const auto nudge = std::find_if(settings.nudges.begin(), settings.nudges.end(), [&](const BenchNudge& n) { return n.terminal == nudgeable[i]; });
      const std::size_t c = channel_of_parameter.at(nudge->mu_ref);
      targets[c] = level_for(channel(c), drive.theta[nudge->mu_ref] + u / nudge->conductance);
    }
    return targets;
  }

  // --- reading ---------------------------------------------------------------------------------------------------------------------

  // One scan of every terminal: scanners side by side.
  void scan(std::vector<MeterReading>& readings) {
    for (std::size_t s = 0; s < scanned.size(); ++s) {
      if (!scanned[s].empty()) instruments.scanners[s]->arm();
    }
    for (std::size_t s = 0; s < scanned.size(); ++s) {
      if (scanned[s].empty()) continue;
      const auto got = instruments.scanners[s]->fetch();
      for (std::size_t i = 0; i < got.size(); ++i) readings[scanned[s][i].second] = got[i];
    }
  }

  void settle(Relaxation& row, std::stop_token stop) {
    const double begin = clock->now();
    std::vector<SettleJudge> judges(read.size(), SettleJudge(settings.settle));
    std::vector<MeterReading> readings(read.size());
    std::vector<std::uint16_t> flags(read.size(), 0);
    for (;;) {
      const double before = clock->now();
      scan(readings);
      const double time = (before + clock->now()) / 2;
      bool settled = true, readable = true;
      for (std::size_t k = 0; k < read.size(); ++k) {
        if (std::isnan(readings[k].volts)) {
          flags[k] = bit(readings[k].over_range ? Flag::over_range : Flag::invalid);
          readable = false;
          continue;
        }
        judges[k].add(time, kT_of_volts((readings[k].volts - reading_of(k).offset) / reading_of(k).gain));
        settled = settled && judges[k].verdict().settled;
      }
      if (!readable || settled) break;
      if (clock->now() - begin > settings.settle_timeout) {
        for (std::size_t k = 0; k < read.size(); ++k) {
          if (!judges[k].verdict().settled) flags[k] = static_cast<std::uint16_t>(bit(Flag::timed_out) | bit(Flag::drifting));
        }
        break;
      }
      if (stop.stop_requested()) throw Cancelled();
    }
    row.potential = Vector::Zero(static_cast<Eigen::Index>(read.size()));
    row.sigma = row.potential;
    double bound = 0;
    for (std::size_t k = 0; k < read.size(); ++k) {
      const SettleVerdict& verdict = judges[k].verdict();
      if (verdict.window == 0 && flags[k] == 0) flags[k] = bit(Flag::invalid);  // another's reading ended the scan too early
      row.potential[static_cast<Eigen::Index>(k)] = verdict.window > 0 ? verdict.mean : std::nan("");
      row.sigma[static_cast<Eigen::Index>(k)] = verdict.standard_error;
      bound = std::max(bound, verdict.bound);
    }
    row.timing.bound = bound;
    row.timing.settled = clock->now();
    if (std::any_of(flags.begin(), flags.end(), [](std::uint16_t f) { return f != 0; })) row.quality.terminal = flags;
  }

  const BenchReading& reading_of(std::size_t position) const {
    return *std::find_if(settings.readings.begin(), settings.readings.end(), [&](const BenchReading& r) { return r.terminal == read[position]; });
  }

  // What the sources measured: levels of the inputs, currents into the network, compliance.
  void read_sources(Relaxation& row, std::size_t terminals) {
    for (const auto& source : instruments.sources) source->arm();
    std::vector<SourceReading> readings;
    for (const auto& source : instruments.sources) readings.push_back(source->fetch());
    bool all_inputs = true;
    Vector inputs = Vector::Constant(static_cast<Eigen::Index>(clamped.size()), std::nan(""));
    Vector currents = Vector::Constant(static_cast<Eigen::Index>(terminals), std::nan(""));
    for (std::size_t i = 0; i < clamped.size(); ++i) {
      const BenchChannel& c = channel(channel_of_terminal.at(clamped[i]));
      if (c.kind != BenchChannel::Kind::source) {
        all_inputs = false;
        continue;
      }
      const SourceReading& reading = readings[c.instrument];
      inputs[static_cast<Eigen::Index>(i)] = kT_of_volts(c.gain * reading.volts + c.offset);
      currents[static_cast<Eigen::Index>(clamped[i])] = settings.scale.carrier * reading.amperes / settings.scale.amperes_per_unit;
      if (reading.in_compliance) row.quality.raise(Flag::in_compliance);
      if (reading.over_range) row.quality.raise(Flag::over_range);
    }
    if (all_inputs) row.clamp_readback = inputs;
    if (!instruments.sources.empty()) row.current = currents;
  }

  // Values of the parameters that channels set, as the channels' levels were read back; constants as they are.
  Vector parameters_now(const DeviceInfo& info) const {
    Vector theta(static_cast<Eigen::Index>(info.parameters.size()));
    for (std::size_t i = 0; i < info.parameters.size(); ++i) theta[static_cast<Eigen::Index>(i)] = info.parameters[i].range.low;
    for (const auto& [parameter, c] : channel_of_parameter) theta[parameter] = value_at(channel(c), present[c]);
    return theta;
  }

  void check_queues() {
    for (const auto& instrument : instruments.sources) instrument->check();
    for (const auto& instrument : instruments.dacs) instrument->check();
    for (const auto& instrument : instruments.scanners) instrument->check();
  }

  std::vector<std::uint32_t> channels_of_dac(std::size_t d) const {
    std::vector<std::uint32_t> numbers;
    for (const BenchChannel& c : settings.channels) {
      if (c.kind == BenchChannel::Kind::dac && c.instrument == d) numbers.push_back(c.channel);
    }
    return numbers;
  }
};

Bench::Bench(const DeviceInfo& network, const Vector& constants, BenchInstruments instruments, BenchSettings settings, std::shared_ptr<Clock> clock) : info_(network) {
  const auto refuse = [](const std::string& reason) { throw std::invalid_argument("bench: " + reason); };
  if (!clock) refuse("a bench needs a clock");
  if (constants.size() != static_cast<Eigen::Index>(network.parameters.size())) refuse(std::to_string(constants.size()) + " constants for " + std::to_string(network.parameters.size()) + " parameters");
  if (settings.sources.size() != instruments.sources.size() || settings.dacs.size() != instruments.dacs.size() || settings.scanners.size() != instruments.scanners.size()) {
    refuse("every instrument needs its settings");
  }
  if (const std::string problem = settings.settle.problem(); !problem.empty()) refuse("settling: " + problem);
  if (!(settings.settle_timeout > 0)) refuse("the settle timeout must be more than 0");
  if (!(settings.scale.volts_per_kT > 0) || !(settings.scale.amperes_per_unit > 0)) refuse("volts per kT and amperes per unit must be more than 0");

  for (std::size_t i = 0; i < instruments.sources.size(); ++i) instruments.sources[i]->require(settings.sources[i]);
  for (std::size_t i = 0; i < instruments.dacs.size(); ++i) instruments.dacs[i]->require(settings.dacs[i]);
  for (std::size_t i = 0; i < instruments.scanners.size(); ++i) instruments.scanners[i]->require(settings.scanners[i]);

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
  }
  std::vector<PlannedChannel> planned;
  std::map<std::pair<int, std::pair<std::size_t, std::uint32_t>>, std::string> taken;
  std::map<std::uint32_t, std::size_t> of_parameter, of_terminal;
  for (std::size_t c = 0; c < settings.channels.size(); ++c) {
    BenchChannel& channel = settings.channels[c];
    const std::string name = "channel '" + channel.plan.name + "': ";
    const bool source = channel.kind == BenchChannel::Kind::source;
    if (channel.instrument >= (source ? instruments.sources.size() : instruments.dacs.size())) refuse(name + "there is no such instrument");
    const auto [earlier, is_new] = taken.emplace(std::pair{static_cast<int>(channel.kind), std::pair{channel.instrument, source ? 1U : channel.channel}}, channel.plan.name);
    if (!is_new) refuse(name + "it is wired already, as '" + earlier->second + "'");
    const double reach = source ? settings.sources[channel.instrument].range * 1.05 : settings.dacs[channel.instrument].range;
    if (channel.plan.limits.low < -reach || channel.plan.limits.high > reach) {
      refuse(name + "its limits " + number(channel.plan.limits.low) + " V to " + number(channel.plan.limits.high) + " V go beyond the instrument's range of " + number(reach) + " V");
    }
    if (!channel.plan.limits.contains(channel.safe)) refuse(name + "its safe level of " + number(channel.safe) + " V is outside its limits");
    if (channel.terminal.has_value() == channel.parameter.has_value()) refuse(name + "it leads to a terminal or to a parameter, one of the two");
    if (channel.terminal) {
      if (*channel.terminal >= info_.terminals.size() || !info_.terminals[*channel.terminal].clamped) refuse(name + "terminal " + std::to_string(*channel.terminal) + " is not an input");
      if (channel.gain == 0) refuse(name + "its gain is 0");
      if (!of_terminal.emplace(*channel.terminal, c).second) refuse(name + "terminal " + std::to_string(*channel.terminal) + " is held twice");
      const double a = settings.scale.carrier * (channel.gain * channel.plan.limits.low + channel.offset) / settings.scale.volts_per_kT;
      const double b = settings.scale.carrier * (channel.gain * channel.plan.limits.high + channel.offset) / settings.scale.volts_per_kT;
      info_.terminals[*channel.terminal].level = {std::min(a, b), std::max(a, b)};
      info_.terminals[*channel.terminal].reads_current = source;
    } else {
      if (*channel.parameter >= info_.parameters.size()) refuse(name + "there is no parameter " + std::to_string(*channel.parameter));
      if (channel.per_volt == 0) refuse(name + "a volt changes nothing");
      if (!of_parameter.emplace(*channel.parameter, c).second) refuse(name + info_.parameters[*channel.parameter].name + " is set twice");
      ParameterInfo& parameter = info_.parameters[*channel.parameter];
      const Range described = network.parameters[*channel.parameter].range;
      const double a = channel.zero + channel.per_volt * channel.plan.limits.low, b = channel.zero + channel.per_volt * channel.plan.limits.high;
      parameter.range = {std::max(described.low, std::min(a, b)), std::min(described.high, std::max(a, b))};
      parameter.trainable = network.parameters[*channel.parameter].trainable;
      if (parameter.range.low > parameter.range.high) refuse(name + "no level within its limits gives " + parameter.name + " a value it may have");
    }
    planned.push_back(channel.plan);
  }
  for (const BenchReading& reading : settings.readings) {
    if (reading.scanner >= instruments.scanners.size()) refuse("a reading names scanner " + std::to_string(reading.scanner) + ", which is not there");
    if (reading.terminal >= info_.terminals.size()) refuse("a reading names terminal " + std::to_string(reading.terminal) + ", which is not there");
    if (reading.gain == 0) refuse("a reading's gain is 0");
    if (std::exchange(info_.terminals[reading.terminal].reads_potential, true)) refuse("terminal " + std::to_string(reading.terminal) + " is read twice");
  }
  for (const BenchNudge& nudge : settings.nudges) {
    if (nudge.terminal >= info_.terminals.size() || info_.terminals[nudge.terminal].clamped) refuse("a nudge names terminal " + std::to_string(nudge.terminal) + ", which is no free one");
    if (!of_parameter.contains(nudge.mu_ref)) refuse("the leak reference that nudges terminal " + std::to_string(nudge.terminal) + " is set by no channel");
    if (!(nudge.conductance > 0)) refuse("the leak that nudges terminal " + std::to_string(nudge.terminal) + " has no conductance");
    info_.terminals[nudge.terminal].nudge = nudge.range;
  }
  for (std::size_t t = 0; t < info_.terminals.size(); ++t) {
    if (info_.terminals[t].clamped && !of_terminal.contains(static_cast<std::uint32_t>(t))) refuse("nothing holds the input terminal " + std::to_string(t) + " (" + info_.terminals[t].name + ")");
  }
  for (const std::uint32_t output : info_.outputs) {
    if (!info_.terminals[output].reads_potential) refuse("nothing reads the output terminal " + std::to_string(output) + " (" + info_.terminals[output].name + ")");
  }
  if (settings.rest_time <= 0) settings.rest_time = 10 * settings.settle.tau_max;
  impl_ = std::make_unique<Impl>(std::move(instruments), std::move(settings), std::move(clock), std::move(planned));
  impl_->clamped = info_.clamped();
  impl_->read = info_.read();
  impl_->nudgeable = info_.nudgeable();
  impl_->channel_of_parameter = std::move(of_parameter);
  impl_->channel_of_terminal = std::move(of_terminal);
  impl_->scanned.resize(impl_->instruments.scanners.size());
  for (const BenchReading& reading : impl_->settings.readings) {
    const auto position = std::find(impl_->read.begin(), impl_->read.end(), reading.terminal);
    if (position != impl_->read.end()) impl_->scanned[reading.scanner].emplace_back(reading.channel, static_cast<std::size_t>(position - impl_->read.begin()));
  }
  impl_->present.assign(impl_->settings.channels.size(), 0);
}

Bench::~Bench() = default;

void Bench::start() {
  Impl& bench = *impl_;
  if (bench.started) return;
  // Everyone is asked who they are before anyone is told to do anything.
  for (const auto& instrument : bench.instruments.sources) instrument->connect();
  for (const auto& instrument : bench.instruments.dacs) instrument->connect();
  for (const auto& instrument : bench.instruments.scanners) instrument->connect();
  try {
    for (std::size_t s = 0; s < bench.scanned.size(); ++s) {
      std::vector<std::uint32_t> channels;
      for (const auto& [channel, position] : bench.scanned[s]) channels.push_back(channel);
      if (!channels.empty()) bench.instruments.scanners[s]->configure(channels, bench.settings.scanners[s]);
    }
    for (std::size_t d = 0; d < bench.instruments.dacs.size(); ++d) {
      if (const auto channels = bench.channels_of_dac(d); !channels.empty()) bench.instruments.dacs[d]->configure(channels, bench.settings.dacs[d]);
    }
    for (std::size_t s = 0; s < bench.instruments.sources.size(); ++s) bench.instruments.sources[s]->configure(bench.settings.sources[s]);
    std::vector<std::size_t> all(bench.settings.channels.size());
    for (std::size_t c = 0; c < all.size(); ++c) all[c] = c;
    bench.read_back(all);
    for (const auto& source : bench.instruments.sources) source->set_output(true);
    bench.check_queues();
    bench.started = true;
  } catch (...) {
    bench.started = true;  // so that what was switched on is brought back
    make_safe(std::chrono::seconds(10));
    throw;
  }
}

void Bench::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  Impl& bench = *impl_;
  start();
  for (std::size_t i = 0; i < drives.size(); ++i) {
    if (stop.stop_requested()) throw Cancelled();
    const Drive& drive = drives[i];
    Relaxation row;
    try {
      if (std::holds_alternative<Rest>(drive.start)) {
        bench.go(bench.levels_of(drive, 0), stop);
        bench.clock->wait(bench.settings.rest_time, stop);
      }
      bench.go(bench.levels_of(drive, 1), stop);
      row.timing.start = bench.clock->now();
      if (const At* at = std::get_if<At>(&drive.observe)) bench.clock->wait(at->time, stop);
      bench.settle(row, stop);
      bench.read_sources(row, info_.terminals.size());
      row.theta_readback = bench.parameters_now(info_);
      row.timing.read = bench.clock->now();
      bench.check_queues();
    } catch (const Cancelled&) {
      throw;
    } catch (...) {
      make_safe(std::chrono::seconds(10));
      throw;
    }
    sink(i, row);
  }
}

SafeReport Bench::do_make_safe(std::chrono::milliseconds budget) {
  Impl& bench = *impl_;
  SafeReport report;
  if (!bench.started) return report;  // nothing was switched on
  const double until = bench.clock->now() + std::chrono::duration<double>(budget).count();
  const std::size_t n = bench.settings.channels.size();
  std::vector<bool> stuck(n, false);
  const auto give_up = [&](std::size_t c, const std::string& why) {
    if (stuck[c]) return;
    stuck[c] = true;
    report.safe = false;
    report.stuck.push_back(bench.planner.channels()[c].name + " at " + number(bench.present[c]) + " V (last known): " + why);
  };
  const auto same_instrument = [&](std::size_t a, std::size_t b) {
    return bench.channel(a).kind == bench.channel(b).kind && bench.channel(a).instrument == bench.channel(b).instrument;
  };
  const auto lose = [&](std::size_t c, const std::string& why) {
    for (std::size_t other = 0; other < n; ++other) {
      if (same_instrument(c, other)) give_up(other, why);
    }
  };
  // Each on a fresh link, with fresh deadlines; ranges and levels as it tells them.
  const auto session_of = [&](std::size_t c) -> protocols::Session& {
    return bench.channel(c).kind == BenchChannel::Kind::source ? bench.instruments.sources[bench.channel(c).instrument]->session() : bench.instruments.dacs[bench.channel(c).instrument]->session();
  };
  std::set<const protocols::Session*> tried;
  for (std::size_t c = 0; c < n; ++c) {
    protocols::Session& session = session_of(c);
    if (stuck[c]) continue;
    try {
      if (tried.insert(&session).second) {
        session.close();
        const BenchChannel& channel = bench.channel(c);
        if (channel.kind == BenchChannel::Kind::source) bench.instruments.sources[channel.instrument]->adopt();
        else bench.instruments.dacs[channel.instrument]->adopt(bench.channels_of_dac(channel.instrument));
      }
      bench.read_back({c});
    } catch (const std::exception& error) {
      lose(c, error.what());
    }
  }
  // By order, and again from the start when a channel is lost on the way: the others' nearest levels change with it.
  std::set<std::uint32_t> orders;
  for (const BenchChannel& channel : bench.settings.channels) orders.insert(channel.safe_order);
  std::vector<double> wanted(n);
  for (bool again = true; again;) {
    again = false;
    for (std::size_t c = 0; c < n; ++c) wanted[c] = stuck[c] ? bench.present[c] : bench.channel(c).safe;
    try {
      wanted = bench.planner.nearest(wanted, stuck);
    } catch (const std::exception& error) {
      report.safe = false;
      report.stuck.push_back(error.what());
    }
    std::vector<std::vector<double>> stages;
    std::vector<double> stage = bench.present;
    for (const std::uint32_t order : orders) {
      for (std::size_t c = 0; c < n; ++c) {
        if (!stuck[c] && bench.channel(c).safe_order == order) stage[c] = wanted[c];
      }
      stages.push_back(stage);
    }
    for (const std::vector<double>& target : stages) {
      std::vector<RampStep> steps;
      try {
        steps = bench.planner.plan(bench.present, target);
      } catch (const PlanRefused&) {
        continue;  // in this order a limit is in the way: the next stage moves it together with what follows
      }
      for (const RampStep& step : steps) {
        for (const auto& [c, level] : step.writes) {
          try {
            bench.write({{{c, level}}, 0});
            bench.present[c] = level;
          } catch (const std::exception& error) {
            lose(c, error.what());
            again = true;
            break;
          }
        }
        if (again) break;
        bench.clock->wait(step.wait);
      }
      if (again || bench.clock->now() > until) break;
    }
    if (bench.clock->now() > until) {
      for (std::size_t c = 0; c < n; ++c) {
        if (!stuck[c] && bench.present[c] != wanted[c]) give_up(c, "the time for making safe ran out");
      }
      break;
    }
  }
  // Where no plan led, the channel is not safe, and the report must not say so.
  for (std::size_t c = 0; c < n; ++c) {
    if (!stuck[c] && !same_level(wanted[c], bench.present[c], bench.planner.channels()[c].resolution)) give_up(c, "no way within the limits leads to its safe level");
  }
  for (std::size_t c = 0; c < n; ++c) {
    if (stuck[c] || bench.channel(c).kind != BenchChannel::Kind::source) continue;
    try {
      bench.instruments.sources[bench.channel(c).instrument]->set_output(false);
    } catch (const std::exception& error) {
      lose(c, error.what());
    }
  }
  bench.started = false;
  return report;
}

}  // namespace ness::drivers
