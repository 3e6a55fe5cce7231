// Keithley 2400 SourceMeter: 2400S-900-01 user's manual, and the accuracies of specification sheet SPEC-2400
// rev H.
#include <algorithm>
#include <array>
#include <cmath>

#include "ness/emulators/models.hpp"
#include "scpi_instrument.hpp"

namespace ness::sim {

namespace {

constexpr double not_a_number = 9.91e37, overflow = 9.9e37;

// One range: full scale, one-year source error (gain, offset), programming step, noise peak to peak (0.1-10
// Hz), measure error (gain, offset), displayed resolution.
struct RangeRow {
  double full, source_gain, source_offset, step, noise, gain, offset, resolution;
};
constexpr std::array<RangeRow, 4> volt_ranges{{
    {0.2, 2e-4, 600e-6, 5e-6, 5e-6, 1.2e-4, 300e-6, 1e-6},
    {2, 2e-4, 600e-6, 50e-6, 50e-6, 1.2e-4, 300e-6, 10e-6},
    {20, 2e-4, 2.4e-3, 500e-6, 500e-6, 1.5e-4, 1.5e-3, 100e-6},
    {200, 2e-4, 24e-3, 5e-3, 5e-3, 1.5e-4, 10e-3, 1e-3},
}};
constexpr std::array<RangeRow, 7> ampere_ranges{{
    {1e-6, 3.5e-4, 600e-12, 50e-12, 5e-12, 2.9e-4, 300e-12, 10e-12},
    {1e-5, 3.3e-4, 2e-9, 500e-12, 50e-12, 2.7e-4, 700e-12, 100e-12},
    {1e-4, 3.1e-4, 20e-9, 5e-9, 500e-12, 2.5e-4, 6e-9, 1e-9},
    {1e-3, 3.4e-4, 200e-9, 50e-9, 5e-9, 2.7e-4, 60e-9, 10e-9},
    {1e-2, 4.5e-4, 2e-6, 500e-9, 50e-9, 3.5e-4, 600e-9, 100e-9},
    {0.1, 6.6e-4, 20e-6, 5e-6, 500e-9, 5.5e-4, 6e-6, 1e-6},
    {1, 2.7e-3, 900e-6, 50e-6, 5e-6, 2.2e-3, 570e-6, 10e-6},
}};
constexpr double programmable = 1.05, measurable = 1.055;  // of a range's full scale

enum Quantity : std::size_t { volts = 0, amperes = 1 };

std::span<const RangeRow> rows(Quantity q) {
  return q == volts ? std::span<const RangeRow>(volt_ranges) : std::span<const RangeRow>(ampere_ranges);
}

// The lowest range for a value, where ranges extend to `reach` of their full scale.
std::size_t range_for(Quantity q, double value, double reach) {
  const auto all = rows(q);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (std::abs(value) <= all[i].full * reach * (1 + 1e-12)) return i;
  }
  return all.size() - 1;
}

double snapped(double value, double step) { return std::round(value / step) * step; }

class Keithley2400 final : public ScpiInstrument {
 public:
  Keithley2400(Circuit& circuit, std::size_t port, const Imperfection& imperfection)
      : ScpiInstrument(
            {"KEITHLEY INSTRUMENTS INC.,MODEL 2400," + std::to_string(1000000 + imperfection.number) +
                 ",C30   Mar 17 2006 09:29:29/A02  /K/J",
             10, "0,\"No error\"", 2e-3, 1 << 16, false},
            circuit, imperfection),
        port_(port) {
    source_commands();
    function_commands();
    sense_commands();
    average_commands();
    output_commands();
    trigger_commands();
    data_commands();
    other_commands();
    reset();
  }

 private:
  std::string number_text(double value) const override { return scpi::nr3(value, 6); }
  std::uint8_t device_bits() const override { return measurement_.summary() ? 1 : 0; }

  void reset() override {
    function_ = volts;
    for (const Quantity q : {volts, amperes}) {
      level_[q] = 0;
      source_auto_[q] = true;
      measure_auto_[q] = true;
      auto_low_[q] = rows(q)[0].full;
    }
    source_range_ = {range_for(volts, 20, 1), range_for(amperes, 1e-4, 1)};
    measure_range_ = {range_for(volts, 20, 1), range_for(amperes, 1e-4, 1)};
    compliance_ = {21, 105e-6};  // V when sourcing A, A when sourcing V
    measured_ = {false, true};
    concurrent_ = true;
    nplc_ = 1;
    averages_ = 10;
    moving_ = false;
    average_ = false;
    autozero_ = true;
    remote_sense_ = false;
    rear_ = false;
    output_on_ = false;
    auto_off_ = false;
    off_state_ = 0;
    delay_ = 0;
    auto_delay_ = true;
    arm_count_ = trigger_count_ = 1;
    trigger_delay_ = 0;
    protection_ = 210;
    elements_ = {true, true, true, true, true};
    last_.clear();
    feeding_ = false;
    apply();
  }

  void check_quiet() const {
    if (operating()) throw scpi::Fault(-213);
  }

  // --- the output ----------------------------------------------------------------------------------------

  double real_level() const {
    const RangeRow& row = rows(function_)[source_range_[function_]];
    double level = level_[function_];
    if (imperfection_.quantised) level = snapped(level, row.step);
    const auto what = static_cast<std::uint32_t>(10 * function_ + source_range_[function_]);
    return level * (1 + row.source_gain * error(what)) + row.source_offset * error(what + 100);
  }
  Quantity limited_quantity() const { return function_ == volts ? amperes : volts; }
  // The effective limit: the compliance, or 105 % of a fixed measure range, whichever is smaller.
  double real_limit() const {
    const Quantity q = limited_quantity();
    double limit = compliance_[q];
    if (!measure_auto_[q]) limit = std::min(limit, rows(q)[measure_range_[q]].full * programmable);
    return limit;
  }
  bool range_limits() const {
    const Quantity q = limited_quantity();
    return !measure_auto_[q] && rows(q)[measure_range_[q]].full * programmable < compliance_[q];
  }

  void apply() {
    PortState state;
    if (imperfection_.loading) state.shunt = 1e-10;  // input above 10 Gohm
    if (output_on_) {
      state.kind = function_ == volts ? PortState::Kind::voltage : PortState::Kind::current;
      state.level = real_level();
      state.limit = real_limit();
      if (function_ == volts)
        state.level = std::clamp(state.level, -protection_ * programmable, protection_ * programmable);
    } else {
      switch (off_state_) {
        case 0:  // NORM: 0 V, compliance 0.5 % of full scale
          state.kind = PortState::Kind::voltage;
          state.limit =
              0.005 *
              rows(amperes)[function_ == volts ? measure_range_[amperes] : source_range_[amperes]].full;
          break;
        case 2:
          state.kind = PortState::Kind::voltage;
          state.limit = compliance_[amperes];
          break;  // ZERO
        case 3:
          state.kind = PortState::Kind::current;
          state.limit = 21;
          break;                          // GUAR: 0 A
        default: state.shunt = 0; break;  // HIMP: the relay is open
      }
    }
    circuit_.drive(port_, state);
  }

  void set_output(bool on) {
    output_on_ = on;
    apply();
  }

  // --- commands ------------------------------------------------------------------------------------------

  void source_commands() {
    static constexpr std::array<std::string_view, 3> functions{"VOLTage", "CURRent", "MEMory"};
    on(":SOURce#:FUNCtion[:MODE]", [this](const Call& call) {
      call.arguments.expect(1, 1);
      const std::size_t which = call.arguments.word(0, functions);
      if (which == 2) throw scpi::Fault(-221);
      function_ = which == 0 ? volts : amperes;
      apply();
    });
    answer(":SOURce#:FUNCtion[:MODE]?", [this](const Call&) { return function_ == volts ? "VOLT" : "CURR"; });
    for (const Quantity q : {volts, amperes}) {
      const std::string base = std::string("[:SOURce#]:") + (q == volts ? "VOLTage" : "CURRent");
      const double most = q == volts ? 210 : 1.05;
      const auto set_level = [this, q, most](const Call& call) {
        call.arguments.expect(1, 1);
        const double level = call.number(0, {-most, most, 0.0, q == volts ? "V" : "A"});
        if (source_auto_[q]) source_range_[q] = range_for(q, level, programmable);
        else if (std::abs(level) > rows(q)[source_range_[q]].full * programmable * (1 + 1e-12))
          throw scpi::Fault(-222);
        level_[q] = level;
        apply();
      };
      on(base + "[:LEVel][:IMMediate][:AMPLitude]", set_level);
      answer(base + "[:LEVel][:IMMediate][:AMPLitude]?", [this, q, most](const Call& call) {
        return number_text(call.arguments.size() == 0 ? level_[q] : call.number(0, {-most, most, 0.0, {}}));
      });
      on(base + ":MODE", [](const Call& call) {
        static constexpr std::array<std::string_view, 3> modes{"FIXed", "LIST", "SWEep"};
        if (call.arguments.word(0, modes) != 0) throw scpi::Fault(-221);
      });
      answer(base + ":MODE?", [](const Call&) { return "FIX"; });
      on(base + ":RANGe", [this, q, most](const Call& call) {
        call.arguments.expect(1, 1);
        const std::size_t range =
            range_for(q, call.number(0, {-most, most, rows(q).back().full, q == volts ? "V" : "A"}), 1);
        // A range too small for the present level reduces it to the end of the range.
        source_range_[q] = range;
        source_auto_[q] = false;
        const double reach = rows(q)[range].full * programmable;
        level_[q] = std::clamp(level_[q], -reach, reach);
        apply();
      });
      answer(base + ":RANGe?",
             [this, q](const Call&) { return number_text(rows(q)[source_range_[q]].full); });
      on(base + ":RANGe:AUTO", [this, q](const Call& call) {
        call.arguments.expect(1, 1);
        source_auto_[q] = call.arguments.boolean(0);
        if (source_auto_[q]) source_range_[q] = range_for(q, level_[q], programmable);
        apply();
      });
      answer(base + ":RANGe:AUTO?", [this, q](const Call&) { return source_auto_[q] ? "1" : "0"; });
    }
    on(":SOURce#:VOLTage:PROTection[:LEVel]", [this](const Call& call) {
      call.arguments.expect(1, 1);
      static constexpr std::array<double, 8> steps{20, 40, 60, 80, 100, 120, 160, 210};
      if (call.arguments.is_word(0, "NONE")) {
        protection_ = 210;
      } else {
        const double asked = std::abs(call.number(0, {-210, 210, 210.0, "V"}));
        protection_ = *std::find_if(steps.begin(), steps.end(), [&](double s) { return asked <= s; });
      }
      apply();
    });
    answer(":SOURce#:VOLTage:PROTection[:LEVel]?", [this](const Call&) { return number_text(protection_); });
    number(":SOURce#:DELay", delay_, {0, 999.9999, 0.0, "S"}, [this] { auto_delay_ = false; });
    flag(":SOURce#:DELay:AUTO", auto_delay_);
    flag(":SOURce#:CLEar:AUTO", auto_off_);
  }

  void function_commands() {
    flag(":SENSe#:FUNCtion:CONCurrent", concurrent_);
    on(":SENSe#:FUNCtion[:ON]", [this](const Call& call) {
      call.arguments.expect(1, 3);
      if (!concurrent_) measured_ = {false, false};
      for (std::size_t i = 0; i < call.arguments.size(); ++i)
        measured_[quantity(call.arguments.string(i))] = true;
    });
    on(":SENSe#:FUNCtion:OFF", [this](const Call& call) {
      call.arguments.expect(1, 3);
      for (std::size_t i = 0; i < call.arguments.size(); ++i)
        measured_[quantity(call.arguments.string(i))] = false;
    });
    on(":SENSe#:FUNCtion[:ON]:ALL", [this](const Call&) { measured_ = {true, true}; });
    on(":SENSe#:FUNCtion:OFF:ALL", [this](const Call&) { measured_ = {false, false}; });
    answer(":SENSe#:FUNCtion[:ON]?", [this](const Call&) {
      std::string text;
      if (measured_[volts]) text = "\"VOLT:DC\"";
      if (measured_[amperes]) text += std::string(text.empty() ? "" : ",") + "\"CURR:DC\"";
      return text.empty() ? std::string("\"\"") : text;
    });
  }

  void sense_commands() {
    for (const Quantity q : {volts, amperes}) {
      const std::string base = std::string(":SENSe#:") + (q == volts ? "VOLTage" : "CURRent") + "[:DC]";
      const double most = q == volts ? 210 : 1.05;
      on(base + ":PROTection[:LEVel]", [this, q, most](const Call& call) {
        call.arguments.expect(1, 1);
        const double limit =
            std::abs(call.number(0, {-most, most, q == volts ? 21 : 105e-6, q == volts ? "V" : "A"}));
        // A compliance below 0.1 % of the present measure range is refused and not changed.
        if (limit < 1e-3 * rows(q)[measure_range_[q]].full)
          throw scpi::Fault(822, "Too small for sense range");
        compliance_[q] = limit;
        if (measure_auto_[q])
          measure_range_[q] = std::min(measure_range_[q], range_for(q, limit, programmable));
        else if (rows(q)[measure_range_[q]].full > limit * programmable)
          measure_range_[q] = range_for(q, limit, programmable);
        apply();
      });
      answer(base + ":PROTection[:LEVel]?", [this, q](const Call&) { return number_text(compliance_[q]); });
      answer(base + ":PROTection:TRIPped?", [this, q](const Call&) {
        return output_on_ && limited_quantity() == q && circuit_.limited(port_) ? "1" : "0";
      });
      on(base + ":RANGe[:UPPer]", [this, q, most](const Call& call) {
        call.arguments.expect(1, 1);
        const std::size_t range = range_for(
            q, call.number(0, {-most, most, rows(q).back().full, q == volts ? "V" : "A"}), programmable);
        if (q == limited_quantity() && range > range_for(q, compliance_[q], programmable))
          throw scpi::Fault(824, "Cannot exceed compliance range");
        measure_range_[q] = range;
        measure_auto_[q] = false;
        apply();
      });
      answer(base + ":RANGe[:UPPer]?",
             [this, q](const Call&) { return number_text(rows(q)[present_range(q)].full); });
      on(base + ":RANGe:AUTO", [this, q](const Call& call) {
        call.arguments.expect(1, 1);
        measure_auto_[q] = call.arguments.boolean(0);
        apply();
      });
      answer(base + ":RANGe:AUTO?", [this, q](const Call&) { return measure_auto_[q] ? "1" : "0"; });
      number(base + ":RANGe:AUTO:LLIMit", auto_low_[q],
             {rows(q)[0].full, rows(q).back().full, rows(q)[0].full, q == volts ? "V" : "A"});
      number(base + ":NPLCycles", nplc_, {0.01, 10, 1.0, {}});
    }
  }

  void average_commands() {
    flag(":SENSe#:AVERage[:STATe]", average_);
    on(":SENSe#:AVERage:COUNt",
       [this](const Call& call) { averages_ = static_cast<int>(call.arguments.whole(0, 1, 100)); });
    answer(":SENSe#:AVERage:COUNt?", [this](const Call&) { return integer(averages_); });
    on(":SENSe#:AVERage:TCONtrol", [this](const Call& call) {
      static constexpr std::array<std::string_view, 2> kinds{"REPeat", "MOVing"};
      moving_ = call.arguments.word(0, kinds) == 1;
    });
    answer(":SENSe#:AVERage:TCONtrol?", [this](const Call&) { return moving_ ? "MOV" : "REP"; });
  }

  void output_commands() {
    on(":OUTPut#[:STATe]", [this](const Call& call) {
      call.arguments.expect(1, 1);
      set_output(call.arguments.boolean(0));
    });
    answer(":OUTPut#[:STATe]?", [this](const Call&) { return output_on_ ? "1" : "0"; });
    static constexpr std::array<std::string_view, 4> states{"NORMal", "HIMPedance", "ZERO", "GUARd"};
    on(":OUTPut#:SMODe", [this](const Call& call) {
      call.arguments.expect(1, 1);
      off_state_ = call.arguments.word(0, states);
      apply();
    });
    answer(":OUTPut#:SMODe?", [this](const Call&) {
      return std::array{"NORM", "HIMP", "ZERO", "GUAR"}[off_state_];
    });
    on(":ROUTe:TERMinals", [this](const Call& call) {
      static constexpr std::array<std::string_view, 2> terminals{"FRONt", "REAR"};
      rear_ = call.arguments.word(0, terminals) == 1;
    });
    answer(":ROUTe:TERMinals?", [this](const Call&) { return rear_ ? "REAR" : "FRON"; });
  }

  void trigger_commands() {
    const auto count = [this](const std::string& pattern, int& value) {
      on(pattern, [this, &value](const Call& call) {
        call.arguments.expect(1, 1);
        const int before = value;
        value = static_cast<int>(call.arguments.whole(0, 1, 2500));
        if (arm_count_ * trigger_count_ <= 2500) return;
        value = before;
        throw scpi::Fault(-222);
      });
      answer(pattern + '?', [this, &value](const Call&) { return integer(value); });
    };
    count(":ARM[:SEQuence#][:LAYer#]:COUNt", arm_count_);
    count(":TRIGger[:SEQuence#]:COUNt", trigger_count_);
    number(":TRIGger[:SEQuence#]:DELay", trigger_delay_, {0, 999.9999, 0.0, "S"});
    for (const char* pattern : {":ARM[:SEQuence#][:LAYer#]:SOURce", ":TRIGger[:SEQuence#]:SOURce"}) {
      on(pattern, [](const Call& call) {
        static constexpr std::array<std::string_view, 5> sources{"IMMediate", "BUS", "TIMer", "MANual",
                                                                 "TLINk"};
        if (call.arguments.word(0, sources) != 0)
          throw scpi::Fault(-221);  // only immediate triggers are emulated
      });
      answer(std::string(pattern) + '?', [](const Call&) { return "IMM"; });
    }
    on(":INITiate[:IMMediate]", [this](const Call&) { initiate(); });
    on(":ABORt", [this](const Call&) { finish(); });
    on("*TRG", [](const Call&) { throw scpi::Fault(-211); });
    answer(":TRIGger[:SEQuence#]:STATe?", [this](const Call&) { return operating() ? "1" : "0"; });
    on(":READ?", [this](const Call& call) {
      call.arguments.expect(0, 0);
      initiate();
      when_idle([this] { reply(last_); });
    });
    on(":FETCh?", [this](const Call&) {
      when_idle([this] {
        if (last_.empty()) throw scpi::Fault(-230);
        reply(last_);
      });
    });
    for (const Quantity q : {volts, amperes}) {
      const std::string name = q == volts ? "VOLTage" : "CURRent";
      const auto configure = [this, q] {
        measured_ = {false, false};
        measured_[q] = true;
        arm_count_ = trigger_count_ = 1;
        set_output(true);
      };
      on(":CONFigure:" + name + "[:DC]", [configure](const Call&) { configure(); });
      on(":MEASure:" + name + "[:DC]?", [this, configure](const Call&) {
        configure();
        initiate();
        when_idle([this] { reply(last_); });
      });
    }
  }

  void data_commands() {
    on(":FORMat:ELEMents", [this](const Call& call) {
      call.arguments.expect(1, 5);
      std::array<bool, 5> chosen{};
      static constexpr std::array<std::string_view, 5> names{"VOLTage", "CURRent", "RESistance", "TIME",
                                                             "STATus"};
      for (std::size_t i = 0; i < call.arguments.size(); ++i) chosen[call.arguments.word(i, names)] = true;
      elements_ = chosen;
    });
    answer(":FORMat:ELEMents?", [this](const Call&) {
      static constexpr std::array<const char*, 5> names{"VOLT", "CURR", "RES", "TIME", "STAT"};
      std::string text;
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (elements_[i]) text += (text.empty() ? "" : ",") + std::string(names[i]);
      }
      return text;
    });
    on(":FORMat[:DATA]", [](const Call& call) {
      if (!call.arguments.is_word(0, "ASCii")) throw scpi::Fault(701, "ASCII only with RS-232");
    });
    answer(":FORMat[:DATA]?", [](const Call&) { return "ASC"; });
    on(":TRACe:CLEar", [this](const Call&) { buffer_.clear(); });
    on(":TRACe:POINts", [this](const Call& call) {
      buffer_size_ = static_cast<std::size_t>(call.arguments.whole(0, 1, 2500));
    });
    answer(":TRACe:POINts?",
           [this](const Call&) { return integer(static_cast<std::int64_t>(buffer_size_)); });
    answer(":TRACe:POINts:ACTual?",
           [this](const Call&) { return integer(static_cast<std::int64_t>(buffer_.size())); });
    on(":TRACe:FEED", [](const Call& call) {
      if (!call.arguments.is_word(0, "SENSe") && !call.arguments.is_word(0, "SENSe1"))
        throw scpi::Fault(-224);
    });
    on(":TRACe:FEED:CONTrol", [this](const Call& call) {
      static constexpr std::array<std::string_view, 2> modes{"NEXT", "NEVer"};
      feeding_ = call.arguments.word(0, modes) == 0;
      if (feeding_) buffer_.clear();
    });
    on(":TRACe:DATA?", [this](const Call&) {
      when_idle([this] {
        std::string all;
        for (const std::string& reading : buffer_) all += (all.empty() ? "" : ",") + reading;
        reply(all);
      });
    });
  }

  void other_commands() {
    flag(":SYSTem:RSENse", remote_sense_);
    on(":SYSTem:AZERo[:STATe]", [this](const Call& call) {
      if (!call.arguments.is_word(0, "ONCE")) autozero_ = call.arguments.boolean(0);
    });
    answer(":SYSTem:AZERo[:STATe]?", [this](const Call&) { return autozero_ ? "1" : "0"; });
    answer(":SYSTem:LFRequency?",
           [this](const Call&) { return integer(std::llround(imperfection_.line_frequency)); });
    // Model 2400 service manual, table B-1: year, month, day, as programmed at the last calibration.
    answer(":CALibration:PROTected:DATE?", [](const Call&) { return "2024,3,18"; });
    answer(":CALibration:PROTected:NDUE?", [](const Call&) { return "2025,3,18"; });
    answer(":CALibration:PROTected:COUNt?", [this](const Call&) { return integer(7); });
    answer(":CALibration:PROTected:LOCK?", [](const Call&) { return "1"; });
    answer(":SYSTem:VERSion?", [](const Call&) { return "1995.0"; });
    for (const char* pattern :
         {":SYSTem:BEEPer:STATe", ":SYSTem:BEEPer[:IMMediate]", ":SYSTem:LOCal", ":SYSTem:REMote",
          ":SYSTem:TIME:RESet", ":DISPlay:ENABle", ":DISPlay:DIGits", ":SYSTem:KEY"})
      accept(pattern);
    on(":STATus:QUEue:CLEar", [this](const Call&) {
      while (status.errors() > 0) status.pop();
    });
    answer(":STATus:MEASurement[:EVENt]?",
           [this](const Call&) { return integer(measurement_.take_event()); });
    answer(":STATus:MEASurement:CONDition?", [this](const Call&) { return integer(measurement_.condition); });
    on(":STATus:MEASurement:ENABle", [this](const Call& call) {
      measurement_.enable = static_cast<std::uint16_t>(call.arguments.whole(0, 0, 65535) & 0x7FFF);
    });
    answer(":STATus:MEASurement:ENABle?", [this](const Call&) { return integer(measurement_.enable); });
  }

  static Quantity quantity(const std::string& name) {
    for (const auto& [word, q] : {std::pair{"VOLTage", volts},
                                  {"VOLTage:DC", volts},
                                  {"CURRent", amperes},
                                  {"CURRent:DC", amperes}}) {
      const std::string_view text = word;
      const std::size_t colon = text.find(':');
      const std::size_t given = name.find(':');
      if ((colon == std::string_view::npos) != (given == std::string::npos)) continue;
      if (!scpi::is_form_of(std::string_view(name).substr(0, given), text.substr(0, colon))) continue;
      if (given == std::string::npos ||
          scpi::is_form_of(std::string_view(name).substr(given + 1), text.substr(colon + 1)))
        return q;
    }
    throw scpi::Fault(-224);
  }

  // --- measuring -----------------------------------------------------------------------------------------

  std::size_t present_range(Quantity q) const {
    return q == function_ ? source_range_[q] : measure_range_[q];
  }

  // Delay between the change of the level and the start of a conversion.
  double source_delay() const {
    if (!auto_delay_) return delay_;
    const double full = rows(amperes)[present_range(amperes)].full;
    return full <= 1e-6 ? 3e-3 : full <= 1e-5 ? 2e-3 : 1e-3;
  }
  double aperture() const { return nplc_ / imperfection_.line_frequency; }
  int conversions() const { return average_ ? (moving_ ? 1 : averages_) : 1; }
  // Each measured function takes one conversion; with autozero, two more, of reference and zero.
  double conversion_time() const {
    const int functions = std::max(1, int{measured_[volts]} + int{measured_[amperes]});
    return aperture() * functions * conversions() * (autozero_ ? 3 : 1);
  }

  void initiate() {
    check_quiet();
    if (!output_on_ && !auto_off_) throw scpi::Fault(803, "Not permitted with OUTPUT off");
    if (auto_off_) set_output(true);
    readings_left_ = arm_count_ * trigger_count_;
    last_.clear();
    status.operation.set(1 << 10, false);
    begin_operation(now() + trigger_delay_ + source_delay(), [this] { return convert(); });
  }

  double convert() {
    if (!converting_) {  // start of the aperture
      converting_ = true;
      began_ = now();
      sensed_ = circuit_.sensed_integral(port_);
      terminal_ = circuit_.voltage_integral(port_);
      charge_ = circuit_.current_integral(port_);
      return now() + conversion_time();
    }
    converting_ = false;
    const double span = now() - began_;
    const double V = (remote_sense_ ? circuit_.sensed_integral(port_) - sensed_
                                    : circuit_.voltage_integral(port_) - terminal_) /
                     span;
    const double I = (circuit_.current_integral(port_) - charge_) / span;
    const std::string reading = formatted(V, I);
    last_ += (last_.empty() ? "" : ",") + reading;
    if (feeding_) {
      buffer_.push_back(reading);
      if (buffer_.size() >= buffer_size_) {
        feeding_ = false;
        measurement_.set(1 << 9, true);  // buffer full
        measurement_.set(1 << 9, false);
      }
    }
    measurement_.set(1 << 6, true);
    measurement_.set(1 << 6, false);
    if (--readings_left_ > 0) return now() + trigger_delay_ + source_delay();
    finish();
    return never;
  }

  void finish() {
    abort_operation();
    converting_ = false;
    status.operation.set(1 << 10, true);  // idle
    if (auto_off_ && output_on_) set_output(false);
  }

  // The reading of a converted value; with autorange, in the range for that value.
  double read(Quantity q, double value, bool& over) {
    std::size_t range = present_range(q);
    if (q != function_ && measure_auto_[q]) {
      range = std::max(range_for(q, value, measurable), range_for(q, auto_low_[q], 1));
      measure_range_[q] = std::min(range, range_for(q, compliance_[q], programmable));
    }
    const RangeRow& row = rows(q)[range];
    if (std::abs(value) > row.full * measurable) {
      over = true;
      return overflow;
    }
    const auto what = static_cast<std::uint32_t>(1000 + 10 * q + range);
    double reading = value * (1 + row.gain * error(what)) + row.offset * error(what + 100);
    // The specified noise is peak to peak, six standard deviations, at 1 NPLC; averaging n apertures divides
    // it by sqrt(n).
    reading += row.noise / 6 / std::sqrt(std::max(0.01, nplc_ * conversions())) * noise();
    return imperfection_.quantised ? snapped(reading, row.resolution) : reading;
  }

  std::string formatted(double V, double I) {
    bool over = false;
    const double v = measured_[volts]     ? read(volts, V, over)
                     : function_ == volts ? level_[volts]
                                          : not_a_number;
    const double i = measured_[amperes]     ? read(amperes, I, over)
                     : function_ == amperes ? level_[amperes]
                                            : not_a_number;
    const bool limited = circuit_.was_limited(port_, began_);
    std::uint32_t word = 0;
    const auto bit = [&](int n, bool on) { word |= on ? 1U << n : 0; };
    bit(0, over);
    bit(1, average_);
    bit(2, !rear_);
    bit(3, limited && !range_limits());
    bit(4, protection_ < 210 && function_ == volts && std::abs(level_[volts]) > protection_);
    bit(11, measured_[volts]);
    bit(12, measured_[amperes]);
    bit(14, function_ == volts);
    bit(15, function_ == amperes);
    bit(16, limited && range_limits());
    bit(22, remote_sense_);
    measurement_.set(1 << 7, over);
    measurement_.set(1 << 14, limited);
    const std::array<double, 5> values{v, i, not_a_number, std::fmod(now(), 1e5), static_cast<double>(word)};
    std::string text;
    for (std::size_t k = 0; k < values.size(); ++k) {
      if (elements_[k])
        text += (text.empty() ? "" : ",") + (k == 4 ? scpi::nr3(values[k], 6) : reading_text(values[k], 6));
    }
    return text;
  }

  std::size_t port_;
  Quantity function_ = volts;
  std::array<double, 2> level_{}, compliance_{}, auto_low_{};
  std::array<std::size_t, 2> source_range_{}, measure_range_{};
  std::array<bool, 2> source_auto_{}, measure_auto_{}, measured_{};
  bool concurrent_ = true, average_ = false, moving_ = false, autozero_ = true, remote_sense_ = false,
       rear_ = false;
  bool output_on_ = false, auto_off_ = false, auto_delay_ = true, feeding_ = false, converting_ = false;
  std::size_t off_state_ = 0, buffer_size_ = 100;
  double nplc_ = 1, delay_ = 0, trigger_delay_ = 0, protection_ = 210;
  int averages_ = 10, arm_count_ = 1, trigger_count_ = 1, readings_left_ = 0;
  std::array<bool, 5> elements_{};
  double began_ = 0, sensed_ = 0, terminal_ = 0, charge_ = 0;
  std::string last_;
  std::vector<std::string> buffer_;
  scpi::RegisterGroup measurement_;
};

}  // namespace

std::unique_ptr<EmulatedInstrument> emulated_keithley_2400(Circuit& circuit, std::size_t port,
                                                           const Imperfection& imperfection) {
  return std::make_unique<Keithley2400>(circuit, port, imperfection);
}

}  // namespace ness::sim
