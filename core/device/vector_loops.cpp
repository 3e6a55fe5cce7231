#include "ness/device/vector_loops.hpp"

#include <bit>
#include <cmath>
#include <cstdint>

// The loader selects the clone before the sanitizers' run time is initialised.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define NESS_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define NESS_CLONES
#endif

namespace ness::vector_loops {

NESS_CLONES std::size_t outside(std::size_t n, const double* value, double low, double high) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i)
    count += static_cast<std::size_t>(!(value[i] >= low) | !(value[i] <= high));
  return count;
}

NESS_CLONES void limit(std::size_t n, const double* value, double low, double high, double* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const double raised = value[i] < low ? low : value[i];
    out[i] = raised > high ? high : raised;
  }
}

NESS_CLONES void product_of_finite(std::size_t n, const double* a, const double* b, double* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const double product = a[i] * b[i];
    out[i] = std::fabs(a[i]) <= 1.7976931348623157e308 ? product : 0.0;
  }
}

NESS_CLONES void where_not_infinite(std::size_t n, const double* a, const double* b, double* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const double kept = b[i];
    out[i] = std::fabs(a[i]) > 1.7976931348623157e308 ? 0.0 : kept;
  }
}

NESS_CLONES void sum(std::size_t n, const double* a, const double* b, double* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

NESS_CLONES void grow(std::size_t n, const double* __restrict value, const double* __restrict by,
                      double* __restrict out) {
  // e^x = 2^k e^r with r = x - k ln 2, |r| <= 0.35: Taylor's series to r^13, the next term is 4e-18. ln 2 in
  // two parts, of which the first times k is exact. 1.5 x 2^52: adding it rounds to an integer in the low
  // bits.
  constexpr double rounder = 6755399441055744.0;
  constexpr double log2_e = 1.4426950408889634, ln2_high = 6.93147180369123816490e-01,
                   ln2_low = 1.90821492927058770002e-10;
  constexpr double furthest = 700;
  constexpr double inverse_factorial[] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  for (std::size_t i = 0; i < n; ++i) {
    const double shifted = by[i] * log2_e + rounder, k = shifted - rounder,
                 r = (by[i] - k * ln2_high) - k * ln2_low;
    double power = inverse_factorial[0];
    for (int j = 1; j < 14; ++j) power = power * r + inverse_factorial[j];
    const std::uint64_t bits =
        std::bit_cast<std::uint64_t>(power) + (std::bit_cast<std::uint64_t>(shifted) << 52);
    out[i] = value[i] * std::bit_cast<double>(bits);
  }
  if (outside(n, by, -furthest, furthest) == 0) return;
  for (std::size_t i = 0; i < n; ++i) {
    if (!(std::fabs(by[i]) <= furthest)) out[i] = value[i] * std::exp(by[i]);
  }
}

NESS_CLONES void adam(std::size_t n, const Adam& by, const double* gradient, const double* rate, double* mean,
                      double* square, double* dw) {
  const Adam with = by;
  for (std::size_t i = 0; i < n; ++i) {
    const double g = gradient[i] * with.clip;
    mean[i] = with.beta1 * mean[i] + (1 - with.beta1) * g;
    square[i] = with.beta2 * square[i] + (1 - with.beta2) * (g * g);
    const double direction = (mean[i] * with.inverse_mean_bias) /
                             (__builtin_sqrt(square[i] * with.inverse_square_bias) + with.epsilon);
    dw[i] = with.factor * rate[i] * direction;
  }
}

}  // namespace ness::vector_loops
