#include "ness/drivers/role.hpp"

#include <stdexcept>

namespace ness::drivers {

namespace {

[[noreturn]] void no_such_role(Role role) {
  throw std::logic_error("a bench has no use for instruments of role " +
                         std::to_string(static_cast<unsigned>(role)) +
                         "; expected a source-meter, a DAC, a scanner or a voltmeter");
}

}  // namespace

std::string to_string(Role role) {
  switch (role) {
    case Role::source_meter: return "source-meter";
    case Role::dac: return "DAC";
    case Role::scanner: return "scanner";
    case Role::voltmeter: return "voltmeter";
  }
  no_such_role(role);
}

bool sets_levels(Role role) {
  switch (role) {
    case Role::source_meter:
    case Role::dac: return true;
    case Role::scanner:
    case Role::voltmeter: return false;
  }
  no_such_role(role);
}

bool sets_parameters(Role role) {
  switch (role) {
    case Role::dac: return true;
    case Role::source_meter:
    case Role::scanner:
    case Role::voltmeter: return false;
  }
  no_such_role(role);
}

bool reads(Role role) {
  switch (role) {
    case Role::source_meter:
    case Role::scanner:
    case Role::voltmeter: return true;
    case Role::dac: return false;
  }
  no_such_role(role);
}

void read_source_meter(Keys& keys, InstrumentSettings& settings) {
  SourceMeterSettings& s = settings.source;
  keys.choice<Sourced>("sourced", s.sourced, {{"voltage", Sourced::voltage}, {"current", Sourced::current}},
                       {"", "what it imposes on its wire"});
  keys.number("range", s.range, Number::positive,
              {"V (A of a source of current)", "fixed source range that holds levels up to this"});
  keys.number("compliance", s.compliance, Number::positive,
              {"A (V of a source of current)", "largest magnitude of what is not imposed"});
  keys.number("measure_range", s.measure_range, Number::positive,
              {"A (V of a source of current)",
               "measuring range of what is in compliance; left out: that of the compliance"});
  keys.number("nplc", s.cycles, Number::positive, {"power line cycles", "integration time of a reading"});
  keys.number("source_delay", s.source_delay, Number::not_negative,
              {"s", "from a level to its measurement; left out: the instrument's own"});
  keys.number("line_frequency", s.line_frequency, Number::positive,
              {"Hz", "of the mains, for the time a measurement takes"});
  keys.flag("four_wire", s.four_wire, {"", "remote sense: the voltage is that at the node, behind the lead"});
  keys.flag("autozero", s.autozero, {"", "three conversions for one, without the converter's drift"});
  keys.choice<OffState>("off", s.off,
                        {{"normal", OffState::normal},
                         {"high-impedance", OffState::high_impedance},
                         {"zero", OffState::zero},
                         {"guard", OffState::guard}},
                        {"", "state of the terminals while the output is off"});
}

void read_meter(Keys& keys, InstrumentSettings& settings) {
  MeterSettings& s = settings.meter;
  keys.number("range", s.range, Number::positive, {"V", "fixed range that holds readings up to this"});
  keys.number("nplc", s.cycles, Number::positive, {"power line cycles", "integration time of a reading"});
  keys.number("delay", s.delay, Number::not_negative,
              {"s", "before a reading; left out: the instrument's own"});
  keys.number("line_frequency", s.line_frequency, Number::positive,
              {"Hz", "of the mains, for the time a measurement takes"});
  keys.flag("high_input", s.high_input,
            {"", "input above 10 Gohm where the range allows it, instead of 10 Mohm"});
  keys.flag("autozero", s.autozero, {"", "each reading is corrected by one of the shorted input"});
}

void read_dac(Keys& keys, InstrumentSettings& settings) {
  DacSettings& s = settings.dac;
  keys.number("range", s.range, Number::positive, {"V", "output range that holds levels up to this"});
  keys.number("slew", s.slew, Number::positive, {"V/s", "rate at which an output goes to a new level"});
  keys.choice<DacFilter>("filter", s.filter,
                         {{"dc", DacFilter::dc}, {"medium", DacFilter::medium}, {"high", DacFilter::high}},
                         {"", "bandwidth of the outputs; dc has the lowest noise"});
}

}  // namespace ness::drivers
