#include "ness/device/ramp.hpp"

#include <catch2/catch.hpp>
#include <limits>

using namespace ness;

TEST_CASE("on a ramp each level moves at the rate until it has arrived", "[ramp]") {
  constexpr double step = std::numeric_limits<double>::infinity();
  Vector levels(3);
  levels << 1, -4, 0;
  CHECK(ramp_time(levels, 2) == 2);
  CHECK(ramp_time(levels, step) == 0);
  CHECK(ramp_time(Vector(), 2) == 0);
  CHECK(ramp_level(-4, 2, 0.5) == -1);
  CHECK(ramp_level(1, 2, 0.5) == 1);
  CHECK(ramp_level(1, 2, 100) == 1);
  CHECK(ramp_level(-4, 2, ramp_time(levels, 2)) == -4);
  CHECK(ramp_level(-4, step, 0) == -4);
  CHECK(ramp_level(0, 2, 1) == 0);
}
