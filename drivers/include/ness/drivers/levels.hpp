// The levels of a bench: every channel that sets one, moved together within all limits, and made safe.
//
// What is written passes the setpoint plan, starts from what was read back, and is read back afterwards.
// Instruments are taken over as they are found: one that a crashed program left live is brought down by its
// ramp before it is configured.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/device/clock.hpp"
#include "ness/device/device.hpp"
#include "ness/drivers/dac.hpp"
#include "ness/drivers/setpoint_plan.hpp"
#include "ness/drivers/source_meter.hpp"

namespace ness::drivers {

/// What happens to a source's output when its level is safe. A DAC's channels stay as they are.
enum class LastAct : std::uint8_t { off, stay, high_impedance };

/// Where a channel goes in a safe profile.
struct SafeEntry {
  double level = 0;         ///< V or A
  std::uint32_t order = 0;  ///< lower ones go first: bias before gates
  double faster = 1;        ///< times the channel's own rate, > 0; its ramp steps stay
  LastAct last = LastAct::off;
};

/// A channel that sets a level.
struct LevelChannel {
  enum class Kind : std::uint8_t { source, dac } kind = Kind::source;
  std::size_t instrument = 0;     ///< index among the sources or the dacs
  std::uint32_t channel = 1;      ///< of a DAC
  PlannedChannel plan;            ///< V at the instrument, or A of a source of current
  std::array<SafeEntry, 3> safe;  ///< by SafeProfile
  bool on_demand = false;         ///< of a source: its output is on only where it is asked for
  /// The same in all profiles.
  void safe_at(double level, std::uint32_t order = 0) { safe.fill({level, order, 1, LastAct::off}); }
};

struct LevelInstruments {
  std::vector<std::unique_ptr<SourceMeter>> sources;
  std::vector<SourceMeterSettings> source_settings;  ///< one a source
  std::vector<std::unique_ptr<Dac>> dacs;
  std::vector<DacSettings> dac_settings;  ///< one a DAC
};

class Levels {
 public:
  /// Throws std::invalid_argument for channels that cannot be: no such instrument, wired twice, limits beyond
  /// the instrument's range, a safe level outside of them. Nothing is sent.
  Levels(LevelInstruments instruments, std::vector<LevelChannel> channels,
         const std::vector<CrossLimit>& cross_limits, std::shared_ptr<Clock> clock);

  const std::vector<LevelChannel>& channels() const { return channels_; }
  std::size_t sources() const { return instruments_.sources.size(); }
  SourceMeter& source(std::size_t i) { return *instruments_.sources[i]; }
  const SourceMeterSettings& source_settings(std::size_t i) const { return instruments_.source_settings[i]; }
  /// Smallest steps of a source's readings, V and A.
  SourceReading display(std::size_t i) const {
    return instruments_.sources[i]->display(instruments_.source_settings[i]);
  }
  const std::string& address(std::size_t channel) const;

  /// Of sources, then of DACs.
  std::vector<InstrumentIdentity> identities() const;
  /// Instrument::ask_calibration of each.
  void ask_calibrations();
  /// What each is set to now, in the order of identities().
  std::vector<StatedSettings> settings();

  /// Asks every instrument for its identity. Throws LinkError or InstrumentError; nothing else was sent.
  void connect();
  /// From whatever is found: ramps what is live down, configures, switches outputs on at 0 and ramps to the
  /// stop profile's levels, gates before bias. After an exception make_safe() brings down what was switched
  /// on.
  void start(std::stop_token stop = {});
  bool started() const { return started_; }

  /// [channels] V or A, as last read back.
  const std::vector<double>& present() const { return present_; }
  /// False where nothing was ever read back: present() is then a guess.
  bool is_known(std::size_t channel) const { return known_[channel]; }
  /// Empty if the levels keep every limit of what is on (an on-demand source that is off does not count);
  /// otherwise the first that is broken.
  std::string broken(std::span<const double> levels) const { return present_planner_.broken(levels); }
  /// Moves the channels that differ, within all limits, and reads them back. Returns which channels moved. A
  /// stop request takes effect after the ramp step under way: levels between are allowed ones. Throws
  /// PlanRefused (nothing moved), InstrumentError for a level that was not accepted, Cancelled.
  std::vector<std::size_t> go(std::span<const double> targets, std::stop_token stop = {});
  /// Output of an on-demand source: on at `level`, from where go() moves it, or off. Throws PlanRefused, with
  /// the output off, where being on there would break a limit.
  void switch_on(std::size_t channel, double level);
  void switch_off(std::size_t channel);
  bool is_on(std::size_t channel) const { return on_[channel]; }

  /// Reads every error queue once. Throws InstrumentError with the entries of the first that was not empty.
  void check_queues();

  /// Each channel to its level of the profile, within all limits, in its order, then its last act. Each
  /// instrument on a fresh link; one that cannot be reached counts as stuck at its last known level, and the
  /// others go to the nearest levels that keep the cross-limits with it. Works from any state, also without
  /// start(): levels are read first. `budget`: how long to wait for one instrument that does not answer; one
  /// that answers is always brought to its end.
  SafeReport make_safe(std::chrono::milliseconds budget, SafeProfile profile);

 private:
  struct Safing;
  std::vector<std::uint32_t> channels_of_dac(std::size_t dac) const;
  std::vector<bool> absent() const;
  void write(const RampStep& step);
  void read_back(const std::vector<std::size_t>& channels);
  void adopt();
  protocols::Session& session(std::size_t channel);

  LevelInstruments instruments_;
  std::vector<LevelChannel> channels_;
  std::shared_ptr<Clock> clock_;
  SetpointPlanner planner_;
  SetpointPlanner present_planner_;               // without the on-demand sources that are off
  std::array<SetpointPlanner, 3> safe_planners_;  // by SafeProfile
  std::vector<double> present_;
  std::vector<double> accepted_;  // last level each channel accepted, NaN where that is not known
  std::vector<bool> on_, known_;
  bool started_ = false;
};

}  // namespace ness::drivers
