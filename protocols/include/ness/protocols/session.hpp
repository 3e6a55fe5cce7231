// A session: the conversation with one SCPI instrument over a transport.
//
// Messages end with a terminator; replies are read up to line feed, or by their stated length where they are
// blocks. A session that timed out, or received bytes it did not ask for, closes its link, and opens a new
// one with the next message: a late reply never answers the next query. Where the link is a serial line,
// which has no connection that could end, the fresh one begins with *IDN?, and what comes before its answer
// is dropped.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ness/protocols/transport.hpp"

namespace ness::protocols {

/// One line of a transcript.
struct Exchange {
  enum class Kind : std::uint8_t { opened, sent, received, closed, failed } kind = Kind::opened;
  std::string_view address;
  /// The message without its terminator; of a block its header alone; the reason of a failure
  std::string_view text;
};

struct SessionOptions {
  Timeouts timeouts;
  /// Ends every message sent; a reply ends with line feed, carriage return before it allowed
  std::string terminator = "\n";
  /// Also the first opening of a serial line begins with *IDN?: another program may have been killed while it
  /// waited for an answer.
  bool inherits = false;
  std::size_t longest_reply = 64 << 20;  ///< bytes; a longer reply is an error
  std::function<void(const Exchange&)> transcript;
};

/// One entry of an instrument's error queue.
struct QueuedError {
  int number = 0;
  std::string text;
  bool operator==(const QueuedError&) const = default;
};

class Session {
 public:
  /// Takes the transport over; opens it with the first message. Throws std::invalid_argument for unusable
  /// options.
  Session(std::unique_ptr<Transport> transport, SessionOptions options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::string& address() const { return transport_->address(); }
  const SessionOptions& options() const { return options_; }
  bool is_open() const { return transport_->is_open(); }
  /// How often the link was opened: a number that grew means that replies and settings before it may be lost.
  std::uint64_t openings() const { return openings_; }

  void open();
  void close() noexcept;
  /// From now on no limit is longer than `most` (what a measurement needs beyond is still added).
  /// Milliseconds::max(): as the options say.
  void hurry(Milliseconds most);

  /// Sends one message that has no reply. Throws LinkError, Timeout.
  void write(std::string_view message);
  /// Sends one query; receive() returns its reply. Several may be sent before the first reply is received.
  void ask(std::string_view message);
  /// The oldest reply not received yet, without terminator. `extra`: what the instrument needs before its
  /// first byte, beyond the first_reply limit. Throws Timeout and LinkError, after which the link is closed
  /// and other replies are lost.
  std::string receive(Milliseconds extra = Milliseconds(0));
  /// ask and receive.
  std::string query(std::string_view message, Milliseconds extra = Milliseconds(0));

  /// One number; throws InstrumentError if the reply is not a number. 9.91E37 (not a number) and 9.9E37 (over
  /// range) come as they are.
  double query_number(std::string_view message, Milliseconds extra = Milliseconds(0));
  /// Numbers separated by commas; throws InstrumentError unless there are `count` (0: any number).
  std::vector<double> query_numbers(std::string_view message, std::size_t count = 0,
                                    Milliseconds extra = Milliseconds(0));
  /// The bytes of a definite block (#<digits><length>..), or of an indefinite one (#0..) up to `expected`
  /// bytes where the link does not mark its end.
  std::string query_block(std::string_view message, std::size_t expected = 0,
                          Milliseconds extra = Milliseconds(0));

  /// *STB?, or a serial poll where the link has one.
  std::uint8_t status_byte();
  /// *OPC?: returns when no operation is pending.
  void wait_complete(Milliseconds extra = Milliseconds(0));
  /// *IDN?, without surrounding blanks.
  std::string identity();
  /// Reads the error queue until it is empty: SYST:ERR? at most `most` times. The newest comes last.
  std::vector<QueuedError> drain_errors(std::size_t most = 64);
  /// Device clear by the link, where it has one, else by closing it.
  void clear();

 private:
  void ensure_open();
  void drop_late_replies();
  void note_lost();
  Milliseconds within(Milliseconds limit) const { return std::min(limit, most_); }
  void send(std::string_view message);
  std::string read_reply(Milliseconds extra, std::size_t expected);
  void read_more(Milliseconds& limit);
  std::string take_reply(std::size_t length, std::size_t with_terminator);
  std::optional<std::string> read_block(Milliseconds& limit, std::size_t expected);
  template <class F>
  auto guarded(F&& f);
  void say(Exchange::Kind kind, std::string_view text) const;

  std::unique_ptr<Transport> transport_;
  SessionOptions options_;
  std::string buffer_;              // bytes read, not yet received
  std::vector<std::string> asked_;  // queries whose replies are due, oldest first
  std::string outgoing_;
  std::uint64_t openings_ = 0;
  std::size_t lost_ = 0;             // replies that were due when the link was last closed
  std::size_t lost_identities_ = 0;  // of them, those to *IDN?
  Milliseconds most_ = Milliseconds::max();
  Milliseconds longest_extra_{0};  // that any of them may have taken
};

/// A number as instruments write them ("+1.0E-03", blanks around allowed). Throws std::invalid_argument.
double parse_number(std::string_view text);
/// A list of them, separated by commas.
std::vector<double> parse_numbers(std::string_view text);
/// Splits at commas outside of quotes; parts are trimmed.
std::vector<std::string> split_reply(std::string_view text);
/// `-113,"Undefined header"`. Throws std::invalid_argument.
QueuedError parse_queued_error(std::string_view text);

}  // namespace ness::protocols
