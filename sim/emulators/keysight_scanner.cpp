// Agilent/Keysight 34970A and DAQ970A with a multiplexer, direct voltage: 34970A/34972A user's guide,
// chapters 4 and 5.
#include <map>

#include "ness/emulators/models.hpp"
#include "dmm.hpp"

namespace ness::sim {

namespace {

constexpr std::uint32_t slots = 3, channels_a_slot = 20;

/// Differences between the models.
struct ScannerModel {
  std::string identity;
  std::size_t queue;  ///< entries of the error queue
  const DmmModel& dmm;
};

class KeysightScanner final : public ScpiInstrument {
 public:
  KeysightScanner(const ScannerModel& model, Circuit& circuit, const std::vector<ChannelPort>& channels,
                  const Imperfection& imperfection)
      : ScpiInstrument({model.identity, model.queue, "+0,\"No error\"", 0.5e-3, 1 << 16, true}, circuit,
                       imperfection),
        dmm_(model.dmm) {
    for (const ChannelPort& channel : channels) ports_[channel.channel] = channel.port;
    commands();
    reset();
  }

 private:
  void reset() override {
    settings_.clear();
    for (std::uint32_t slot = 1; slot <= slots; ++slot) {
      for (std::uint32_t c = 1; c <= channels_a_slot; ++c) settings_[100 * slot + c] = {};
    }
    scan_.clear();
    sweeps_ = 1;
    timer_ = 10;
    trigger_ = 0;
    unit_ = time_ = channel_field_ = alarm_ = false;
    readings_.clear();
    closed_.reset();
    settle();
  }

  // The meter loads only the channel whose relay is closed.
  void settle() {
    for (const auto& [channel, port] : ports_) {
      PortState state;
      if (imperfection_.loading && closed_ && *closed_ == channel)
        state.shunt = 1 / settings_.at(channel).input(dmm_);
      circuit_.drive(port, state);
    }
  }

  std::vector<std::uint32_t> listed(const Call& call, std::size_t i) const {
    if (i >= call.arguments.size()) {
      if (scan_.empty()) throw scpi::Fault(-221);
      return scan_;
    }
    const auto channels = call.arguments.channels(i);
    for (const std::uint32_t channel : channels) {
      const std::uint32_t slot = channel / 100;
      if (slot < 1 || slot > slots) throw scpi::Fault(111, "Channel list: slot number out of range");
      if (!settings_.contains(channel)) throw scpi::Fault(112, "Channel list: channel number out of range");
    }
    return channels;
  }

  // CONF and MEAS: range and resolution (numbers or words), then the channels, which become the scan list.
  void configure(const Call& call) {
    std::size_t list = 0;
    while (list < call.arguments.size() && !call.arguments.is_channels(list)) ++list;
    if (list == call.arguments.size()) throw scpi::Fault(-109);
    if (list > 2 || call.arguments.size() > list + 1) throw scpi::Fault(-108);
    DmmSetting setting;
    if (list > 0 && !call.arguments.is_word(0, "AUTO") && !call.arguments.is_word(0, "DEFault")) {
      setting.range = dmm_range(dmm_, call.number(0, {0.0, dmm_.ranges.back().full, std::nullopt, "V"}));
      setting.autorange = false;
    }
    if (list > 1 && !call.arguments.is_word(1, "DEFault")) {
      if (setting.autorange) throw scpi::Fault(-221);
      setting.cycles =
          dmm_cycles_for(dmm_, setting.range,
                         call.number(1, {dmm_.resolution.back() * dmm_.ranges[setting.range].full,
                                         dmm_.ranges[setting.range].full, std::nullopt, "V"}));
    }
    const auto channels = listed(call, list);
    for (const std::uint32_t channel : channels) {
      setting.high_input = settings_.at(channel).high_input;
      settings_.at(channel) = setting;
    }
    scan_ = channels;
    unit_ = time_ = channel_field_ = alarm_ = false;
    readings_.clear();
  }

  // A setting per channel: "NAME value,(@list)", and its query, which answers for each channel.
  void per_channel(const std::string& pattern, std::function<void(DmmSetting&, const Call&)> set,
                   std::function<std::string(const DmmSetting&)> get) {
    on(pattern, [this, set](const Call& call) {
      call.arguments.expect(1, 2);
      for (const std::uint32_t channel : listed(call, 1)) set(settings_.at(channel), call);
      settle();
    });
    answer(pattern + '?', [this, get](const Call& call) {
      std::string all;
      for (const std::uint32_t channel :
           listed(call, call.arguments.size() == 0 || call.arguments.is_channels(0) ? 0 : 1))
        all += (all.empty() ? "" : ",") + get(settings_.at(channel));
      return all;
    });
  }

  void commands() {
    channel_commands();
    scan_commands();
    measurement_commands();
    relay_and_system_commands();
  }

  void channel_commands() {
    on(":CONFigure:VOLTage:DC", [this](const Call& call) { configure(call); });
    on(":CONFigure:VOLTage[:DC]", [this](const Call& call) { configure(call); });
    on(":MEASure:VOLTage[:DC]?", [this](const Call& call) {
      configure(call);
      start();
    });
    per_channel(
        "[:SENSe]:VOLTage[:DC]:RANGe",
        [this](DmmSetting& s, const Call& call) {
          s.range = dmm_range(dmm_, call.number(0, {0.0, dmm_.ranges.back().full, 10.0, "V"}));
          s.autorange = false;
        },
        [this](const DmmSetting& s) { return scpi::nr3(dmm_.ranges[s.range].full, 8); });
    per_channel(
        "[:SENSe]:VOLTage[:DC]:RANGe:AUTO",
        [](DmmSetting& s, const Call& call) { s.autorange = call.arguments.boolean(0); },
        [](const DmmSetting& s) { return s.autorange ? "1" : "0"; });
    per_channel(
        "[:SENSe]:VOLTage[:DC]:NPLCycles",
        [this](DmmSetting& s, const Call& call) {
          s.cycles = dmm_cycles(dmm_, call.number(0, {dmm_.cycles.front(), dmm_.cycles.back(), 1.0, {}}));
        },
        [this](const DmmSetting& s) { return scpi::nr3(dmm_.cycles[s.cycles], 8); });
    per_channel(
        "[:SENSe]:VOLTage[:DC]:RESolution",
        [this](DmmSetting& s, const Call& call) {
          s.cycles = dmm_cycles_for(dmm_, s.range, call.number(0, {0.0, 300.0, std::nullopt, "V"}));
        },
        [this](const DmmSetting& s) {
          return scpi::nr3(dmm_.resolution[s.cycles] * dmm_.ranges[s.range].full, 8);
        });
    per_channel(
        ":INPut:IMPedance:AUTO",
        [](DmmSetting& s, const Call& call) { s.high_input = call.arguments.boolean(0); },
        [](const DmmSetting& s) { return s.high_input ? "1" : "0"; });
    per_channel(
        ":ROUTe:CHANnel:DELay",
        [](DmmSetting& s, const Call& call) {
          s.delay = std::round(call.number(0, {0, 60, std::nullopt, "S"}) * 1e3) / 1e3;
        },
        [](const DmmSetting& s) { return scpi::nr3(s.delay < 0 ? automatic_delay(s) : s.delay, 8); });
    per_channel(
        ":ROUTe:CHANnel:DELay:AUTO",
        [](DmmSetting& s, const Call& call) {
          s.delay = call.arguments.boolean(0) ? -1 : automatic_delay(s);
        },
        [](const DmmSetting& s) { return s.delay < 0 ? "1" : "0"; });
    per_channel(
        "[:SENSe]:VOLTage[:DC]:ZERO:AUTO", [](DmmSetting&, const Call&) {},
        [](const DmmSetting&) { return "1"; });
  }

  void scan_commands() {
    on(":ROUTe:SCAN", [this](const Call& call) {
      call.arguments.expect(1, 1);
      scan_ = listed(call, 0);
      readings_.clear();
    });
    answer(":ROUTe:SCAN?", [this](const Call&) { return scpi::definite_block(scpi::channel_list(scan_)); });
    answer(":ROUTe:SCAN:SIZE?",
           [this](const Call&) { return integer(static_cast<std::int64_t>(scan_.size())); });

    on(":TRIGger:SOURce", [this](const Call& call) {
      static constexpr std::array<std::string_view, 4> sources{"IMMediate", "BUS", "EXTernal", "TIMer"};
      trigger_ = call.arguments.word(0, sources);
    });
    answer(":TRIGger:SOURce?", [this](const Call&) {
      return std::array{"IMM", "BUS", "EXT", "TIM"}[trigger_];
    });
    on(":TRIGger:COUNt", [this](const Call& call) {
      if (call.arguments.is_word(0, "INFinity")) throw scpi::Fault(-221);
      sweeps_ = static_cast<int>(call.arguments.whole(0, 1, 50000));
    });
    answer(":TRIGger:COUNt?", [this](const Call&) { return scpi::nr3(sweeps_, 8); });
    number(":TRIGger:TIMer", timer_, {0, 359999, 10.0, "S"});
  }

  void measurement_commands() {
    on(":INITiate[:IMMediate]", [this](const Call&) { begin(); });
    on(":READ?", [this](const Call&) { start(); });
    on(":FETCh?", [this](const Call&) {
      when_idle([this] {
        if (readings_.empty()) throw scpi::Fault(-230);
        reply(joined(0, readings_.size()));
      });
    });
    on("*TRG", [this](const Call&) {
      if (!waiting_) throw scpi::Fault(-211);
      waiting_ = false;
      begin_operation(now(), [this] { return scan(); });
    });
    on(":ABORt", [this](const Call&) { stop(); });
    answer(":DATA:POINts?",
           [this](const Call&) { return integer(static_cast<std::int64_t>(readings_.size())); });
    answer(":DATA:REMove?", [this](const Call& call) {
      call.arguments.expect(1, 1);
      const auto n = static_cast<std::size_t>(call.arguments.whole(0, 1, 50000));
      if (n > readings_.size()) throw scpi::Fault(-222);
      const std::string taken = joined(0, n);
      readings_.erase(readings_.begin(), readings_.begin() + static_cast<std::ptrdiff_t>(n));
      return taken;
    });
    flag(":FORMat:READing:UNIT", unit_);
    flag(":FORMat:READing:TIME", time_);
    flag(":FORMat:READing:CHANnel", channel_field_);
    flag(":FORMat:READing:ALARm", alarm_);
    on(":FORMat:READing:TIME:TYPE", [](const Call& call) {
      if (!call.arguments.is_word(0, "RELative")) throw scpi::Fault(-221);
    });
    answer(":FORMat:READing:TIME:TYPE?", [](const Call&) { return "REL"; });
  }

  void relay_and_system_commands() {
    on(":ROUTe:CLOSe", [this](const Call& call) {
      call.arguments.expect(1, 1);
      const auto channels = listed(call, 0);
      if (channels.size() != 1) throw scpi::Fault(-221);
      closed_ = channels[0];
      settle();
    });
    on(":ROUTe:OPEN", [this](const Call& call) {
      for (const std::uint32_t channel : listed(call, 0)) {
        if (closed_ == channel) closed_.reset();
      }
      settle();
    });
    answer(":ROUTe:CLOSe?", [this](const Call& call) {
      std::string all;
      for (const std::uint32_t channel : listed(call, 0))
        all += std::string(all.empty() ? "" : ",") + (closed_ == channel ? "1" : "0");
      return all;
    });
    for (const char* pattern : {":DISPlay[:STATe]", ":DISPlay:TEXT[:DATA]", ":SYSTem:BEEPer[:IMMediate]",
                                ":SYSTem:LOCal", ":SYSTem:REMote"})
      accept(pattern);
    // 34970A/34972A command reference, CALibration subsystem: read whether it is secured or not.
    answer(":CALibration:COUNt?", [this](const Call&) { return integer(273); });
    answer(":CALibration:STRing?", [](const Call&) { return "\"CAL: 18 Mar 2024\""; });
    answer(":SYSTem:VERSion?", [](const Call&) { return "1994.0"; });
    answer(":SYSTem:CTYPe?", [](const Call& call) {
      const auto slot = call.arguments.whole(0, 100, 300);
      if (slot % 100 != 0) throw scpi::Fault(-222);
      return slot == 100 ? "HEWLETT-PACKARD,34901A,0,2.3" : "HEWLETT-PACKARD,0,0,0";
    });
    answer(":SYSTem:LFRequency?",
           [this](const Call&) { return integer(std::llround(imperfection_.line_frequency)); });
  }

  // Settling of relay and input before a conversion: 2 ms up to the 10 V range, 1 ms above.
  static double automatic_delay(const DmmSetting& setting) { return setting.range <= 2 ? 2e-3 : 1e-3; }

  void begin() {
    if (operating() || waiting_) throw scpi::Fault(-213);
    if (scan_.empty()) throw scpi::Fault(-221);
    readings_.clear();
    sweep_ = 0;
    place_ = 0;
    phase_ = 0;
    started_ = now();
    sweep_started_ = now();
    status.operation.set(16, true);
    if (trigger_ == 1 || trigger_ == 2) {
      waiting_ = true;
      status.operation.set(16, false);
      return;
    }
    begin_operation(now(), [this] { return scan(); });
  }

  // READ?: starts a scan, and answers after the last channel; readings are not stored.
  void start() {
    if (trigger_ == 1) throw scpi::Fault(-214);
    begin();
    when_idle([this] {
      reply(joined(0, readings_.size()));
      readings_.clear();
    });
  }

  // For each channel: close the relay, wait, integrate.
  double scan() {
    const std::uint32_t channel = scan_[place_];
    DmmSetting& setting = settings_.at(channel);
    const auto port = ports_.find(channel);
    if (phase_ == 0) {
      closed_ = channel;
      settle();
      phase_ = 1;
      return now() + 1e-3 +
             (setting.delay < 0 ? automatic_delay(setting)
                                : setting.delay);  // an armature relay takes about 1 ms
    }
    if (phase_ == 1) {
      if (port != ports_.end()) integral_ = circuit_.voltage_integral(port->second);
      began_ = now();
      phase_ = 2;
      return now() + setting.aperture(dmm_, imperfection_.line_frequency) * 2;  // reading and zero (autozero)
    }
    const double V =
        port == ports_.end() ? 0 : (circuit_.voltage_integral(port->second) - integral_) / (now() - began_);
    if (setting.autorange) {
      setting.range = dmm_.ranges.size() - 1;
      for (std::size_t i = dmm_.ranges.size(); i-- > 0;) {
        if (std::abs(V) <= dmm_.ranges[i].full * dmm_.reach) setting.range = i;
      }
    }
    const auto what = static_cast<std::uint32_t>(setting.range);
    // Each relay adds a thermal voltage below 3 uV.
    readings_.push_back({dmm_reading(dmm_, setting, V + 3e-6 * error(1000 + channel), error(what),
                                     error(10 + what), noise(), imperfection_.quantised),
                         now() - started_, channel});
    phase_ = 0;
    if (++place_ < scan_.size()) return now();
    place_ = 0;
    if (++sweep_ < sweeps_) {
      if (trigger_ != 3) return now();
      sweep_started_ += timer_;
      return std::max(now(), sweep_started_);
    }
    stop();
    return never;
  }

  void stop() {
    abort_operation();
    waiting_ = false;
    closed_.reset();
    settle();
    status.operation.set(16, false);
  }

  struct Reading {
    double value, time;
    std::uint32_t channel;
  };

  std::string joined(std::size_t from, std::size_t count) const {
    std::string all;
    for (std::size_t i = from; i < from + count; ++i) {
      const Reading& r = readings_[i];
      all += (i > from ? "," : "") + reading_text(r.value, 8);
      if (unit_) all += " VDC";
      if (time_) {
        char text[32];
        std::snprintf(text, sizeof text, "%013.3f", r.time);
        all += std::string(",") + text;
      }
      if (channel_field_) all += "," + std::to_string(r.channel);
      if (alarm_) all += ",0";
    }
    return all;
  }

  const DmmModel& dmm_;
  std::map<std::uint32_t, std::size_t> ports_;
  std::map<std::uint32_t, DmmSetting> settings_;
  std::vector<std::uint32_t> scan_;
  std::vector<Reading> readings_;
  std::optional<std::uint32_t> closed_;
  int sweeps_ = 1, sweep_ = 0, phase_ = 0;
  std::size_t place_ = 0, trigger_ = 0;
  double timer_ = 10, integral_ = 0, began_ = 0, started_ = 0, sweep_started_ = 0;
  bool unit_ = false, time_ = false, channel_field_ = false, alarm_ = false, waiting_ = false;
};

}  // namespace

std::unique_ptr<EmulatedInstrument> emulated_keysight_34970a(Circuit& circuit,
                                                             const std::vector<ChannelPort>& channels,
                                                             const Imperfection& imperfection) {
  const ScannerModel model{"HEWLETT-PACKARD,34970A,0,13-2-2", 10, classic_dmm()};
  return std::make_unique<KeysightScanner>(model, circuit, channels, imperfection);
}

std::unique_ptr<EmulatedInstrument> emulated_keysight_daq970a(Circuit& circuit,
                                                              const std::vector<ChannelPort>& channels,
                                                              const Imperfection& imperfection) {
  const std::string serial = "MY58" + std::to_string(100000 + imperfection.number);
  const ScannerModel model{
      "Keysight Technologies,DAQ970A," + serial + ",A.02.02-01.00-02.01-00.01-02.00-03-01", 20,
      truevolt_dmm()};
  return std::make_unique<KeysightScanner>(model, circuit, channels, imperfection);
}

}  // namespace ness::sim
