#include <catch2/catch.hpp>
#include <limits>

#include "ness/device/digest.hpp"
#include "ness/device/drive.hpp"
#include "ness/device/relaxation.hpp"

using namespace ness;

TEST_CASE("parameters share their base and remember what differs", "[drive]") {
  const Vector theta = Vector::LinSpaced(4, 1, 4);
  const Parameters base = Parameters::of(theta);
  CHECK(base.digest == digest(VectorView(theta)));
  const Parameters changed = base.with(2, 7).with(1, 9).with(2, 8);
  CHECK(changed.base == base.base);
  CHECK(changed.digest == base.digest);
  CHECK(changed[2] == 8);  // of equal indices the last counts
  CHECK(changed[1] == 9);
  CHECK(changed[3] == 4);
  CHECK(changed.values() == (Vector(4) << 1, 9, 8, 4).finished());
  CHECK(base[2] == 3);
  CHECK_THROWS_WITH(base.with(4, 0), Catch::Contains("index 4 of 4"));
  CHECK_THROWS_WITH(base[9], Catch::Contains("index 9 of 4"));
  CHECK_THROWS_WITH(Parameters{}.values(), Catch::Contains("without a base"));
}

TEST_CASE("pattern sets hold rows by reference", "[pattern]") {
  RowMatrix levels(2, 3);
  levels << 1, 2, 3, 4, 5, 6;
  const auto set = std::make_shared<DensePatterns>("some", levels);
  CHECK(set->width() == 3);
  CHECK(set->rows() == 2);
  CHECK(Pattern{set, 1}.levels() == Vector(levels.row(1).transpose()));
  CHECK_THROWS_WITH(set->levels(2), Catch::Contains("'some'") && Catch::Contains("row 2 of 2"));
  CHECK(pattern_of(Vector::Constant(2, 5.0)).levels() == Vector::Constant(2, 5.0));
  CHECK_FALSE(set->source().has_value());

  const std::uint64_t before = set->digest();
  CHECK(before == DensePatterns("another name", levels).digest());
  RowMatrix other = levels;
  other(1, 2) = 6.0000000000000009;
  CHECK(before != DensePatterns("some", other).digest());
  CHECK(before != DensePatterns("some", Eigen::Map<const RowMatrix>(levels.data(), 3, 2)).digest());
  other(0, 1) = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(DensePatterns("some", other),
                    Catch::Contains("level 1 of row 0") && Catch::Contains("inf"));
}

TEST_CASE("quality gathers the flags of a relaxation and its readings", "[relaxation]") {
  Quality quality;
  CHECK(quality.usable());
  quality.raise(Flag::other_branch);
  CHECK(quality.usable());
  CHECK(quality.has(Flag::other_branch));
  quality.terminal = {0, bit(Flag::over_range)};
  CHECK_FALSE(quality.usable());
  CHECK(quality.all() == (bit(Flag::other_branch) | bit(Flag::over_range)));
  CHECK(to_string_flags(0) == "settled");
  CHECK(to_string_flags(quality.all()) == "over_range+other_branch");
  CHECK(to_string_flags(bit(Flag::not_converged)) == "not_converged");
  CHECK(to_string_flags(1 << 14) == "unknown(16384)");
}
