#include <algorithm>
#include <cctype>

#include "ness/emulators/scpi.hpp"

namespace ness::sim::scpi {

namespace {

// IEEE 488.2, 7.4.1.2: the space, and all control characters except line feed.
bool is_white(char c) { return static_cast<unsigned char>(c) <= 0x20 && c != '\n'; }
bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
char upper(char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); }

// A position in a message.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}
  bool done() const { return at_ == text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  char peek(std::size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  char take() { return text_[at_++]; }
  void skip_white() {
    while (!done() && is_white(peek())) ++at_;
  }
  std::size_t at() const { return at_; }
  void move(std::size_t n) { at_ += n; }
  std::size_t left() const { return text_.size() - at_; }
  std::string_view rest() const { return text_.substr(at_); }
  std::string_view between(std::size_t from) const { return text_.substr(from, at_ - from); }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

std::string read_mnemonic(Cursor& in) {
  if (!is_letter(in.peek()))
    throw Fault(in.done()                                                                 ? -110
                : std::isprint(static_cast<unsigned char>(in.peek())) && in.peek() != ',' ? -101
                                                                                          : -103);
  std::string mnemonic;
  while (!in.done() && (is_letter(in.peek()) || is_digit(in.peek()) || in.peek() == '_'))
    mnemonic += upper(in.take());
  if (mnemonic.size() > 12) throw Fault(-112);
  return mnemonic;
}

Parameter read_string(Cursor& in) {
  const char quote = in.take();
  Parameter parameter{Parameter::Kind::string, {}};
  for (;;) {
    if (in.done()) throw Fault(-151);
    const char c = in.take();
    if (c != quote) {
      parameter.text += c;
    } else if (in.peek() == quote && !in.done()) {
      parameter.text += in.take();
    } else {
      return parameter;
    }
  }
}

Parameter read_expression(Cursor& in) {
  in.take();
  const std::size_t begin = in.at();
  while (in.peek() != ')') {
    if (in.done() || in.peek() == ';') throw Fault(-171);
    in.take();
  }
  Parameter parameter{Parameter::Kind::expression, std::string(in.between(begin))};
  in.take();
  return parameter;
}

// #<digits><length><bytes>, or #0<bytes to the end of the message>; #H, #Q, #B are numbers.
Parameter read_hash(Cursor& in) {
  const char kind = upper(in.peek(1));
  if (is_digit(kind)) {
    in.move(2);
    if (kind == '0') {
      Parameter block{Parameter::Kind::block, std::string(in.rest())};
      in.move(in.left());
      return block;
    }
    const std::size_t digits = static_cast<std::size_t>(kind - '0');
    std::size_t length = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      if (!is_digit(in.peek())) throw Fault(-161);
      length = length * 10 + static_cast<std::size_t>(in.take() - '0');
    }
    if (length > in.left()) throw Fault(-161);
    Parameter block{Parameter::Kind::block, std::string(in.rest().substr(0, length))};
    in.move(length);
    return block;
  }
  const int base = kind == 'H' ? 16 : kind == 'Q' ? 8 : kind == 'B' ? 2 : 0;
  if (base == 0) throw Fault(-161);
  in.move(2);
  double value = 0;
  std::size_t digits = 0;
  for (;; ++digits) {
    const char c = upper(in.peek());
    const int digit = is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
    if (digit == 99 && !is_letter(c)) break;
    if (digit >= base) throw Fault(-121);
    value = value * base + digit;
    in.take();
  }
  if (digits == 0) throw Fault(-121);
  return {Parameter::Kind::number, std::to_string(static_cast<std::uint64_t>(std::min(value, 1e18)))};
}

// Decimal numbers keep their text, without inner spaces; a unit may follow: "250 MV", "5 E-3".
Parameter read_number(Cursor& in) {
  Parameter parameter{Parameter::Kind::number, {}};
  std::size_t digits = 0;
  if (in.peek() == '+' || in.peek() == '-') parameter.text += in.take();
  const auto take_digits = [&] {
    for (; is_digit(in.peek()); ++digits) parameter.text += in.take();
  };
  take_digits();
  if (in.peek() == '.') {
    parameter.text += in.take();
    take_digits();
  }
  if (digits == 0) throw Fault(-121);
  if (digits > 255) throw Fault(-124);
  // "5 E-3" is an exponent, "5 EV" a unit: E begins an exponent if a sign or a digit follows.
  std::size_t ahead = 0;
  while (is_white(in.peek(ahead)) && ahead < in.left()) ++ahead;
  if (upper(in.peek(ahead)) == 'E') {
    std::size_t after = ahead + 1;
    while (is_white(in.peek(after)) && after < in.left()) ++after;
    const bool sign = in.peek(after) == '+' || in.peek(after) == '-';
    if (is_digit(in.peek(after + (sign ? 1 : 0)))) {
      in.move(after);
      std::string exponent;
      if (sign) exponent += in.take();
      while (is_digit(in.peek())) exponent += in.take();
      const std::size_t significant = exponent.find_first_not_of("+-0");
      if (significant != std::string::npos && exponent.size() - significant > 4 &&
          (exponent.size() - significant > 5 || exponent.substr(significant) > "32000"))
        throw Fault(-123);
      parameter.text += 'E' + exponent;
    }
  }
  in.skip_white();
  if (is_letter(in.peek()) || in.peek() == '/') {
    std::string unit;
    while (!in.done() && (is_letter(in.peek()) || is_digit(in.peek()) || in.peek() == '/' ||
                          in.peek() == '.' || in.peek() == '-'))
      unit += upper(in.take());
    if (unit.size() > 12) throw Fault(-134);
    parameter.text += ' ' + unit;
  }
  return parameter;
}

Parameter read_parameter(Cursor& in) {
  const char c = in.peek();
  if (c == '"' || c == '\'') return read_string(in);
  if (c == '(') return read_expression(in);
  if (c == '#') return read_hash(in);
  if (is_digit(c) || c == '+' || c == '-' || c == '.') return read_number(in);
  if (!is_letter(c)) throw Fault(in.done() || c == ',' || c == ';' ? -109 : -102);
  Parameter word{Parameter::Kind::word, {}};
  while (!in.done() && (is_letter(in.peek()) || is_digit(in.peek()) || in.peek() == '_' || in.peek() == ':'))
    word.text += upper(in.take());
  return word;
}

}  // namespace

std::optional<Unit> MessageReader::next() {
  Cursor in(rest_);
  try {
    in.skip_white();
    while (in.peek() == ';') {  // empty units do nothing
      in.take();
      in.skip_white();
    }
    if (in.done()) {
      rest_ = {};
      return std::nullopt;
    }
    Unit unit;
    const std::size_t begin = in.at();
    if (in.peek() == ':' && in.peek(1) == '*') in.take();  // ":*CLS", which some clients send
    if (in.peek() == '*') {
      in.take();
      unit.header.push_back('*' + read_mnemonic(in));
    } else {
      if (in.peek() == ':') {
        in.take();
        path_.clear();
      }
      unit.header = path_;
      unit.header.push_back(read_mnemonic(in));
      while (in.peek() == ':') {
        in.take();
        unit.header.push_back(read_mnemonic(in));
      }
      path_.assign(unit.header.begin(), unit.header.end() - 1);
    }
    if (in.peek() == '?') {
      in.take();
      unit.query = true;
    }
    if (!in.done() && in.peek() != ';' && !is_white(in.peek())) throw Fault(-111);
    in.skip_white();
    if (!in.done() && in.peek() != ';') {
      for (;;) {
        in.skip_white();
        unit.parameters.push_back(read_parameter(in));
        in.skip_white();
        if (in.peek() != ',') break;
        in.take();
      }
    }
    if (!in.done() && in.peek() != ';') throw Fault(-103);
    unit.text = std::string(in.between(begin));
    rest_ = in.rest();
    return unit;
  } catch (...) {
    rest_ = {};
    throw;
  }
}

}  // namespace ness::sim::scpi
