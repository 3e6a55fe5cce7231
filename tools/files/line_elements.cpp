#include "ness/files/line_elements.hpp"

#include <algorithm>
#include <numbers>

namespace ness {

void read_line_elements(Table& table, const BenchInstrument& instrument, BenchWire& wire) {
  sim::LineElements& elements = wire.elements;
  std::string last;  // the element a refusal of the whole points at
  std::pair<double, double> resistors;
  if (table.pair("divider", resistors)) {
    if (!(resistors.first > 0 && resistors.second > 0)) table.fail("divider", "expected [R1, R2] in ohms, both > 0: R1 in the signal's way, R2 from the tap to ground");
    elements.divider = sim::Divider{resistors.first, resistors.second};
    last = "divider";
  }
  if (table.number("series", elements.series, Number::positive)) last = "series";
  if (table.number("shunt_capacity", elements.shunt_capacity, Number::positive)) {
    if (elements.series == 0) table.fail("shunt_capacity", "expected beside series = ohms; without a resistor in front of it there is no low-pass");
    last = "shunt_capacity";
  }
  if (auto inner = table.table("preamplifier")) {
    if (sets_levels(instrument.role())) {
      table.fail("preamplifier", "expected on the wire of a meter or scanner; a " + instrument.kind.name + " does not read one");
    }
    if (elements.divider) table.fail("preamplifier", "expected without a divider; a virtual ground leaves nothing to divide");
    sim::Preamplifier preamplifier;
    if (!inner->number("gain", preamplifier.gain)) inner->fail("gain", "expected gain = V/A, of either sign");
    if (preamplifier.gain == 0) inner->fail("gain", "expected a number other than 0, in V/A");
    inner->number("input", preamplifier.input, Number::positive);
    inner->number("bandwidth", preamplifier.bandwidth, Number::or_infinite);
    inner->number("offset", preamplifier.offset);
    inner->finish();
    elements.preamplifier = preamplifier;
    last = "preamplifier";
  }
  if (last.empty()) return;
  if (!wire.node) table.fail(last, "expected on the wire of a node; what stands in front of a gate belongs into its per_volt and offset");
  if (instrument.role() == drivers::Role::source_meter && instrument.settings.source.four_wire) {
    table.fail(last, "instrument '" + instrument.name + "' senses at the node (four_wire = true); expected either remote sense or line elements");
  }
}

LineScale line_scale(const BenchWire& wire, drivers::Role role) {
  const bool read = !sets_levels(role);
  const sim::LineElements& elements = wire.elements;
  LineScale line;
  const double in_line = wire.lead + elements.series;
  if (const auto& divider = elements.divider) {
    const double whole = divider->upper + divider->lower, parallel = divider->upper * divider->lower / whole;
    line.gain = read ? whole / divider->lower : divider->lower / whole;
    line.resistance = read ? wire.lead + whole : in_line + parallel;
    line.time_constant = (elements.series + parallel) * elements.shunt_capacity;
  } else {
    line.resistance = read ? std::numeric_limits<double>::infinity() : in_line;
    line.time_constant = elements.series * elements.shunt_capacity;
  }
  if (const auto& preamplifier = elements.preamplifier) {
    line.resistance = in_line + preamplifier->input;
    line.amperes_per_volt = 1 / preamplifier->gain;
    line.zero = preamplifier->offset;
    line.gain = line.resistance / preamplifier->gain;
    line.volts = -preamplifier->offset * line.gain;
    line.time_constant = std::max(line.time_constant, 1 / (2 * std::numbers::pi * preamplifier->bandwidth));
  }
  line.volts = wire.volts + wire.gain * line.volts;
  line.gain *= wire.gain;
  return line;
}

}  // namespace ness
