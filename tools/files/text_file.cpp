#include "ness/files/text_file.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "ness/device/error.hpp"

namespace ness {

std::string text_of_file(const std::string& path, const std::string& expected) {
  if (std::filesystem::is_directory(path)) throw FileError(path + ": is a directory; expected " + expected);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError(path + ": cannot be read (" + std::strerror(errno) + "); expected " + expected);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void write_text_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text << std::flush;
  if (!file) throw FileError(path + ": cannot be written");
}

}  // namespace ness
