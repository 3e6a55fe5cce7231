#include "ness/protocols/session.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include "ness/protocols/errors.hpp"

namespace ness::protocols {

namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::string shown(std::string_view text) {
  constexpr std::size_t most = 200;
  return text.size() <= most
             ? std::string(text)
             : std::string(text.substr(0, most)) + ".. (" + std::to_string(text.size()) + " bytes)";
}

// Lengths of a definite block's header and of its data; unknown while too few bytes are there.
struct BlockHeader {
  bool known = false, valid = true, definite = true;
  std::size_t header = 0, length = 0;
};

BlockHeader block_header(std::string_view bytes) {
  BlockHeader block;
  if (bytes.size() < 2) return block;
  const char digits = bytes[1];
  if (digits < '0' || digits > '9') {
    block.known = true;
    block.valid = false;
    return block;
  }
  block.header = 2 + static_cast<std::size_t>(digits - '0');
  if (digits == '0') {
    block.known = true;
    block.definite = false;
    return block;
  }
  if (bytes.size() < block.header) return block;
  block.known = true;
  const auto [end, error] = std::from_chars(bytes.data() + 2, bytes.data() + block.header, block.length);
  block.valid = error == std::errc{} && end == bytes.data() + block.header;
  return block;
}

}  // namespace

double parse_number(std::string_view text) {
  std::string_view number = trimmed(text);
  const std::string_view all = number;
  if (number.starts_with('+') && !number.starts_with("+-")) number.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc{} || end != number.data() + number.size() || !std::isfinite(value)) {
    throw std::invalid_argument("'" + shown(all) + "' is no number");
  }
  return value;
}

std::vector<std::string> split_reply(std::string_view text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  char quote = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const bool end = i == text.size();
    if (!end && quote != 0) {
      if (text[i] == quote) quote = 0;  // a doubled quote closes and opens again
    } else if (!end && (text[i] == '"' || text[i] == '\'')) {
      quote = text[i];
    } else if (end || text[i] == ',') {
      parts.emplace_back(trimmed(text.substr(begin, i - begin)));
      begin = i + 1;
    }
  }
  return parts;
}

std::vector<double> parse_numbers(std::string_view text) {
  std::vector<double> numbers;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t comma = text.find(',', begin);
    numbers.push_back(
        parse_number(text.substr(begin, comma == std::string_view::npos ? comma : comma - begin)));
    if (comma == std::string_view::npos) return numbers;
    begin = comma + 1;
  }
}

QueuedError parse_queued_error(std::string_view text) {
  const auto parts = split_reply(text);
  QueuedError error;
  const std::string_view number = std::string_view(parts[0]).substr(parts[0].starts_with('+') ? 1 : 0);
  const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), error.number);
  if (failure != std::errc{} || end != number.data() + number.size())
    throw std::invalid_argument("'" + shown(text) + "' is no entry of an error queue");
  if (parts.size() > 1) {
    error.text = parts[1];
    if (error.text.size() >= 2 && error.text.front() == '"' && error.text.back() == '"')
      error.text = error.text.substr(1, error.text.size() - 2);
  }
  return error;
}

Session::Session(std::unique_ptr<Transport> transport, SessionOptions options)
    : transport_(std::move(transport)), options_(std::move(options)) {
  if (!transport_) throw std::invalid_argument("a session needs a transport");
  if (const std::string problem = options_.timeouts.problem(); !problem.empty())
    throw std::invalid_argument(address() + ": timeout " + problem);
  if (options_.terminator.empty()) throw std::invalid_argument(address() + ": the terminator is empty");
}

Session::~Session() { close(); }

void Session::say(Exchange::Kind kind, std::string_view text) const {
  if (options_.transcript) options_.transcript({kind, address(), text});
}

void Session::hurry(Milliseconds most) { most_ = std::max(most, Milliseconds(1)); }

void Session::note_lost() {
  lost_ += asked_.size();
  lost_identities_ += static_cast<std::size_t>(std::count(asked_.begin(), asked_.end(), "*IDN?"));
  asked_.clear();
}

void Session::open() {
  buffer_.clear();
  note_lost();  // if the link is shared, another session may have closed it
  transport_->open(within(options_.timeouts.connect));
  ++openings_;
  say(Exchange::Kind::opened, {});
  const bool inherited = options_.inherits && openings_ == 1;
  if ((lost_ > 0 || inherited) && transport_->keeps_late_replies()) drop_late_replies();
  lost_ = lost_identities_ = 0;
}

// Instruments answer in the order of the queries: after the answer to *IDN?, no earlier answer can follow. It
// is distinguished from late replies by its four fields, of which the first begins with a letter.
void Session::drop_late_replies() {
  const auto is_identity = [](std::string_view line) {
    return std::count(line.begin(), line.end(), ',') >= 3 &&
           std::isalpha(static_cast<unsigned char>(line.front())) != 0;
  };
  std::string line;
  std::array<char, 4096> piece;
  say(Exchange::Kind::sent, "*IDN?");
  transport_->write("*IDN?" + options_.terminator, within(options_.timeouts.write));
  // Answers to earlier *IDN? may come first: at most this many, fewer if some were lost completely.
  const std::size_t most = lost_identities_ + 1;
  std::size_t seen = 0;
  ++lost_identities_;  // until its answer is received
  for (std::size_t read = 0; read <= options_.longest_reply;) {
    std::size_t n = 0;
    try {
      n = transport_->read(piece, within(options_.timeouts.first_reply) + longest_extra_);
    } catch (const Timeout&) {
      if (seen > 0) return;
      throw;
    }
    read += n;
    line.append(piece.data(), n);
    for (std::size_t end = line.find('\n'); end != std::string::npos; end = line.find('\n')) {
      const std::string_view reply = trimmed(std::string_view(line).substr(0, end));
      say(Exchange::Kind::received, reply);
      if (!reply.empty() && is_identity(reply) && ++seen == most) return;
      line.erase(0, end + 1);
    }
  }
  throw LinkError(address(), "no answer to *IDN? among " + std::to_string(options_.longest_reply) +
                                 " bytes of late replies");
}

void Session::close() noexcept {
  if (!transport_->is_open()) return;
  note_lost();
  transport_->close();
  buffer_.clear();
  try {
    say(Exchange::Kind::closed, {});
  } catch (...) {  // a failing transcript must not keep the link open
  }
}

// After a failure the next bytes on the link are unknown, so it is closed.
template <class F>
auto Session::guarded(F&& f) {
  try {
    return f();
  } catch (const LinkError& error) {
    say(Exchange::Kind::failed, error.what());
    close();
    throw;
  }
}

void Session::ensure_open() {
  if (!transport_->is_open()) open();
}

void Session::send(std::string_view message) {
  if (message.find('\n') != std::string_view::npos && options_.terminator.find('\n') != std::string::npos) {
    throw std::invalid_argument(address() + ": '" + shown(message) + "' holds the terminator");
  }
  ensure_open();
  say(Exchange::Kind::sent, message);
  outgoing_.assign(message);
  outgoing_ += options_.terminator;
  transport_->write(outgoing_, within(options_.timeouts.write));
}

void Session::write(std::string_view message) {
  guarded([&] { send(message); });
}

void Session::ask(std::string_view message) {
  guarded([&] {
    if (asked_.empty() && !buffer_.empty())
      throw LinkError(address(), "'" + shown(buffer_) + "' came unasked");
    send(message);
    asked_.emplace_back(message);
  });
}

std::string Session::receive(Milliseconds extra) { return read_reply(extra, 0); }

// Appends what comes next to the buffer; between two pieces the limit is that between bytes.
void Session::read_more(Milliseconds& limit) {
  std::array<char, 65536> piece;
  try {
    const std::size_t n = transport_->read(piece, limit);
    buffer_.append(piece.data(), n);
    limit = within(options_.timeouts.between_bytes);
  } catch (const Timeout& late) {
    const std::string had = buffer_.empty() ? "" : "; '" + shown(buffer_) + "' had come";
    throw Timeout(address(), "no complete reply to '" + shown(asked_.front()) + "' in " +
                                 std::to_string(limit.count()) + " ms" + had);
  }
  if (buffer_.size() > options_.longest_reply) {
    throw LinkError(address(), "the reply to '" + shown(asked_.front()) + "' exceeds " +
                                   std::to_string(options_.longest_reply) + " bytes");
  }
}

std::string Session::take_reply(std::size_t length, std::size_t with_terminator) {
  std::string reply = buffer_.substr(0, length);
  buffer_.erase(0, with_terminator);
  asked_.erase(asked_.begin());
  return reply;
}

// A block of known length, with what ends its message; none for an indefinite block of unknown length.
std::optional<std::string> Session::read_block(Milliseconds& limit, std::size_t expected) {
  BlockHeader block = block_header(buffer_);
  while (!block.known) {
    read_more(limit);
    block = block_header(buffer_);
  }
  const std::string reply_to = "the reply to '" + shown(asked_.front()) + "'";
  if (!block.valid)
    throw LinkError(address(),
                    reply_to + " begins with a block header that is none: '" + shown(buffer_) + "'");
  if (!block.definite && expected == 0) return std::nullopt;
  const std::size_t length = block.header + (block.definite ? block.length : expected);
  if (length > options_.longest_reply) {
    throw LinkError(address(), reply_to + " announces " + std::to_string(length) + " bytes, more than " +
                                   std::to_string(options_.longest_reply));
  }
  while (buffer_.size() < length || buffer_.find('\n', length) == std::string::npos) {
    if (buffer_.size() >= length && transport_->at_end()) break;
    read_more(limit);
  }
  std::size_t end = length;
  while (end < buffer_.size() && buffer_[end] != '\n') ++end;
  if (end - length > 1 || (end - length == 1 && buffer_[length] != '\r')) {
    throw LinkError(address(), "after the block in " + reply_to + " came '" +
                                   shown(buffer_.substr(length, end - length)) + "'");
  }
  say(Exchange::Kind::received, std::string_view(buffer_).substr(0, block.header));
  return take_reply(length, std::min(buffer_.size(), end + 1));
}

std::string Session::read_reply(Milliseconds extra, std::size_t expected) {
  if (asked_.empty()) throw std::logic_error(address() + ": no reply is due");
  longest_extra_ = std::max(longest_extra_, extra);
  return guarded([&] {
    Milliseconds limit = within(options_.timeouts.first_reply) + extra;
    if (buffer_.empty()) read_more(limit);
    if (buffer_.front() == '#') {
      if (std::optional<std::string> block = read_block(limit, expected)) return std::move(*block);
      // An indefinite block ends with its message: the link reports the end, or it is the first line feed
      // that nothing follows.
    }
    std::size_t searched = 0;
    for (;;) {
      const std::size_t end = buffer_.find('\n', searched);
      if (end != std::string::npos) {
        std::size_t length = end;
        if (length > 0 && buffer_[length - 1] == '\r') --length;
        say(Exchange::Kind::received, std::string_view(buffer_).substr(0, length));
        return take_reply(length, end + 1);
      }
      if (transport_->at_end()) {
        say(Exchange::Kind::received, buffer_);
        return take_reply(buffer_.size(), buffer_.size());
      }
      searched = buffer_.size();
      read_more(limit);
    }
  });
}

std::string Session::query(std::string_view message, Milliseconds extra) {
  ask(message);
  return receive(extra);
}

double Session::query_number(std::string_view message, Milliseconds extra) {
  const std::string reply = query(message, extra);
  try {
    return parse_number(reply);
  } catch (const std::invalid_argument&) {
    throw InstrumentError(address(), std::string(message), shown(reply), "expected a number");
  }
}

std::vector<double> Session::query_numbers(std::string_view message, std::size_t count, Milliseconds extra) {
  const std::string reply = query(message, extra);
  std::vector<double> numbers;
  try {
    numbers = parse_numbers(reply);
  } catch (const std::invalid_argument& error) {
    throw InstrumentError(address(), std::string(message), shown(reply),
                          std::string("expected numbers: ") + error.what());
  }
  if (count > 0 && numbers.size() != count) {
    throw InstrumentError(
        address(), std::string(message), shown(reply),
        "expected " + std::to_string(count) + " numbers, " + std::to_string(numbers.size()) + " came");
  }
  return numbers;
}

std::string Session::query_block(std::string_view message, std::size_t expected, Milliseconds extra) {
  ask(message);
  const std::string reply = read_reply(extra, expected);
  const BlockHeader block = block_header(reply);
  if (!reply.starts_with('#') || !block.known || !block.valid)
    throw InstrumentError(address(), std::string(message), shown(reply), "expected a block");
  return reply.substr(block.header);
}

std::uint8_t Session::status_byte() {
  if (!asked_.empty())
    throw std::logic_error(address() + ": a reply is due; *STB? would be answered out of turn");
  const auto polled = guarded([&] {
    ensure_open();
    return transport_->poll(within(options_.timeouts.first_reply));
  });
  if (polled) return *polled;
  const double value = query_number("*STB?");
  if (!(value >= 0 && value <= 255) || value != static_cast<int>(value)) {
    throw InstrumentError(address(), "*STB?", std::to_string(value), "expected a whole number from 0 to 255");
  }
  return static_cast<std::uint8_t>(value);
}

void Session::wait_complete(Milliseconds extra) {
  const std::string reply = query("*OPC?", extra);
  if (trimmed(reply) != "1" && trimmed(reply) != "+1")
    throw InstrumentError(address(), "*OPC?", shown(reply), "expected 1");
}

std::string Session::identity() { return std::string(trimmed(query("*IDN?"))); }

std::vector<QueuedError> Session::drain_errors(std::size_t most) {
  std::vector<QueuedError> errors;
  for (std::size_t i = 0; i < most; ++i) {
    const std::string reply = query("SYST:ERR?");
    try {
      QueuedError error = parse_queued_error(reply);
      if (error.number == 0) return errors;
      errors.push_back(std::move(error));
    } catch (const std::invalid_argument&) {
      throw InstrumentError(address(), "SYST:ERR?", shown(reply), "expected a number and a text");
    }
  }
  return errors;
}

void Session::clear() {
  const bool cleared = guarded([&] {
    ensure_open();
    return transport_->clear(within(options_.timeouts.write));
  });
  if (!cleared) {
    close();
    return;
  }
  buffer_.clear();
  asked_.clear();
}

}  // namespace ness::protocols
