// Agilent and Keysight voltmeters and scanners, direct voltage: 34401A user's guide, Truevolt operating and
// service guide, 34970A/34972A user's guide. They differ in ranges, integration times, and how a setting
// names its channels.
#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "ness/drivers/meters.hpp"
#include "number.hpp"

namespace ness::drivers {

namespace {

/// One row per model: a new model needs a row and a factory.
struct MeterModel {
  const char* name;
  std::array<const char*, 4> makers;  // the maker has had several names
  const char* identity;
  std::array<double, 5> ranges;
  std::array<double, 5> of_reading, of_range;  // one-year accuracy of direct voltage, by range
  std::vector<double> cycles;
  // A voltmeter's commands for autozero and for its input resistance.
  const char *zero = "", *input = "";
  bool dated = false;  // it knows the date of its calibration; all know a count, and a message of its maker
};

const MeterModel& model_34401a() {
  static const MeterModel model{
      "Agilent 34401A",
      {"HEWLETT-PACKARD", "Agilent Technologies", "AGILENT TECHNOLOGIES", "Keysight Technologies"},
      "34401A",
      {0.1, 1, 10, 100, 1000},
      {5e-5, 4e-5, 3.5e-5, 4.5e-5, 4.5e-5},
      {3.5e-5, 7e-6, 5e-6, 6e-6, 1e-5},
      {0.02, 0.2, 1, 10, 100},
      "ZERO:AUTO",
      "INP:IMP:AUTO"};
  return model;
}
const MeterModel& model_34461a() {
  static const MeterModel model{"Keysight 34461A",
                                {"Keysight Technologies", "Agilent Technologies", "", ""},
                                "34461A",
                                {0.1, 1, 10, 100, 1000},
                                {5e-5, 4e-5, 3.5e-5, 4.5e-5, 4.5e-5},
                                {3.5e-5, 7e-6, 5e-6, 6e-6, 1e-5},
                                {0.02, 0.2, 1, 10, 100},
                                "VOLT:DC:ZERO:AUTO",
                                "VOLT:DC:IMP:AUTO",
                                true};
  return model;
}
const MeterModel& model_34970a() {
  static const MeterModel model{
      "Keysight 34970A",
      {"HEWLETT-PACKARD", "Agilent Technologies", "AGILENT TECHNOLOGIES", "Keysight Technologies"},
      "34970A",
      {0.1, 1, 10, 100, 300},
      {5e-5, 4e-5, 3.5e-5, 4.5e-5, 4.5e-5},
      {4e-5, 7e-6, 5e-6, 6e-6, 3e-5},
      {0.02, 0.2, 1, 2, 10, 20, 100, 200}};
  return model;
}
const MeterModel& model_daq970a() {
  // No accessible source gives the set of integration times: these are certain to exist. The accuracy is
  // specified as better than the 34970A's, so the 34970A's figures are upper bounds.
  static const MeterModel model{
      "Keysight DAQ970A",     {"Keysight Technologies", "", "", ""}, "DAQ970A",
      {0.1, 1, 10, 100, 300}, {5e-5, 4e-5, 3.5e-5, 4.5e-5, 4.5e-5},  {4e-5, 7e-6, 5e-6, 6e-6, 3e-5},
      {0.02, 0.2, 1, 10, 100}};
  return model;
}

bool is(const MeterModel& model, const std::string& maker, const std::string& name) {
  return name == model.identity &&
         std::find(model.makers.begin(), model.makers.end(), maker) != model.makers.end();
}

/// Settings that the model uses for those requested.
struct Accepted {
  double range, cycles;
};

Accepted accepted(const MeterModel& model, const MeterSettings& settings, const std::string& where) {
  const auto refuse = [&](const std::string& reason) {
    throw std::invalid_argument(where + ": " + model.name + ": " + reason);
  };
  const auto range = std::find_if(model.ranges.begin(), model.ranges.end(),
                                  [&](double r) { return std::abs(settings.range) <= r; });
  if (range == model.ranges.end() || !(std::abs(settings.range) > 0))
    refuse("a range of " + number(settings.range) + " V; expected up to " + number(model.ranges.back()) +
           " V");
  const auto cycles = std::find_if(model.cycles.begin(), model.cycles.end(),
                                   [&](double c) { return std::abs(c - settings.cycles) <= 1e-9 * c; });
  if (cycles == model.cycles.end()) {
    std::string all;
    for (const double c : model.cycles) all += (all.empty() ? "" : ", ") + number(c);
    refuse(number(settings.cycles) + " NPLC; expected one of " + all);
  }
  if (settings.delay > 60) refuse("a delay of " + number(settings.delay) + " s; expected at most 60 s");
  return {*range, *cycles};
}

double error_of(const MeterModel& model, const MeterSettings& settings, double volts,
                const std::string& where) {
  const double range = accepted(model, settings, where).range;
  const auto at = static_cast<std::size_t>(std::find(model.ranges.begin(), model.ranges.end(), range) -
                                           model.ranges.begin());
  return model.of_reading[at] * std::abs(volts) + model.of_range[at] * range;
}

// Maximum duration of consecutive readings at the shortest integration, with relays, delays and autozero.
Milliseconds burst_time(const MeterModel& model, const MeterSettings& settings, std::size_t count) {
  const double one =
      2 * model.cycles.front() / settings.line_frequency + std::max(settings.delay, 2e-3) + 5e-3;
  return Milliseconds(static_cast<std::int64_t>(std::ceil(static_cast<double>(count) * one * 1e3)));
}

// The calibration subsystem of the 34401A's and the 34970A's guides; the Truevolt's has a date too.
std::vector<Statement> calibration_of(const MeterModel& model) {
  std::vector<Statement> queries{{"calibrations", "CAL:COUN?"}, {"calibration message", "CAL:STR?"}};
  if (model.dated) queries.emplace_back("calibrated", "CAL:DATE?");
  return queries;
}

MeterReading reading_of(double value) { return {measured(value), is_overflow(value)}; }

double one_measurement(const MeterSettings& settings, double own_delay) {
  return settings.cycles / settings.line_frequency * (settings.autozero ? 2 : 1) +
         (settings.delay < 0 ? own_delay : settings.delay);
}

class KeysightVoltmeter final : public Voltmeter {
 public:
  KeysightVoltmeter(std::unique_ptr<protocols::Session> session, const MeterModel& model)
      : Voltmeter(std::move(session)), model_(model) {}
  std::string model() const override { return model_.name; }

  void require(const MeterSettings& settings) const override { accepted(model_, settings, address()); }
  double reading_error(const MeterSettings& settings, double volts) const override {
    return error_of(model_, settings, volts, address());
  }

  void configure(const MeterSettings& settings) override {
    const Accepted as = accepted(model_, settings, address());
    auto& link = *session_;
    link.write("CONF:VOLT:DC " + number(as.range));
    link.write("VOLT:DC:NPLC " + number(as.cycles));
    const std::string zero = model_.zero, input = model_.input;
    link.write(zero + (settings.autozero ? " ON" : " OFF"));
    link.write(input + (settings.high_input ? " ON" : " OFF"));
    link.write(settings.delay < 0 ? "TRIG:DEL:AUTO ON" : "TRIG:DEL " + number(settings.delay));
    link.write("TRIG:SOUR IMM;:TRIG:COUN 1;:SAMP:COUN 1");
    confirm("VOLT:DC:RANG?", as.range, 1e-3 * as.range);
    confirm("VOLT:DC:NPLC?", as.cycles, 1e-3 * as.cycles);
    confirm(input + '?', settings.high_input ? "1" : "0");
    confirm(zero + '?', settings.autozero ? "1" : "0");
    if (settings.delay >= 0) confirm("TRIG:DEL?", settings.delay, 1e-3 * settings.delay + 1e-5);
    check();
    settings_ = settings;
    openings_ = link.openings();
  }

  void arm() override {
    require_same_link(*session_, openings_);
    session_->ask("READ?");
  }
  MeterReading fetch() override {
    const std::string reply =
        session_->receive(Milliseconds(static_cast<std::int64_t>(std::ceil(measurement_time() * 1e3))));
    try {
      return reading_of(protocols::parse_number(reply));
    } catch (const std::invalid_argument& error) {
      throw InstrumentError(address(), "READ?", reply, error.what());
    }
  }
  std::vector<MeterReading> burst(std::size_t count) override {
    require_same_link(*session_, openings_);
    session_->write("VOLT:DC:NPLC " + number(model_.cycles.front()) + ";:SAMP:COUN " + std::to_string(count));
    std::vector<MeterReading> readings;
    for (const double value : session_->query_numbers("READ?", count, burst_time(model_, settings_, count)))
      readings.push_back(reading_of(value));
    session_->write("VOLT:DC:NPLC " + number(settings_.cycles) + ";:SAMP:COUN 1");
    return readings;
  }
  double measurement_time() const override { return one_measurement(settings_, 1.5e-3); }
  std::vector<Statement> settings() override {
    return answers({{"measures", "FUNC?"},
                    {"range (V)", "VOLT:DC:RANG?"},
                    {"autorange", "VOLT:DC:RANG:AUTO?"},
                    {"nplc", "VOLT:DC:NPLC?"},
                    {"autozero", std::string(model_.zero) + '?'},
                    {"input above 10 Gohm", std::string(model_.input) + '?'},
                    {"delay (s)", "TRIG:DEL?"},
                    {"automatic delay", "TRIG:DEL:AUTO?"},
                    {"trigger source", "TRIG:SOUR?"},
                    {"trigger count", "TRIG:COUN?"},
                    {"samples", "SAMP:COUN?"}});
  }

 private:
  std::vector<Statement> calibration_queries() const override { return calibration_of(model_); }
  bool recognises(const std::string& maker, const std::string& name) const override {
    return is(model_, maker, name);
  }
  const MeterModel& model_;
  MeterSettings settings_;
  std::uint64_t openings_ = 0;
};

class KeysightScanner final : public Scanner {
 public:
  KeysightScanner(std::unique_ptr<protocols::Session> session, const MeterModel& model)
      : Scanner(std::move(session)), model_(model) {}
  std::string model() const override { return model_.name; }

  void require(const MeterSettings& settings) const override { accepted(model_, settings, address()); }
  double reading_error(const MeterSettings& settings, double volts) const override {
    return error_of(model_, settings, volts, address());
  }

  void configure(const std::vector<std::uint32_t>& channels, const MeterSettings& settings) override {
    const Accepted as = accepted(model_, settings, address());
    if (channels.empty()) throw std::invalid_argument(address() + ": no channel to scan");
    for (const std::uint32_t channel : channels) {
      if (channel / 100 < 1 || channel / 100 > 3 || channel % 100 < 1 || channel % 100 > 40) {
        throw std::invalid_argument(address() + ": channel " + std::to_string(channel) +
                                    "; expected slot (1 to 3) x 100 + channel");
      }
    }
    auto& link = *session_;
    const std::string list = listed(channels);
    link.write("CONF:VOLT:DC " + number(as.range) + ",DEF," + list);
    link.write("SENS:VOLT:DC:NPLC " + number(as.cycles) + ',' + list);
    link.write(std::string("INP:IMP:AUTO ") + (settings.high_input ? "ON," : "OFF,") + list);
    if (settings.delay >= 0) link.write("ROUT:CHAN:DEL " + number(settings.delay) + ',' + list);
    else link.write("ROUT:CHAN:DEL:AUTO ON," + list);
    link.write("ROUT:SCAN " + list + ";:TRIG:SOUR IMM;:TRIG:COUN 1");
    link.write("FORM:READ:UNIT OFF;:FORM:READ:TIME OFF;:FORM:READ:CHAN OFF;:FORM:READ:ALAR OFF");
    const auto each = [&](const std::string& query, double sent) {
      const auto back = link.query_numbers(query + ' ' + list, channels.size());
      for (std::size_t i = 0; i < back.size(); ++i) {
        if (std::abs(back[i] - sent) > 1e-3 * std::abs(sent)) {
          throw InstrumentError(address(), query, number(back[i]),
                                "the setting of channel " + std::to_string(channels[i]) +
                                    " was not accepted: " + number(sent) + " was sent");
        }
      }
    };
    each("SENS:VOLT:DC:RANG?", as.range);
    each("SENS:VOLT:DC:NPLC?", as.cycles);
    for (const double high : link.query_numbers("INP:IMP:AUTO? " + list, channels.size())) {
      if ((high != 0) != settings.high_input)
        throw InstrumentError(address(), "INP:IMP:AUTO?", number(high),
                              std::string("the input resistance was not accepted: ") +
                                  (settings.high_input ? "ON" : "OFF") + " was sent");
    }
    if (settings.delay > 0) each("ROUT:CHAN:DEL?", settings.delay);
    const std::string scanned = link.query_block("ROUT:SCAN?");
    if (scanned != list)
      throw InstrumentError(address(), "ROUT:SCAN?", scanned,
                            "the scan list was not accepted: " + list + " was sent");
    check();
    channels_ = channels;
    settings_ = settings;
    openings_ = link.openings();
  }

  void arm() override {
    if (channels_.empty()) throw std::logic_error(address() + ": configure() comes first");
    require_same_link(*session_, openings_);
    session_->ask("READ?");
  }
  std::vector<MeterReading> fetch() override {
    const std::string reply =
        session_->receive(Milliseconds(static_cast<std::int64_t>(std::ceil(measurement_time() * 1e3))));
    std::vector<MeterReading> readings;
    try {
      for (const double value : protocols::parse_numbers(reply)) readings.push_back(reading_of(value));
    } catch (const std::invalid_argument& error) {
      throw InstrumentError(address(), "READ?", reply, error.what());
    }
    if (readings.size() != channels_.size()) {
      throw InstrumentError(address(), "READ?", reply,
                            "expected " + std::to_string(channels_.size()) + " readings, " +
                                std::to_string(readings.size()) + " came");
    }
    return readings;
  }
  std::vector<MeterReading> burst(std::uint32_t channel, std::size_t count) override {
    if (std::find(channels_.begin(), channels_.end(), channel) == channels_.end())
      throw std::invalid_argument(address() + ": channel " + std::to_string(channel) + " is not in the scan");
    require_same_link(*session_, openings_);
    const std::string one = listed({channel});
    session_->write("SENS:VOLT:DC:NPLC " + number(model_.cycles.front()) + ',' + one);
    session_->write("ROUT:SCAN " + one + ";:TRIG:COUN " + std::to_string(count));
    std::vector<MeterReading> readings;
    for (const double value : session_->query_numbers("READ?", count, burst_time(model_, settings_, count)))
      readings.push_back(reading_of(value));
    session_->write("SENS:VOLT:DC:NPLC " + number(settings_.cycles) + ',' + one);
    session_->write("ROUT:SCAN " + listed(channels_) + ";:TRIG:COUN 1");
    return readings;
  }
  // For each channel: relay, delay and conversion. The scanner's autozero is always on.
  double measurement_time() const override {
    MeterSettings with_zero = settings_;
    with_zero.autozero = true;
    return static_cast<double>(channels_.size()) * (one_measurement(with_zero, 2e-3) + 5e-3);
  }
  std::vector<Statement> settings() override {
    std::vector<Statement> all{{"scan list", session_->query_block("ROUT:SCAN?")}};
    for (Statement& one : answers({{"trigger source", "TRIG:SOUR?"}, {"trigger count", "TRIG:COUN?"}}))
      all.push_back(std::move(one));
    if (channels_.empty()) return all;
    for (Statement& one : answers({{"range (V)", "SENS:VOLT:DC:RANG?"},
                                   {"autorange", "SENS:VOLT:DC:RANG:AUTO?"},
                                   {"nplc", "SENS:VOLT:DC:NPLC?"},
                                   {"input above 10 Gohm", "INP:IMP:AUTO?"},
                                   {"delay (s)", "ROUT:CHAN:DEL?"},
                                   {"automatic delay", "ROUT:CHAN:DEL:AUTO?"}},
                                  channels_, listed(channels_)))
      all.push_back(std::move(one));
    return all;
  }

 private:
  std::vector<Statement> calibration_queries() const override { return calibration_of(model_); }
  bool recognises(const std::string& maker, const std::string& name) const override {
    return is(model_, maker, name);
  }
  const MeterModel& model_;
  std::vector<std::uint32_t> channels_;
  MeterSettings settings_;
  std::uint64_t openings_ = 0;
};

}  // namespace

std::unique_ptr<Voltmeter> agilent_34401a(std::unique_ptr<protocols::Session> session) {
  return std::make_unique<KeysightVoltmeter>(std::move(session), model_34401a());
}
std::unique_ptr<Voltmeter> keysight_34461a(std::unique_ptr<protocols::Session> session) {
  return std::make_unique<KeysightVoltmeter>(std::move(session), model_34461a());
}
std::unique_ptr<Scanner> keysight_34970a(std::unique_ptr<protocols::Session> session) {
  return std::make_unique<KeysightScanner>(std::move(session), model_34970a());
}
std::unique_ptr<Scanner> keysight_daq970a(std::unique_ptr<protocols::Session> session) {
  return std::make_unique<KeysightScanner>(std::move(session), model_daq970a());
}

}  // namespace ness::drivers
