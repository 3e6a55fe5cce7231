#include "ness/drivers/levels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>

#include "ness/device/error.hpp"
#include "number.hpp"

namespace ness::drivers {

namespace {

// A level counts as equal to its readback within resolution: instruments answer with six or more digits.
bool same_level(double sent, double back, double resolution) {
  return std::abs(sent - back) <= std::max(resolution, 2e-6 * std::abs(sent)) * 1.01 + 1e-12;
}

std::vector<PlannedChannel> planned(const std::vector<LevelChannel>& channels, const SafeProfile* profile) {
  std::vector<PlannedChannel> plans;
  for (const LevelChannel& channel : channels) {
    plans.push_back(channel.plan);
    if (profile != nullptr) plans.back().rate *= channel.safe[static_cast<std::size_t>(*profile)].faster;
  }
  return plans;
}

SetpointPlanner safe_planner(const std::vector<LevelChannel>& channels,
                             const std::vector<CrossLimit>& cross_limits, SafeProfile profile) {
  return SetpointPlanner(planned(channels, &profile), cross_limits);
}

// Checks everything that the constructor's other members rely on, so it is called first.
std::vector<LevelChannel> checked(std::vector<LevelChannel> channels, const LevelInstruments& instruments) {
  const auto refuse = [](const std::string& reason) { throw std::invalid_argument("bench: " + reason); };
  if (instruments.sources.size() != instruments.source_settings.size() ||
      instruments.dacs.size() != instruments.dac_settings.size())
    refuse("every instrument needs its settings");
  for (std::size_t i = 0; i < instruments.sources.size(); ++i)
    instruments.sources[i]->require(instruments.source_settings[i]);
  for (std::size_t i = 0; i < instruments.dacs.size(); ++i)
    instruments.dacs[i]->require(instruments.dac_settings[i]);
  std::map<std::pair<LevelChannel::Kind, std::pair<std::size_t, std::uint32_t>>, std::string> taken;
  for (LevelChannel& channel : channels) {
    const std::string name = "channel '" + channel.plan.name + "': ";
    const bool source = channel.kind == LevelChannel::Kind::source;
    if (channel.instrument >= (source ? instruments.sources.size() : instruments.dacs.size()))
      refuse(name + "there is no such instrument");
    if (channel.on_demand && !source) refuse(name + "a DAC has no output to switch");
    const auto [earlier, is_new] =
        taken.emplace(std::pair{channel.kind, std::pair{channel.instrument, source ? 1U : channel.channel}},
                      channel.plan.name);
    if (!is_new) refuse(name + "it is wired already, as '" + earlier->second + "'");
    const bool current =
        source && instruments.source_settings[channel.instrument].sourced == Sourced::current;
    const std::string unit = current ? " A" : " V";
    const double reach =
        source
            ? instruments.sources[channel.instrument]->reach(instruments.source_settings[channel.instrument])
            : instruments.dac_settings[channel.instrument].range;
    if (channel.plan.limits.low < -reach || channel.plan.limits.high > reach) {
      refuse(name + "its limits " + number(channel.plan.limits.low) + unit + " to " +
             number(channel.plan.limits.high) + unit + " go beyond the instrument's range of " +
             number(reach) + unit);
    }
    for (const SafeProfile profile : {SafeProfile::stop, SafeProfile::cancel, SafeProfile::emergency}) {
      const SafeEntry& safe = channel.safe[static_cast<std::size_t>(profile)];
      if (!channel.plan.limits.contains(safe.level))
        refuse(name + "its safe level of " + number(safe.level) + unit + " (" + to_string(profile) +
               ") is outside its limits");
      if (!(safe.faster > 0) || !std::isfinite(safe.faster))
        refuse(name + "its ramp is to be " + number(safe.faster) + " times faster (" + to_string(profile) +
               "); expected more than 0");
    }
    channel.plan.resolution =
        source
            ? instruments.sources[channel.instrument]->resolution(
                  instruments.source_settings[channel.instrument])
            : instruments.dacs[channel.instrument]->resolution(instruments.dac_settings[channel.instrument]);
  }
  return channels;
}

}  // namespace

Levels::Levels(LevelInstruments instruments, std::vector<LevelChannel> channels,
               const std::vector<CrossLimit>& cross_limits, std::shared_ptr<Clock> clock)
    : instruments_(std::move(instruments)),
      channels_(checked(std::move(channels), instruments_)),
      clock_(std::move(clock)),
      planner_(planned(channels_, nullptr), cross_limits),
      present_planner_(planner_),
      safe_planners_{safe_planner(channels_, cross_limits, SafeProfile::stop),
                     safe_planner(channels_, cross_limits, SafeProfile::cancel),
                     safe_planner(channels_, cross_limits, SafeProfile::emergency)},
      present_(channels_.size(), 0),
      accepted_(channels_.size(), std::numeric_limits<double>::quiet_NaN()),
      on_(channels_.size(), false),
      known_(channels_.size(), false) {
  if (!clock_) throw std::invalid_argument("bench: levels need a clock");
  present_planner_ = planner_.without(absent());
}

std::vector<bool> Levels::absent() const {
  std::vector<bool> off(channels_.size());
  for (std::size_t c = 0; c < off.size(); ++c) off[c] = channels_[c].on_demand && !on_[c];
  return off;
}

const std::string& Levels::address(std::size_t c) const {
  return channels_[c].kind == LevelChannel::Kind::source
             ? instruments_.sources[channels_[c].instrument]->address()
             : instruments_.dacs[channels_[c].instrument]->address();
}

protocols::Session& Levels::session(std::size_t c) {
  return channels_[c].kind == LevelChannel::Kind::source
             ? instruments_.sources[channels_[c].instrument]->session()
             : instruments_.dacs[channels_[c].instrument]->session();
}

std::vector<std::uint32_t> Levels::channels_of_dac(std::size_t d) const {
  std::vector<std::uint32_t> numbers;
  for (const LevelChannel& c : channels_) {
    if (c.kind == LevelChannel::Kind::dac && c.instrument == d) numbers.push_back(c.channel);
  }
  return numbers;
}

std::vector<InstrumentIdentity> Levels::identities() const {
  std::vector<InstrumentIdentity> all;
  append_identities(instruments_.sources, all);
  append_identities(instruments_.dacs, all);
  return all;
}

void Levels::ask_calibrations() {
  for (const auto& source : instruments_.sources) source->ask_calibration();
  for (const auto& dac : instruments_.dacs) dac->ask_calibration();
}

std::vector<StatedSettings> Levels::settings() {
  std::vector<StatedSettings> all;
  append_settings(instruments_.sources, all);
  append_settings(instruments_.dacs, all);
  return all;
}

void Levels::connect() {
  for (const auto& source : instruments_.sources) source->connect();
  for (const auto& dac : instruments_.dacs) dac->connect();
}

void Levels::write(const RampStep& step) {
  std::map<std::size_t, std::vector<std::pair<std::uint32_t, double>>> dacs;
  for (const auto& [c, level] : step.writes) {
    const LevelChannel& to = channels_[c];
    if (to.kind == LevelChannel::Kind::source) instruments_.sources[to.instrument]->set_level(level);
    else dacs[to.instrument].emplace_back(to.channel, level);
  }
  for (const auto& [d, levels] : dacs) instruments_.dacs[d]->set(levels);
}

void Levels::read_back(const std::vector<std::size_t>& channels) {
  std::map<std::size_t, std::vector<std::size_t>> dacs;
  for (const std::size_t c : channels) {
    if (channels_[c].kind == LevelChannel::Kind::source)
      present_[c] = instruments_.sources[channels_[c].instrument]->level();
    else dacs[channels_[c].instrument].push_back(c);
    known_[c] = channels_[c].kind == LevelChannel::Kind::source;
  }
  for (const auto& [d, which] : dacs) {
    std::vector<std::uint32_t> numbers;
    for (const std::size_t c : which) numbers.push_back(channels_[c].channel);
    const auto levels = instruments_.dacs[d]->targets(numbers);
    for (std::size_t i = 0; i < which.size(); ++i) {
      present_[which[i]] = levels[i];
      known_[which[i]] = true;
    }
  }
}

// Reads the present state and changes nothing. A source whose output is off is at 0, whatever its programmed
// level.
void Levels::adopt() {
  for (std::size_t d = 0; d < instruments_.dacs.size(); ++d) {
    if (const auto numbers = channels_of_dac(d); !numbers.empty()) instruments_.dacs[d]->adopt(numbers);
  }
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    if (channels_[c].kind == LevelChannel::Kind::source) {
      SourceMeter& source = *instruments_.sources[channels_[c].instrument];
      source.adopt();
      on_[c] = source.output();
      if (on_[c] && source.sourced() != source_settings(channels_[c].instrument).sourced) {
        const bool current = source.sourced() == Sourced::current;
        throw InstrumentError(source.address(), ":SOUR:FUNC?", current ? "CURR" : "VOLT",
                              std::string("it is live as a source of ") + (current ? "current" : "voltage") +
                                  ", which '" + channels_[c].plan.name +
                                  "' is not; `ness safe` switches it off");
      }
    } else {
      on_[c] = true;
    }
    read_back({c});
    if (!on_[c]) present_[c] = 0;
  }
  present_planner_ = planner_.without(absent());
}

void Levels::start(std::stop_token stop) {
  if (started_) return;
  accepted_.assign(accepted_.size(), std::numeric_limits<double>::quiet_NaN());
  adopt();
  started_ = true;  // from here on, make_safe may be needed
  // Live outputs are ramped down: sources to 0, and those channels of a DAC whose range or filter must
  // change.
  std::vector<double> down = present_;
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    if (channels_[c].kind == LevelChannel::Kind::source) down[c] = 0;
  }
  for (std::size_t d = 0; d < instruments_.dacs.size(); ++d) {
    const auto numbers = channels_of_dac(d);
    if (numbers.empty()) continue;
    const auto changing = instruments_.dacs[d]->to_rest(numbers, instruments_.dac_settings[d]);
    for (std::size_t c = 0; c < channels_.size(); ++c) {
      if (channels_[c].kind == LevelChannel::Kind::dac && channels_[c].instrument == d &&
          std::find(changing.begin(), changing.end(), channels_[c].channel) != changing.end())
        down[c] = 0;
    }
  }
  if (down != present_) {
    try {
      go(down, stop);
    } catch (const PlanRefused& refused) {
      throw std::invalid_argument(
          "bench: instruments are configured at 0, and what is live cannot be brought there within its "
          "limits: " +
          std::string(refused.what()));
    }
  }
  for (std::size_t d = 0; d < instruments_.dacs.size(); ++d) {
    if (const auto numbers = channels_of_dac(d); !numbers.empty())
      instruments_.dacs[d]->configure(numbers, instruments_.dac_settings[d]);
  }
  for (std::size_t s = 0; s < instruments_.sources.size(); ++s)
    instruments_.sources[s]->configure(instruments_.source_settings[s]);
  std::set<std::uint32_t> orders;
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    orders.insert(channels_[c].safe[0].order);
    read_back({c});
    if (channels_[c].kind != LevelChannel::Kind::source) continue;
    on_[c] = !channels_[c].on_demand;
    if (on_[c]) instruments_.sources[channels_[c].instrument]->set_output(true);
  }
  present_planner_ = planner_.without(absent());
  // Gates before bias: the reverse of the order for making safe.
  for (auto order = orders.rbegin(); order != orders.rend(); ++order) {
    std::vector<double> stage = present_;
    for (std::size_t c = 0; c < channels_.size(); ++c) {
      if (on_[c] && channels_[c].safe[0].order >= *order) stage[c] = channels_[c].safe[0].level;
    }
    try {
      go(stage, stop);
    } catch (const PlanRefused&) {
      if (*order == *orders.begin()) throw;  // else a limit blocks this order; the next stage moves both
    }
  }
  check_queues();
}

std::vector<std::size_t> Levels::go(std::span<const double> wanted, std::stop_token stop) {
  // A level that was sent before and accepted is not sent again, though its readback has fewer digits.
  std::vector<double> targets(wanted.begin(), wanted.end());
  for (std::size_t c = 0; c < targets.size(); ++c) {
    if (wanted[c] == accepted_[c]) targets[c] = present_[c];
  }
  const auto steps = present_planner_.plan(present_, targets);
  if (steps.empty()) return {};
  std::set<std::size_t> moved;
  for (const RampStep& step : steps) {
    write(step);
    for (const auto& [c, level] : step.writes) {
      present_[c] = level;  // until readback: the starting point if the ramp is stopped
      accepted_[c] = std::numeric_limits<double>::quiet_NaN();
      moved.insert(c);
    }
    clock_->wait(step.wait);
    if (stop.stop_requested()) throw Cancelled();
  }
  std::vector<std::size_t> which(moved.begin(), moved.end());
  read_back(which);
  for (const std::size_t c : which) {
    if (same_level(targets[c], present_[c], planner_.channels()[c].resolution)) {
      accepted_[c] = targets[c];
      continue;
    }
    throw InstrumentError(address(c), "level of '" + planner_.channels()[c].name + "'", number(present_[c]),
                          "the level was not accepted: " + number(targets[c]) + " was sent");
  }
  return which;
}

void Levels::switch_on(std::size_t c, double level) {
  if (on_[c]) return;
  SourceMeter& source = *instruments_.sources[channels_[c].instrument];
  const Range& limits = channels_[c].plan.limits;
  const double allowed = std::clamp(level, limits.low, limits.high);
  accepted_[c] = std::numeric_limits<double>::quiet_NaN();
  source.set_level(allowed);
  read_back({c});
  if (same_level(allowed, present_[c], planner_.channels()[c].resolution)) accepted_[c] = allowed;
  on_[c] = true;
  const SetpointPlanner with = planner_.without(absent());
  if (const std::string broken = with.broken(present_); !broken.empty()) {
    on_[c] = false;
    present_[c] = 0;
    throw PlanRefused("switching '" + channels_[c].plan.name + "' on: " + broken);
  }
  source.set_output(true);
  present_planner_ = with;
}

void Levels::switch_off(std::size_t c) {
  if (!on_[c]) return;
  instruments_.sources[channels_[c].instrument]->set_output(false);
  on_[c] = false;
  present_[c] = 0;
  present_planner_ = planner_.without(absent());
}

void Levels::check_queues() {
  for (const auto& instrument : instruments_.sources) instrument->check();
  for (const auto& instrument : instruments_.dacs) instrument->check();
}

// --- making safe -----------------------------------------------------------------------------------------

// One attempt to make safe: which channels are stuck, and the state of the others.
struct Levels::Safing {
  Levels& levels;
  SafeProfile profile;
  protocols::Milliseconds budget;
  std::optional<SetpointPlanner> present;  // planner of the profile, without channels that are off
  SafeReport report;
  std::vector<bool> stuck;

  Safing(Levels& l, SafeProfile p, protocols::Milliseconds b)
      : levels(l),
        profile(p),
        budget(b),
        present(l.safe_planners_[static_cast<std::size_t>(p)]),
        stuck(l.channels_.size(), false) {}

  std::size_t size() const { return levels.channels_.size(); }
  const SafeEntry& entry(std::size_t c) const {
    return levels.channels_[c].safe[static_cast<std::size_t>(profile)];
  }
  const SetpointPlanner& planner() const { return *present; }

  void give_up(std::size_t c, const std::string& why) {
    if (stuck[c]) return;
    stuck[c] = true;
    report.safe = false;
    const bool current = levels.channels_[c].kind == LevelChannel::Kind::source &&
                         levels.source_settings(levels.channels_[c].instrument).sourced == Sourced::current;
    const std::string where = levels.known_[c]
                                  ? number(levels.present_[c]) + (current ? " A" : " V") + " (last known)"
                                  : "an unknown level";
    report.stuck.push_back(planner().channels()[c].name + " at " + where + ": " + why);
  }
  // If an instrument fails, all its channels count as stuck.
  void lose(std::size_t c, const std::string& why) {
    for (std::size_t other = 0; other < size(); ++other) {
      if (levels.channels_[c].kind == levels.channels_[other].kind &&
          levels.channels_[c].instrument == levels.channels_[other].instrument)
        give_up(other, why);
    }
  }

  // Opens a fresh link to each instrument, with fresh deadlines, and reads ranges and levels.
  void meet() {
    std::set<const protocols::Session*> met;
    for (std::size_t c = 0; c < size(); ++c) {
      if (stuck[c]) continue;
      try {
        const LevelChannel& channel = levels.channels_[c];
        if (protocols::Session& session = levels.session(c); met.insert(&session).second) {
          session.close();
          session.hurry(budget);
          if (channel.kind == LevelChannel::Kind::dac)
            levels.instruments_.dacs[channel.instrument]->adopt(levels.channels_of_dac(channel.instrument));
        }
        if (channel.kind == LevelChannel::Kind::source) {
          SourceMeter& source = levels.source(channel.instrument);
          source.adopt();
          levels.on_[c] = source.output();
          if (levels.on_[c] && source.sourced() != levels.source_settings(channel.instrument).sourced) {
            source.set_output(false);  // its level has another unit, so no ramp leads to the profile's level
            levels.on_[c] = false;
          }
        } else {
          levels.on_[c] = true;
        }
        levels.read_back({c});
        if (!levels.on_[c]) levels.present_[c] = 0;
      } catch (const std::exception& error) {
        lose(c, error.what());
      }
    }
    present = planner().without(levels.absent());
  }

  // Targets: the allowed levels nearest to the profile's, with stuck channels at their present levels. A
  // source that is off remains off, at 0.
  std::vector<double> wanted() {
    std::vector<double> levels_wanted(size());
    std::vector<bool> fixed = stuck;
    for (std::size_t c = 0; c < size(); ++c) {
      fixed[c] = fixed[c] || !levels.on_[c];
      levels_wanted[c] = fixed[c] ? levels.present_[c] : entry(c).level;
    }
    try {
      return planner().nearest(levels_wanted, fixed);
    } catch (const std::exception& error) {
      report.safe = false;
      report.stuck.push_back(error.what());
      return levels_wanted;
    }
  }

  // Ramps the channels towards `target`. False if an instrument was lost on the way.
  bool ramp(const std::vector<double>& target) {
    std::vector<RampStep> steps;
    try {
      steps = planner().plan(levels.present_, target);
    } catch (const PlanRefused&) {
      // a limit blocks this order: the next stage moves it together with the channels that follow
      return true;
    }
    for (const RampStep& step : steps) {
      for (const auto& [c, level] : step.writes) {
        try {
          levels.write({{{c, level}}, 0});
          levels.present_[c] = level;
        } catch (const std::exception& error) {
          lose(c, error.what());
          return false;
        }
      }
      levels.clock_->wait(step.wait);
    }
    return true;
  }

  // All stages. False if an instrument was lost: the others' nearest levels have changed, and it must be
  // repeated.
  bool bring_down(std::vector<double>& target) {
    target = wanted();
    std::set<std::uint32_t> orders;
    for (std::size_t c = 0; c < size(); ++c) orders.insert(entry(c).order);
    std::vector<double> stage = levels.present_;
    for (const std::uint32_t order : orders) {
      for (std::size_t c = 0; c < size(); ++c) {
        if (!stuck[c] && levels.on_[c] && entry(c).order == order) stage[c] = target[c];
      }
      if (!ramp(stage)) return false;
    }
    return true;
  }

  // Verifies that each moved channel has reached its level; then performs the last acts.
  void finish(const std::vector<double>& target) {
    for (std::size_t c = 0; c < size(); ++c) {
      if (stuck[c] || !levels.on_[c]) continue;
      const LevelChannel& channel = levels.channels_[c];
      try {
        levels.read_back({c});
        if (!same_level(target[c], levels.present_[c], planner().channels()[c].resolution)) {
          give_up(c, "no way within the limits led to its safe level");
          continue;
        }
        if (channel.kind != LevelChannel::Kind::source || entry(c).last == LastAct::stay) continue;
        SourceMeter& source = levels.source(channel.instrument);
        if (entry(c).last == LastAct::high_impedance) source.set_off_state(OffState::high_impedance);
        source.set_output(false);
        levels.on_[c] = false;
      } catch (const std::exception& error) {
        lose(c, error.what());
      }
    }
  }
};

SafeReport Levels::make_safe(std::chrono::milliseconds budget, SafeProfile profile) {
  accepted_.assign(accepted_.size(), std::numeric_limits<double>::quiet_NaN());
  Safing safing(*this, profile, budget);
  safing.meet();
  // Repeated as long as an instrument is lost on the way; each time fewer remain.
  std::vector<double> target;
  while (!safing.bring_down(target)) {}
  safing.finish(target);
  for (std::size_t c = 0; c < channels_.size(); ++c) session(c).hurry(protocols::Milliseconds::max());
  present_planner_ = planner_.without(absent());
  started_ = false;
  return std::move(safing.report);
}

}  // namespace ness::drivers
