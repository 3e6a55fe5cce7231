// Loops over parameter vectors that a training step makes once each, compiled for several instruction sets:
// the loader takes the best. Without contraction of products and sums (ness_library) every one of them gives
// the same bits.
#pragma once

#include <cstddef>

namespace ness::vector_loops {

/// How many values lie outside the range; what is no number does.
std::size_t outside(std::size_t n, const double* value, double low, double high);
/// out = value, limited to the range.
void limit(std::size_t n, const double* value, double low, double high, double* out);
/// out = a b, where `a` is finite, else 0.
void product_of_finite(std::size_t n, const double* a, const double* b, double* out);
/// out = b, where `a` is not infinite, else 0.
void where_not_infinite(std::size_t n, const double* a, const double* b, double* out);
/// out = a + b.
void sum(std::size_t n, const double* a, const double* b, double* out);
/// out = value e^by, to 3 units in the last place of the exponential; apart from both.
void grow(std::size_t n, const double* value, const double* by, double* out);
/// Adam's moments of the clipped gradient, and its step: factor times rate times mean/mean_bias over the root
/// of square/square_bias, and epsilon.
struct Adam {
  double beta1, beta2, inverse_mean_bias, inverse_square_bias, epsilon;
  double clip;    ///< multiplies the gradient
  double factor;  ///< negative: down the slope
};
void adam(std::size_t n, const Adam& by, const double* gradient, const double* rate, double* mean,
          double* square, double* dw);

}  // namespace ness::vector_loops
