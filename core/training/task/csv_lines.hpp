// The lines of a text file, packed by gzip or not; what is no text of rows is named.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "task/gzip_reader.hpp"

namespace ness {

class CsvLines {
 public:
  /// Throws FileError for what is known not to be text: a workbook, a web page, UTF-16 ..
  explicit CsvLines(const std::string& path);

  /// The next line without its end (LF, CR LF, or the CR alone of old Macs); false after the last.
  bool next(std::string& line);
  /// Number of the line read last, from 1.
  std::uint64_t number() const { return number_; }
  const std::string& path() const { return path_; }

 private:
  bool more();

  std::string path_;
  GzipReader file_;
  std::string buffer_;
  std::size_t at_ = 0, searched_ = 0;  // the next line begins; before this place no end of it is
  bool ended_ = false;
  std::uint64_t number_ = 0;
};

/// Whether the bytes are text in UTF-8.
bool is_utf8(std::string_view text);
/// A cell or name as a message shows it: in quotes, on one line, cut where it is long, bytes that are no
/// UTF-8 as \xE4.
std::string shown_cell(std::string_view text);

}  // namespace ness
