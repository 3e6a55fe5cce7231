// What an instrument is for a bench.
#pragma once

#include <cstdint>
#include <string>

#include "ness/device/keys.hpp"
#include "ness/drivers/dac.hpp"
#include "ness/drivers/meters.hpp"
#include "ness/drivers/source_meter.hpp"

namespace ness::drivers {

/// The interface that a model's driver implements: SourceMeter, Dac, Scanner or Voltmeter.
enum class Role : std::uint8_t { source_meter, dac, scanner, voltmeter };

/// "source-meter", "DAC", "scanner", "voltmeter". Throws std::logic_error for a number that is none of them.
std::string to_string(Role role);

/// True for what imposes levels (source-meters, DACs); false for what only reads.
bool sets_levels(Role role);
/// True for what sets a parameter through a gate: DACs.
bool sets_parameters(Role role);
/// True for what gives a reading: all but DACs.
bool reads(Role role);

/// Settings of one instrument. Those of its role count.
struct InstrumentSettings {
  SourceMeterSettings source;
  MeterSettings meter;  ///< of a scanner or a voltmeter
  DacSettings dac;
};

/// The keys of a role's settings in a bench file, [instruments.NAME].
void read_source_meter(Keys& keys, InstrumentSettings& settings);
void read_meter(Keys& keys, InstrumentSettings& settings);
void read_dac(Keys& keys, InstrumentSettings& settings);

}  // namespace ness::drivers
