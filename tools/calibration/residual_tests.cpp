#include "residual_tests.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>

#include "student_quantile.hpp"

namespace ness {

namespace {

constexpr double false_alarms = 1e-3;
constexpr std::size_t lags = 10, fewest = 40;

std::string brief(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g", x);
  return text;
}

}  // namespace

ResidualDoubts residual_doubts(const std::vector<Innovations>& readings) {
  ResidualDoubts doubts;
  const double share = false_alarms / (3 * static_cast<double>(std::max<std::size_t>(1, readings.size())));
  const double two_sided = student_quantile(1e9, 1 - share / 2);
  // Wilson and Hilferty's quantile of chi-squared.
  const double k = lags, one_sided = student_quantile(1e9, 1 - share);
  const double most = k * std::pow(1 - 2 / (9 * k) + one_sided * std::sqrt(2 / (9 * k)), 3);
  for (const Innovations& reading : readings) {
    const std::vector<double>& z = reading.value;
    const std::size_t n = z.size();
    if (n < fewest) continue;
    const auto count = static_cast<double>(n);
    const double square = std::inner_product(z.begin(), z.end(), z.begin(), 0.0);
    if (!(square > 0)) continue;

    double portmanteau = 0, sum = 0, first = 0;
    for (std::size_t lag = 1; lag <= lags; ++lag) {
      const double rho =
          std::inner_product(z.begin() + static_cast<std::ptrdiff_t>(lag), z.end(), z.begin(), 0.0) / square;
      portmanteau += count * (count + 2) * rho * rho / (count - static_cast<double>(lag));
      sum += rho;
      if (lag == 1) first = rho;
    }
    if (portmanteau > most) {
      doubts.lines.push_back("residuals of " + reading.name + " are correlated from row to row (" +
                             brief(first) + " to the next; white noise stays within " +
                             brief(two_sided / std::sqrt(count)) + ")");
      doubts.inflation = std::max(doubts.inflation, 1 + 2 * sum);
    }

    double positive = 0, runs = 1;
    for (std::size_t i = 0; i < n; ++i) {
      positive += z[i] > 0;
      if (i > 0) runs += (z[i] > 0) != (z[i - 1] > 0);
    }
    const double pairs = 2 * positive * (count - positive), expected = pairs / count + 1;
    const double spread =
        std::sqrt(std::max(pairs * (pairs - count) / (count * count * (count - 1)), 1e-300));
    if (std::abs(runs - expected) > two_sided * spread) {
      doubts.lines.push_back("residuals of " + reading.name + " have " +
                             std::to_string(static_cast<int>(runs)) + " runs of one sign; white noise has " +
                             std::to_string(std::lround(expected)) + " +- " + brief(spread));
      // A Markov chain of signs has as many: its correlation is 1 - runs / expected.
      const double rho = std::clamp(1 - runs / expected, 0.0, 0.99);
      doubts.inflation = std::max(doubts.inflation, (1 + rho) / (1 - rho));
    }

    std::map<std::uint64_t, std::size_t> last;
    double product = 0, squares = 0, steps = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (const auto before = last.find(reading.imposed[i]); before != last.end()) {
        product += z[i] * z[before->second];
        squares += 0.5 * (z[i] * z[i] + z[before->second] * z[before->second]);
        ++steps;
      }
      last[reading.imposed[i]] = i;
    }
    if (steps < static_cast<double>(fewest) || !(squares > 0)) continue;
    const double rho = product / squares;
    if (std::abs(rho) * std::sqrt(steps) <= two_sided) continue;
    doubts.lines.push_back("residuals of " + reading.name + " under the same inputs are correlated (" +
                           brief(rho) + " to the next; white noise stays within " +
                           brief(two_sided / std::sqrt(steps)) +
                           "): the model lacks something that depends on what is imposed");
    const double slow = std::clamp(rho, 0.0, 0.99);
    doubts.inflation = std::max(doubts.inflation, (1 + slow) / (1 - slow));
  }
  return doubts;
}

}  // namespace ness
