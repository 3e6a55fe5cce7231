// Emulated instruments: text in, text out, in the time of the circuit they share.
//
// An instrument is driven from outside: bytes arrive at a given time, it reports when it will next do
// something by itself (a measurement ends, a command is done), and its output is taken from it. It knows no
// socket, no clock and no thread; what carries the bytes, and whether time is virtual or real, is decided
// above it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace ness::sim {

/// How far an emulated instrument is from an ideal one.
struct Imperfection {
  bool noise = true;      ///< of readings and outputs, as its specification says
  bool errors = true;     ///< gain and offset, drawn from the seed within its one-year specification
  bool quantised = true;  ///< levels snap to the programming resolution, readings to the displayed digits
  std::uint64_t seed = 0;
  /// Of the instrument among those of the seed: each draws from a stream of its own
  std::uint32_t number = 0;
  double line_frequency = 50;  ///< Hz
  bool loading = true;         ///< inputs draw current: input resistances are on the circuit
  /// Exact readings and outputs with all digits. Inputs still load the circuit: what is read is the circuit
  /// with the instrument connected.
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
  /// Takes the output it has by now.
  virtual std::string take_output() = 0;

  /// The client's connection has ended: replies to its queries are dropped, its commands are still executed.
  /// (A serial line has no connection: late replies come.)
  virtual void drop_replies() { take_output(); }

  /// IEEE 488 device clear: buffers emptied, the parser reset; settings stay.
  virtual void device_clear() = 0;
  /// IEEE 488 serial poll.
  virtual std::uint8_t serial_poll() = 0;
  /// The bus addressed it to talk although there was no query: -420.
  virtual void talk_without_query() = 0;
  /// True on links that carry whole messages (GPIB): a message that arrives while a reply is unread discards
  /// it, -410.
  bool message_exchange = false;
};

}  // namespace ness::sim
