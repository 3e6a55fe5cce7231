// QDevil QDAC-II: the commands of its public driver and its instrument description.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "ness/emulators/models.hpp"
#include "scpi_instrument.hpp"

namespace ness::sim {

namespace {

constexpr std::uint32_t channel_count = 24;
constexpr double low_range = 2, high_range = 10;
constexpr int slew_stairs = 32;  // a slewing output moves in this many steps

class Qdac2 final : public ScpiInstrument {
 public:
  Qdac2(Circuit& circuit, const std::vector<Gate>& gates, const std::vector<ChannelPort>& channels,
        const Imperfection& imperfection)
      : ScpiInstrument({"QDevil, QDAC-II, " + std::to_string(100 + imperfection.number) + ", 13-1.57", 32,
                        "0, \"No error\"", 0.5e-3, 1 << 16, false},
                       circuit, imperfection),
        gates_(gates) {
    for (const ChannelPort& channel : channels) ports_[channel.channel] = channel.port;
    commands();
    reset();
  }

 private:
  enum class Filter : std::uint8_t { dc, medium, high };
  struct Channel {
    double target = 0, present = 0, from = 0, slew = 2e7;  // V, V, V, V/s
    double real = 0;                                       // V at the output, including errors
    double began = 0;                                      // start of the present slew
    int stair = 0;                                         // number of its steps done
    bool slewing = false, low = false, low_current = false;
    Filter filter = Filter::high;
    double nplc = 1, triggered = 0;
    std::size_t trigger = 0;  // trigger of a direct-current generator: immediate, bus, hold
    bool armed = false;
  };

  // The shortest text that reads back as the same number.
  static std::string shortest(double value) {
    std::array<char, 40> text{};
    return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
  }

  std::string number_text(double value) const override {
    if (!imperfection_.quantised) return shortest(value);
    char text[40];
    std::snprintf(text, sizeof text, "%.9g", value);
    return text;
  }

  void reset() override {
    for (Channel& channel : channels_) channel = {};
    // All channels are set to 0 before the first moves a gate.
    for (std::uint32_t c = 1; c <= channel_count; ++c) put(c, 0);
  }

  Channel& at(std::uint32_t channel) {
    if (channel < 1 || channel > channel_count) throw scpi::Fault(-114);
    return channels_[channel - 1];
  }

  // The channels addressed by a message unit: "SOUR2:.." or "SOUR:..,(@1,3:5)".
  std::vector<std::uint32_t> addressed(const Call& call, std::size_t parameters) {
    std::vector<std::uint32_t> list;
    if (call.arguments.is_channels(parameters)) list = call.arguments.channels(parameters);
    else list = {call.suffixes.at(0)};
    for (const std::uint32_t c : list) at(c);
    return list;
  }

  // Sets a channel's output in the circuit, through its gates and ports.
  void put(std::uint32_t number, double volts) {
    Channel& channel = at(number);
    channel.present = volts;
    const double full = volts_of(channel);
    double real = volts;
    if (imperfection_.quantised) {
      const double step = 2 * full / (1 << 25);  // 25 bits
      real = std::round(real / step) * step;
    }
    // Gain and offset errors typical of such a source between calibrations (the public documents contain no
    // figures).
    real = real * (1 + 1e-4 * error(number)) + 2e-5 * full * error(100 + number);
    channel.real = real;
    for (const Gate& gate : gates_) {
      const bool talks = std::any_of(gate.talk.begin(), gate.talk.end(),
                                     [&](const auto& other) { return other.first == number; });
      if (gate.channel != number && !talks) continue;
      double value = gate.offset + gate.per_volt * at(gate.channel).real;
      for (const auto& [other, per_volt] : gate.talk) value += per_volt * at(other).real;
      circuit_.set_parameter(gate.parameter, value);
    }
    if (const auto port = ports_.find(number); port != ports_.end())
      circuit_.drive(port->second, {PortState::Kind::voltage, real, 10e-3, 0});
  }

  void go(std::uint32_t number, double volts) {
    Channel& channel = at(number);
    channel.target = volts;
    channel.from = channel.present;
    channel.began = now();
    channel.stair = 0;
    channel.slewing = std::abs(volts - channel.from) / channel.slew > 1e-6;
    if (!channel.slewing) put(number, volts);
    schedule();
  }

  // Counting the steps avoids waiting again for a time that rounds to the present one.
  static double next_stair(const Channel& channel) {
    return channel.began +
           std::abs(channel.target - channel.from) / channel.slew * (channel.stair + 1) / slew_stairs;
  }

  // Slewing channels move in steps; measuring channels read at the end of their aperture.
  void schedule() {
    double next = never;
    for (const Channel& channel : channels_) {
      if (!channel.slewing) continue;
      next = std::min(next, next_stair(channel));
    }
    if (next == never) {
      abort_operation();
      return;
    }
    begin_operation(std::max(next, now()), [this] { return slew(); });
  }

  double slew() {
    for (std::uint32_t number = 1; number <= channel_count; ++number) {
      Channel& channel = at(number);
      if (!channel.slewing || next_stair(channel) > now()) continue;
      ++channel.stair;
      channel.slewing = channel.stair < slew_stairs;
      put(number, channel.slewing
                      ? channel.from + (channel.target - channel.from) * channel.stair / slew_stairs
                      : channel.target);
    }
    schedule();
    return never;  // schedule() has set the time
  }

  // A query that each addressed channel answers separately.
  void each(const std::string& pattern, std::function<std::string(Channel&)> text) {
    answer(pattern, [this, text](const Call& call) {
      std::string all;
      for (const std::uint32_t c : addressed(call, 0)) all += (all.empty() ? "" : ", ") + text(at(c));
      return all;
    });
  }

  void commands() {
    level_commands();
    slew_and_trigger_commands();
    current_commands();
  }

  void level_commands() {
    const auto level = [this](const Call& call) {
      call.arguments.expect(1, 2);
      const auto list = addressed(call, 1);
      const double value = call.number(0, {-high_range, high_range, 0.0, "V"});
      for (const std::uint32_t c : list) {
        if (std::abs(value) > volts_of(at(c))) throw scpi::Fault(-222);
      }
      for (const std::uint32_t c : list) go(c, value);
    };
    on("[:SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]", level);
    each("[:SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]?",
         [this](Channel& c) { return number_text(c.present); });
    each("[:SOURce#]:VOLTage:LAST?", [this](Channel& c) { return number_text(c.target); });
    on("[:SOURce#]:RANGe", [this](const Call& call) {
      call.arguments.expect(1, 2);
      static constexpr std::array<std::string_view, 2> ranges{"LOW", "HIGH"};
      const bool low = call.arguments.word(0, ranges) == 0;
      const auto list = addressed(call, 1);
      for (const std::uint32_t c : list) {
        if (low && std::abs(at(c).target) > low_range) throw scpi::Fault(-221);
      }
      for (const std::uint32_t c : list) {
        at(c).low = low;
        put(c, at(c).present);
      }
    });
    each("[:SOURce#]:RANGe?", [](Channel& c) { return c.low ? "LOW" : "HIGH"; });
    for (const auto& [word, reach] : {std::pair{"LOW", low_range}, {"HIGH", high_range}}) {
      each(std::string("[:SOURce#]:RANGe:") + word + ":MINimum?",
           [this, r = reach](Channel&) { return number_text(-r); });
      each(std::string("[:SOURce#]:RANGe:") + word + ":MAXimum?",
           [this, r = reach](Channel&) { return number_text(r); });
    }
    static constexpr std::array<std::string_view, 3> filters{"DC", "MEDium", "HIGH"};
    on("[:SOURce#]:FILTer", [this](const Call& call) {
      call.arguments.expect(1, 2);
      const auto filter = static_cast<Filter>(call.arguments.word(0, filters));
      for (const std::uint32_t c : addressed(call, 1)) at(c).filter = filter;
    });
    each("[:SOURce#]:FILTer?", [](Channel& c) {
      return std::array{"DC", "MED", "HIGH"}[static_cast<std::size_t>(c.filter)];
    });
    on("[:SOURce#]:VOLTage:MODE", [this](const Call& call) {
      call.arguments.expect(1, 2);
      static constexpr std::array<std::string_view, 3> modes{"FIXed", "LIST", "SWEep"};
      addressed(call, 1);
      if (call.arguments.word(0, modes) != 0) throw scpi::Fault(-221);
    });
    each("[:SOURce#]:VOLTage:MODE?", [](Channel&) { return "FIX"; });
  }

  void slew_and_trigger_commands() {
    on("[:SOURce#]:VOLTage:SLEW", [this](const Call& call) {
      call.arguments.expect(1, 2);
      const double slew = call.arguments.is_word(0, "INFinity") ? 2e7 : call.number(0, {20, 2e7, 2e7, "V/S"});
      for (const std::uint32_t c : addressed(call, 1)) at(c).slew = slew;
    });
    each("[:SOURce#]:VOLTage:SLEW?", [this](Channel& c) { return number_text(c.slew); });
    on("[:SOURce#]:VOLTage:TRIGgered[:LEVel]", [this](const Call& call) {
      call.arguments.expect(1, 2);
      for (const std::uint32_t c : addressed(call, 1))
        at(c).triggered = call.number(0, {-volts_of(at(c)), volts_of(at(c)), 0.0, "V"});
    });
    on("[:SOURce#]:DC:TRIGger:SOURce", [this](const Call& call) {
      call.arguments.expect(1, 2);
      static constexpr std::array<std::string_view, 3> sources{"IMMediate", "BUS", "HOLD"};
      for (const std::uint32_t c : addressed(call, 1)) at(c).trigger = call.arguments.word(0, sources);
    });
    on("[:SOURce#]:DC:INITiate", [this](const Call& call) {
      for (const std::uint32_t c : addressed(call, 0)) {
        if (at(c).trigger == 0) go(c, at(c).triggered);
        else at(c).armed = true;
      }
    });
    on("[:SOURce#]:DC:ABORt", [this](const Call& call) {
      for (const std::uint32_t c : addressed(call, 0)) at(c).armed = false;
    });
    on("*TRG", [this](const Call&) {
      for (std::uint32_t c = 1; c <= channel_count; ++c) {
        if (at(c).armed && at(c).trigger == 1) {
          at(c).armed = false;
          go(c, at(c).triggered);
        }
      }
    });
  }

  void current_commands() {
    on(":SENSe#:RANGe", [this](const Call& call) {
      call.arguments.expect(1, 2);
      static constexpr std::array<std::string_view, 2> ranges{"LOW", "HIGH"};
      for (const std::uint32_t c : addressed(call, 1))
        at(c).low_current = call.arguments.word(0, ranges) == 0;
    });
    each(":SENSe#:RANGe?", [](Channel& c) { return c.low_current ? "LOW" : "HIGH"; });
    on(":SENSe#:NPLCycles", [this](const Call& call) {
      call.arguments.expect(1, 2);
      for (const std::uint32_t c : addressed(call, 1)) at(c).nplc = call.number(0, {0.01, 100, 1.0, {}});
    });
    each(":SENSe#:NPLCycles?", [this](Channel& c) { return number_text(c.nplc); });
    on(":SENSe#:APERture", [this](const Call& call) {
      call.arguments.expect(1, 2);
      for (const std::uint32_t c : addressed(call, 1))
        at(c).nplc = call.number(0, {0.0003, 1, std::nullopt, "S"}) * imperfection_.line_frequency;
    });
    each(":SENSe#:APERture?",
         [this](Channel& c) { return number_text(c.nplc / imperfection_.line_frequency); });
    // Reads currents: all channels simultaneously, each with its own aperture; the answer is in the requested
    // order.
    on(":READ#?", [this](const Call& call) {
      const auto list = addressed(call, 0);
      double longest = 0;
      auto before = std::make_shared<std::vector<double>>();
      for (const std::uint32_t c : list) {
        longest = std::max(longest, at(c).nplc / imperfection_.line_frequency);
        const auto port = ports_.find(c);
        before->push_back(port == ports_.end() ? 0 : circuit_.current_integral(port->second));
      }
      after(longest, [this, list, before, longest] {
        std::string all;
        for (std::size_t i = 0; i < list.size(); ++i) {
          const auto port = ports_.find(list[i]);
          const double I =
              port == ports_.end() ? 0 : (circuit_.current_integral(port->second) - (*before)[i]) / longest;
          all += (i > 0 ? ", " : "") + number_text(current_reading(list[i], I));
        }
        reply(all);
      });
    });
    answer(":SYSTem:TEMPerature?", [this](const Call&) { return number_text(30.5); });
    answer(":SYSTem:COMMunicate:LAN:MAC?", [](const Call&) { return "\"049162C01016\""; });
  }

  static double volts_of(const Channel& channel) { return channel.low ? low_range : high_range; }

  double current_reading(std::uint32_t number, double I) {
    const bool low = at(number).low_current;
    const double full = low ? 200e-9 : 10e-3;
    if (std::abs(I) > full) return std::copysign(9.9e37, I);
    return I * (1 + 1e-3 * error(200 + number)) + 1e-5 * full * error(300 + number) + 1e-6 * full * noise();
  }

  std::vector<Gate> gates_;
  std::map<std::uint32_t, std::size_t> ports_;
  std::array<Channel, channel_count> channels_;
};

}  // namespace

std::unique_ptr<EmulatedInstrument> emulated_qdac2(Circuit& circuit, const std::vector<Gate>& gates,
                                                   const std::vector<ChannelPort>& channels,
                                                   const Imperfection& imperfection) {
  return std::make_unique<Qdac2>(circuit, gates, channels, imperfection);
}

}  // namespace ness::sim
