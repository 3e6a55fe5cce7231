// Agilent 34401A and Keysight 34461A, direct voltage: 34401A user's guide chapter 4, Truevolt operating and
// service guide.
#include "ness/emulators/models.hpp"
#include "dmm.hpp"

namespace ness::sim {

namespace {

class KeysightMultimeter final : public ScpiInstrument {
 public:
  KeysightMultimeter(std::string identity, const DmmModel& dmm, bool dated, Circuit& circuit,
                     std::size_t port, const Imperfection& imperfection)
      : ScpiInstrument({std::move(identity), 20, "+0,\"No error\"", 0.3e-3, 1 << 16, true}, circuit,
                       imperfection),
        dmm_(dmm),
        port_(port) {
    commands();
    calibration_commands(dated);
    reset();
  }

 private:
  void reset() override {
    setting_ = {};
    setting_.cycles = dmm_cycles(dmm_, 10);
    zero_ = true;
    samples_ = triggers_ = 1;
    delay_ = -1;
    source_ = 0;
    readings_.clear();
    waiting_ = false;
    load();
  }

  void load() {
    PortState state;
    if (imperfection_.loading) state.shunt = 1 / setting_.input(dmm_);
    circuit_.drive(port_, state);
  }

  void configure(const Call& call) {
    call.arguments.expect(0, 2);
    const bool high = setting_.high_input;
    setting_ = {};
    setting_.high_input = high;
    setting_.cycles = dmm_cycles(dmm_, 10);
    const auto given = [&](std::size_t i) {
      return i < call.arguments.size() && !call.arguments.is_word(i, "DEFault") &&
             !call.arguments.is_word(i, "AUTO");
    };
    if (given(0)) {
      setting_.range = dmm_range(dmm_, call.number(0, {0.0, dmm_.ranges.back().full, std::nullopt, "V"}));
      setting_.autorange = false;
    }
    if (given(1))
      setting_.cycles = dmm_cycles_for(dmm_, setting_.range,
                                       call.number(1, {0.0, dmm_.ranges.back().full, std::nullopt, "V"}));
    samples_ = triggers_ = 1;
    delay_ = -1;
    source_ = 0;
    load();
  }

  void commands() {
    voltage_commands();
    trigger_commands();
    measurement_commands();
  }

  void voltage_commands() {
    on(":CONFigure[:VOLTage][:DC]", [this](const Call& call) { configure(call); });
    answer(":CONFigure?", [this](const Call&) {
      return "\"VOLT " + scpi::nr3(dmm_.ranges[setting_.range].full, 6) + ',' +
             scpi::nr3(dmm_.resolution[setting_.cycles] * dmm_.ranges[setting_.range].full, 6) + '"';
    });
    on(":MEASure[:VOLTage][:DC]?", [this](const Call& call) {
      configure(call);
      start();
    });
    answer("[:SENSe]:FUNCtion[:ON]?", [](const Call&) { return "\"VOLT\""; });
    on("[:SENSe]:FUNCtion[:ON]", [](const Call& call) {
      const std::string& name = call.arguments.string(0);
      if (!scpi::is_form_of(name, "VOLTage") && !scpi::is_form_of(name, "VOLT:DC")) throw scpi::Fault(-221);
    });
    on("[:SENSe]:VOLTage[:DC]:RANGe[:UPPer]", [this](const Call& call) {
      call.arguments.expect(1, 1);
      setting_.range =
          dmm_range(dmm_, call.number(0, {dmm_.ranges.front().full, dmm_.ranges.back().full, 10.0, "V"}));
      setting_.autorange = false;
      load();
    });
    answer("[:SENSe]:VOLTage[:DC]:RANGe[:UPPer]?",
           [this](const Call&) { return scpi::nr3(dmm_.ranges[setting_.range].full, 8); });
    on("[:SENSe]:VOLTage[:DC]:RANGe:AUTO", [this](const Call& call) {
      if (!call.arguments.is_word(0, "ONCE")) setting_.autorange = call.arguments.boolean(0);
    });
    answer("[:SENSe]:VOLTage[:DC]:RANGe:AUTO?",
           [this](const Call&) { return setting_.autorange ? "1" : "0"; });
    on("[:SENSe]:VOLTage[:DC]:NPLCycles", [this](const Call& call) {
      call.arguments.expect(1, 1);
      setting_.cycles = dmm_cycles(dmm_, call.number(0, {dmm_.cycles.front(), dmm_.cycles.back(), 10.0, {}}));
    });
    answer("[:SENSe]:VOLTage[:DC]:NPLCycles?",
           [this](const Call&) { return scpi::nr3(dmm_.cycles[setting_.cycles], 8); });
    on("[:SENSe]:VOLTage[:DC]:RESolution", [this](const Call& call) {
      setting_.cycles =
          dmm_cycles_for(dmm_, setting_.range, call.number(0, {0.0, 1000.0, std::nullopt, "V"}));
    });
    answer("[:SENSe]:VOLTage[:DC]:RESolution?", [this](const Call&) {
      return scpi::nr3(dmm_.resolution[setting_.cycles] * dmm_.ranges[setting_.range].full, 8);
    });
    for (const char* pattern : {"[:SENSe]:ZERO:AUTO", "[:SENSe]:VOLTage[:DC]:ZERO:AUTO"}) {
      on(pattern, [this](const Call& call) {
        if (!call.arguments.is_word(0, "ONCE")) zero_ = call.arguments.boolean(0);
      });
      answer(std::string(pattern) + '?', [this](const Call&) { return zero_ ? "1" : "0"; });
    }
    for (const char* pattern : {":INPut:IMPedance:AUTO", "[:SENSe]:VOLTage[:DC]:IMPedance:AUTO"}) {
      on(pattern, [this](const Call& call) {
        setting_.high_input = call.arguments.boolean(0);
        load();
      });
      answer(std::string(pattern) + '?', [this](const Call&) { return setting_.high_input ? "1" : "0"; });
    }
  }

  void trigger_commands() {
    on(":TRIGger:SOURce", [this](const Call& call) {
      static constexpr std::array<std::string_view, 3> sources{"IMMediate", "BUS", "EXTernal"};
      source_ = call.arguments.word(0, sources);
    });
    answer(":TRIGger:SOURce?", [this](const Call&) { return std::array{"IMM", "BUS", "EXT"}[source_]; });
    on(":TRIGger:COUNt",
       [this](const Call& call) { triggers_ = static_cast<int>(call.arguments.whole(0, 1, 50000)); });
    answer(":TRIGger:COUNt?", [this](const Call&) { return scpi::nr3(triggers_, 8); });
    on(":TRIGger:DELay", [this](const Call& call) { delay_ = call.number(0, {0, 3600, std::nullopt, "S"}); });
    answer(":TRIGger:DELay?", [this](const Call&) { return scpi::nr3(delay_ < 0 ? 1.5e-3 : delay_, 8); });
    on(":TRIGger:DELay:AUTO", [this](const Call& call) { delay_ = call.arguments.boolean(0) ? -1 : 1.5e-3; });
    answer(":TRIGger:DELay:AUTO?", [this](const Call&) { return delay_ < 0 ? "1" : "0"; });
    on(":SAMPle:COUNt",
       [this](const Call& call) { samples_ = static_cast<int>(call.arguments.whole(0, 1, 50000)); });
    answer(":SAMPle:COUNt?", [this](const Call&) { return scpi::nr3(samples_, 8); });
  }

  void measurement_commands() {
    on(":INITiate[:IMMediate]", [this](const Call&) { begin(); });
    on(":READ?", [this](const Call&) { start(); });
    on(":FETCh?", [this](const Call&) {
      when_idle([this] {
        if (readings_.empty()) throw scpi::Fault(-230);
        reply(joined(readings_.size()));
      });
    });
    on("*TRG", [this](const Call&) {
      if (!waiting_) throw scpi::Fault(-211);
      waiting_ = false;
      begin_operation(now(), [this] { return sample(); });
    });
    on(":ABORt", [this](const Call&) { stop(); });
    answer(":DATA:POINts?",
           [this](const Call&) { return integer(static_cast<std::int64_t>(readings_.size())); });
    answer(":DATA:LAST?", [this](const Call&) {
      if (readings_.empty()) throw scpi::Fault(-230);
      return scpi::nr3(readings_.back(), 8) + " VDC";
    });
    answer(":R?", [this](const Call& call) {
      const std::size_t n =
          call.arguments.size() == 0
              ? readings_.size()
              : std::min<std::size_t>(readings_.size(),
                                      static_cast<std::size_t>(call.arguments.whole(0, 1, 50000)));
      const std::string taken = scpi::definite_block(joined(n));
      readings_.erase(readings_.begin(), readings_.begin() + static_cast<std::ptrdiff_t>(n));
      return taken;
    });
    for (const char* pattern :
         {":DISPlay[:STATe]", ":DISPlay:TEXT[:DATA]", ":DISPlay:TEXT:CLEar", ":SYSTem:BEEPer[:IMMediate]",
          ":SYSTem:LOCal", ":SYSTem:REMote", ":SYSTem:RWLock"})
      accept(pattern);
    answer(":SYSTem:VERSion?", [](const Call&) { return "1994.0"; });
    answer(":ROUTe:TERMinals?", [](const Call&) { return "FRON"; });
  }

  // A count, and a message of up to 12 characters (34401A), 40 (34461A); the Truevolt generation keeps the
  // date itself, as signed integers.
  void calibration_commands(bool dated) {
    answer(":CALibration:COUNt?", [this](const Call&) { return integer(273); });
    answer(":CALibration:STRing?", [](const Call&) { return "\"CAL 18MAR24\""; });
    if (!dated) return;
    answer(":CALibration:DATE?",
           [this](const Call&) { return integer(2024) + ',' + integer(3) + ',' + integer(18); });
  }

  void begin() {
    if (operating() || waiting_) throw scpi::Fault(-213);
    readings_.clear();
    left_ = samples_ * triggers_;
    integrating_ = false;
    if (source_ != 0) {
      waiting_ = true;
      return;
    }
    status.operation.set(16, true);
    begin_operation(now() + wait(), [this] { return sample(); });
  }

  void start() {
    if (source_ == 1) throw scpi::Fault(-214);
    begin();
    when_idle([this] { reply(joined(readings_.size())); });
  }

  double wait() const { return delay_ < 0 ? 1.5e-3 : delay_; }

  double sample() {
    if (!integrating_) {
      integrating_ = true;
      began_ = now();
      integral_ = circuit_.voltage_integral(port_);
      return now() + setting_.aperture(dmm_, imperfection_.line_frequency) * (zero_ ? 2 : 1);
    }
    integrating_ = false;
    const double V = (circuit_.voltage_integral(port_) - integral_) / (now() - began_);
    if (setting_.autorange) {
      setting_.range = dmm_.ranges.size() - 1;
      for (std::size_t i = dmm_.ranges.size(); i-- > 0;) {
        if (std::abs(V) <= dmm_.ranges[i].full * dmm_.reach) setting_.range = i;
      }
      load();
    }
    const auto what = static_cast<std::uint32_t>(setting_.range);
    readings_.push_back(
        dmm_reading(dmm_, setting_, V, error(what), error(10 + what), noise(), imperfection_.quantised));
    if (--left_ > 0) return now() + wait();
    stop();
    return never;
  }

  void stop() {
    abort_operation();
    waiting_ = false;
    status.operation.set(16, false);
  }

  std::string joined(std::size_t count) const {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) all += (i > 0 ? "," : "") + reading_text(readings_[i], 8);
    return all;
  }

  const DmmModel& dmm_;
  std::size_t port_;
  DmmSetting setting_;
  bool zero_ = true, integrating_ = false, waiting_ = false;
  int samples_ = 1, triggers_ = 1, left_ = 0;
  std::size_t source_ = 0;
  double delay_ = -1, began_ = 0, integral_ = 0;
  std::vector<double> readings_;
};

}  // namespace

std::unique_ptr<EmulatedInstrument> emulated_agilent_34401a(Circuit& circuit, std::size_t port,
                                                            const Imperfection& imperfection) {
  return std::make_unique<KeysightMultimeter>("HEWLETT-PACKARD,34401A,0,11-5-2", classic_dmm(), false,
                                              circuit, port, imperfection);
}

std::unique_ptr<EmulatedInstrument> emulated_keysight_34461a(Circuit& circuit, std::size_t port,
                                                             const Imperfection& imperfection) {
  const std::string serial = "MY53" + std::to_string(200000 + imperfection.number);
  return std::make_unique<KeysightMultimeter>(
      "Keysight Technologies,34461A," + serial + ",A.02.17-02.40-02.17-00.52-04-01", truevolt_dmm(), true,
      circuit, port, imperfection);
}

}  // namespace ness::sim
