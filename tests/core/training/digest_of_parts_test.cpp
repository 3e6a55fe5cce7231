#include "loop/digest_of_parts.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <thread>

using namespace ness;

TEST_CASE("a digest taken of parts is that of the whole, made in any order and on several threads") {
  // Long enough for several stripes of XXH3, and not a multiple of a part.
  Vector values(1003);
  for (Eigen::Index i = 0; i < values.size(); ++i) values[i] = std::sqrt(static_cast<double>(i)) - 7;
  DigestOfParts backwards(values, 100), forwards(values, 100), one(values, 2000);
  for (std::size_t k = 11; k-- > 0;) backwards.made(k);
  for (std::size_t k = 0; k < 11; ++k) forwards.made(k);
  one.made(0);
  CHECK(backwards.value() == digest(values));
  CHECK(forwards.value() == digest(values));
  CHECK(one.value() == digest(values));

  for (int round = 0; round < 20; ++round) {
    DigestOfParts together(values, 10);
    const auto every_other = [&](std::size_t first) {
      for (std::size_t k = first; k < 101; k += 2) together.made(k);
    };
    std::thread odd(every_other, 1);
    every_other(0);
    odd.join();
    CHECK(together.value() == digest(values));
  }
}
