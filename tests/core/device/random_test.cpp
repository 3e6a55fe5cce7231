#include <catch2/catch.hpp>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "ness/device/random.hpp"

using namespace ness;

TEST_CASE("philox gives the published words", "[random]") {
  // Known-answer vectors of Random123 (kat_vectors, philox4x32 10 rounds).
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("numbers of an ordinal have the stated distributions", "[random]") {
  // 40,000 draws: bounds are five standard errors of each statistic.
  const int n = 40000;
  double mean = 0, square = 0, cube = 0, fourth = 0, uniform_mean = 0, product = 0;
  for (int i = 0; i < n; ++i) {
    const double x = normal_at(7, static_cast<std::uint64_t>(i) / 8, static_cast<std::uint32_t>(i % 8));
    const double u = uniform_at(7, static_cast<std::uint64_t>(i) / 8, static_cast<std::uint32_t>(i % 8));
    CHECK(u >= 0);
    CHECK(u < 1);
    mean += x / n;
    square += x * x / n;
    cube += x * x * x / n;
    fourth += x * x * x * x / n;
    uniform_mean += u / n;
    product += x * (u - 0.5) / n;
  }
  CHECK(std::abs(mean) < 5 / std::sqrt(n));
  CHECK(std::abs(square - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(std::abs(cube) < 5 * std::sqrt(15.0 / n));
  CHECK(std::abs(fourth - 3) < 5 * std::sqrt(96.0 / n));
  CHECK(std::abs(uniform_mean - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(product) < 5 * std::sqrt(1.0 / 12 / n));  // the two families are independent
}

TEST_CASE("numbers depend on seed, ordinal and channel alone", "[random]") {
  CHECK(normal_at(1, 2, 3) == normal_at(1, 2, 3));
  std::set<double> seen;
  for (std::uint64_t seed : {0, 1}) {
    for (std::uint64_t ordinal : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32}) {
      for (std::uint32_t channel : {0u, 1u}) {
        seen.insert(normal_at(seed, ordinal, channel));
        seen.insert(uniform_at(seed, ordinal, channel));
      }
    }
  }
  CHECK(seen.size() == 24);
}

TEST_CASE("sequences are reproducible, and streams differ", "[random]") {
  Random a(5), b(5), other_stream(5, 1), other_seed(6);
  const double first = a.uniform();
  CHECK(first == b.uniform());
  CHECK(first != other_stream.uniform());
  CHECK(first != other_seed.uniform());
  Random copy = a;
  CHECK(copy.normal() == a.normal());
  for (int i = 0; i < 1000; ++i) {
    const double x = a.uniform(2, 3);
    CHECK(x >= 2);
    CHECK(x < 3);
  }
  CHECK(a.uniform(1, std::nextafter(1, 2)) == 1);  // no room for rounding upwards
}

TEST_CASE("numbers below n are without bias", "[random]") {
  Random random(3);
  std::vector<int> count(5, 0);
  const int n = 50000;
  for (int i = 0; i < n; ++i) ++count.at(random.below(5));
  for (const int c : count) CHECK(std::abs(c - n / 5) < 5 * std::sqrt(n * 0.2 * 0.8));
  CHECK(random.below(1) == 0);
  CHECK_THROWS_WITH(random.below(0), Catch::Contains("at least 1"));
  // With n = 3 * 2^62 a remainder alone would give results below 2^62 twice as often as others: 1/2 instead
  // of 1/3.
  const std::uint64_t large = std::uint64_t{3} << 62;
  int low = 0;
  for (int i = 0; i < 9000; ++i) low += random.below(large) < (std::uint64_t{1} << 62);
  CHECK(std::abs(low - 3000) < 5 * std::sqrt(9000 * 2.0 / 9));
}

TEST_CASE("a permutation holds every number once, and every order is as likely", "[random]") {
  Random random(11, 4);
  std::vector<std::uint64_t> order = random.permutation(1000);
  CHECK_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (std::uint64_t i = 0; i < 1000; ++i) CHECK(order[i] == i);
  CHECK(random.permutation(0).empty());
  std::vector<int> seen(27, 0);
  for (int i = 0; i < 6000; ++i) {
    const auto p = random.permutation(3);
    ++seen[9 * p[0] + 3 * p[1] + p[2]];
  }
  int orders = 0;
  for (const int c : seen) {
    if (c == 0) continue;
    ++orders;
    CHECK(std::abs(c - 1000) < 5 * std::sqrt(6000 * 5.0 / 36));
  }
  CHECK(orders == 6);
}
