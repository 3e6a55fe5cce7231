// Reader of files that may be compressed by gzip; zlib reads other files unchanged.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "ness/device/error.hpp"

namespace ness {

class GzipReader {
 public:
  explicit GzipReader(const std::string& path) : path_(path) {
    errno = 0;
    file_ = gzopen(path.c_str(), "rb");
    if (!file_)
      throw FileError(path + ": cannot be opened: " + (errno != 0 ? std::strerror(errno) : "out of memory"));
    gzbuffer(file_, 1 << 18);
  }
  ~GzipReader() { gzclose(file_); }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  // Reads up to `count` bytes; fewer only at the end of the data.
  std::size_t read(std::uint8_t* into, std::size_t count) {
    std::size_t got = 0;
    while (got < count) {
      const auto want = static_cast<unsigned>(std::min<std::size_t>(count - got, 1 << 20));
      const int now = gzread(file_, into + got, want);
      if (now < 0) fail();
      got += static_cast<std::size_t>(now);
      if (now == static_cast<int>(want)) continue;
      int code = Z_OK;
      gzerror(file_, &code);
      if (code == Z_BUF_ERROR)
        throw FileError(path_ + ": damaged gzip data: the compressed stream ends early");
      break;
    }
    return got;
  }

 private:
  [[noreturn]] void fail() {
    int code = Z_OK;
    const int reason = errno;
    const char* message = gzerror(file_, &code);
    if (code == Z_ERRNO) throw FileError(path_ + ": cannot be read: " + std::strerror(reason));
    throw FileError(path_ + ": damaged gzip data: " + message);
  }

  std::string path_;
  gzFile file_;
};

}  // namespace ness
