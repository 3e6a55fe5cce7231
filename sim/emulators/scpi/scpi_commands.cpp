#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "ness/emulators/scpi.hpp"

namespace ness::sim::scpi {

namespace {

char upper(char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); }

std::string upper(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](char c) { return upper(c); });
  return result;
}

// The short form: the capitals and digits of the pattern.
std::string brief_form(std::string_view word) {
  std::string result;
  for (const char c : word) {
    if (!std::islower(static_cast<unsigned char>(c))) result += c;
  }
  return result;
}

}  // namespace

bool is_form_of(std::string_view text, std::string_view word) {
  const std::string given = upper(text);
  return given == upper(word) || given == brief_form(word);
}

std::size_t CommandTable::add(std::string_view pattern) {
  const auto fail = [&](const std::string& reason) {
    throw std::invalid_argument("command pattern '" + std::string(pattern) + "': " + reason);
  };
  Pattern result;
  std::string_view rest = pattern;
  if (rest.ends_with('?')) {
    result.query = true;
    rest.remove_suffix(1);
  }
  bool optional = false;
  while (!rest.empty()) {
    if (rest.front() == '[') {
      if (optional) fail("brackets within brackets");
      optional = true;
      rest.remove_prefix(1);
    }
    if (rest.starts_with(':')) rest.remove_prefix(1);
    const std::size_t end = std::min(rest.find_first_of(":[]"), rest.size());
    std::string_view word = rest.substr(0, end);
    rest.remove_prefix(end);
    Node node;
    node.optional = optional;
    node.numbered = word.ends_with('#');
    if (node.numbered) word.remove_suffix(1);
    node.full = upper(word);
    node.brief = brief_form(word);
    if (node.full.empty() || node.brief.empty()) fail("an empty mnemonic");
    result.nodes.push_back(node);
    if (rest.starts_with(']')) {
      if (!optional) fail("']' without '['");
      optional = false;
      rest.remove_prefix(1);
    }
  }
  if (optional) fail("'[' without ']'");
  if (result.nodes.empty() ||
      std::all_of(result.nodes.begin(), result.nodes.end(), [](const Node& n) { return n.optional; }))
    fail("nothing that must be written");
  patterns_.push_back(std::move(result));
  found_.clear();
  return patterns_.size() - 1;
}

bool CommandTable::matches(const Pattern& pattern, std::size_t at, std::span<const std::string> header,
                           std::vector<std::uint32_t>& suffixes) {
  if (at == pattern.nodes.size()) return header.empty();
  const Node& node = pattern.nodes[at];
  const std::size_t before = suffixes.size();
  if (!header.empty()) {
    const std::string& word = header.front();
    std::size_t letters = word.size();
    if (node.numbered) {
      while (letters > 0 && std::isdigit(static_cast<unsigned char>(word[letters - 1]))) --letters;
    }
    const std::string_view mnemonic = std::string_view(word).substr(0, letters);
    if (mnemonic == node.brief || mnemonic == node.full) {
      std::uint32_t suffix = 1;
      if (letters < word.size() &&
          std::from_chars(word.data() + letters, word.data() + word.size(), suffix).ec != std::errc{})
        suffix = std::numeric_limits<std::uint32_t>::max();
      if (node.numbered) suffixes.push_back(suffix);
      if (matches(pattern, at + 1, header.subspan(1), suffixes)) return true;
      suffixes.resize(before);
    }
  }
  if (!node.optional) return false;
  if (node.numbered) suffixes.push_back(1);
  if (matches(pattern, at + 1, header, suffixes)) return true;
  suffixes.resize(before);
  return false;
}

CommandTable::Match CommandTable::find(const Unit& unit) const {
  std::string key;
  for (const std::string& word : unit.header) key += ':' + word;
  if (unit.query) key += '?';
  if (const auto known = found_.find(key); known != found_.end()) return known->second;
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    if (patterns_[i].query != unit.query) continue;
    Match match{i, {}};
    if (!matches(patterns_[i], 0, unit.header, match.suffixes)) continue;
    // limited, because headers come from outside
    if (found_.size() < 4096) found_.emplace(std::move(key), match);
    return match;
  }
  throw Fault(-113);
}

void Arguments::expect(std::size_t least, std::size_t most) const {
  if (size() < least) throw Fault(-109);
  if (size() > most) throw Fault(-108);
}

namespace {

// IEEE 488.2 table 7-1. M means milli, but mega with HZ and OHM.
double multiplier(std::string_view prefix, std::string_view unit) {
  constexpr std::array<std::pair<std::string_view, double>, 13> table{{{"", 1},
                                                                       {"EX", 1e18},
                                                                       {"PE", 1e15},
                                                                       {"T", 1e12},
                                                                       {"G", 1e9},
                                                                       {"MA", 1e6},
                                                                       {"K", 1e3},
                                                                       {"M", 1e-3},
                                                                       {"U", 1e-6},
                                                                       {"N", 1e-9},
                                                                       {"P", 1e-12},
                                                                       {"F", 1e-15},
                                                                       {"A", 1e-18}}};
  if (prefix == "M" && (unit == "HZ" || unit == "OHM")) return 1e6;
  for (const auto& [name, value] : table) {
    if (name == prefix) return value;
  }
  throw Fault(-131);
}

}  // namespace

double Arguments::number(std::size_t i, const NumberRange& range) const {
  expect(i + 1, std::numeric_limits<std::size_t>::max());
  const Parameter& parameter = parameters_[i];
  double value = 0;
  if (parameter.kind == Parameter::Kind::word) {
    if (is_form_of(parameter.text, "MINimum") && std::isfinite(range.low)) return range.low;
    if (is_form_of(parameter.text, "MAXimum") && std::isfinite(range.high)) return range.high;
    if (is_form_of(parameter.text, "DEFault") && range.initial) return *range.initial;
    if (is_form_of(parameter.text, "INFinity")) value = 9.9e37;
    else if (is_form_of(parameter.text, "NINFinity")) value = -9.9e37;
    else throw Fault(-148);
  } else if (parameter.kind == Parameter::Kind::number) {
    const std::size_t blank = parameter.text.find(' ');
    std::string_view digits = std::string_view(parameter.text).substr(0, blank);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc::result_out_of_range) {
      // Outside the range of a double: 0 if the exponent is negative, otherwise infinite.
      value =
          digits.find("E-") != std::string_view::npos
              ? 0
              : std::copysign(std::numeric_limits<double>::infinity(), digits.starts_with('-') ? -1.0 : 1.0);
    } else if (error != std::errc{} || end != digits.data() + digits.size()) {
      throw Fault(-121);
    }
    if (blank != std::string::npos) {
      const std::string_view unit = std::string_view(parameter.text).substr(blank + 1);
      if (range.unit.empty()) throw Fault(-138);
      if (!unit.ends_with(range.unit)) throw Fault(-131);
      value *= multiplier(unit.substr(0, unit.size() - range.unit.size()), range.unit);
    }
  } else {
    throw Fault(parameter.kind == Parameter::Kind::string  ? -158
                : parameter.kind == Parameter::Kind::block ? -168
                                                           : -178);
  }
  if (!(value >= range.low && value <= range.high)) throw Fault(-222);
  return value;
}

std::int64_t Arguments::whole(std::size_t i, std::int64_t low, std::int64_t high) const {
  return std::llround(number(i, {static_cast<double>(low), static_cast<double>(high), std::nullopt, {}}));
}

bool Arguments::boolean(std::size_t i) const {
  expect(i + 1, std::numeric_limits<std::size_t>::max());
  const Parameter& parameter = parameters_[i];
  if (parameter.kind == Parameter::Kind::number) return std::lround(std::clamp(number(i), -2.0, 2.0)) != 0;
  if (parameter.kind != Parameter::Kind::word) throw Fault(-104);
  if (is_form_of(parameter.text, "ON")) return true;
  if (is_form_of(parameter.text, "OFF")) return false;
  throw Fault(-224);
}

std::size_t Arguments::word(std::size_t i, std::span<const std::string_view> words) const {
  expect(i + 1, std::numeric_limits<std::size_t>::max());
  const Parameter& parameter = parameters_[i];
  if (parameter.kind == Parameter::Kind::number) throw Fault(-128);
  if (parameter.kind == Parameter::Kind::string) throw Fault(-158);
  if (parameter.kind != Parameter::Kind::word) throw Fault(-104);
  for (std::size_t w = 0; w < words.size(); ++w) {
    if (is_form_of(parameter.text, words[w])) return w;
  }
  throw Fault(-224);
}

const std::string& Arguments::string(std::size_t i) const {
  expect(i + 1, std::numeric_limits<std::size_t>::max());
  const Parameter& parameter = parameters_[i];
  if (parameter.kind == Parameter::Kind::number) throw Fault(-128);
  if (parameter.kind == Parameter::Kind::word) throw Fault(-148);
  if (parameter.kind != Parameter::Kind::string) throw Fault(-104);
  return parameter.text;
}

std::vector<std::uint32_t> Arguments::channels(std::size_t i) const {
  expect(i + 1, std::numeric_limits<std::size_t>::max());
  constexpr std::size_t most = 10000;
  const Parameter& parameter = parameters_[i];
  if (parameter.kind != Parameter::Kind::expression) throw Fault(-104);
  std::string text;
  std::remove_copy_if(parameter.text.begin(), parameter.text.end(), std::back_inserter(text),
                      [](unsigned char c) { return c <= ' '; });
  if (!text.starts_with('@')) throw Fault(-171);
  std::string_view rest = std::string_view(text).substr(1);
  std::vector<std::uint32_t> result;
  const auto take = [&] {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc{}) throw Fault(-171);
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    return number;
  };
  while (!rest.empty()) {
    const std::uint32_t first = take();
    std::uint32_t last = first;
    if (rest.starts_with(':')) {
      rest.remove_prefix(1);
      last = take();
    }
    if (std::max(first, last) - std::min(first, last) >= most || result.size() >= most) throw Fault(-223);
    for (std::uint32_t channel = first;; channel = first < last ? channel + 1 : channel - 1) {
      result.push_back(channel);
      if (channel == last) break;
    }
    if (rest.empty()) break;
    if (!rest.starts_with(',')) throw Fault(-171);
    rest.remove_prefix(1);
    if (rest.empty()) throw Fault(-171);
  }
  return result;
}

bool Arguments::is_word(std::size_t i, std::string_view word) const {
  return i < size() && parameters_[i].kind == Parameter::Kind::word && is_form_of(parameters_[i].text, word);
}

bool Arguments::is_channels(std::size_t i) const {
  return i < size() && parameters_[i].kind == Parameter::Kind::expression;
}

}  // namespace ness::sim::scpi
