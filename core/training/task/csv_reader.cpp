#include "task/csv_reader.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "ness/device/error.hpp"

namespace ness {
namespace {

constexpr std::string_view blanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::string lower(std::string_view text) {
  std::string low;
  for (const char c : text) low += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return low;
}

std::optional<double> plain_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-' && text[1] != '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// "0,5" as 0.5; nothing where a point stands in it, which would part thousands.
std::optional<double> comma_number(std::string_view text) {
  if (text.find('.') != std::string_view::npos) return std::nullopt;
  std::string pointed(text);
  std::replace(pointed.begin(), pointed.end(), ',', '.');
  return plain_number(pointed);
}

bool numeric(std::string_view text) { return plain_number(text) || comma_number(text); }

bool missing(std::string_view text) {
  constexpr std::array<std::string_view, 7> marks{"", "na", "nan", "n/a", "null", "none", "?"};
  return std::find(marks.begin(), marks.end(), lower(text)) != marks.end();
}

// How often a character is outside quotes.
std::size_t count_of(std::string_view line, char wanted) {
  bool inside = false;
  std::size_t count = 0;
  for (const char c : line) {
    if (c == '"') inside = !inside;
    count += !inside && c == wanted ? 1 : 0;
  }
  return count;
}

std::string list_of(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "'" : ", '") + name + "'";
  return all;
}

}  // namespace

CsvReader::CsvReader(const std::string& path, const CsvDialect& dialect)
    : path_(path), dialect_(dialect), file_(path) {
  if (std::filesystem::is_directory(path)) throw FileError(path + ": cannot be opened: a directory");
  read_header();
}

// ---- lines ----------------------------------------------------------------------------------------------

bool CsvReader::raw_line(std::string& line) {
  line.clear();
  constexpr std::size_t piece = 1 << 18;
  while (true) {
    const std::size_t end = buffer_.find('\n', at_);
    if (end != std::string::npos || ended_) {
      if (end == std::string::npos && at_ >= buffer_.size()) return false;
      line = buffer_.substr(at_, end == std::string::npos ? std::string::npos : end - at_);
      at_ = end == std::string::npos ? buffer_.size() : end + 1;
      ++line_;
      if (line.find('\0') != std::string::npos)
        throw FileError(here() +
                        ": holds bytes of 0; expected text in UTF-8 (a spreadsheet saves it as CSV)");
      return true;
    }
    buffer_.erase(0, at_);
    at_ = 0;
    const std::size_t before = buffer_.size();
    buffer_.resize(before + piece);
    const std::size_t got = file_.read(reinterpret_cast<std::uint8_t*>(buffer_.data()) + before, piece);
    buffer_.resize(before + got);
    ended_ = got < piece;
  }
}

bool CsvReader::next_line(std::string& line) {
  if (pending_) {
    line = std::move(*pending_);
    pending_.reset();
    return true;
  }
  while (raw_line(line)) {
    if (!trimmed(line).empty()) return true;
  }
  return false;
}

void CsvReader::find_separator(const std::string& line) {
  if (dialect_.separator != 0) return;
  for (const char one : {';', '\t', ','}) {
    if (count_of(line, one) == 0 || (one == ',' && dialect_.decimal_comma)) continue;
    dialect_.separator = one;
    return;
  }
  dialect_.separator = count_of(trimmed(line), ' ') > 0 ? ' ' : ',';
}

void CsvReader::read_header() {
  std::string line;
  const auto named = [this] {
    return dialect_.header ? "a header line with the names of the columns" : "rows";
  };
  for (std::uint64_t i = 0; i < dialect_.skip; ++i) {
    if (!raw_line(line))
      throw FileError(path_ + ": ends within the " + std::to_string(dialect_.skip) +
                      " lines that are skipped; expected " + named());
  }
  // numpy writes the names behind '#'. Other such lines at the top are comments.
  std::string comment;
  std::uint64_t comment_line = 0;
  while (next_line(line)) {
    if (line_ == 1) {
      if (line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);
      if (line.starts_with("\xff\xfe") || line.starts_with("\xfe\xff"))
        throw FileError(here() + ": text in UTF-16; expected UTF-8");
      if (line.starts_with("PK\x03\x04"))
        throw FileError(path_ +
                        ": a ZIP archive or a spreadsheet; expected text: save it as CSV, or unpack it");
    }
    if (!trimmed(line).starts_with('#')) break;
    comment = line.substr(line.find('#') + 1);
    comment_line = line_;
    line.clear();
  }
  const bool is_row = !line.empty();
  if (!dialect_.header) {
    if (!is_row) throw FileError(path_ + ": empty; expected rows");
    find_separator(line);
    const std::size_t count = fields(line).size();
    for (std::size_t i = 0; i < count; ++i) names_.push_back(std::to_string(i + 1));
    header_line_ = line_;
    pending_ = std::move(line);
    return;
  }
  const CsvDialect before = dialect_;
  bool names_in_comment = false;
  if (!trimmed(comment).empty()) {
    names_in_comment = !is_row;
    if (is_row) {
      find_separator(line);
      const std::vector<std::string> first = fields(line);
      names_in_comment = std::any_of(first.begin(), first.end(), numeric);
      dialect_ = before;
    }
  }
  if (!is_row && !names_in_comment)
    throw FileError(path_ + ": empty; expected a header line with the names of the columns");
  header_line_ = names_in_comment ? comment_line : line_;
  const std::string& header = names_in_comment ? comment : line;
  find_separator(header);
  names_ = fields(header);
  if (names_in_comment && is_row) pending_ = std::move(line);
  // write.table of R gives no name to its first column, the names of the rows.
  if (dialect_.separator == ' ' && (pending_ || next_line(line))) {
    if (!pending_) pending_ = std::move(line);
    if (fields(*pending_).size() == names_.size() + 1) names_.insert(names_.begin(), "");
  }
}

// ---- fields ---------------------------------------------------------------------------------------------

std::string CsvReader::quoted(std::string_view& line) const {
  std::string text;
  line.remove_prefix(1);
  while (true) {
    const std::size_t end = line.find('"');
    if (end == std::string_view::npos)
      throw FileError(here() + ": a quote is not closed; expected '\"' before the end of the line");
    text += line.substr(0, end);
    line.remove_prefix(end + 1);
    if (!line.starts_with('"')) return std::string(trimmed(text));
    text += '"';
    line.remove_prefix(1);
  }
}

std::vector<std::string> CsvReader::blank_fields(std::string_view line) const {
  std::vector<std::string> all;
  for (line = trimmed(line); !line.empty(); line = trimmed(line)) {
    if (line.starts_with('"')) {
      all.push_back(quoted(line));
      if (!line.empty() && blanks.find(line[0]) == std::string_view::npos)
        throw FileError(here() + ": '" + std::string(line) + "' behind a closed quote; expected a blank");
      continue;
    }
    const std::size_t end = std::min(line.find_first_of(blanks), line.size());
    all.emplace_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return all;
}

std::vector<std::string> CsvReader::fields(std::string_view line) const {
  if (dialect_.separator == ' ') return blank_fields(line);
  std::vector<std::string> all;
  while (true) {
    const std::size_t first = line.find_first_not_of(dialect_.separator == '\t' ? " \r" : blanks);
    std::string text;
    if (first != std::string_view::npos && line[first] == '"') {
      line.remove_prefix(first);
      text = quoted(line);
      const std::size_t next = std::min(line.find(dialect_.separator), line.size());
      if (const std::string_view rest = trimmed(line.substr(0, next)); !rest.empty())
        throw FileError(here() + ": '" + std::string(rest) + "' behind a closed quote; expected '" +
                        dialect_.separator + "'");
      line.remove_prefix(next);
    } else {
      const std::size_t next = std::min(line.find(dialect_.separator), line.size());
      text = trimmed(line.substr(0, next));
      line.remove_prefix(next);
    }
    all.push_back(std::move(text));
    if (line.empty()) return all;
    line.remove_prefix(1);
  }
}

void CsvReader::wrong_count(std::size_t found) const {
  const std::size_t at = std::min(found, names_.size() - 1);
  std::string hint;
  if (dialect_.separator == ',' && found == 2 * names_.size())
    hint = " (decimal commas? the columns are then separated by ';' or blanks, and decimal_comma = true)";
  throw FileError(here() + ": column '" + names_[at] + "': " + std::to_string(found) + " fields; expected " +
                  std::to_string(names_.size()) +
                  (dialect_.header ? ", as in the header" : ", as in the first row") + hint);
}

bool CsvReader::row(CsvRow& row) {
  std::string line;
  if (!next_line(line)) return false;
  row.texts = fields(line);
  row.line = line_;
  if (row.texts.size() != names_.size()) wrong_count(row.texts.size());
  return true;
}

void CsvReader::refuse(const std::string& text, std::size_t column, const std::string& expected) const {
  throw FileError(here() + ": column '" + names_[column] + "': " + text + "; " + expected);
}

double CsvReader::number(const std::string& text, std::size_t column) const {
  const std::optional<double> value = dialect_.decimal_comma ? comma_number(text) : plain_number(text);
  if (value) return *value;
  std::string expected = "expected a finite number";
  if (missing(text)) expected += " (a missing value: leave the row out, or fill it in)";
  else if (dialect_.decimal_comma && plain_number(text))
    expected += " with a decimal comma, as decimal_comma = true says";
  else if (!dialect_.decimal_comma && comma_number(text))
    expected += " (a decimal comma? then decimal_comma = true)";
  refuse("'" + text + "'", column, expected);
}

// ---- columns --------------------------------------------------------------------------------------------

void CsvReader::no_such_column(const std::string& column) const {
  std::string hint;
  for (const std::string& name : names_) {
    if (lower(name) == lower(column)) hint = " (capital letters count: '" + name + "'?)";
  }
  if (hint.empty() && dialect_.header && std::all_of(names_.begin(), names_.end(), numeric))
    hint = " (a row of data, not of names? then header = false, and the columns are '1', '2', ..)";
  else if (hint.empty() && names_.size() == 1 && names_[0].find_first_of(",;\t ") != std::string::npos)
    hint = " (another separator than the one given?)";
  throw FileError(path_ + ":" + std::to_string(header_line_) + ": column '" + column +
                  "': not there; the columns are " + list_of(names_) + hint);
}

std::vector<std::size_t> CsvReader::find(const std::vector<std::string>& columns) const {
  std::vector<std::size_t> found;
  for (const std::string& column : columns) {
    const auto place = std::find(names_.begin(), names_.end(), column);
    if (place == names_.end()) no_such_column(column);
    if (std::find(place + 1, names_.end(), column) != names_.end())
      throw FileError(path_ + ":" + std::to_string(header_line_) + ": column '" + column +
                      "': is there twice");
    found.push_back(static_cast<std::size_t>(place - names_.begin()));
  }
  return found;
}

// "a..c": the columns from a to c, in the order of the file.
std::vector<std::string> CsvReader::range(const std::string& text) const {
  const std::size_t dots = text.find("..");
  if (dots == std::string::npos) return {text};
  const std::vector<std::size_t> ends = find({std::string(trimmed(std::string_view(text).substr(0, dots))),
                                              std::string(trimmed(std::string_view(text).substr(dots + 2)))});
  if (ends[0] > ends[1])
    throw FileError(path_ + ":" + std::to_string(header_line_) + ": columns '" + text + "': '" +
                    names_[ends[1]] + "' stands before '" + names_[ends[0]] +
                    "'; expected the first one first");
  return {names_.begin() + static_cast<std::ptrdiff_t>(ends[0]),
          names_.begin() + static_cast<std::ptrdiff_t>(ends[1]) + 1};
}

std::vector<std::string> CsvReader::chosen(const std::vector<std::string>& wanted,
                                           const std::vector<std::string>& targets) const {
  const auto is_name = [this](const std::string& text) {
    return std::find(names_.begin(), names_.end(), text) != names_.end();
  };
  std::vector<std::string> all;
  for (const std::string& text : wanted) {
    constexpr std::string_view but = "all but ";
    if (is_name(text) || (text != "all" && !text.starts_with(but))) {
      const std::vector<std::string> named = is_name(text) ? std::vector{text} : range(text);
      all.insert(all.end(), named.begin(), named.end());
      continue;
    }
    std::vector<std::string> left_out = targets;
    std::string_view rest = text == "all" ? std::string_view() : std::string_view(text).substr(but.size());
    if (const std::string whole(trimmed(rest)); is_name(whole)) rest = {}, left_out.push_back(whole);
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      for (const std::string& name : range(std::string(trimmed(rest.substr(0, comma)))))
        left_out.push_back(name);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    find(left_out);
    for (const std::string& name : names_) {
      if (!name.empty() && std::find(left_out.begin(), left_out.end(), name) == left_out.end())
        all.push_back(name);
    }
  }
  if (all.empty())
    throw FileError(path_ + ":" + std::to_string(header_line_) + ": no column is left for the inputs");
  return all;
}

}  // namespace ness
