// The bench: several instruments as one Device.
//
// A training loop works with potentials in kT, currents in units and parameters; the bench turns them into
// volts and amperes on channels. Inputs are held by source-meters (or DAC channels), parameters are gates
// with a calibration, currents are injected by moving a node's leak reference (u = g x change of mu_ref) or
// by a source of current, potentials are read by scanners and voltmeters. Levels pass the setpoint plan; only
// levels that changed are written, and all that are written are read back.
//
// A free terminal that is held is the node of a source-meter whose output is on: Relaxation::current is what
// it supplies, into the network positive, averaged over the window of the verdict as the potentials are.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ness/device/clock.hpp"
#include "ness/device/device.hpp"
#include "ness/laboratory/settling.hpp"
#include "ness/drivers/levels.hpp"
#include "ness/drivers/meters.hpp"

namespace ness::drivers {

/// What a potential of kT and a unit current are on this bench.
struct BenchScale {
  double volts_per_kT = 0.1;
  double amperes_per_unit = 2.5e-6;
  int carrier = 1;  ///< 1, or -1 where the voltage rises as the potential falls
  /// kT (units of an injected current): what an instrument's one-year error may come to at most
  double error_share = 0.05;
};

/// A channel that sets a level, and what the level is for.
struct BenchChannel : LevelChannel {
  /// Exactly one of the two. A clamped terminal is held; a free one is held now and then (voltage), or
  /// injected into (a source of current).
  std::optional<std::uint32_t> terminal, parameter;
  double gain = 1, offset = 0;  ///< V or A at the terminal = gain x level + offset (a divider, an amplifier)
  double per_volt = 1, zero = 0;  ///< parameter = zero + per_volt x level, cross-talk aside
};

/// Cross-talk: a channel that also changes another's parameter, by this much a volt.
struct BenchCrossTalk {
  std::uint32_t parameter = 0;
  std::size_t channel = 0;  ///< index among the bench's channels
  double per_volt = 0;
};

/// Where a number is read: a scanner's channel, a voltmeter, what a source-meter measures at its own
/// terminals.
struct BenchMeter {
  enum class Kind : std::uint8_t { scanner, voltmeter, source_volts, source_amperes } kind = Kind::scanner;
  std::size_t instrument = 0;
  std::uint32_t channel = 101;  ///< of a scanner
};

/// A terminal that is read.
struct BenchReading {
  BenchMeter meter;
  std::uint32_t terminal = 0;
  double gain = 1, offset = 0;  ///< volts (amperes) read = gain x volts at the terminal + offset
  /// Volts read = gain x amperes into the network + offset: a meter behind a preamplifier
  bool current = false;
  /// Slowest time constant after an input, or a gate or nudge, has changed, s, as measured by a step
  /// response; < 0: SettleOptions::tau_max.
  double tau_input = -1, tau_gate = -1;
};

/// A terminal that is nudged through its leak reference.
struct BenchNudge {
  std::uint32_t terminal = 0;
  std::uint32_t mu_ref = 0;  ///< the parameter that is moved
  double conductance = 1;    ///< g of the leak, in units of current per kT
  Range range;               ///< of the injected current
};

/// Something of the surroundings, logged beside every relaxation.
struct BenchEnvironment {
  std::string name, unit;
  BenchMeter meter;
  double gain = 1, offset = 0;  ///< value = offset + gain x volts (or amperes)
  Range pause;                  ///< outside of it the run waits, with all levels as they are
};

struct BenchSettings {
  BenchScale scale;
  std::vector<MeterSettings> scanners;    ///< one a scanner
  std::vector<MeterSettings> voltmeters;  ///< one a voltmeter
  std::vector<BenchChannel> channels;
  std::vector<BenchCrossTalk> cross_talk;
  std::vector<BenchReading> readings;
  std::vector<BenchNudge> nudges;
  std::vector<BenchEnvironment> environment;
  std::vector<CrossLimit> cross_limits;  ///< in volts, of `channels`
  SettleOptions settle;                  ///< tolerance and noise in kT
  double settle_timeout = 60;            ///< s
  std::size_t burst = 0;  ///< readings at the shortest integration after a verdict: do they scatter more than
                          ///< `burst_noise`? 0: no burst
  double burst_noise = 1e-2;   ///< kT, standard deviation of one of them
  double rest_time = 0;        ///< s at rest before a relaxation from rest; 0: ten times settle.tau_max
  double hold_time = 0;        ///< s after a free terminal became a held one, or back; 0: as rest_time
  double pause_every = 1;      ///< s between looks at surroundings that are out of bounds
  double pause_timeout = 600;  ///< s, then the run ends
};

struct BenchInstruments : LevelInstruments {
  std::vector<std::unique_ptr<Scanner>> scanners;
  std::vector<std::unique_ptr<Voltmeter>> voltmeters;
};

class Bench final : public Device {
 public:
  /// `network`: terminals, outputs and parameters of what is on the bench, in the order training knows. What
  /// no channel sets is a constant: its value there (`constants`, [n_parameters]) is the only one a drive may
  /// ask for. Throws std::invalid_argument for wiring that cannot be: a clamped terminal nothing holds, an
  /// output nothing reads, a channel wired twice, limits beyond an instrument's range, a scale at which an
  /// instrument's error exceeds the stated share of a kT. Nothing is sent.
  Bench(const DeviceInfo& network, const Vector& constants, BenchInstruments instruments,
        BenchSettings settings, std::shared_ptr<Clock> clock);
  /// Makes the bench safe (SafeProfile::emergency) unless that was done.
  ~Bench() override;

  const DeviceInfo& info() const override { return info_; }

  /// Connects to all instruments, checks their identities, brings down what is live, configures, and switches
  /// the outputs on at their safe levels. The first relaxation calls it where it was not called. Throws
  /// LinkError or InstrumentError; what was switched on is safe again.
  void start(std::stop_token stop = {});

  /// Of every instrument, as answered when it was connected: sources, DACs, scanners, voltmeters.
  std::vector<InstrumentIdentity> identities() const;
  /// What each instrument is set to now, by its own answers, in the order of identities(). Changes nothing;
  /// also after make_safe().
  std::vector<StatedSettings> settings();

  /// The levels alone, for what works without a network.
  Levels& levels();

 protected:
  /// From rest: inputs and nudges at zero with the drive's parameters for the rest time, then the drive. From
  /// the present state: the drive. Every level of every drive is checked before the first moves. Throws
  /// LinkError or InstrumentError after making safe.
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;
  /// Levels::make_safe. Does nothing where nothing was switched on since it last succeeded; what was stuck is
  /// tried again.
  SafeReport do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) override;

 private:
  struct Impl;
  DeviceInfo info_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ness::drivers
