// Transports: bytes to and from one instrument, each step with its own time limit.
//
// A transport neither sleeps nor reads a clock of its own: it is handed durations. What time means (the
// wall's, or the virtual time of an emulated bench) is known to the transport alone, so that everything above
// it runs in either.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ness/protocols/resource_name.hpp"

namespace ness::protocols {

using Milliseconds = std::chrono::milliseconds;

/// Four different things. Some instruments take 10 s to accept a connection and answer in 1 ms after it.
struct Timeouts {
  Milliseconds connect{5000};
  Milliseconds write{2000};  ///< until a whole message was accepted
  Milliseconds first_reply{
      2000};  ///< from the end of a query to the first byte of its reply; a measurement's time is added to it
  Milliseconds between_bytes{1000};  ///< within a reply, from one piece to the next
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

/// One connection to one instrument. Not thread-safe; different transports may be used by different threads.
class Transport {
 public:
  virtual ~Transport() = default;
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  /// Where it leads, for messages and logs: a resource name where there is one.
  virtual const std::string& address() const = 0;

  /// Connects; what an earlier connection left unread is gone. Throws LinkError (Timeout if `limit` ran out).
  virtual void open(Milliseconds limit) = 0;
  virtual void close() noexcept = 0;
  virtual bool is_open() const = 0;

  /// Sends one whole message, terminator included. Throws Timeout or LinkError; how much was sent is then
  /// unknown.
  virtual void write(std::string_view message, Milliseconds limit) = 0;

  /// Waits for bytes: at least one, at most into.size(). Throws Timeout if none came, LinkError if the other
  /// end closed.
  virtual std::size_t read(std::span<char> into, Milliseconds limit) = 0;

  /// True if the link itself marks where a message ends (GPIB's EOI) and the last read reached such an end.
  virtual bool at_end() const { return false; }

  /// True if what an instrument sends after the link was closed can still reach the next client that opens
  /// it: a serial line has no connection that could end.
  virtual bool keeps_late_replies() const { return false; }

  /// IEEE 488 device clear: empties the instrument's buffers. False where the link has none.
  virtual bool clear(Milliseconds) { return false; }

  /// IEEE 488 serial poll: the status byte, without a query. Nothing where the link has none.
  virtual std::optional<std::uint8_t> poll(Milliseconds) { return std::nullopt; }
};

/// How a serial line is set. Defaults: 9600 8N1, no flow control.
struct SerialSettings {
  std::uint32_t baud = 9600;
  std::uint8_t data_bits = 8;  ///< 7 or 8
  enum class Parity : std::uint8_t { none, even, odd } parity = Parity::none;
  std::uint8_t stop_bits = 1;  ///< 1 or 2
  enum class Flow : std::uint8_t { none, xon_xoff, rts_cts } flow = Flow::none;
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

/// A raw TCP socket: Nagle's delay off, keep-alive on.
std::unique_ptr<Transport> socket_transport(const SocketName& name);

/// A serial line by libserialport. It refuses pseudo-terminals, which have no modem lines.
std::unique_ptr<Transport> libserialport_transport(const SerialName& name, const SerialSettings& settings);

/// A serial line, or a pseudo-terminal, by Boost.Asio.
std::unique_ptr<Transport> asio_serial_transport(const SerialName& name, const SerialSettings& settings);

/// By libserialport, or by Boost.Asio where the name leads to a pseudo-terminal. Links are followed when it
/// is opened.
std::unique_ptr<Transport> serial_transport(const SerialName& name, const SerialSettings& settings);

/// The other end of an in-memory transport: a test, or an emulator in the same process.
class MemoryPeer {
 public:
  virtual ~MemoryPeer() = default;
  /// A message arrived.
  virtual void receive(std::string_view bytes) = 0;
  /// All bytes it has to send, or "" for silence, upon which a read times out at once.
  virtual std::string send() = 0;
};
/// Bytes handed over within the process, without waiting: silence is a Timeout at once.
std::unique_ptr<Transport> memory_transport(std::string address, std::shared_ptr<MemoryPeer> peer);

}  // namespace ness::protocols
