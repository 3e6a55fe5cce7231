#include "ness/files/line_elements.hpp"

#include "line_element_keys.hpp"

#include <algorithm>
#include <limits>
#include <numbers>

namespace ness {

namespace {

constexpr double not_given = std::numeric_limits<double>::quiet_NaN();
constexpr About about_divider{"ohm", "[R1, R2]: R1 in the signal's way, R2 from the tap to ground"};
constexpr About about_series{"ohm", "a resistor in the signal's way"};
constexpr About about_shunt{"F", "to ground behind `series`: a low-pass"};

// False where the gain is missing.
bool read_preamplifier(Keys& keys, sim::Preamplifier& preamplifier) {
  const bool given =
      keys.number("gain", preamplifier.gain, Number::finite, {"V/A", "needed, of either sign"});
  keys.number("input", preamplifier.input, Number::positive, {"ohm", "of its input, a virtual ground"});
  keys.number("bandwidth", preamplifier.bandwidth, Number::or_infinite, {"Hz", "at -3 dB"});
  keys.number("offset", preamplifier.offset, Number::finite, {"V", "at its output"});
  return given;
}

}  // namespace

void list_line_elements(Keys& keys) {
  std::pair<double, double> divider{not_given, not_given};
  sim::LineElements elements;
  sim::Preamplifier preamplifier;
  keys.pair("divider", divider, about_divider);
  keys.number("series", elements.series, Number::positive, about_series);
  keys.number("shunt_capacity", elements.shunt_capacity, Number::positive, about_shunt);
  const auto inner = keys.inner(
      "preamplifier", {"",
                       "A current preamplifier on a meter's wire, which then reads the current into a "
                       "virtual ground; it has no noise and never overloads"});
  if (inner) read_preamplifier(*inner, preamplifier);
}

void read_line_elements(Table& table, const BenchInstrument& instrument, BenchWire& wire) {
  sim::LineElements& elements = wire.elements;
  std::string last;  // the element a refusal of the whole points at
  std::pair<double, double> resistors;
  if (table.pair("divider", resistors, about_divider)) {
    if (!(resistors.first > 0 && resistors.second > 0))
      table.fail("divider",
                 "expected [R1, R2] in ohms, both > 0: R1 in the signal's way, R2 from the tap to ground");
    elements.divider = sim::Divider{resistors.first, resistors.second};
    last = "divider";
  }
  if (table.number("series", elements.series, Number::positive, about_series)) last = "series";
  if (table.number("shunt_capacity", elements.shunt_capacity, Number::positive, about_shunt)) {
    if (elements.series == 0)
      table.fail("shunt_capacity",
                 "expected beside series = ohms; without a resistor in front of it there is no low-pass");
    last = "shunt_capacity";
  }
  if (auto inner = table.table("preamplifier")) {
    if (sets_levels(instrument.role())) {
      table.fail("preamplifier", "expected on the wire of a meter or scanner; a " + instrument.kind.name +
                                     " does not read one");
    }
    if (elements.divider)
      table.fail("preamplifier", "expected without a divider; a virtual ground leaves nothing to divide");
    sim::Preamplifier preamplifier;
    if (!read_preamplifier(*inner, preamplifier)) inner->fail("gain", "expected gain = V/A, of either sign");
    if (preamplifier.gain == 0) inner->fail("gain", "expected a number other than 0, in V/A");
    inner->finish();
    elements.preamplifier = preamplifier;
    last = "preamplifier";
  }
  if (last.empty()) return;
  if (!wire.node)
    table.fail(last,
               "expected on the wire of a node; what stands in front of a gate belongs into its per_volt and "
               "offset");
  if (instrument.role() == drivers::Role::source_meter && instrument.settings.source.four_wire) {
    table.fail(last,
               "instrument '" + instrument.name +
                   "' senses at the node (four_wire = true); expected either remote sense or line elements");
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
