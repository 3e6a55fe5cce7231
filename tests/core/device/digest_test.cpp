#include "ness/device/digest.hpp"

#include <cstring>

#include "support.hpp"

using namespace support;

namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

// Published values of xxHash's reference implementation.
TEST_CASE("digests are XXH3 of 64 bits") {
  CHECK(digest(bytes("")) == 0x2D06800538D394C2);
  CHECK(digest(bytes("a")) == 0xE6C632B61E964E1F);
  CHECK(digest(bytes("abc")) == 0x78AF5F94892F3950);
}

TEST_CASE("a vector's digest is that of its bytes, so that zeros of either sign and NaNs differ") {
  const Vector values = vector_of({1, -0.0, odd_nan()});
  std::string copy(24, '\0');
  std::memcpy(copy.data(), values.data(), 24);
  CHECK(digest(values) == digest(bytes(copy)));
  CHECK(digest(vector_of({0.0})) != digest(vector_of({-0.0})));
  CHECK(digest(vector_of({odd_nan()})) != digest(vector_of({std::numeric_limits<double>::quiet_NaN()})));
  CHECK(digest(vector_of({1, 2})) != digest(vector_of({2, 1})));
}

TEST_CASE("a digest is the same however its values come") {
  // Long enough for several stripes of XXH3.
  Vector values(1003);
  for (Eigen::Index i = 0; i < values.size(); ++i) values[i] = std::sqrt(static_cast<double>(i)) - 7;
  const std::span all(values.data(), 1003);
  Digester pieces;
  for (const auto& [from, to] : {std::pair{0, 1}, {1, 1}, {1, 500}, {500, 1003}})
    pieces.add(all.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)));
  CHECK(pieces.value() == digest(values));
  CHECK(Digester().value() == digest(Vector()));
}
