#include "vector_loops.hpp"

#include <cmath>

// The sanitizers' run time is not there yet when the loader chooses.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define NESS_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define NESS_CLONES
#endif

namespace ness::vector_loops {

NESS_CLONES std::size_t outside(std::size_t n, const double* value, double low, double high) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i) count += static_cast<std::size_t>(!(value[i] >= low) | !(value[i] <= high));
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

NESS_CLONES void adam(std::size_t n, const Adam& by, const double* gradient, const double* rate, double* mean, double* square, double* dw) {
  const Adam with = by;
  for (std::size_t i = 0; i < n; ++i) {
    const double g = gradient[i] * with.clip;
    mean[i] = with.beta1 * mean[i] + (1 - with.beta1) * g;
    square[i] = with.beta2 * square[i] + (1 - with.beta2) * (g * g);
    const double direction = (mean[i] * with.inverse_mean_bias) / (__builtin_sqrt(square[i] * with.inverse_square_bias) + with.epsilon);
    dw[i] = with.factor * rate[i] * direction;
  }
}

}  // namespace ness::vector_loops
