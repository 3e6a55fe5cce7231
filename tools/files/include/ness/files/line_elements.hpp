// Line elements of a wire, from the bench file: dividers, series resistors and capacitors, current
// preamplifiers; and the gain and offset they give a wire.
#pragma once

#include <limits>

#include "ness/files/bench_file.hpp"
#include "ness/files/toml_table.hpp"

namespace ness {

/// Reads `divider`, `series`, `shunt_capacity` and `preamplifier` of a [wiring.NAME] table into
/// `wire.elements`. Throws FileError for elements that cannot be, on that instrument's wire or at all: on a
/// gate's, a preamplifier on a source's, any behind remote sense.
void read_line_elements(Table& table, const BenchInstrument& instrument, BenchWire& wire);

/// A wire as the drivers' side calculates it: V at the node = volts + gain x V at the instrument (a level, or
/// a reading). The elements' share is that of an unloaded line; the wire's own `gain` and `volts` are a
/// multiple of it and come on top of it.
struct LineScale {
  double gain = 1, volts = 0;
  /// Of a source's wire: the source resistance the node sees, ohms, lead included. Of a meter's: what its
  /// elements load the node with; infinite without any.
  double resistance = 0;
  double time_constant = 0;  ///< s, of the low-pass, or of the preamplifier where that is slower
  /// A into a preamplifier by V read: A = amperes_per_volt x (V - zero). 0: there is none
  double amperes_per_volt = 0;
  double zero = 0;  ///< V
};
LineScale line_scale(const BenchWire& wire, drivers::Role role);

}  // namespace ness
