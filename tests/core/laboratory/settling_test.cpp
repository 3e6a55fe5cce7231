#include "ness/laboratory/settling.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "ness/device/random.hpp"

using namespace ness;

TEST_CASE("without noise, the bound holds for every decay up to tau_max, alone and together") {
  // Readings are means over apertures of length 1; the steady state is 0.
  const auto mean_over = [](double begin, double tau) {
    return tau * (std::exp(-begin / tau) - std::exp(-(begin + 1) / tau));
  };
  for (const double tau_max : {0.3, 3.0, 20.0}) {
    for (const double share : {1.0, 0.5, 0.1}) {
      for (const double second : {0.0, 1.0, 0.2}) {  // plus a faster decay of the same sign
        SettleOptions options;
        options.tau_max = tau_max;
        options.tolerance = 1e-3;
        SettleJudge judge(options);
        int n = 0;
        for (; n < 100000 && !judge.verdict().settled; ++n) {
          const double t = n;
          judge.add(t + 0.5, mean_over(t, share * tau_max) + second * mean_over(t, share * tau_max / 7));
          if (judge.verdict().window > 0) CHECK(std::abs(judge.verdict().mean) <= judge.verdict().bound);
        }
        CHECK(judge.verdict().settled);
        CHECK(std::abs(judge.verdict().mean) < options.tolerance);
        // The verdict comes in time: the window is the later half, so it begins at about the 1e-3 point, 7
        // tau or a little later.
        CHECK(n < 16 + 2 * 12 * tau_max);
      }
    }
  }
}

TEST_CASE("with noise, the residual at the verdict is within the stated bound in 99 of 100 relaxations") {
  int verdicts = 0, within = 0;
  for (std::uint64_t run = 0; run < 1000; ++run) {
    Random random(run, 77);
    const double tau = random.uniform(5, 20);  // in averaging windows
    const double height = random.uniform(-3, 3),
                 sigma = std::exp(random.uniform(std::log(1e-4), std::log(3e-2)));
    SettleOptions options;
    options.tau_max = 20;
    options.tolerance = 2e-2;
    options.noise = run % 2 == 0 ? sigma : 0;  // known, or to be estimated
    SettleJudge judge(options);
    for (int n = 0; n < 200000 && !judge.verdict().settled; ++n) {
      const double mean = height * tau * (std::exp(-n / tau) - std::exp(-(n + 1) / tau));
      judge.add(n + 0.5, mean + sigma * random.normal());
    }
    REQUIRE(judge.verdict().settled);
    ++verdicts;
    within += std::abs(judge.verdict().mean) <= judge.verdict().bound;
  }
  CAPTURE(within, verdicts);
  CHECK(within >= 990);
}

TEST_CASE("noise delays a verdict, and brings it forward no more often than a bound fails") {
  const auto readings_needed = [](double sigma, std::uint64_t seed) {
    Random random(seed, 5);
    SettleOptions options;
    options.tau_max = 10;
    options.tolerance = 5e-2;
    options.noise = sigma;
    SettleJudge judge(options);
    int n = 0;
    for (; !judge.verdict().settled; ++n) judge.add(n, std::exp(-n / 10.0) + sigma * random.normal());
    return n;
  };
  const int quiet = readings_needed(0, 0);
  double earlier = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) earlier += readings_needed(1e-2, seed) < quiet;
  CHECK(earlier <= 2);  // of 200: 1 %
}

TEST_CASE("correlated noise widens the error beyond the white estimate") {
  Random random(3);
  SettleOptions options;
  options.tolerance = 1e-9;
  SettleJudge judge(options);
  double x = 0, white = 0;
  const int n = 4096;
  for (int i = 0; i < n; ++i) {
    x = 0.95 * x +
        std::sqrt(1 - 0.95 * 0.95) * random.normal();  // unit variance, correlated over 20 readings
    judge.add(i, x);
  }
  white = 1 / std::sqrt(n / 2.0);
  // The true standard error is white x sqrt((1 + r)/(1 - r)) = 6.2 white; block means of 256 of the 2048
  // readings show most of it.
  CHECK(judge.verdict().standard_error > 2.5 * white);
}

TEST_CASE("a burst tells oscillation from noise") {
  Random random(9);
  int alarms = 0;
  for (int run = 0; run < 2000; ++run) {
    std::vector<double> burst(16);
    for (double& x : burst) x = 0.1 * random.normal();
    alarms += oscillates(burst, 0.1);
  }
  CHECK(alarms == 0);
  std::vector<double> swing(16);
  for (std::size_t i = 0; i < swing.size(); ++i)
    swing[i] = 0.5 * std::sin(1.3 * static_cast<double>(i)) + 0.1 * random.normal();
  CHECK(oscillates(swing, 0.1));
  CHECK_FALSE(oscillates(std::vector<double>{1, 2}, 0.1));
}

TEST_CASE("misuse of the settle judge is refused") {
  SettleOptions options;
  options.tolerance = 0;
  CHECK_THROWS_AS(SettleJudge(options), std::invalid_argument);
  options = {};
  options.least = 2;
  CHECK_THROWS_AS(SettleJudge(options), std::invalid_argument);
  SettleJudge judge(SettleOptions{});
  judge.add(1, 0);
  CHECK_THROWS_AS(judge.add(1, 0), std::invalid_argument);
  CHECK_THROWS_AS(judge.add(2, NAN), std::invalid_argument);
  CHECK(std::isinf(judge.verdict().bound));
  CHECK_FALSE(judge.verdict().settled);
}

TEST_CASE("the standard error of a mean knows that readings depend on one another") {
  CHECK(std::isnan(correlated_error(std::vector<double>{1})));
  CHECK(correlated_error(std::vector<double>{1, 3}) == Approx(1));  // |a - b| / 2
  // x_i = phi x_(i-1) + noise has unit variance and correlation phi^k: its mean over n has the variance (1 +
  // phi) / (1 - phi) / n, to order 1 / n. An estimate from blocks of n / 8 has an error of 1 / sqrt(14) = 27
  // %; the mean of 100 runs 3 %. The largest of several estimates is biased upwards by a part of that.
  constexpr int n = 4096, runs = 100;
  for (const double phi : {0.0, 0.5, 0.9}) {
    Random random(7);
    double sum = 0;
    for (int run = 0; run < runs; ++run) {
      std::vector<double> series(n);
      double x = random.normal();
      for (double& reading : series) {
        reading = x;
        x = phi * x + std::sqrt(1 - phi * phi) * random.normal();
      }
      sum += correlated_error(series);
    }
    const double expected = std::sqrt((1 + phi) / (1 - phi) / n);
    INFO("phi " << phi);
    CHECK(sum / runs > 0.97 * expected);
    CHECK(sum / runs < 1.35 * expected);
  }
}
