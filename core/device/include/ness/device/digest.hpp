// Digests: by which a parameter vector or a start is recognised again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ness/device/vector.hpp"

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

}  // namespace ness
