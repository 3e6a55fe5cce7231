// The SCPI grammar as an instrument reads it: messages into units, headers against patterns, parameters into
// values, and the standard error numbers for what is wrong with them (IEEE 488.2 section 7, SCPI-99 volumes 1
// and 2).
//
// This is the server's side, on which emulated instruments are built. The client's side (session.hpp) shares
// nothing with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ness::sim::scpi {

/// An error of the SCPI standard or of the instrument, as it goes into the error queue.
class Fault : public std::runtime_error {
 public:
  /// `text` empty: the standard's own.
  explicit Fault(int number, std::string text = {});
  int number() const noexcept { return number_; }

 private:
  int number_;
};

/// "Undefined header" for -113; empty where the standard has no such number.
std::string_view standard_text(int number);

/// A parameter as it was written.
struct Parameter {
  enum class Kind : std::uint8_t { number, word, string, block, expression } kind = Kind::word;
  std::string text;  ///< strings without quotes, doubled ones single; blocks: the bytes; expressions: what is
                     ///< between the parentheses
};

/// One program message unit.
struct Unit {
  std::vector<std::string> header;  ///< mnemonics from the root, upper case, the path of the message applied;
                                    ///< "*IDN" alone is common
  bool query = false;
  std::vector<Parameter> parameters;
  std::string text;  ///< as it was written, for error texts
  bool common() const { return !header.empty() && header.front().starts_with('*'); }
};

/// Takes a program message apart, unit by unit, under the path rule: after A:B:C the next unit is looked up
/// below A:B; a leading colon starts from the root; a common command neither uses nor moves the path.
class MessageReader {
 public:
  /// `message` without its terminator; it must outlive the reader.
  explicit MessageReader(std::string_view message) : rest_(message) {}
  /// The next unit; nothing at the end. Throws Fault (-1xx), after which the rest of the message is gone.
  std::optional<Unit> next();

 private:
  std::string_view rest_;
  std::vector<std::string> path_;
};

/// Header patterns, as manuals write them: "[:SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]", with a '?'
/// at the end for the query. Capitals are the short form, [..] may be left out, # stands for a numeric suffix
/// (absent: 1).
class CommandTable {
 public:
  struct Match {
    std::size_t command = 0;
    /// One for each # of the pattern, in order; 1 where none was written
    std::vector<std::uint32_t> suffixes;
  };
  /// Adds a pattern and returns its number: 0, 1, .. Throws std::invalid_argument for a pattern that cannot
  /// be read.
  std::size_t add(std::string_view pattern);
  /// The command of a unit. Throws Fault -113 (undefined header), -112 (mnemonic longer than 12 characters).
  Match find(const Unit& unit) const;

 private:
  struct Node {
    std::string brief, full;  // upper case
    bool optional = false, numbered = false;
  };
  struct Pattern {
    std::vector<Node> nodes;
    bool query = false;
  };
  static bool matches(const Pattern& pattern, std::size_t at, std::span<const std::string> header,
                      std::vector<std::uint32_t>& suffixes);
  std::vector<Pattern> patterns_;
  mutable std::map<std::string, Match, std::less<>> found_;  // headers seen before
};

/// What a numeric parameter may be.
struct NumberRange {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  std::optional<double> initial;  ///< DEFault
  std::string_view unit;          ///< "V", "A", "S", "HZ", "OHM"; empty: none allowed
};

/// The parameters of a unit, read as what the command expects. Each throws Fault with the standard's number.
class Arguments {
 public:
  explicit Arguments(const Unit& unit) : parameters_(unit.parameters) {}
  std::size_t size() const { return parameters_.size(); }
  const Parameter& operator[](std::size_t i) const { return parameters_[i]; }
  /// -109 below `least`, -108 above `most`.
  void expect(std::size_t least, std::size_t most) const;
  /// A number, with a unit and its multiplier where one is allowed, or MIN, MAX, DEF. -222 out of range.
  double number(std::size_t i, const NumberRange& range = {}) const;
  /// A whole number (rounded).
  std::int64_t whole(std::size_t i, std::int64_t low, std::int64_t high) const;
  /// ON, OFF, or a number, which rounds to 0 = off.
  bool boolean(std::size_t i) const;
  /// Index of the word among `words` ("IMMediate", "BUS"); -224 if it is none of them.
  std::size_t word(std::size_t i, std::span<const std::string_view> words) const;
  /// A string in quotes.
  const std::string& string(std::size_t i) const;
  /// A channel list: "(@101,103:105)" in the order written, ranges run through. Reversed ranges run
  /// backwards.
  std::vector<std::uint32_t> channels(std::size_t i) const;
  bool is_word(std::size_t i, std::string_view word) const;
  bool is_channels(std::size_t i) const;

 private:
  const std::vector<Parameter>& parameters_;
};

/// True if `text` is the short or the long form of `word` ("IMMediate"), in any case.
bool is_form_of(std::string_view text, std::string_view word);

/// One of the 16-bit register groups: condition, transition filters, event, enable.
struct RegisterGroup {
  std::uint16_t condition = 0, positive = 0x7FFF, negative = 0, event = 0, enable = 0;
  /// Sets the condition; transitions that pass the filters latch in the event register.
  void update(std::uint16_t now);
  void set(std::uint16_t bits, bool on) {
    update(static_cast<std::uint16_t>(on ? condition | bits : condition & ~bits));
  }
  std::uint16_t take_event();  ///< reads and clears
  bool summary() const { return (event & enable) != 0; }
  void preset();
};

/// The status model of IEEE 488.2 and SCPI, with the error queue.
class Status {
 public:
  explicit Status(std::size_t depth = 20);

  RegisterGroup operation, questionable;
  std::uint8_t event_status = 0, event_enable = 0, service_enable = 0;

  /// Queues an error and sets its bit in the event status register. Full: the newest entry becomes -350.
  void push(int number, std::string text = {});
  /// Bits of the event status register that an error number sets: -1xx CME, -2xx EXE, -3xx and positive DDE,
  /// -4xx QYE.
  static std::uint8_t class_bit(int number);
  struct Entry {
    int number = 0;
    std::string text = "No error";
  };
  Entry pop();
  std::size_t errors() const { return queue_.size(); }
  void clear();                                                                   ///< *CLS
  std::uint8_t take_event_status();                                               ///< *ESR?
  std::uint8_t byte(bool message_available, std::uint8_t device_bits = 0) const;  ///< *STB?, bit 6 = MSS
  static constexpr std::uint8_t operation_complete = 1, query_error = 4, device_error = 8,
                                execution_error = 16, command_error = 32, power_on = 128;

 private:
  std::vector<Entry> queue_;
  std::size_t depth_;
};

/// "+1.25000000E-01": sign, one digit, `decimals` decimals, two-digit exponent.
std::string nr3(double value, int decimals);
/// "(@101,103)" of channels, in order.
std::string channel_list(std::span<const std::uint32_t> channels);
/// "#15HELLO".
std::string definite_block(std::string_view bytes);

}  // namespace ness::sim::scpi
