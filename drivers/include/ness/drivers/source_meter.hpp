// Source-meters: a level with a compliance, and what it draws.
#pragma once

#include <memory>
#include <string>

#include "ness/drivers/instrument.hpp"

namespace ness::drivers {

enum class Sourced : std::uint8_t { voltage, current };
/// What the terminals do when the output is off. Not every model has each.
enum class OffState : std::uint8_t { normal, high_impedance, zero, guard };

struct SourceMeterSettings {
  Sourced sourced = Sourced::voltage;
  double range = 2;          ///< V or A: the fixed source range holds levels up to this
  double compliance = 1e-4;  ///< A or V, > 0
  double measure_range = 0;  ///< of the quantity in compliance, A or V; 0: that of the compliance
  double cycles = 1;         ///< NPLC
  double source_delay = -1;  ///< s, from a level to its measurement; < 0: the instrument's own
  bool four_wire = false;
  bool autozero = true;  ///< three conversions for one
  OffState off = OffState::normal;
  double line_frequency = 50;  ///< Hz, for the time a measurement takes
};

/// One measurement.
struct SourceReading {
  double volts = 0, amperes = 0;  ///< NaN where there is no number
  bool in_compliance = false, over_range = false;
};

class SourceMeter : public Instrument {
 public:
  /// Throws std::invalid_argument for what the model cannot do, with the reason; sends nothing.
  virtual void require(const SourceMeterSettings& settings) const = 0;
  /// With the output off: function, range, compliance, integration, each read back. The level is 0
  /// afterwards. Throws std::invalid_argument for what the model cannot do (before anything is sent),
  /// InstrumentError for what it did not take.
  virtual void configure(const SourceMeterSettings& settings) = 0;
  /// Takes the instrument as it is, after a lost link or another program: reads what it sources and in which
  /// range, and changes nothing.
  virtual void adopt() = 0;
  /// What it sources, as configured or adopted.
  virtual Sourced sourced() const = 0;
  /// What the terminals do when the output is off, from now on; read back.
  virtual void set_off_state(OffState state) = 0;
  /// The level, V or A. With the output on it applies at once. Throws std::invalid_argument beyond the range
  /// configured.
  virtual void set_level(double level) = 0;
  /// The programmed level as the instrument reports it, not an echo of what was sent.
  virtual double level() = 0;
  virtual void set_output(bool on) = 0;
  virtual bool output() = 0;
  /// Starts one measurement; fetch() has its result. Other instruments may be armed in between.
  virtual void arm() = 0;
  virtual SourceReading fetch() = 0;
  /// How long a measurement takes, commands not counted.
  virtual double measurement_time() const = 0;
  /// Largest magnitude of the level, V or A, with these settings.
  virtual double reach(const SourceMeterSettings& settings) const = 0;
  /// Smallest step of the level, V or A, with these settings.
  virtual double resolution(const SourceMeterSettings& settings) const = 0;
  /// Largest error of the level, V or A, with these settings, one year after calibration.
  virtual double level_error(const SourceMeterSettings& settings, double level) const = 0;
  /// Smallest steps of its readings, V and A, with these settings.
  virtual SourceReading display(const SourceMeterSettings& settings) const = 0;

 protected:
  using Instrument::Instrument;
};

/// Keithley 2400, by its SCPI command set.
std::unique_ptr<SourceMeter> keithley_2400(std::unique_ptr<protocols::Session> session);

}  // namespace ness::drivers
