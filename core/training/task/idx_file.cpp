#include "ness/training/idx_file.hpp"

#include <algorithm>
#include <array>

#include "ness/device/error.hpp"
#include "task/gzip_reader.hpp"
#include "task/idx_shape.hpp"

namespace ness {
namespace {

std::string hex(std::uint8_t byte) {
  constexpr const char* digits = "0123456789abcdef";
  return {digits[byte >> 4], digits[byte & 15]};
}

std::uint32_t big_endian(const std::uint8_t* bytes) {
  return (std::uint32_t{bytes[0]} << 24) | (std::uint32_t{bytes[1]} << 16) | (std::uint32_t{bytes[2]} << 8) |
         bytes[3];
}

std::vector<std::uint32_t> read_idx_shape(GzipReader& file, const std::string& path) {
  std::array<std::uint8_t, 4> magic{};
  const std::size_t got = file.read(magic.data(), magic.size());
  if (got < magic.size())
    throw FileError(path + ": not an IDX file: " + std::to_string(got) +
                    " bytes long; a header has at least 8");
  if (magic[0] != 0 || magic[1] != 0) {
    throw FileError(path + ": not an IDX file: begins with the bytes " + hex(magic[0]) + " " + hex(magic[1]) +
                    "; expected 00 00");
  }
  if (magic[2] != 0x08) {
    throw FileError(path + ": IDX element type 0x" + hex(magic[2]) + "; expected 0x08 (unsigned bytes)");
  }
  if (magic[3] == 0) throw FileError(path + ": IDX file of 0 dimensions; expected at least 1");
  std::vector<std::uint8_t> sizes(std::size_t{4} * magic[3]);
  if (file.read(sizes.data(), sizes.size()) < sizes.size()) {
    throw FileError(path + ": truncated: the header ends within its " + std::to_string(magic[3]) + " sizes");
  }
  std::vector<std::uint32_t> shape(magic[3]);
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = big_endian(sizes.data() + 4 * i);
  return shape;
}

}  // namespace

std::string shape_text(const std::vector<std::uint32_t>& shape) {
  std::string text;
  for (const std::uint32_t size : shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

std::uint64_t value_count(const std::vector<std::uint32_t>& shape, const std::string& path) {
  std::uint64_t count = 1;
  for (const std::uint32_t size : shape) {
    if (size != 0 && count > (std::uint64_t{1} << 40) / size)
      throw FileError(path + ": impossible IDX sizes " + shape_text(shape));
    count *= size;
  }
  return count;
}

IdxFile read_idx(const std::string& path) {
  GzipReader file(path);
  IdxFile idx;
  idx.path = path;
  idx.shape = read_idx_shape(file, path);
  const std::uint64_t expected = value_count(idx.shape, path);

  // Memory grows with the data read, so that a false header does not allocate more than the file contains.
  constexpr std::uint64_t piece = 1 << 22;
  while (idx.values.size() < expected) {
    const std::uint64_t before = idx.values.size();
    const std::uint64_t want = std::min(piece, expected - before);
    idx.values.resize(before + want);
    const std::size_t got = file.read(idx.values.data() + before, want);
    if (got == want) continue;
    throw FileError(path + ": truncated: expected " + std::to_string(expected) + " bytes of values (" +
                    shape_text(idx.shape) + "), found " + std::to_string(before + got));
  }
  std::uint8_t surplus = 0;  // reading past the end also makes zlib verify the checksum
  if (file.read(&surplus, 1) != 0) {
    throw FileError(path + ": too long: expected " + std::to_string(expected) + " bytes of values (" +
                    shape_text(idx.shape) + "), found more");
  }
  return idx;
}

}  // namespace ness
