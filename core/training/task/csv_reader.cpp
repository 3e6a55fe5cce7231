#include "task/csv_reader.hpp"

#include <algorithm>
#include <array>

#include "ness/device/error.hpp"
#include "ness/device/nearest.hpp"
#include "task/csv_number.hpp"

namespace ness {
namespace {

constexpr std::string_view blanks = " \t";

std::string_view trimmed(std::string_view text, std::string_view of = blanks) {
  const std::size_t first = text.find_first_not_of(of);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(of) - first + 1);
}

std::string lower(std::string_view text) {
  std::string low(text);
  for (char& c : low) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return low;
}

// Blanks around a cell; a tab that separates is none.
std::string_view blanks_beside(char separator) { return separator == '\t' ? " " : blanks; }

// How many cells a line has, apart from quotes that go on in the next line.
std::size_t cells(std::string_view line, char separator) {
  bool inside = false, between = true;
  std::size_t count = separator == ' ' ? 0 : 1;
  for (const char c : trimmed(line, blanks_beside(separator))) {
    if (c == '"') inside = !inside;
    const bool blank = blanks.find(c) != std::string_view::npos;
    if (separator != ' ') count += !inside && c == separator ? 1 : 0;
    else if (between && !blank) ++count;
    between = blank && !inside;
  }
  return count;
}

// Line 1 of some files for Excel: "sep=;".
char stated_separator(std::string_view line) {
  line = trimmed(line);
  if (line.size() >= 2 && line.front() == '"' && line.back() == '"') line = line.substr(1, line.size() - 2);
  if (line.size() == 5 && lower(line).starts_with("sep=")) return line[4];
  return lower(line) == "sep=" ? '\t' : '\0';  // the tab was trimmed
}

std::string list_of(const std::vector<std::string>& names) {
  constexpr std::size_t most = 12;
  std::string all;
  for (std::size_t i = 0; i < names.size() && i < most; ++i)
    all += (i == 0 ? "" : ", ") + shown_cell(names[i]);
  return names.size() > most ? all + " and " + std::to_string(names.size() - most) + " more" : all;
}

std::string counted(std::size_t count) { return std::to_string(count) + (count == 1 ? " field" : " fields"); }

}  // namespace

CsvReader::CsvReader(const std::string& path, const CsvDialect& dialect) : dialect_(dialect), lines_(path) {
  skip_to_names();
  name_columns();
  for (const std::string& name : names_) {
    if (!is_utf8(name))
      throw FileError(place(header_line_) + ": column " + shown_cell(name) +
                      ": text in another encoding; expected UTF-8: iconv -f windows-1252 -t utf-8");
  }
}

// ---- lines ----------------------------------------------------------------------------------------------

// Whether there are more than `index` lines ahead.
bool CsvReader::peek(std::size_t index) {
  Line line;
  while (ahead_.size() <= index && lines_.next(line.text)) {
    line.number = lines_.number();
    if (!trimmed(line.text).empty()) ahead_.push_back(std::move(line));
  }
  return ahead_.size() > index;
}

bool CsvReader::next_line(Line& line) {
  if (!peek(0)) return false;
  line = std::move(ahead_.front());
  ahead_.pop_front();
  return true;
}

// ---- names ----------------------------------------------------------------------------------------------

void CsvReader::skip_to_names() {
  const auto ends = [this](const std::string& what) {
    throw FileError(
        lines_.path() + ": " + what + "; expected " +
        (dialect_.header ? "a header line with the names of the columns, and rows below it" : "rows"));
  };
  std::string skipped;
  for (std::uint64_t i = 0; i < dialect_.skip; ++i) {
    if (!lines_.next(skipped)) ends("ends within the " + std::to_string(dialect_.skip) + " lines of 'skip'");
  }
  if (dialect_.skip == 0 && peek(0)) {
    if (const char stated = stated_separator(ahead_.front().text)) {
      if (dialect_.separator == 0) dialect_.separator = stated;
      ahead_.pop_front();
    }
  }
  while (peek(0) && trimmed(ahead_.front().text).starts_with('#')) {
    comments_.push_back(std::move(ahead_.front()));
    comments_.back().text.erase(0, comments_.back().text.find('#') + 1);
    ahead_.pop_front();
  }
  if (!peek(0) && comments_.empty()) ends(dialect_.skip > 0 ? "nothing below the lines of 'skip'" : "empty");
  if (!peek(0)) ends("no line but comments");
}

// The separator that parts two lines alike; of a header it may make one less (R names no rows).
char CsvReader::found_separator(const std::string& first, const std::string* second) const {
  char any = 0, of_one_name = 0;
  for (const char one : {';', '\t', ',', '|', ' '}) {
    const std::size_t of_first = cells(first, one), of_second = second ? cells(*second, one) : of_first;
    if (of_one_name == 0 && dialect_.header && of_first == 1 && of_second == 2 &&
        (one != ',' || trimmed(*second).starts_with('"')))
      of_one_name = one;
    if (of_first < 2) continue;
    if (any == 0 && (one != ' ' || of_second > 1)) any = one;
    if (of_first == of_second || (dialect_.header && of_first + 1 == of_second)) return one;
  }
  if (any != 0) return any;
  if (of_one_name != 0) return of_one_name;
  return dialect_.decimal_comma ? ';' : ',';  // of one column
}

// Which of the comments names as many columns as the first row has; numpy.savetxt puts the names there.
std::size_t CsvReader::names_in_comments(const std::vector<std::string>& first) const {
  for (std::size_t i = comments_.size(); i-- > 0;) {
    for (const char separator : {dialect_.separator, ',', ' ', '\t', ';'}) {
      const std::string& text = comments_[i].text;
      if (text.find('"') == std::string::npos && split(text, separator).size() == first.size() &&
          !trimmed(text).empty())
        return i;
    }
  }
  return comments_.size();
}

void CsvReader::name_columns() {
  if (dialect_.separator == 0) {
    const std::string* second = peek(1) ? &ahead_[1].text : nullptr;
    dialect_.separator = found_separator(ahead_[0].text, second);
  }
  header_line_ = ahead_[0].number;
  if (!dialect_.header) {
    const Line first = ahead_[0];
    const std::size_t count = cells(first.text, dialect_.separator);
    for (std::size_t i = 0; i < count; ++i) names_.push_back(std::to_string(i + 1));
    return;
  }
  if (!comments_.empty() && ahead_[0].text.find('"') == std::string::npos) {
    const std::vector<std::string> first = split(ahead_[0].text, dialect_.separator);
    const std::size_t named = names_in_comments(first);
    if (named < comments_.size() && std::any_of(first.begin(), first.end(), is_csv_number)) {
      for (const char separator : {dialect_.separator, ',', ' ', '\t', ';'}) {
        names_ = split(comments_[named].text, separator);
        if (names_.size() == first.size()) break;
      }
      header_line_ = comments_[named].number;
      return;
    }
  }
  Line header;
  next_line(header);
  names_ = fields(std::move(header));
  fit_names_to_rows();
}

// R gives no name to the first column, the names of the rows, unless it is asked to; some instruments end
// each row, but not the header, with a separator.
void CsvReader::fit_names_to_rows() {
  if (!peek(0)) return;
  const std::string& text = ahead_[0].text;
  if (cells(text, dialect_.separator) != names_.size() + 1) return;
  const bool blank = dialect_.separator == ' ';
  trailing_ = !blank && trimmed(text, " ").ends_with(dialect_.separator);
  if (trailing_) return;
  const std::string_view first = trimmed(text);
  const std::string_view cell = trimmed(first.substr(0, first.find(dialect_.separator)));
  // Of a comma only where the first cell is no number: "1,5,2" may as well have decimal commas.
  if (dialect_.separator != ',' || first.starts_with('"') || !is_csv_number(cell))
    names_.insert(names_.begin(), "");
}

// ---- fields ---------------------------------------------------------------------------------------------

// A quoted cell that begins at `at`, which may go on in the lines below; `at` then stands behind it.
std::string CsvReader::quoted(Line& line, std::size_t& at) {
  std::string text;
  ++at;
  while (true) {
    const std::size_t end = line.text.find('"', at);
    if (end == std::string::npos) {
      std::string below;
      bool more = false;
      if (!ahead_.empty()) {
        below = std::move(ahead_.front().text);
        ahead_.pop_front();
        more = true;
      } else {
        more = lines_.next(below);
      }
      if (!more)
        throw FileError(place(line.number) +
                        ": a quote is not closed; expected '\"' before the end of the file");
      text += line.text.substr(at) + "\n";
      line.text = std::move(below);
      at = 0;
      continue;
    }
    text += line.text.substr(at, end - at);
    at = end + 1;
    // write.table of R writes \" for a quote within; behind a closing one there is an end or a separator.
    const auto closes = [&](std::size_t from) {
      const std::size_t next = line.text.find_first_not_of(blanks_beside(dialect_.separator), from);
      return next == std::string::npos || line.text[next] == dialect_.separator ||
             (dialect_.separator == ' ' && next > from);
    };
    const bool doubled = at < line.text.size() && line.text[at] == '"';
    if (text.ends_with('\\') && (doubled ? closes(at + 1) : !closes(at))) {
      text.back() = '"';
      continue;
    }
    if (doubled) {
      text += '"';
      ++at;
      continue;
    }
    if (!closes(at))
      throw FileError(place(line.number) + ": " +
                      shown_cell(trimmed(std::string_view(line.text).substr(at))) +
                      " behind a closed quote; expected " +
                      (dialect_.separator == ' ' ? "a blank" : shown_cell({&dialect_.separator, 1})));
    at = std::min(line.text.find_first_not_of(blanks_beside(dialect_.separator), at), line.text.size());
    return std::string(trimmed(text, " \t\n"));
  }
}

// Without regard to quotes.
std::vector<std::string> CsvReader::split(const std::string& text, char separator) const {
  std::vector<std::string> all;
  std::string_view rest = trimmed(text, blanks_beside(separator));
  if (separator == ' ') {
    for (; !rest.empty(); rest = trimmed(rest)) {
      const std::size_t end = std::min(rest.find_first_of(blanks), rest.size());
      all.emplace_back(rest.substr(0, end));
      rest.remove_prefix(end);
    }
    return all;
  }
  while (true) {
    const std::size_t end = rest.find(separator);
    all.emplace_back(trimmed(rest.substr(0, end)));
    if (end == std::string_view::npos) return all;
    rest.remove_prefix(end + 1);
  }
}

std::vector<std::string> CsvReader::fields(Line line) {
  if (line.text.find('"') == std::string::npos) return split(line.text, dialect_.separator);
  std::vector<std::string> all;
  const char separator = dialect_.separator;
  std::size_t at = 0;
  while (true) {
    at = std::min(line.text.find_first_not_of(blanks_beside(separator), at), line.text.size());
    if (separator == ' ' && at == line.text.size()) return all;
    if (at < line.text.size() && line.text[at] == '"') {
      all.push_back(quoted(line, at));
    } else {
      const std::size_t end =
          std::min(separator == ' ' ? line.text.find_first_of(blanks, at) : line.text.find(separator, at),
                   line.text.size());
      all.emplace_back(trimmed(std::string_view(line.text).substr(at, end - at)));
      at = end;
    }
    if (separator == ' ') continue;
    if (at >= line.text.size()) return all;
    ++at;
  }
}

void CsvReader::wrong_count(const std::vector<std::string>& found) const {
  const std::size_t at = std::min(found.size(), names_.size() - 1);
  std::string hint;
  if (dialect_.separator == ',' && found.size() == 2 * names_.size())
    hint = " (decimal commas? the columns are then separated by ';' or blanks, and decimal_comma = true)";
  else if (found.size() == names_.size() + 1 && found.back().empty())
    hint = " (a separator at the end of the line? of all rows, or of none)";
  else if (found.size() > names_.size()) hint = " (a separator within a cell? the cell is then in quotes)";
  else if (found.size() == 1 && names_.size() > 1 && !is_csv_number(found[0]))
    hint = " (a line that is no row? rows alone may follow the header)";
  throw FileError(place(row_line_) + ": column " + shown_cell(names_[at]) + ": " + counted(found.size()) +
                  "; expected " + std::to_string(names_.size()) +
                  (dialect_.header ? ", as in the header" : ", as in the first row") + hint);
}

// Comments below the last row (numpy.savetxt, footer) are no rows; others are refused.
bool CsvReader::ends_in_comments(const Line& line) {
  const std::string_view text = trimmed(line.text);
  const bool apart = text == "#" || text.starts_with("# ");
  if (!text.starts_with('#') || (!apart && cells(text, dialect_.separator) == names_.size())) return false;
  for (Line below; next_line(below);) {
    if (trimmed(below.text).starts_with('#')) continue;
    throw FileError(place(line.number) + ": " + shown_cell(trimmed(line.text)) +
                    ": a comment between rows; expected comments above the header or below the last row");
  }
  return true;
}

bool CsvReader::row(CsvRow& row) {
  Line line;
  if (!next_line(line) || ends_in_comments(line)) return false;
  row.line = row_line_ = line.number;
  row.texts = fields(std::move(line));
  if (trailing_ && row.texts.size() == names_.size() + 1 && row.texts.back().empty()) row.texts.pop_back();
  else if (trailing_ || row.texts.size() != names_.size()) wrong_count(row.texts);
  return true;
}

void CsvReader::refuse(const std::string& text, std::size_t column, const std::string& expected) const {
  throw FileError(place(row_line_) + ": column " + shown_cell(names_[column]) + ": " + shown_cell(text) +
                  "; " + expected);
}

double CsvReader::number(const std::string& text, std::size_t column, const std::string& expected) const {
  if (const std::optional<double> value = csv_number(text, dialect_.decimal_comma)) return *value;
  const std::string hint = csv_number_hint(text, dialect_.decimal_comma);
  refuse(text, column, "expected a finite number" + (hint.empty() ? expected : hint));
}

// ---- columns --------------------------------------------------------------------------------------------

void CsvReader::no_such_column(const std::string& column) const {
  std::string hint;
  for (const std::string& name : names_) {
    if (lower(name) == lower(column)) hint = " (capital letters count: " + shown_cell(name) + "?)";
  }
  const auto separates = [](char c) { return c == ',' || c == ';' || c == '\t' || c == '|'; };
  if (!hint.empty()) {
  } else if (dialect_.header && std::all_of(names_.begin(), names_.end(), is_csv_number)) {
    hint = " (a row of data, not of names? then header = false, and the columns are '1', '2', ..)";
  } else if (!dialect_.header) {
    hint = " (header = false: the columns are named by their numbers)";
  } else if (names_.size() == 1 && std::any_of(names_[0].begin(), names_[0].end(), separates)) {
    hint = " (another separator than the one given?)";
  } else if (const std::string near = nearest_name(column, names_); !near.empty()) {
    hint = " (did you mean " + shown_cell(near) + "?)";
  }
  throw FileError(place(header_line_) + ": column " + shown_cell(column) + ": not there; the columns are " +
                  list_of(names_) + hint);
}

std::vector<std::size_t> CsvReader::find(const std::vector<std::string>& columns) const {
  std::vector<std::size_t> found;
  for (const std::string& column : columns) {
    const auto place_of = std::find(names_.begin(), names_.end(), column);
    if (place_of == names_.end()) no_such_column(column);
    if (std::find(place_of + 1, names_.end(), column) != names_.end())
      throw FileError(place(header_line_) + ": column " + shown_cell(column) +
                      ": is there twice; expected names that differ");
    found.push_back(static_cast<std::size_t>(place_of - names_.begin()));
  }
  return found;
}

// "a..c": the columns from a to c, in the order of the file.
std::vector<std::string> CsvReader::range(const std::string& text) const {
  const std::size_t dots = text.find("..");
  if (dots == std::string::npos || std::find(names_.begin(), names_.end(), text) != names_.end())
    return {text};
  const std::vector<std::size_t> ends = find({std::string(trimmed(std::string_view(text).substr(0, dots))),
                                              std::string(trimmed(std::string_view(text).substr(dots + 2)))});
  if (ends[0] > ends[1])
    throw FileError(place(header_line_) + ": columns " + shown_cell(text) + ": " +
                    shown_cell(names_[ends[1]]) + " stands before " + shown_cell(names_[ends[0]]) +
                    "; expected the first one first");
  return {names_.begin() + static_cast<std::ptrdiff_t>(ends[0]),
          names_.begin() + static_cast<std::ptrdiff_t>(ends[1]) + 1};
}

std::vector<std::string> CsvReader::chosen(const std::vector<std::string>& wanted,
                                           const std::vector<std::string>& without) const {
  const auto is_name = [this](const std::string& text) {
    return std::find(names_.begin(), names_.end(), text) != names_.end();
  };
  std::vector<std::string> all;
  for (const std::string& text : wanted) {
    constexpr std::string_view but = "all but ";
    if (is_name(text) || (text != "all" && !text.starts_with(but))) {
      const std::vector<std::string> named = range(text);
      all.insert(all.end(), named.begin(), named.end());
      continue;
    }
    std::vector<std::string> left_out = without;
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
    throw FileError(place(header_line_) + ": no column is left for the inputs; the columns are " +
                    list_of(names_));
  return all;
}

}  // namespace ness
