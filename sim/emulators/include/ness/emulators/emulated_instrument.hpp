// Emulated instruments: text in, text out, in the time of the circuit they share.
//
// An instrument is driven from outside: bytes arrive at a time, it says when it will next do something by itself (a measurement
// ends, a command is done), and what it has to say is taken from it. It knows no socket, no clock and no thread; what carries the
// bytes, and whether time is virtual or the wall's, is decided above it.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ness/emulators/circuit.hpp"

namespace ness::sim {

/// How far an emulated instrument is from an ideal one.
struct Imperfection {
  bool noise = true;        ///< of readings and outputs, as its specification says
  bool errors = true;       ///< gain and offset, drawn from the seed within its one-year specification
  bool quantised = true;    ///< levels snap to the programming resolution, readings to the displayed digits
  std::uint64_t seed = 0;
  std::uint32_t number = 0;   ///< of the instrument among those of the seed: each draws from a stream of its own
  double line_frequency = 50;  ///< Hz
  bool loading = true;         ///< inputs draw current: input resistances are on the circuit
  /// Says what is and shows all of it. Its inputs still load the circuit, as what is read is the circuit with the instrument at it.
  static Imperfection none() { return {false, false, false, 0, 0, 50, true}; }
};

class EmulatedInstrument {
 public:
  static constexpr double never = std::numeric_limits<double>::infinity();

  virtual ~EmulatedInstrument() = default;
  EmulatedInstrument() = default;
  EmulatedInstrument(const EmulatedInstrument&) = delete;
  EmulatedInstrument& operator=(const EmulatedInstrument&) = delete;

  /// Bytes arrive at time `now` (s, not before what was run). Messages end with line feed.
  virtual void receive(std::string_view bytes, double now) = 0;
  /// The next time at which it does something by itself.
  virtual double next_event() const = 0;
  /// Does all that is due up to `now`, to which the circuit has been followed.
  virtual void run(double now) = 0;
  /// Takes what it has to say by now.
  virtual std::string take_output() = 0;

  /// The connection that asked has ended: what it is still owed is never said, and what it told is still done. (On a serial line nothing
  /// ends: late replies come.)
  virtual void drop_replies() { take_output(); }

  /// IEEE 488 device clear: buffers emptied, the parser reset; settings stay.
  virtual void device_clear() = 0;
  /// IEEE 488 serial poll.
  virtual std::uint8_t serial_poll() = 0;
  /// The bus addressed it to talk although nothing was asked: -420.
  virtual void talk_without_query() = 0;
  /// True on links that carry whole messages (GPIB): a message that arrives while a reply is unread discards it, -410.
  bool message_exchange = false;
};

/// Instruments that share a circuit, moved through time together.
class EmulatedBench {
 public:
  explicit EmulatedBench(std::unique_ptr<Circuit> circuit) : circuit_(std::move(circuit)) {}
  Circuit& circuit() { return *circuit_; }
  EmulatedInstrument& add(std::unique_ptr<EmulatedInstrument> instrument);
  double time() const { return circuit_->time(); }
  double next_event() const;
  /// Follows circuit and instruments to `t`: every event at its own time, in order; at one time in the order they were added.
  void advance(double t);

 private:
  std::unique_ptr<Circuit> circuit_;
  std::vector<std::unique_ptr<EmulatedInstrument>> instruments_;
};

/// Keithley 2400, its output at a port of the circuit (front or rear terminals alike).
std::unique_ptr<EmulatedInstrument> emulated_keithley_2400(Circuit& circuit, std::size_t port, const Imperfection& imperfection);

/// Where one channel of an instrument with several leads: a port of the circuit.
struct ChannelPort {
  std::uint32_t channel = 1;  ///< as the instrument numbers it
  std::size_t port = 0;
};

/// Scanners with a multiplexer, 20 channels a slot. Channels that lead nowhere read 0 V and their offset.
std::unique_ptr<EmulatedInstrument> emulated_keysight_34970a(Circuit& circuit, const std::vector<ChannelPort>& channels,
                                                             const Imperfection& imperfection);
std::unique_ptr<EmulatedInstrument> emulated_keysight_daq970a(Circuit& circuit, const std::vector<ChannelPort>& channels,
                                                              const Imperfection& imperfection);

/// Bench multimeters at a port, measuring direct voltage.
std::unique_ptr<EmulatedInstrument> emulated_agilent_34401a(Circuit& circuit, std::size_t port,
                                                            const Imperfection& imperfection);
std::unique_ptr<EmulatedInstrument> emulated_keysight_34461a(Circuit& circuit, std::size_t port,
                                                             const Imperfection& imperfection);

/// What a gate channel's voltage does to a parameter: value = offset + per_volt x voltage + what other channels contribute.
struct Gate {
  std::uint32_t channel = 1;
  std::size_t parameter = 0;
  double per_volt = 10, offset = 0;
  std::vector<std::pair<std::uint32_t, double>> talk{};  ///< cross-talk: (another channel, its per_volt)
};
/// QDevil QDAC-II, 24 channels: `gates` set parameters, `channels` lead to ports.
std::unique_ptr<EmulatedInstrument> emulated_qdac2(Circuit& circuit, const std::vector<Gate>& gates,
                                                   const std::vector<ChannelPort>& channels, const Imperfection& imperfection);

/// A Prologix GPIB-ETHERNET controller in front of instruments at primary addresses 0 to 30. Add it to the bench after them; their
/// messages pass through it alone.
std::unique_ptr<EmulatedInstrument> emulated_prologix(const std::vector<std::pair<std::uint8_t, EmulatedInstrument*>>& instruments);

}  // namespace ness::sim
