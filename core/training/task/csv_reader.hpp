// A CSV file, row by row: the dialects that spreadsheets, R, pandas and numpy write.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "ness/training/csv_task.hpp"
#include "task/csv_lines.hpp"

namespace ness {

/// What stands in one row of a file; `texts` are trimmed and without quotes.
struct CsvRow {
  std::vector<std::string> texts;  ///< [columns of the file]
  std::uint64_t line = 0;          ///< of the file, from 1: where the row begins
};

/// Throws FileError, "FILE:LINE: ..", for whatever cannot be read.
class CsvReader {
 public:
  CsvReader(const std::string& path, const CsvDialect& dialect);

  /// Index of each named column.
  std::vector<std::size_t> find(const std::vector<std::string>& columns) const;
  /// The names of the columns that `wanted` asks for (CsvOptions::inputs). "all" leaves out `without` and
  /// columns without a name.
  std::vector<std::string> chosen(const std::vector<std::string>& wanted,
                                  const std::vector<std::string>& without) const;
  /// The next row; false at the end.
  bool row(CsvRow& row);
  /// The number in a cell of the row read last. `expected` is said of a text that seems to be nothing else.
  double number(const std::string& text, std::size_t column, const std::string& expected) const;
  /// "FILE:LINE: column 'NAME': 'TEXT'; " and what was expected.
  [[noreturn]] void refuse(const std::string& text, std::size_t column, const std::string& expected) const;

 private:
  struct Line {
    std::string text;
    std::uint64_t number = 0;
  };
  bool next_line(Line& line);
  bool peek(std::size_t index);
  void skip_to_names();
  void name_columns();
  std::size_t names_in_comments(const std::vector<std::string>& first) const;
  void fit_names_to_rows();
  char found_separator(const std::string& first, const std::string* second) const;
  bool ends_in_comments(const Line& line);
  std::vector<std::string> fields(Line line);
  std::vector<std::string> split(const std::string& text, char separator) const;
  std::string quoted(Line& line, std::size_t& at);
  std::string place(std::uint64_t line) const { return lines_.path() + ":" + std::to_string(line); }
  [[noreturn]] void no_such_column(const std::string& column) const;
  [[noreturn]] void wrong_count(const std::vector<std::string>& found) const;
  std::vector<std::string> range(const std::string& text) const;

  CsvDialect dialect_;
  CsvLines lines_;
  std::deque<Line> ahead_;      // lines read ahead, none of them empty
  std::vector<Line> comments_;  // above the names, without '#'
  std::uint64_t header_line_ = 0, row_line_ = 0;
  std::vector<std::string> names_;
  bool trailing_ = false;  // each row ends in a separator, the header does not
};

}  // namespace ness
