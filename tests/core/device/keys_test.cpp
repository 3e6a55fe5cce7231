#include "ness/device/keys.hpp"

#include <catch2/catch.hpp>

using namespace ness;

namespace {

enum class Shape { round, flat };

/// The keys of a toy, and what they set.
struct Toy {
  double size = 2;
  std::uint32_t count = 3;
  Shape shape = Shape::flat;
  void read(Keys& keys) {
    keys.number("size", size, Number::positive, {"m", "its size"});
    keys.whole("count", count, 1, {"", "how many"});
    keys.choice<Shape>("shape", shape, {{"round", Shape::round}, {"flat", Shape::flat}}, {"", "its shape"});
    if (const auto inner = keys.inner("more", {"", "more of it"}))
      inner->number("size", size, Number::finite, {"m", "again"});
  }
};

}  // namespace

TEST_CASE("where nothing is given, options keep their defaults, and a refusal is misuse") {
  NoKeys none;
  Toy toy;
  toy.read(none);
  CHECK(toy.size == 2);
  CHECK(toy.count == 3);
  CHECK(toy.shape == Shape::flat);
  CHECK_THROWS_WITH(none.fail("size", "too large"), "'size': too large");
  CHECK_NOTHROW(none.require(""));
  CHECK_THROWS_AS(none.require("no"), std::invalid_argument);
}
