// The bench: several instruments as one Device.
//
// A training loop speaks of potentials in kT, currents in units and parameters; the bench turns them into volts on channels. Inputs
// are held by source-meters (or DAC channels), parameters are gates with a calibration, nudges move a node's leak reference
// (u = g x change of mu_ref), potentials are scanned. What is written passes the setpoint plan; what changed is written, and nothing
// else; what was written is read back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ness/core/clock.hpp"
#include "ness/core/device.hpp"
#include "ness/core/settling.hpp"
#include "ness/drivers/dac.hpp"
#include "ness/drivers/meters.hpp"
#include "ness/drivers/setpoint_plan.hpp"
#include "ness/drivers/source_meter.hpp"

namespace ness::drivers {

/// What a potential of kT and a unit current are on this bench.
struct BenchScale {
  double volts_per_kT = 0.1;
  double amperes_per_unit = 2.5e-6;
  int carrier = 1;  ///< 1, or -1 where the voltage rises as the potential falls
};

/// A level the bench sets: of a source-meter, or of a DAC's channel.
struct BenchChannel {
  enum class Kind : std::uint8_t { source, dac } kind = Kind::source;
  std::size_t instrument = 0;     ///< index among the sources or the dacs
  std::uint32_t channel = 1;      ///< of a DAC
  PlannedChannel plan;            ///< volts at the instrument
  double safe = 0;                ///< volts, in the safe profile
  std::uint32_t safe_order = 0;   ///< lower ones go first: bias before gates
  /// Exactly one of the two: the clamped terminal it holds, the parameter it sets.
  std::optional<std::uint32_t> terminal, parameter;
  double gain = 1, offset = 0;    ///< volts at the terminal = gain x level + offset (a divider, an amplifier)
  double per_volt = 1, zero = 0;  ///< parameter = zero + per_volt x level
};

/// A potential the bench reads.
struct BenchReading {
  std::size_t scanner = 0;
  std::uint32_t channel = 101;
  std::uint32_t terminal = 0;
  double gain = 1, offset = 0;    ///< volts read = gain x volts at the terminal + offset
};

/// A terminal that is nudged through its leak reference.
struct BenchNudge {
  std::uint32_t terminal = 0;
  std::uint32_t mu_ref = 0;       ///< the parameter that is moved
  double conductance = 1;         ///< g of the leak, in units of current per kT
  Range range;                    ///< of the injected current
};

struct BenchSettings {
  BenchScale scale;
  std::vector<SourceMeterSettings> sources;  ///< one a source
  std::vector<DacSettings> dacs;             ///< one a DAC
  std::vector<MeterSettings> scanners;       ///< one a scanner
  std::vector<BenchChannel> channels;
  std::vector<BenchReading> readings;
  std::vector<BenchNudge> nudges;
  std::vector<CrossLimit> cross_limits;      ///< in volts, of `channels`
  SettleOptions settle;                      ///< tolerance and noise in kT
  double settle_timeout = 60;                ///< s
  double rest_time = 0;                      ///< s at rest before a relaxation from rest; 0: ten times settle.tau_max
};

struct BenchInstruments {
  std::vector<std::unique_ptr<SourceMeter>> sources;
  std::vector<std::unique_ptr<Dac>> dacs;
  std::vector<std::unique_ptr<Scanner>> scanners;
};

class Bench final : public Device {
 public:
  /// `network`: terminals, outputs and parameters of what is on the bench, in the order training knows. What no channel sets is a
  /// constant: its value there (`constants`, [n_parameters]) is the only one a drive may ask for. Throws std::invalid_argument for
  /// wiring that cannot be: a clamped terminal nothing holds, a free one nothing reads, a channel wired twice, limits beyond an
  /// instrument's range. Nothing is sent.
  Bench(const DeviceInfo& network, const Vector& constants, BenchInstruments instruments, BenchSettings settings, std::shared_ptr<Clock> clock);
  ~Bench() override;

  const DeviceInfo& info() const override { return info_; }

  /// Connects to all, finds out whether each is who it should be, configures them, and switches the outputs on at their safe levels.
  /// The first relaxation does it, if nobody did. Throws LinkError or InstrumentError; what was switched on is safe again.
  void start();

 protected:
  /// From rest: inputs and nudges at zero with the drive's parameters for the rest time, then the drive. From the present state: the
  /// drive. Throws LinkError or InstrumentError after making safe.
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;
  /// Each channel to its safe level, within all limits, in the safe order, then the outputs of the sources off. Each instrument
  /// on a fresh link; one that cannot be reached counts as stuck at its last known level, and the others go to the nearest levels that
  /// keep the cross-limits with it.
  SafeReport do_make_safe(std::chrono::milliseconds budget) override;

 private:
  struct Impl;
  DeviceInfo info_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ness::drivers
