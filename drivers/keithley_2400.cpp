// Keithley 2400: 2400S-900-01 user's manual, sections 15 to 18; accuracies of SPEC-2400 rev H.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ness/drivers/source_meter.hpp"
#include "number.hpp"

namespace ness::drivers {

namespace {

struct SourceRange {
  double full, step, gain, offset;  // one-year accuracy of the source
};
constexpr std::array<SourceRange, 4> voltage_ranges{{{0.2, 5e-6, 2e-4, 600e-6},
                                                     {2, 50e-6, 2e-4, 600e-6},
                                                     {20, 500e-6, 2e-4, 2.4e-3},
                                                     {200, 5e-3, 2e-4, 24e-3}}};
constexpr std::array<SourceRange, 7> current_ranges{{{1e-6, 50e-12, 3.5e-4, 600e-12},
                                                     {1e-5, 500e-12, 3.3e-4, 2e-9},
                                                     {1e-4, 5e-9, 3.1e-4, 20e-9},
                                                     {1e-3, 50e-9, 3.4e-4, 200e-9},
                                                     {1e-2, 500e-9, 4.5e-4, 2e-6},
                                                     {0.1, 5e-6, 6.6e-4, 20e-6},
                                                     {1, 50e-6, 2.7e-3, 900e-6}}};
constexpr std::array<const char*, 4> off_states{"NORM", "HIMP", "ZERO", "GUAR"};  // by OffState
constexpr double over_range = 1.05;  // a range is programmable to 105 %

// Status bits of a reading (table 15-3 of the manual).
constexpr std::uint32_t over_range_bit = 1U << 0, compliance_bit = 1U << 3, range_compliance_bit = 1U << 16;

class Keithley2400 final : public SourceMeter {
 public:
  explicit Keithley2400(std::unique_ptr<protocols::Session> session) : SourceMeter(std::move(session)) {}

  std::string model() const override { return "Keithley 2400"; }

  void require(const SourceMeterSettings& settings) const override { ranges_for(settings); }

  void configure(const SourceMeterSettings& settings) override {
    const auto [source, measure] = ranges_for(settings);
    const bool voltage = settings.sourced == Sourced::voltage;
    const auto limits = ranges(voltage ? Sourced::current : Sourced::voltage);

    const std::string s = voltage ? ":SOUR:VOLT" : ":SOUR:CURR", m = voltage ? ":SENS:CURR" : ":SENS:VOLT";
    const std::string off_state = off_states[static_cast<std::size_t>(settings.off)];
    auto& link = *session_;
    link.write(":OUTP 0");
    link.write(":OUTP:SMOD " + off_state + ";:SYST:RSEN " + (settings.four_wire ? "1" : "0"));
    link.write(std::string(":SOUR:FUNC ") + (voltage ? "VOLT" : "CURR") + ";" + s + ":MODE FIX;" + s +
               ":RANG " + number(source->full) + ";" + s + " 0");
    // Both quantities are measured. The compliance must be set before its measure range, which may not exceed
    // it; and after a range small enough for it, since a compliance below 0.1 % of the present measure range
    // is ignored.
    link.write(":SENS:FUNC:CONC 1;:SENS:FUNC:ON:ALL");
    link.write(m + ":RANG " + number(limits.front().full));
    link.write(m + ":PROT " + number(settings.compliance) + ";" + m + ":RANG " + number(measure->full));
    link.write(m + ":NPLC " + number(settings.cycles) + ";:SYST:AZER:STAT " +
               (settings.autozero ? "1" : "0") + ";:SENS:AVER 0");
    link.write(settings.source_delay < 0 ? ":SOUR:DEL:AUTO 1" : ":SOUR:DEL " + number(settings.source_delay));
    link.write(
        ":SOUR:CLE:AUTO 0;:ARM:COUN 1;:TRIG:COUN 1;:TRIG:DEL 0;:FORM:DATA ASC;:FORM:ELEM VOLT,CURR,STAT");
    confirm(":OUTP?", "0");
    confirm(":SOUR:FUNC?", voltage ? "VOLT" : "CURR");
    confirm(":OUTP:SMOD?", off_state);
    confirm(":SYST:RSEN?", settings.four_wire ? "1" : "0");
    confirm(s + ":RANG?", source->full, 1e-3 * source->full);
    confirm(m + ":PROT?", settings.compliance, 1e-3 * settings.compliance);
    confirm(m + ":RANG?", measure->full, 1e-3 * measure->full);
    confirm(m + ":NPLC?", settings.cycles, 1e-3 * settings.cycles);
    confirm(":SYST:AZER:STAT?", settings.autozero ? "1" : "0");
    if (settings.source_delay >= 0)
      confirm(":SOUR:DEL?", settings.source_delay, 1e-3 * settings.source_delay + 1e-4);
    check();
    settings_ = settings;
    range_ = source;
    openings_ = link.openings();
  }

  std::vector<Statement> settings() override {
    const std::string function = session_->query(":SOUR:FUNC?");
    const bool voltage = function != "CURR";
    const std::string s = voltage ? ":SOUR:VOLT" : ":SOUR:CURR", m = voltage ? ":SENS:CURR" : ":SENS:VOLT";
    const std::string unit = voltage ? " (V)" : " (A)", other = voltage ? " (A)" : " (V)";
    std::vector<Statement> all{{"sources", function}};
    for (Statement& one : answers({{"source range" + unit, s + ":RANG?"},
                                   {"source autorange", s + ":RANG:AUTO?"},
                                   {"level" + unit, s + '?'},
                                   {"compliance" + other, m + ":PROT?"},
                                   {"measure range" + other, m + ":RANG?"},
                                   {"measure autorange", m + ":RANG:AUTO?"},
                                   {"nplc", m + ":NPLC?"},
                                   {"averaging", ":SENS:AVER?"},
                                   {"autozero", ":SYST:AZER:STAT?"},
                                   {"four-wire", ":SYST:RSEN?"},
                                   {"source delay (s)", ":SOUR:DEL?"},
                                   {"automatic source delay", ":SOUR:DEL:AUTO?"},
                                   {"voltage protection (V)", ":SOUR:VOLT:PROT?"},
                                   {"output", ":OUTP?"},
                                   {"output off state", ":OUTP:SMOD?"},
                                   {"terminals", ":ROUT:TERM?"},
                                   {"line frequency (Hz)", ":SYST:LFR?"}}))
      all.push_back(std::move(one));
    return all;
  }

  void adopt() override {
    const std::string function = session_->query(":SOUR:FUNC?");
    if (function != "VOLT" && function != "CURR")
      throw InstrumentError(address(), ":SOUR:FUNC?", function, "expected VOLT or CURR");
    settings_.sourced = function == "VOLT" ? Sourced::voltage : Sourced::current;
    const double full = session_->query_number(function == "VOLT" ? ":SOUR:VOLT:RANG?" : ":SOUR:CURR:RANG?");
    range_ = holding(ranges(settings_.sourced), full, 1);
    if (range_ == nullptr)
      throw InstrumentError(address(), ":SOUR:" + function + ":RANG?", number(full),
                            "the model has no such range");
    openings_ = session_->openings();
  }

  Sourced sourced() const override { return settings_.sourced; }

  void set_off_state(OffState state) override {
    session_->write(":OUTP:SMOD " + std::string(off_states[static_cast<std::size_t>(state)]));
    confirm(":OUTP:SMOD?", off_states[static_cast<std::size_t>(state)]);
  }

  void set_level(double level) override {
    require_configured();
    if (!(std::abs(level) <= range_->full * over_range)) {
      throw std::invalid_argument(address() + ": a level of " + number(level) + "; the range of " +
                                  number(range_->full) + " goes to " + number(range_->full * over_range));
    }
    session_->write((settings_.sourced == Sourced::voltage ? ":SOUR:VOLT " : ":SOUR:CURR ") + number(level));
  }

  double level() override {
    return session_->query_number(settings_.sourced == Sourced::voltage ? ":SOUR:VOLT?" : ":SOUR:CURR?");
  }

  // The output can be switched off at any time, even if not configured.
  void set_output(bool on) override {
    if (on) require_configured();
    session_->write(on ? ":OUTP 1" : ":OUTP 0");
    confirm(":OUTP?", on ? "1" : "0");
  }
  bool output() override { return session_->query_number(":OUTP?") != 0; }

  void arm() override {
    require_configured();
    session_->ask(":READ?");
  }

  SourceReading fetch() override {
    const std::string reply =
        session_->receive(Milliseconds(static_cast<std::int64_t>(std::ceil(measurement_time() * 1e3))));
    std::vector<double> values;
    try {
      values = protocols::parse_numbers(reply);
    } catch (const std::invalid_argument& error) {
      throw InstrumentError(address(), ":READ?", reply, error.what());
    }
    if (values.size() != 3)
      throw InstrumentError(address(), ":READ?", reply, "expected volts, amperes and status");
    const auto status = static_cast<std::uint32_t>(std::llround(values[2]));
    SourceReading reading;
    reading.in_compliance = (status & (compliance_bit | range_compliance_bit)) != 0;
    reading.over_range = (status & over_range_bit) != 0 || is_overflow(values[0]) || is_overflow(values[1]);
    reading.volts = measured(values[0]);
    reading.amperes = measured(values[1]);
    return reading;
  }

  double measurement_time() const override {
    const double conversion = settings_.cycles / settings_.line_frequency * (settings_.autozero ? 3 : 1);
    return 2 * conversion +
           (settings_.source_delay < 0 ? 3e-3 : settings_.source_delay);  // volts and amperes
  }
  double reach(const SourceMeterSettings& settings) const override { return settings.range * over_range; }
  double resolution(const SourceMeterSettings& settings) const override {
    return ranges_for(settings).source->step;
  }
  double level_error(const SourceMeterSettings& settings, double level) const override {
    const SourceRange& range = *ranges_for(settings).source;
    return range.gain * std::abs(level) + range.offset;
  }
  // A fifth of the source's step in every range (SPEC-2400: 1 uV and 5 uV, 10 pA and 50 pA).
  SourceReading display(const SourceMeterSettings& settings) const override {
    const Ranges as = ranges_for(settings);
    const bool voltage = settings.sourced == Sourced::voltage;
    return {(voltage ? as.source : as.measure)->step / 5, (voltage ? as.measure : as.source)->step / 5, false,
            false};
  }

 private:
  // The source range and the measure range for some settings.
  struct Ranges {
    const SourceRange *source, *measure;
  };
  Ranges ranges_for(const SourceMeterSettings& settings) const {
    const auto refuse = [&](const std::string& reason) {
      throw std::invalid_argument(address() + ": " + model() + ": " + reason);
    };
    const bool voltage = settings.sourced == Sourced::voltage;
    const auto sources = ranges(settings.sourced),
               limits = ranges(voltage ? Sourced::current : Sourced::voltage);
    const std::string unit = voltage ? " V" : " A", other = voltage ? " A" : " V";
    const SourceRange* source = holding(sources, settings.range, 1);
    if (source == nullptr)
      refuse("a source range of " + number(settings.range) + unit + "; expected at most " +
             number(sources.back().full) + unit);
    if (!(settings.compliance > 0))
      refuse("a compliance of " + number(settings.compliance) + other + "; expected more than 0");
    const SourceRange* measure = holding(
        limits, settings.measure_range > 0 ? settings.measure_range : settings.compliance, over_range);
    const SourceRange* compliance = holding(limits, settings.compliance, over_range);
    if (measure == nullptr || compliance == nullptr)
      refuse("a compliance of " + number(settings.compliance) + other + " and a measure range of " +
             number(settings.measure_range) + other + "; expected at most " +
             number(limits.back().full * over_range) + other);
    if (settings.compliance < 1e-3 * measure->full) {
      refuse("a compliance of " + number(settings.compliance) + other +
             " is below 0.1 % of the measure range of " + number(measure->full) + other +
             ": the instrument would ignore it");
    }
    if (measure->full > compliance->full)
      refuse("the measure range of " + number(measure->full) + other + " exceeds that of the compliance, " +
             number(compliance->full) + other);
    const double volts = voltage ? source->full : settings.compliance,
                 amperes = voltage ? settings.compliance : source->full;
    if (volts > 20 * over_range && amperes > 0.1 * over_range)
      refuse(number(volts) + " V and " + number(amperes) + " A exceed its 22 W");
    if (!(settings.cycles >= 0.01 && settings.cycles <= 10))
      refuse(number(settings.cycles) + " NPLC; expected 0.01 to 10");
    if (settings.source_delay > 999.9999)
      refuse("a source delay of " + number(settings.source_delay) + " s; expected at most 999.9999 s");
    return {source, measure};
  }

  // Table B-1 of the 2400's service manual: the queries need no unlocking.
  std::vector<Statement> calibration_queries() const override {
    return {{"calibrated", ":CAL:PROT:DATE?"},
            {"calibration due", ":CAL:PROT:NDUE?"},
            {"calibrations", ":CAL:PROT:COUN?"}};
  }

  bool recognises(const std::string& maker, const std::string& name) const override {
    return maker.starts_with("KEITHLEY") && name == "MODEL 2400";
  }

  static std::span<const SourceRange> ranges(Sourced what) {
    return what == Sourced::voltage ? std::span<const SourceRange>(voltage_ranges)
                                    : std::span<const SourceRange>(current_ranges);
  }
  static const SourceRange* holding(std::span<const SourceRange> all, double value, double upto) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const SourceRange& r) {
      return std::abs(value) <= r.full * upto * (1 + 1e-12);
    });
    return found == all.end() ? nullptr : &*found;
  }
  void require_configured() const {
    if (range_ == nullptr) throw std::logic_error(address() + ": configure() comes first");
    require_same_link(*session_, openings_);
  }

  SourceMeterSettings settings_;
  const SourceRange* range_ = nullptr;
  std::uint64_t openings_ = 0;
};

}  // namespace

std::unique_ptr<SourceMeter> keithley_2400(std::unique_ptr<protocols::Session> session) {
  return std::make_unique<Keithley2400>(std::move(session));
}

}  // namespace ness::drivers
