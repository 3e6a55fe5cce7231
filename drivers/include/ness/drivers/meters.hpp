// Meters: one voltage, or many one after another.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ness/drivers/instrument.hpp"

namespace ness::drivers {

struct MeterSettings {
  double range = 10;       ///< V: fixed, the lowest that holds this
  double cycles = 1;       ///< NPLC
  bool high_input = true;  ///< above 10 Gohm where the range allows it, instead of 10 Mohm
  bool autozero = true;
  double delay = -1;           ///< s before the conversion; < 0: the instrument's own
  double line_frequency = 50;  ///< Hz, for the time a measurement takes
};

struct MeterReading {
  double volts = 0;  ///< NaN where there is no number
  bool over_range = false;
};

class Voltmeter : public Instrument {
 public:
  /// Throws std::invalid_argument for what the model cannot do, with the reason; sends nothing.
  virtual void require(const MeterSettings& settings) const = 0;
  /// Largest error of a reading of `volts`, V, with these settings, one year after calibration.
  virtual double reading_error(const MeterSettings& settings, double volts) const = 0;
  /// Direct voltage. Each setting is read back. Throws as SourceMeter::configure.
  virtual void configure(const MeterSettings& settings) = 0;
  virtual void arm() = 0;
  virtual MeterReading fetch() = 0;
  /// Readings in a row at the shortest integration, which is put back afterwards: what an average hides.
  virtual std::vector<MeterReading> burst(std::size_t count) = 0;
  virtual double measurement_time() const = 0;

 protected:
  using Instrument::Instrument;
};

/// A multiplexer with a voltmeter behind it.
class Scanner : public Instrument {
 public:
  /// Throws std::invalid_argument for what the model cannot do, with the reason; sends nothing.
  virtual void require(const MeterSettings& settings) const = 0;
  /// Largest error of a reading of `volts`, V, with these settings, one year after calibration.
  virtual double reading_error(const MeterSettings& settings, double volts) const = 0;
  /// Channels are read in the order given. Each setting is read back. Throws as SourceMeter::configure.
  virtual void configure(const std::vector<std::uint32_t>& channels, const MeterSettings& settings) = 0;
  virtual void arm() = 0;
  /// One reading a channel, in the order configured.
  virtual std::vector<MeterReading> fetch() = 0;
  /// Readings of one channel of the scan in a row at the shortest integration; integration and scan list are
  /// put back afterwards.
  virtual std::vector<MeterReading> burst(std::uint32_t channel, std::size_t count) = 0;
  virtual double measurement_time() const = 0;

 protected:
  using Instrument::Instrument;
};

std::unique_ptr<Voltmeter> agilent_34401a(std::unique_ptr<protocols::Session> session);
std::unique_ptr<Voltmeter> keysight_34461a(std::unique_ptr<protocols::Session> session);
std::unique_ptr<Scanner> keysight_34970a(std::unique_ptr<protocols::Session> session);
std::unique_ptr<Scanner> keysight_daq970a(std::unique_ptr<protocols::Session> session);

}  // namespace ness::drivers
