#include <catch2/catch.hpp>
#include <algorithm>
#include <cmath>

#include "ness/training/dataset.hpp"
#include "ness/device/random.hpp"

using namespace ness;

namespace {

Dataset dataset_of(const RowMatrix& inputs, const std::vector<double>& targets) {
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>("points", inputs);
  set.targets = Eigen::Map<const RowMatrix>(targets.data(), static_cast<Eigen::Index>(targets.size()), 1);
  for (std::uint64_t i = 0; i < targets.size(); ++i) set.rows.push_back(i);
  return set;
}

Dataset on_a_line(const std::vector<double>& x, const std::vector<double>& y) {
  return dataset_of(Eigen::Map<const RowMatrix>(x.data(), static_cast<Eigen::Index>(x.size()), 1), y);
}

}  // namespace

TEST_CASE("exclusive or has four samples", "[dataset]") {
  const Task task = xor_task(0, 3, 0, 1);
  REQUIRE(task.train.size() == 4);
  CHECK(task.test.size() == 4);
  CHECK(task.validation.size() == 0);
  for (std::uint64_t i = 0; i < 4; ++i) {
    CHECK(task.train.pattern(i).levels() == (Vector(2) << (i / 2) * 3.0, (i % 2) * 3.0).finished());
    CHECK(task.train.target(i)[0] == ((i / 2) != (i % 2) ? 1 : 0));
  }
  CHECK(task.loss->name() == "squared-error");
}

TEST_CASE("regression holds out every fifth point", "[dataset]") {
  RegressionOptions options;
  options.input_scale = 6;
  options.target_scale = 2;
  const Task task = regression_task([](double x) { return x * x; }, options);
  REQUIRE(task.train.size() == 48);
  REQUIRE(task.test.size() == 12);
  for (std::uint64_t i = 0; i < 12; ++i) {
    const double x = -3 + 6.0 * static_cast<double>(2 + 5 * i) / 59;  // k = 2, 7, .., 57
    CHECK(task.test.pattern(i).levels()[0] == Approx(6 * x).epsilon(1e-15));
    CHECK(task.test.target(i)[0] == Approx(2 * x * x).epsilon(1e-15));
  }
  CHECK(task.train.pattern(0).levels()[0] == -18);
  CHECK(task.train.pattern(47).levels()[0] == 18);
  options.input_offset = 20;
  CHECK(regression_task([](double x) { return x * x; }, options).train.pattern(0).levels()[0] == 2);
  options.input_offset = std::numeric_limits<double>::infinity();
  CHECK_THAT(options.problem(), Catch::Contains("input_offset must be finite"));
  options.input_offset = 0;
  CHECK_THROWS_WITH(regression_task([](double x) { return 1 / (x - x); }, options),
                    Catch::Contains("f(-3") && Catch::Contains("finite"));
  options.validate_first = 5;
  options.validate_every = 5;  // k = 5, 10, .., 55: never a test point
  const Task split = regression_task([](double x) { return x; }, options);
  CHECK(split.test.size() == 12);
  REQUIRE(split.validation.size() == 11);
  CHECK(split.train.size() == 37);
  CHECK(split.validation.pattern(0).levels()[0] == Approx(6 * (-3 + 6.0 * 5 / 59)).epsilon(1e-15));
  options.validate_first = 2;  // test points stay in the test set
  CHECK(regression_task([](double x) { return x; }, options).validation.size() == 0);
  options.validate_every = 1;
  CHECK_THAT(options.problem(), Catch::Contains("validate_every"));
  options.validate_every = 0;
  options.low = 4;
  CHECK_THROWS_WITH(regression_task([](double x) { return x; }, options), Catch::Contains("low below high"));
  options = {};
  options.points = 1;
  CHECK_THAT(options.problem(), Catch::Contains("at least 2"));
  options = {};
  options.hold_out_every = 0;
  CHECK(regression_task([](double x) { return x; }, options).test.size() == 0);
}

TEST_CASE("subsets and splits keep samples with their targets", "[dataset]") {
  std::vector<double> x(20), y(20);
  for (int i = 0; i < 20; ++i) {
    x[i] = i;
    y[i] = 100 + i;
  }
  Dataset set = on_a_line(x, y);
  const std::vector<std::uint64_t> chosen{3, 1};
  const Dataset part = set.subset(chosen);
  CHECK(part.pattern(0).levels()[0] == 3);
  CHECK(part.target(1)[0] == 101);
  CHECK_THROWS_WITH(set.subset(std::vector<std::uint64_t>{20}), Catch::Contains("sample 20 of 20"));

  Dataset same = set, other = set;
  const Dataset taken = split_off(set, 6, 42);
  CHECK(taken.size() == 6);
  CHECK(set.size() == 14);
  std::vector<double> all;
  for (const Dataset* each : {static_cast<const Dataset*>(&set), &taken}) {
    for (std::uint64_t i = 0; i < each->size(); ++i) {
      CHECK(each->target(i)[0] == each->pattern(i).levels()[0] + 100);
      all.push_back(each->target(i)[0]);
    }
  }
  std::sort(all.begin(), all.end());
  CHECK(all == y);
  CHECK(split_off(same, 6, 42).rows == taken.rows);
  CHECK(split_off(other, 6, 43).rows != taken.rows);
  CHECK_THROWS_WITH(split_off(set, 14, 1), Catch::Contains("14 of 14"));
}

TEST_CASE("the isotonic bound of exclusive or is one sixth", "[isotonic]") {
  // A monotone function of two inputs: f(00) <= f(01), f(10) <= f(11). Best: 0, then 2/3 for the other three.
  CHECK(isotonic_bound(xor_task().train) == Approx(1.0 / 6).epsilon(1e-14));
  CHECK(isotonic_bound(xor_task(0, 3, -1, 3).train) == Approx(16.0 / 6).epsilon(1e-14));
}

TEST_CASE("the isotonic bound on a line agrees with closed forms", "[isotonic]") {
  CHECK(isotonic_bound(on_a_line({3, 1, 2}, {30, 10, 20})) == 0);  // increasing: no loss
  CHECK(isotonic_bound(on_a_line({1, 2, 3}, {3, 2, 1})) ==
        Approx(2.0 / 3));  // decreasing: the mean is best, the variance remains
  CHECK(isotonic_bound(on_a_line({1, 2, 3, 4}, {1, 3, 2, 4})) == Approx(0.5 / 4));
  // Equal inputs must have one value: 0 and 2 at x = 1 give 1 there, a loss of 2 over 3 samples; 5 at x = 2
  // fits.
  CHECK(isotonic_bound(on_a_line({1, 1, 2}, {0, 2, 5})) == Approx(2.0 / 3));
  // Ties pool with their weight: (0, 6, 6 at x = 1) has mean 4, then 1 at x = 2: together 13/4.
  CHECK(isotonic_bound(on_a_line({1, 1, 1, 2}, {0, 6, 6, 1})) ==
        Approx((0 + 36 + 36 + 1 - 4 * 3.25 * 3.25) / 4));
}

TEST_CASE("the isotonic bound of the regression task is that of the literature", "[isotonic]") {
  const Task task =
      regression_task([](double x) { return std::exp(-x * x / 10) * std::sin(5 * x); }, RegressionOptions{});
  // the limits for the choice of held-out points, computed independently
  CHECK(isotonic_bound(task.train) > 0.2856);
  CHECK(isotonic_bound(task.train) < 0.2898);
}

TEST_CASE("isotonic regression over a partial order agrees with that of a line, and with the minimax formula",
          "[isotonic]") {
  Random random(1);
  for (int trial = 0; trial < 20; ++trial) {
    // A chain in the plane is equivalent to a line.
    const int n = 9;
    std::vector<double> x(n), y(n);
    RowMatrix chain(n, 2), plane(n, 2);
    for (int i = 0; i < n; ++i) {
      x[i] = random.uniform();
      y[i] = random.normal();
      chain.row(i) << x[i], 2 * x[i] + 1;
      plane.row(i) << static_cast<double>(random.below(3)), static_cast<double>(random.below(3));
    }
    CHECK(isotonic_bound(dataset_of(chain, y)) == Approx(isotonic_bound(on_a_line(x, y))).epsilon(1e-12));

    // Value at i = max over upper sets containing i of the min over lower sets containing i of the mean of
    // both (Robertson et al.).
    const auto below = [&](int i, int j) { return plane(i, 0) <= plane(j, 0) && plane(i, 1) <= plane(j, 1); };
    std::vector<unsigned> upper, lower;
    for (unsigned set = 1; set < (1u << n); ++set) {
      bool up = true, down = true;
      for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) {
          if (!below(i, j)) continue;
          if ((set >> i & 1) && !(set >> j & 1)) up = false;
          if ((set >> j & 1) && !(set >> i & 1)) down = false;
        }
      }
      if (up) upper.push_back(set);
      if (down) lower.push_back(set);
    }
    double error = 0;
    for (int i = 0; i < n; ++i) {
      double best = -INFINITY;
      for (const unsigned u : upper) {
        if (!(u >> i & 1)) continue;
        double least = INFINITY;
        for (const unsigned l : lower) {
          if (!(l >> i & 1)) continue;
          double sum = 0, count = 0;
          for (int k = 0; k < n; ++k) {
            if (u >> k & l >> k & 1) sum += y[k], count += 1;
          }
          least = std::min(least, sum / count);
        }
        best = std::max(best, least);
      }
      error += (y[i] - best) * (y[i] - best) / n;
    }
    CHECK(isotonic_bound(dataset_of(plane, y)) == Approx(error).epsilon(1e-12));
  }
}

TEST_CASE("the isotonic bound refuses what it cannot do", "[isotonic]") {
  CHECK_THROWS_WITH(isotonic_bound(dataset_of(RowMatrix::Random(17, 2), std::vector<double>(17, 0.0))),
                    Catch::Contains("at most 16"));
  CHECK_THROWS_WITH(isotonic_bound(Dataset{}), Catch::Contains("empty"));
  Dataset two = on_a_line({1, 2}, {1, 2});
  two.targets = RowMatrix::Zero(2, 2);
  CHECK_THROWS_WITH(isotonic_bound(two), Catch::Contains("2 targets"));
}
