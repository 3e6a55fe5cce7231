// The I-V curve of one edge, measured, and its regions of negative differential conductance.
//
// A source-meter's wire is swept; the edge's other end is another wire (a source-meter or a DAC's channel at
// 0 V, a preamplifier's virtual ground, a meter that reads its potential) or grounded. It works on the
// instruments alone: no network is known.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "ness/files/bench_file.hpp"
#include "ness/device/device.hpp"

namespace ness {

struct SweepOptions {
  std::string from;  ///< wire of a source-meter
  std::string to;    ///< wire of the edge's other end; empty: it is grounded
  /// Other wires, and the V their instruments hold meanwhile (gates)
  std::vector<std::pair<std::string, double>> hold;
  double first = 0, last = 0;  ///< V at the swept instrument, in either order
  std::size_t points = 51;     ///< >= 2
  std::size_t readings = 8;    ///< a point, >= 2
  double settle = -1;  ///< s after each level; < 0: ten times the slowest time constant the file states
  double errors = 3;   ///< standard errors by which a slope must be negative
};

/// One point. Volts are across the edge: behind leads, series resistors and dividers, minus the other end's.
struct SweepPoint {
  double level = 0;                       ///< V at the instrument, as requested
  double volts = 0, volts_error = 0;      ///< from what was read back, and its standard error
  double amperes = 0, amperes_error = 0;  ///< into the edge; NaN where there was no number
  bool in_compliance = false, over_range = false;
  /// dI/dV, S, from here to the next point, and its standard error; NaN at the last, and where either end is
  /// not a measurement of the edge (in compliance, over range).
  double slope = std::numeric_limits<double>::quiet_NaN(),
         slope_error = std::numeric_limits<double>::quiet_NaN();
  bool ndc = false;  ///< that slope is negative, beyond its errors
};

/// Where the curve falls: from the first to the last point of neighbouring negative slopes. Slopes between
/// two of them that are neither positive nor negative beyond their errors belong to it.
struct NdcRegion {
  Range volts;
  double at_low = 0, at_high = 0;  ///< A at its ends
  double steepest = 0;             ///< S
};

/// Fills in slopes and marks, in the order measured. `errors`: how many standard errors count.
void mark_slopes(std::span<SweepPoint> points, double errors);
std::vector<NdcRegion> ndc_regions(std::span<const SweepPoint> points, double errors);

class Sweep {
 public:
  /// Checks everything against the file, and sends nothing. Throws std::invalid_argument or FileError: a wire
  /// that is not there or cannot do it, levels beyond its limits, limits beyond its instrument's range, a
  /// [limits] table that joins a wire of the sweep to one that is not in it.
  Sweep(BenchFile file, SweepOptions options, bool emulated);
  ~Sweep();

  /// s after each level.
  double settle() const;

  /// Connects to the instruments of the sweep, holds, sweeps, and makes safe: the swept level and those held
  /// back to their safe levels, ramped in their order, outputs off. `on_point` has each point as it was
  /// measured. On every way out it has been made safe, and points() are those measured. Throws Cancelled,
  /// LinkError, InstrumentError.
  void run(const std::function<void(const SweepPoint&)>& on_point, std::stop_token stop);
  /// With slopes and marks.
  const std::vector<SweepPoint>& points() const;
  /// How making safe went.
  const SafeReport& safe() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ness
