// Multichannel digital-to-analogue converters: gate voltages.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ness/drivers/instrument.hpp"

namespace ness::drivers {

enum class DacFilter : std::uint8_t { dc, medium, high };

struct DacSettings {
  double range = 2;                  ///< V: the lowest that holds this
  double slew = 1e3;                 ///< V/s
  DacFilter filter = DacFilter::dc;  ///< of the outputs: the lowest noise, or more bandwidth
};

class Dac : public Instrument {
 public:
  /// Throws std::invalid_argument for what the model cannot do, with the reason; sends nothing.
  virtual void require(const DacSettings& settings) const = 0;
  /// Which of the channels have to be at 0 V before configure(): those whose range or filter would change.
  virtual std::vector<std::uint32_t> to_rest(const std::vector<std::uint32_t>& channels,
                                             const DacSettings& settings) = 0;
  /// Range, filter and slew of channels, each read back. A channel whose range or filter changes has to be at
  /// 0 V. Throws as SourceMeter::configure.
  virtual void configure(const std::vector<std::uint32_t>& channels, const DacSettings& settings) = 0;
  /// Takes channels as they are, after a lost link or another program: reads their ranges, and changes
  /// nothing.
  virtual void adopt(const std::vector<std::uint32_t>& channels) = 0;
  /// Levels of channels, in one message where the model has room; they move side by side, at their slew.
  /// Throws std::invalid_argument beyond the range configured, before anything is sent.
  virtual void set(std::span<const std::pair<std::uint32_t, double>> levels) = 0;
  /// Present levels of the channels, V, as the instrument reports them.
  virtual std::vector<double> levels(const std::vector<std::uint32_t>& channels) = 0;
  /// Programmed levels, V, as the instrument reports them.
  virtual std::vector<double> targets(const std::vector<std::uint32_t>& channels) = 0;
  /// Currents out of the channels, A; empty where the model has no sensors.
  virtual std::vector<double> currents(const std::vector<std::uint32_t>& channels) = 0;
  /// Smallest step of a level, V, with these settings.
  virtual double resolution(const DacSettings& settings) const = 0;

 protected:
  using Instrument::Instrument;
};

/// QDevil QDAC-II.
std::unique_ptr<Dac> qdac2(std::unique_ptr<protocols::Session> session);

}  // namespace ness::drivers
