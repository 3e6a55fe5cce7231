// The measurement of direct voltage common to Keysight's scanners and bench multimeters: ranges, integration,
// accuracy.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "scpi_instrument.hpp"

namespace ness::sim {

/// One range of a multimeter: full scale, one-year accuracy as parts of the reading and of the range, input
/// resistance.
struct DmmRange {
  double full, of_reading, of_range, input;
};

struct DmmModel {
  std::array<DmmRange, 5> ranges;
  std::vector<double> cycles;      ///< available integration times, NPLC
  std::vector<double> resolution;  ///< for each integration time, relative to the range
  double reach;                    ///< largest reading, as a multiple of full scale
};

// 34970A and 34401A share ranges and accuracies (6.5 digits; 34401A user's guide, chapter 8); DAQ970A and
// 34461A are of the Truevolt generation. Input resistance: up to the 10 V range above 10 Gohm if chosen;
// otherwise 10 Mohm.
inline const DmmModel& classic_dmm() {
  static const DmmModel model{{{{0.1, 50e-6, 35e-6, 10e6},
                                {1, 40e-6, 7e-6, 10e6},
                                {10, 35e-6, 5e-6, 10e6},
                                {100, 45e-6, 6e-6, 10e6},
                                {300, 45e-6, 10e-6, 10e6}}},
                              {0.02, 0.2, 1, 2, 10, 20, 100, 200},
                              {100e-6, 10e-6, 3e-6, 2.2e-6, 1e-6, 0.8e-6, 0.3e-6, 0.22e-6},
                              1.2};
  return model;
}
inline const DmmModel& truevolt_dmm() {
  static const DmmModel model{{{{0.1, 50e-6, 35e-6, 10e6},
                                {1, 40e-6, 7e-6, 10e6},
                                {10, 35e-6, 5e-6, 10e6},
                                {100, 45e-6, 6e-6, 10e6},
                                {1000, 45e-6, 10e-6, 10e6}}},
                              {0.02, 0.2, 1, 10, 100},
                              {100e-6, 10e-6, 3e-6, 1e-6, 0.3e-6},
                              1.2};
  return model;
}

/// Settings of one channel.
struct DmmSetting {
  std::size_t range = 2;
  bool autorange = true;
  std::size_t cycles = 2;   ///< index of DmmModel::cycles
  bool high_input = false;  ///< above 10 Gohm to 10 V
  double delay = -1;        ///< s; < 0: automatic

  double input(const DmmModel& model) const {
    return high_input && model.ranges[range].full <= 10 ? 1e10 : model.ranges[range].input;
  }
  double aperture(const DmmModel& model, double line_frequency) const {
    return model.cycles[cycles] / line_frequency;
  }
};

/// The lowest range for a value; error -222 if it exceeds all ranges.
inline std::size_t dmm_range(const DmmModel& model, double value) {
  for (std::size_t i = 0; i < model.ranges.size(); ++i) {
    if (std::abs(value) <= model.ranges[i].full * (1 + 1e-12)) return i;
  }
  throw scpi::Fault(-222);
}
/// The shortest integration that is at least as long as requested.
inline std::size_t dmm_cycles(const DmmModel& model, double asked) {
  for (std::size_t i = 0; i < model.cycles.size(); ++i) {
    if (asked <= model.cycles[i] * (1 + 1e-12)) return i;
  }
  throw scpi::Fault(-222);
}
/// The shortest integration with at most this resolution (V) on a range.
inline std::size_t dmm_cycles_for(const DmmModel& model, std::size_t range, double volts) {
  for (std::size_t i = 0; i < model.cycles.size(); ++i) {
    if (model.resolution[i] * model.ranges[range].full <= volts * (1 + 1e-9)) return i;
  }
  return model.cycles.size() - 1;
}

/// Displayed value of a mean voltage, with accuracy, noise and digits; +-9.9E37 out of range. `gain_error`
/// and `offset_error` are in [-1, 1], `noise` is normal.
inline double dmm_reading(const DmmModel& model, const DmmSetting& setting, double volts, double gain_error,
                          double offset_error, double noise, bool digits) {
  const DmmRange& range = model.ranges[setting.range];
  if (std::abs(volts) > range.full * model.reach) return std::copysign(9.9e37, volts);
  const double step = model.resolution[setting.cycles] * range.full;
  // The specified resolution is about three times the rms noise: half a step of noise makes the last digit
  // realistic.
  const double reading = volts * (1 + range.of_reading * gain_error) +
                         range.full * range.of_range * offset_error + 0.5 * step * noise;
  return digits ? std::round(reading / step) * step : reading;
}

}  // namespace ness::sim
