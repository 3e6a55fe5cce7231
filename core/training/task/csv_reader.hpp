// A CSV file, row by row: the dialects that spreadsheets, R, pandas and numpy write.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ness/training/csv_task.hpp"
#include "task/gzip_reader.hpp"

namespace ness {

/// What stands in one row of a file; `texts` are trimmed and without quotes.
struct CsvRow {
  std::vector<std::string> texts;  ///< [columns of the file]
  std::uint64_t line = 0;          ///< of the file, from 1
};

/// Throws FileError, "FILE:LINE: ..", for whatever cannot be read.
class CsvReader {
 public:
  CsvReader(const std::string& path, const CsvDialect& dialect);

  /// Index of each named column.
  std::vector<std::size_t> find(const std::vector<std::string>& columns) const;
  /// The names of the columns that `wanted` asks for (CsvOptions::inputs). "all" leaves out `targets` and
  /// columns without a name.
  std::vector<std::string> chosen(const std::vector<std::string>& wanted,
                                  const std::vector<std::string>& targets) const;
  /// The next row; false at the end.
  bool row(CsvRow& row);
  /// The number in a cell of the row read last.
  double number(const std::string& text, std::size_t column) const;
  /// "FILE:LINE: column 'NAME': 'TEXT'; " and what was expected.
  [[noreturn]] void refuse(const std::string& text, std::size_t column, const std::string& expected) const;
  std::string here() const { return path_ + ":" + std::to_string(line_); }

 private:
  bool raw_line(std::string& line);
  bool next_line(std::string& line);
  void read_header();
  void find_separator(const std::string& line);
  std::vector<std::string> fields(std::string_view line) const;
  std::vector<std::string> blank_fields(std::string_view line) const;
  std::string quoted(std::string_view& line) const;
  [[noreturn]] void no_such_column(const std::string& column) const;
  [[noreturn]] void wrong_count(std::size_t found) const;
  std::vector<std::string> range(const std::string& text) const;

  std::string path_;
  CsvDialect dialect_;
  GzipReader file_;
  std::string buffer_;
  std::size_t at_ = 0;
  bool ended_ = false;
  std::uint64_t line_ = 0;
  std::optional<std::string> pending_;  // a line read ahead, with number line_
  std::uint64_t header_line_ = 0;
  std::vector<std::string> names_;
};

}  // namespace ness
