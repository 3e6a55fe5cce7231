#include <catch2/catch.hpp>
#include <cmath>

#include "ness/training/loss.hpp"

using namespace ness;

TEST_CASE("squared error is summed over outputs", "[loss]") {
  const SquaredError loss;
  const Vector output = (Vector(2) << 1, -2).finished();
  const std::vector<double> target{0.5, 1};
  Vector gradient;
  CHECK(loss.value(output, target, &gradient) == 9.25);
  CHECK(gradient == (Vector(2) << 1, -6).finished());
  CHECK(loss.target_size(2) == 2);
  CHECK_FALSE(loss.classifies());
  CHECK_FALSE(loss.correct(output, target));
  CHECK_THROWS_WITH(loss.value(output, std::vector<double>{1}), Catch::Contains("1 targets for 2 outputs"));
}

TEST_CASE("cross-entropy agrees with its closed forms", "[loss]") {
  const CrossEntropy loss(2);
  const std::vector<double> second{1};
  // Two outputs: log(1 + exp(-2 (b - a))).
  const Vector output = (Vector(2) << 0.3, 0.8).finished();
  Vector gradient;
  CHECK(loss.value(output, second, &gradient) == Approx(std::log1p(std::exp(-1.0))).epsilon(1e-14));
  const double p = 1 / (1 + std::exp(-1.0));
  CHECK(gradient[1] == Approx(-2 * (1 - p)).epsilon(1e-14));
  CHECK(gradient[0] == Approx(2 * (1 - p)).epsilon(1e-14));
  // Equal outputs: log n.
  CHECK(loss.value(Vector::Constant(10, -3.7), second) == Approx(std::log(10)).epsilon(1e-14));
  // No overflow: the loss is the scaled distance.
  CHECK(loss.value((Vector(2) << 1e4, 0).finished(), second) == 2e4);
  CHECK(loss.value((Vector(2) << 0, 1e4).finished(), second) == 0);
}

TEST_CASE("the class is that of the first largest output", "[loss]") {
  const CrossEntropy loss(30);
  const Vector output = (Vector(3) << 1, 2, 2).finished();
  CHECK(loss.classifies());
  CHECK_FALSE(loss.correct(output, std::vector<double>{0}));
  CHECK(loss.correct(output, std::vector<double>{1}));
  CHECK_FALSE(loss.correct(output, std::vector<double>{2}));
  CHECK_FALSE(loss.correct(Vector::Constant(3, std::nan("")), std::vector<double>{0}));
  CHECK_THROWS_WITH(loss.value(output, std::vector<double>{3}), Catch::Contains("from 0 to 2"));
  CHECK_THROWS_WITH(loss.value(output, std::vector<double>{0.5}), Catch::Contains("whole number"));
  CHECK_THROWS_WITH(loss.value(output, std::vector<double>{-1}), Catch::Contains("class -1"));
  CHECK_THROWS_WITH(CrossEntropy(0), Catch::Contains("scale 0"));
  CHECK_THROWS_WITH(CrossEntropy(INFINITY), Catch::Contains("finite"));
}
