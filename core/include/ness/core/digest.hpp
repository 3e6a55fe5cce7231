// Digests: by which a parameter vector, a start or a data file is recognised again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "ness/core/vector.hpp"

namespace ness {

/// XXH3 (64 bit) of the bytes. Equal vectors, bit for bit, have equal digests; -0.0 and 0.0 differ.
std::uint64_t digest(std::span<const std::byte> bytes);
std::uint64_t digest(const VectorView& values);

/// digest() of values that come in pieces.
class Digester {
 public:
  Digester();
  ~Digester();
  Digester(const Digester&) = delete;
  Digester& operator=(const Digester&) = delete;
  void add(std::span<const double> values);
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 of a file's bytes, 64 lower-case hexadecimal digits. Throws FileError if it cannot be read.
std::string sha256_of_file(const std::string& path);

/// CRC-32 (zlib's) of the bytes, continued from `crc`.
std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t crc = 0);

}  // namespace ness
