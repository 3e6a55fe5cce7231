#include "task/csv_number.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace ness {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string lower(std::string_view text) {
  std::string low(text);
  for (char& c : low) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return low;
}

std::string_view without_plus(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-' && text[1] != '+') text.remove_prefix(1);
  return text;
}

// Digits alone or in a number with an exponent: not "inf", not "nan".
std::optional<double> pointed_number(std::string_view text) {
  text = without_plus(text);
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (stop != end) return std::nullopt;
  // std::from_chars reports both what is too large and what is too small; strtod tells them apart.
  if (error == std::errc::result_out_of_range) value = std::strtod(std::string(text).c_str(), nullptr);
  else if (error != std::errc()) return std::nullopt;
  if (!std::isfinite(value)) return std::nullopt;
  return value;
}

// Nothing where a point stands in it, which would part thousands.
std::optional<double> comma_number(std::string_view text) {
  if (text.find('.') != std::string_view::npos) return std::nullopt;
  std::string pointed(text);
  std::replace(pointed.begin(), pointed.end(), ',', '.');
  return pointed_number(pointed);
}

// What pandas takes for missing (pandas.read_csv, na_values), and what Stata, SAS, Weka and people write.
bool is_missing(std::string_view text) {
  constexpr std::array<std::string_view, 23> marks{
      "",     "na",  "nan",    "-nan",    "n/a",     "n.a.",     "null",     "none",
      "nil",  "?",   ".",      "-",       "--",      "#n/a",     "#n/a n/a", "#na",
      "<na>", "nat", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "missing"};
  return std::find(marks.begin(), marks.end(), lower(text)) != marks.end();
}

// "1,234,567.5", "1.234,5", "12 000", "1'000": groups of three behind the first.
bool has_thousands(std::string_view text) {
  text = without_plus(text);
  if (text.starts_with('-')) text.remove_prefix(1);
  std::size_t groups = 0, digits = 0;
  while (digits < text.size() && is_digit(text[digits])) ++digits;
  if (digits < 1 || digits > 3) return false;
  text.remove_prefix(digits);
  std::string_view separator;
  for (const std::string_view one : {",", ".", " ", "'", "\xc2\xa0", "\xe2\x80\xaf"}) {
    if (text.starts_with(one)) separator = one;
  }
  while (!separator.empty() && text.size() >= separator.size() + 3 && text.starts_with(separator) &&
         std::all_of(text.begin() + static_cast<std::ptrdiff_t>(separator.size()),
                     text.begin() + static_cast<std::ptrdiff_t>(separator.size() + 3), is_digit)) {
    text.remove_prefix(separator.size() + 3);
    ++groups;
  }
  if (groups == 0) return false;
  if (text.empty()) return true;
  return (text[0] == '.' || text[0] == ',') && text.substr(0, 1) != separator &&
         std::all_of(text.begin() + 1, text.end(), is_digit);
}

// "2024-01-31", "31.1.2024", "1/31/24", "12:30", "2024-01-31T12:30:00Z".
bool is_date(std::string_view text) {
  std::size_t digits = 0, marks = 0;
  char mark = 0;
  for (const char c : text) {
    if (is_digit(c)) ++digits;
    else if ((c == '-' || c == '/' || c == ':' || c == '.') && digits > 0) {
      marks += mark == 0 || c == mark ? 1 : 0;
      mark = mark == 0 ? c : mark;
    } else if ((c == 'T' || c == ' ' || c == 'Z') && marks > 0) {
      break;
    } else {
      return false;
    }
  }
  return digits >= 3 && (marks == 2 || (mark == ':' && marks == 1));
}

std::string hint_of_text(std::string_view text) {
  const std::string low = lower(text);
  if (low == "inf" || low == "-inf" || low == "+inf" || low == "infinity" || low == "-infinity")
    return "an infinity: no level stands for it";
  if (low == "true" || low == "false" || low == "yes" || low == "no") return "a truth value? write 1 and 0";
  if (text[0] == '#' && (text.back() == '!' || text.back() == '?' || text.back() == '#'))
    return "an error of a spreadsheet: mend the cell";
  if (text[0] == '#') return "a comment? it may stand above the header or below the last row";
  if (text.starts_with("\xe2\x88\x92") || text.starts_with("\xe2\x80\x93"))
    return "another sign than the minus '-'";
  if (low.starts_with("0x")) return "hexadecimal? expected decimal";
  double value = 0;
  const std::string_view plain = without_plus(text);
  const auto [stop, error] = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  const std::string_view rest(stop, static_cast<std::size_t>(plain.data() + plain.size() - stop));
  if (error == std::errc::result_out_of_range && rest.empty()) return "too large: numbers end at 1.8e+308";
  if (text.back() == '%') return "a percentage? the number alone, 0.12 or 12, without '%'";
  if (has_thousands(text)) return "thousands are not parted: 1234567.5";
  if (is_date(text)) return "a date or a time? write it as a number, such as days";
  if (error == std::errc() && rest.size() > 1 && (rest[0] == 'D' || rest[0] == 'd') &&
      (is_digit(rest[1]) || rest[1] == '+' || rest[1] == '-'))
    return "an exponent of Fortran? write E for D";
  if (error == std::errc() && !rest.empty() && rest[0] != ',' && rest[0] != '.')
    return "a unit or a text behind the number? the number alone";
  if (!is_digit(text[0]) && is_digit(text.back()) && text.size() > 1 &&
      (text[0] == '$' || text[0] == '<' || text[0] == '>' || text[0] == '~' || text[0] == '='))
    return "a sign before the number? the number alone";
  return {};
}

}  // namespace

std::optional<double> csv_number(std::string_view text, bool decimal_comma) {
  return decimal_comma ? comma_number(text) : pointed_number(text);
}

bool is_csv_number(std::string_view text) { return pointed_number(text) || comma_number(text); }

std::string csv_number_hint(std::string_view text, bool decimal_comma) {
  std::string hint;
  if (is_missing(text)) hint = "a missing value: leave the row out, or fill it in";
  else if (decimal_comma && pointed_number(text)) hint = "a decimal point; decimal_comma = true expects 0,5";
  else if (!decimal_comma && comma_number(text))
    hint = std::string("a decimal comma? then decimal_comma = true") +
           (has_thousands(text) ? "; a comma of thousands? they are not parted" : "");
  else hint = hint_of_text(text);
  return hint.empty() ? "" : " (" + hint + ")";
}

}  // namespace ness
