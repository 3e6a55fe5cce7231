#include "task/csv_lines.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>

#include "ness/device/error.hpp"

namespace ness {
namespace {

struct Kind {
  std::string_view start, what, advice;
};

// How files begin that people give for CSV files.
constexpr std::array kinds{
    Kind{"PK\x03\x04", "a ZIP archive, as .xlsx and .ods are",
         "a spreadsheet saves it as CSV; unpack an archive"},
    Kind{"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)", "a spreadsheet saves it as CSV"},
    Kind{"\xff\xfe", "text in UTF-16", "UTF-8: iconv -f utf-16 -t utf-8"},
    Kind{"\xfe\xff", "text in UTF-16", "UTF-8: iconv -f utf-16 -t utf-8"},
    Kind{"\x1f\x8b", "packed by gzip twice", "packed once"},
    Kind{"BZh", "packed by bzip2", "text or gzip: bunzip2"},
    Kind{"\xfd"
         "7zXZ",
         "packed by xz", "text or gzip: unxz"},
    Kind{"\x28\xb5\x2f\xfd", "packed by zstd", "text or gzip: unzstd"},
    Kind{"\x89HDF", "an HDF5 file", "text: h5dump or pandas writes it as CSV"},
    Kind{"\x93NUMPY", "an array of numpy (.npy)", "text: numpy.savetxt writes it"},
    Kind{"PAR1", "a Parquet file", "text: pandas writes it as CSV"},
    Kind{"RDX", "a workspace of R", "text: write.csv of R writes it"},
    Kind{"RDA", "a workspace of R", "text: write.csv of R writes it"},
    Kind{"MATLAB 5.0", "a MATLAB file", "text: writematrix of MATLAB writes it"},
    Kind{"SQLite format", "an SQLite database", "text: sqlite3 -csv writes it"},
    Kind{"%PDF", "a PDF document", "text"},
    Kind{"<!doctype html", "a web page", "the file that it shows, as a link 'Raw' or 'Download' gives it"},
    Kind{"<html", "a web page", "the file that it shows, as a link 'Raw' or 'Download' gives it"},
    Kind{"<?xml", "XML", "text in rows"},
    Kind{"version https://git-lfs", "what Git LFS puts in place of a file", "the file: git lfs pull"},
    Kind{"{\"", "JSON", "text in rows"},
    Kind{"[{", "JSON", "text in rows"},
    Kind{"[[", "JSON", "text in rows"},
};

bool begins(std::string_view text, std::string_view start) {
  const auto low = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return text.size() >= start.size() && std::equal(start.begin(), start.end(), text.begin(),
                                                   [&](char a, char b) { return low(a) == low(b); });
}

// Bytes of the character of UTF-8 that begins here; 0 if there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  const bool wrong = (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
                     (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90);
  return wrong ? 0 : length;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string shown_cell(std::string_view text) {
  constexpr std::size_t most = 60;
  std::string shown = "'";
  while (!text.empty()) {
    if (shown.size() > most) return shown + "..'";
    const auto byte = static_cast<unsigned char>(text[0]);
    const std::size_t length = utf8_length(text);
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      char code[8];
      std::snprintf(code, sizeof code, "\\x%02X", byte);
      shown += byte == '\n' ? "\\n" : byte == '\t' ? "\\t" : code;
      text.remove_prefix(1);
      continue;
    }
    shown += text.substr(0, length);
    text.remove_prefix(length);
  }
  return shown + "'";
}

CsvLines::CsvLines(const std::string& path) : path_(path), file_(path) {
  if (std::filesystem::is_directory(path)) throw FileError(path + ": a directory; expected a CSV file");
  more();
  for (const Kind& kind : kinds) {
    if (begins(buffer_, kind.start))
      throw FileError(path + ": " + std::string(kind.what) +
                      "; expected text in rows: " + std::string(kind.advice));
  }
  if (buffer_.starts_with("\xef\xbb\xbf")) at_ = searched_ = 3;
}

bool CsvLines::more() {
  if (ended_) return false;
  constexpr std::size_t piece = 1 << 18;
  buffer_.erase(0, at_);
  searched_ -= at_;
  at_ = 0;
  const std::size_t before = buffer_.size();
  buffer_.resize(before + piece);
  const std::size_t got = file_.read(reinterpret_cast<std::uint8_t*>(buffer_.data()) + before, piece);
  buffer_.resize(before + got);
  ended_ = got < piece;
  return true;
}

bool CsvLines::next(std::string& line) {
  std::size_t end = buffer_.find_first_of("\r\n", searched_);
  // What follows a CR at the end of the buffer says whether it is the end of the line by itself.
  while (end == std::string::npos || end + 1 == buffer_.size()) {
    searched_ = end == std::string::npos ? buffer_.size() : end;
    if (!more()) break;
    end = buffer_.find_first_of("\r\n", searched_);
  }
  if (at_ >= buffer_.size()) return false;
  if (end == std::string::npos) end = buffer_.size();
  line.assign(buffer_, at_, end - at_);
  at_ = searched_ = std::min(end + (buffer_.compare(end, 2, "\r\n") == 0 ? 2 : 1), buffer_.size());
  ++number_;
  if (line.find('\0') != std::string::npos) {
    throw FileError(path_ + ":" + std::to_string(number_) +
                    ": holds bytes of 0; expected text in UTF-8 (text in UTF-16 has them: iconv -f utf-16le "
                    "-t utf-8)");
  }
  return true;
}

}  // namespace ness
