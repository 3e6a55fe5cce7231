// Multichannel digital-to-analogue converters: gate voltages.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ness/drivers/instrument.hpp"

namespace ness::drivers {

struct DacSettings {
  double range = 2;      ///< V: the lowest that holds this
  double slew = 1e3;     ///< V/s
};

class Dac : public Instrument {
 public:
  /// Throws std::invalid_argument for what the model cannot do, with the reason; sends nothing.
  virtual void require(const DacSettings& settings) const = 0;
  /// Range and slew of channels, which have to be at 0 V; each read back. Throws as SourceMeter::configure.
  virtual void configure(const std::vector<std::uint32_t>& channels, const DacSettings& settings) = 0;
  /// Takes channels as they are, after a lost link or another program: asks for their ranges, and changes nothing.
  virtual void adopt(const std::vector<std::uint32_t>& channels) = 0;
  /// Levels of channels, in one message where the model has room; they move side by side, at their slew. Throws
  /// std::invalid_argument beyond the range configured, before anything is sent.
  virtual void set(std::span<const std::pair<std::uint32_t, double>> levels) = 0;
  /// Where the channels are now, V, as the instrument says.
  virtual std::vector<double> levels(const std::vector<std::uint32_t>& channels) = 0;
  /// Where they were told to go.
  virtual std::vector<double> targets(const std::vector<std::uint32_t>& channels) = 0;
  /// Currents out of the channels, A; empty where the model has no sensors.
  virtual std::vector<double> currents(const std::vector<std::uint32_t>& channels) = 0;
  virtual double resolution(std::uint32_t channel) const = 0;

 protected:
  using Instrument::Instrument;
};

/// QDevil QDAC-II.
std::unique_ptr<Dac> qdac2(std::unique_ptr<protocols::Session> session);

}  // namespace ness::drivers
